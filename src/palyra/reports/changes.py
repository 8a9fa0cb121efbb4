"""What a change of rules changed: the fields of two documents that are not the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

KINDS = ("policy", "key", "approval", "alert", "price", "governance", "pricebook")
"""What is changed: the first word of the kind of a change."""
_DERIVED = ("_nano_usd", "_usd")
"""The ends of fields that say the same as the field without them, in another unit."""


class FieldChange(NamedTuple):
    """A field before and after, None where it was not set. The fields of a table are ``table.field``."""

    field: str
    before: object
    after: object


def changed_fields(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> list[FieldChange]:
    """The fields that differ, by name; of a document that is not there, none is set."""
    old, new = dict(_flat(before or {})), dict(_flat(after or {}))
    names = sorted(old.keys() | new.keys())
    changes = (FieldChange(name, old.get(name), new.get(name)) for name in names)
    return [each for each in changes if not _same(each.before, each.after)]


def without_derived(changes: Sequence[FieldChange]) -> list[FieldChange]:
    """The same, with amounts once: as they were written."""
    names = {each.field for each in changes}
    return [each for each in changes if not any(base in names for base in _bases(each.field))]


def change_lines(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> list[str]:
    """The changed fields for people, one a line; amounts once, as they were written.

    A document that was made or is gone is one line of what was set in it.
    """
    shown = without_derived(changed_fields(before, after))
    if before is not None and after is not None:
        return [field_line(each, both=True) for each in shown]
    said = (field_line(each, both=False) for each in shown)
    return [" ".join(said)] if shown else []


def field_line(change: FieldChange, *, both: bool) -> str:
    """One field for people: ``both`` values, or the one that is set where a document was made or is gone."""
    if both:
        return f"{change.field}: {_told(change.before)} -> {_told(change.after)}"
    return f"{change.field}={_told(change.before if change.after is None else change.after)}"


def _flat(document: Mapping[str, object], under: str = "") -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, object]", value), f"{under}{name}.")
        else:
            yield f"{under}{name}", value


def _same(one: object, other: object) -> bool:
    """Equal, and of one type: 1 is not true."""
    return type(one) is type(other) and one == other


def _bases(field: str) -> Iterator[str]:
    return (field.removesuffix(end) for end in _DERIVED if field.endswith(end))


def _told(value: object) -> str:
    """A value on one line: a text as it is where it is a word, else as JSON."""
    if value is None:
        return "-"
    if isinstance(value, str) and value.isprintable() and value and " " not in value:
        return value
    return json.dumps(value, ensure_ascii=False)
