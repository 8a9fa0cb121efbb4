"""How hard a call looks, from 0 to 1000, by what can be counted in it: no word of any language matters.

The weights sum to more than the whole, so that no single feature makes a call hard: plain text alone reaches
500, which keeps the default model, and only a long task with tools, pictures or a strict format is hard.
"""

import msgspec

VERSION = 1
"""Of the weights below. A stored score is read by the version it was made with."""

WHOLE = 1_000
HARD = 750
"""From here on the dearest model that may serve the call."""
EASY = 350
"""Up to here the cheapest."""

_LENGTH, _TOKENS, _TURNS, _TOOLS, _JSON, _IMAGES = 250, 250, 150, 200, 100, 150
_BYTES_FULL = 16_000
_TOKENS_FULL = 4_000
_TURNS_FULL = 12
_TOOLS_FULL = 8
_IMAGES_FULL = 2


class Features(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is counted in a call. ``tokens`` are expected input tokens, ``turns`` messages."""

    text_bytes: int
    tokens: int
    turns: int
    tools: int
    images: int
    wants_json: bool


def score(features: Features) -> int:
    """The complexity in thousandths: each feature's share of its full weight, 0 to ``WHOLE`` in all."""
    parts = (
        _share(features.text_bytes, _BYTES_FULL, _LENGTH),
        _share(features.tokens, _TOKENS_FULL, _TOKENS),
        # One message is the least that there can be.
        _share(features.turns - 1, _TURNS_FULL - 1, _TURNS),
        _share(features.tools, _TOOLS_FULL, _TOOLS),
        _share(features.images, _IMAGES_FULL, _IMAGES),
        _JSON if features.wants_json else 0,
    )
    return min(WHOLE, sum(parts))


def _share(amount: int, full: int, weight: int) -> int:
    return weight * max(0, min(amount, full)) // full
