"""Budget policies: what they say, whom they bind, which window they count, and what follows. Pure."""
