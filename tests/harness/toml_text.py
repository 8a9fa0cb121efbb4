"""A dict as TOML: tables at the top, arrays of tables below them, everything deeper inline."""

import json
from collections.abc import Mapping, Sequence
from typing import cast


def dump(document: Mapping[str, object]) -> str:
    """The document as TOML text. Keys must be bare; values: str, int, bool, lists and dicts of them."""
    lines: list[str] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            lines += [f"[{name}]", *_pairs(cast("Mapping[str, object]", value)), ""]
        elif isinstance(value, list):
            for entry in cast("list[Mapping[str, object]]", value):
                lines += [f"[[{name}]]", *_pairs(entry), ""]
        else:
            raise TypeError(f"{name}: top-level values are tables or arrays of tables")
    return "\n".join(lines)


def _pairs(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return repr(value)
        case Mapping():
            return "{ " + ", ".join(_pairs(cast("Mapping[str, object]", value))) + " }"
        case Sequence():
            return "[" + ", ".join(_value(each) for each in cast("Sequence[object]", value)) + "]"
        case _:
            raise TypeError(f"{value!r} has no TOML form here")
