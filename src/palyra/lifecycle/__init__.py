"""The path of one call, in reading order.

authenticate -> plan (estimate, evaluate, route) -> reserve -> dispatch -> settle. ``flow`` names all stages;
``ports`` says what the path needs from the outside; ``expire`` resolves what a crash or a lost lease left.
"""
