"""On which line of a TOML text a field stands: for messages only: an odd layout costs a hint."""

import re

_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_ENTRY = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_KEY = re.compile(r"\s*([\w-]+(?:\.[\w-]+)*)\s*=")


def lines_of(text: str) -> dict[str, int]:
    """Map ``server.port`` and ``budgets[1].hard_limit`` to 1-based line numbers."""
    lines: dict[str, int] = {}
    entries: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if entry := _ENTRY.match(line):
            name = entry[1]
            entries[name] = entries.get(name, -1) + 1
            table = f"{name}[{entries[name]}]"
            lines.setdefault(table, number)
        elif head := _TABLE.match(line):
            table = _inside(head[1], entries)
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{key[1]}" if table else key[1], number)
    return lines


def _inside(name: str, entries: dict[str, int]) -> str:
    first, dot, rest = name.partition(".")
    return f"{first}[{entries[first]}]{dot}{rest}" if first in entries else name
