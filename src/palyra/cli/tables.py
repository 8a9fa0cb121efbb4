"""Rows and amounts of the control plane's documents, for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from palyra.cli.output import table, visible_lines

RIGHT = ">"
"""Before a column's title: its cells are flush right."""


def print_table(
    console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]], last: Sequence[str] = ()
) -> None:
    """Draw a table; ``last`` is a row of totals."""
    console.print(drawn_table(titles, rows, last))


def drawn_table(titles: Sequence[str], rows: Iterable[Sequence[str]], last: Sequence[str] = ()) -> Table:
    """The table itself. Cells are plain text: what clients sent is no markup and acts on no terminal."""
    drawn = table()
    for title in titles:
        drawn.add_column(
            title.removeprefix(RIGHT),
            justify="right" if title.startswith(RIGHT) else "left",
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(visible_lines(cell)) for cell in row))
    if last:
        drawn.add_row(*(Text(visible_lines(cell)) for cell in last), style="bold")
    return drawn


def print_line(console: Console, text: str) -> None:
    """One line, as it is, but for what would act on the terminal."""
    console.print(Text(visible_lines(text)), soft_wrap=True)


def amount(document: Mapping[str, Any], name: str, metric: str) -> str:
    """An amount of a JSON document with its unit: ``4.50 USD``, ``1,200``, or a dash for none."""
    found = document.get(f"{name}_usd" if metric == "cost_usd" else name)
    if found is None:
        return "-"
    return f"{found} USD" if metric == "cost_usd" else f"{found:,}"
