"""Reading what providers call usage: untrusted numbers and words. Unknown is not zero (L6)."""

from collections.abc import Mapping

import msgspec

from palyra.core import limits
from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage

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
    usage: Mapping[str, int], *, model: object, tier: object, input_known: bool, output_known: bool
) -> Reported | None:
    """Build a report, None if the counts contradict each other beyond what was mended before."""
    try:
        checked = Usage(**usage)
    except ValueError:
        return None
    return Reported(checked, label(tier), label(model), input_known, output_known)
