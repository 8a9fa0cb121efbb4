"""Memory at several marks of one long run: a row each, with what it grew by since the row before."""

from collections.abc import Sequence

from benchmarks.trials import Figures, Row

PER_CALLS = 100_000


def rows(marks: Sequence[Figures], figure: str, note: str = "") -> list[Row]:
    """A row for each mark; ``calls`` counts from the start. ``figure`` is the memory, in megabytes."""
    made: list[Row] = []
    for number, mark in enumerate(marks):
        grown: Figures = {}
        if number:
            before = marks[number - 1]
            per_call = (mark[figure] - before[figure]) / (mark["calls"] - before["calls"])
            grown["growth_mb"] = per_call * PER_CALLS
        name = f"after {mark['calls']:,.0f} calls{note}" if mark["calls"] else "after the start"
        made.append(Row(name, [mark | grown]))
    return made
