"""Reading what providers call usage: untrusted numbers and words. Unknown is not zero (L6).

Two lanes lead to the same structs. Usage as providers document it is decoded into them at once; where that
fails, ``count`` picks the believable figures out of whatever came. Nothing after knows which lane it was.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from palyra.core import limits
from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage

Count = Annotated[int, msgspec.Meta(ge=0, le=limits.TOKENS_MAX)]
"""What ``count`` believes, for a struct to decode."""
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a provider's bytes may raise."""


def group(value: object) -> Mapping[str, object]:
    """Return a JSON object's members; nothing for any other value."""
    return msgspec.convert(value, dict[str, object]) if isinstance(value, dict) else {}


def count(fields: Mapping[str, object], *names: str) -> int | None:
    """Return the first of ``names`` that holds a believable count.

    None where all are missing, null, no integer, negative, or above TOKENS_MAX.
    """
    for name in names:
        value = fields.get(name)
        if type(value) is int and 0 <= value <= limits.TOKENS_MAX:
            return value
    return None


def damaged(fields: Mapping[str, object], *names: str) -> bool:
    """Whether any of ``names`` is given but cannot be believed."""
    return any(fields.get(name) is not None and count(fields, name) is None for name in names)


def label(value: object) -> str | None:
    """Return a provider's word if it is text of a sane length."""
    return value if isinstance(value, str) and 0 < len(value) <= limits.LABEL_CHARS_MAX else None


def reported(
    usage: Usage, *, model: object, tier: object, input_known: bool = True, output_known: bool = True
) -> Reported:
    """Build a report; ``model`` and ``tier`` are the provider's, whatever they are."""
    return Reported(usage, label(tier), label(model), input_known, output_known)
