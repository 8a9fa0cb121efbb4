"""Reading one field of a key declaration strictly. Every function raises FieldError naming the field."""

import difflib
from collections.abc import Iterable, Mapping
from typing import cast

from palyra.core.errors import FieldError
from palyra.core.limits import LABEL_CHARS_MAX, TAGS_MAX

_UNLABELLED = "~"


def refuse_unknown(data: Mapping[str, object], known: Iterable[str], noun: str) -> None:
    """No field may be ignored silently: name the first one that ``noun`` does not have."""
    names = list(known)
    for name in data:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise FieldError(name, f"{noun} has no such field.{hint} It has: {', '.join(names)}.")


def as_label(value: object, field: str) -> str:
    """``value`` as a label: visible text of 1..LABEL_CHARS_MAX characters that does not begin with ``~``."""
    if not isinstance(value, str):
        raise FieldError(field, f"must be a string, not {type(value).__name__}.")
    if not value or value != value.strip() or not value.isprintable():
        raise FieldError(field, f"{value!r} is not a label; write visible characters, no blanks around them.")
    if len(value) > LABEL_CHARS_MAX:
        raise FieldError(field, f"has {len(value)} characters; write at most {LABEL_CHARS_MAX}.")
    if value.startswith(_UNLABELLED):
        raise FieldError(field, f"{value!r}: Palyra keeps labels that begin with '~'; choose another.")
    return value


def read_label(data: Mapping[str, object], name: str) -> str:
    """A required label."""
    if data.get(name) is None:
        raise FieldError(name, "is required; write a string.")
    return as_label(data[name], name)


def read_optional_label(data: Mapping[str, object], name: str) -> str | None:
    """A label, or None where the field is absent."""
    return None if data.get(name) is None else as_label(data[name], name)


def read_labels(data: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of labels without repeats, in the order written; empty where the field is absent."""
    value = data.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise FieldError(name, f"must be a list of strings, not {type(value).__name__}.")
    entries = cast("list[object]", value)
    return tuple(dict.fromkeys(as_label(each, f"{name}[{place}]") for place, each in enumerate(entries)))


def read_tags(data: Mapping[str, object], name: str) -> dict[str, str]:
    """A table of at most TAGS_MAX tags; keys and values are labels, a key has no ``=``."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FieldError(
            name, f'must be a table such as {{ team = "platform" }}, not {type(value).__name__}.'
        )
    table = cast("Mapping[object, object]", value)
    if len(table) > TAGS_MAX:
        raise FieldError(name, f"has {len(table)} tags; write at most {TAGS_MAX}.")
    tags: dict[str, str] = {}
    for key, text in table.items():
        label = as_label(key, name)
        if "=" in label:
            raise FieldError(name, f"the key {label!r} contains '='; choose another.")
        tags[label] = as_label(text, f"{name}.{label}")
    return tags
