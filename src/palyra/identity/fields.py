"""Reading one field of a key declaration strictly. Every function raises FieldError naming the field."""

from collections.abc import Mapping
from typing import cast

from palyra.core.errors import FieldError
from palyra.core.fields import as_label
from palyra.core.limits import TAGS_MAX

_UNLABELLED = "~"


def own_label(value: object, field: str) -> str:
    """``value`` as a label that does not begin with ``~``, which marks the accounts of unlabelled calls."""
    label = as_label(value, field)
    if label.startswith(_UNLABELLED):
        raise FieldError(field, f"{label!r}: Palyra keeps labels that begin with '~'; choose another.")
    return label


def read_label(data: Mapping[str, object], name: str) -> str:
    """A required label."""
    if data.get(name) is None:
        raise FieldError(name, "is required; write a string.")
    return own_label(data[name], name)


def read_optional_label(data: Mapping[str, object], name: str) -> str | None:
    """A label, or None where the field is absent."""
    return None if data.get(name) is None else own_label(data[name], name)


def read_labels(data: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of labels without repeats, in the order written; empty where the field is absent."""
    value = data.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise FieldError(name, f"must be a list of strings, not {type(value).__name__}.")
    entries = cast("list[object]", value)
    return tuple(dict.fromkeys(own_label(each, f"{name}[{place}]") for place, each in enumerate(entries)))


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
        label = own_label(key, name)
        if "=" in label:
            raise FieldError(name, f"the key {label!r} contains '='; choose another.")
        tags[label] = own_label(text, f"{name}.{label}")
    return tags
