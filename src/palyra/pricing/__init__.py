"""Prices and cost: what a call used, what it costs, what it can cost at most. Pure.

``usage`` says what was used, ``rates`` and ``sheet`` price it, ``entry`` is an operator's price,
``base`` is what a price list offers, ``catalog`` is the list of genai-prices, ``book`` joins them.
"""
