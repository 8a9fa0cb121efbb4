"""Reading documents strictly: what every reader of a policy, a key or a price shares.

Every function raises FieldError naming the field.
"""

import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal

from palyra.core.errors import FieldError
from palyra.core.limits import LABEL_CHARS_MAX


def closest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the known word nearest to ``word``, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def refuse_unknown(data: Mapping[str, object], known: Iterable[str], noun: str) -> None:
    """No field may be ignored silently: name the first one that ``noun`` does not have."""
    names = list(known)
    for name in data:
        if name not in names:
            raise FieldError(
                name, f"{noun} has no such field.{closest(name, names)} It has: {', '.join(names)}."
            )


def as_label(value: object, field: str) -> str:
    """``value`` as a label: 1..LABEL_CHARS_MAX printable characters, no blank at either end."""
    if not isinstance(value, str):
        raise FieldError(field, f"must be a string, not {kind_of(value)}.")
    if not value or value != value.strip() or not value.isprintable():
        raise FieldError(field, f"{value!r} is not a label; write visible characters, no blanks around them.")
    if len(value) > LABEL_CHARS_MAX:
        raise FieldError(field, f"has {len(value)} characters; write at most {LABEL_CHARS_MAX}.")
    return value


def kind_of(value: object) -> str:
    words: dict[type, str] = {
        bool: "a boolean",
        int: "a whole number",
        float: "a floating-point number",
        Decimal: "a floating-point number",
        str: "a string",
        dict: "a table",
        list: "a list",
    }
    return words.get(type(value), type(value).__name__)
