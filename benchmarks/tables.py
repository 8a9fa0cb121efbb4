"""Tables of a run: on the terminal with Rich, and as Markdown for the documentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Grid

from benchmarks import scale_out
from benchmarks.side_by_side import Entrant, Outcome
from benchmarks.trials import Row, Table, titled

DISTURBED = 0.05
MISSING = "-"
Cell = Callable[[Row, Table], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how its cells are made."""

    heading: str
    cell: Cell


def number(value: float | None) -> str:
    """Three significant digits or so, thousands separated; a dash for what was not measured."""
    if value is None:
        return MISSING
    if 0 < abs(value) < 0.1:
        return f"{value:.4f}" if abs(value) < 0.01 else f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _median(figure: str) -> Cell:
    def cell(row: Row, table: Table) -> str:
        del table
        return number(row.median(figure))

    return cell


def _ratio(figure: str, other: str) -> Cell:
    def cell(row: Row, table: Table) -> str:
        value = row.ratio(figure, table.row(other))
        return MISSING if value is None else f"{number(value)} x"

    return cell


def _beyond(figure: str, other: str) -> Cell:
    def cell(row: Row, table: Table) -> str:
        return number(row.beyond(figure, table.row(other)))

    return cell


def _shared(figure: str) -> Cell:
    """The ratio to the same on SQLite, of a contender with a database server."""
    ratio = _ratio(figure, "palyra-5")
    return lambda row, table: MISSING if row.median("database_us") is None else ratio(row, table)


def _alone(figure: str) -> Cell:
    """The ratio to one gateway, with slices or without as this one."""

    def cell(row: Row, table: Table) -> str:
        without = scale_out.WITHOUT if row.name.endswith(scale_out.WITHOUT) else ""
        return _ratio(figure, f"1 gateway{without}")(row, table)

    return cell


def _sliced(figure: str) -> Cell:
    """The ratio of gateways without slices to as many with slices."""

    def cell(row: Row, table: Table) -> str:
        with_slices = row.name.removesuffix(scale_out.WITHOUT)
        return MISSING if with_slices == row.name else _ratio(figure, with_slices)(row, table)

    return cell


_CPU_RATIOS = (
    Column("CPU / nginx's", _ratio("cpu_us", "nginx")),
    Column("CPU / LiteLLM's", _ratio("cpu_us", "litellm")),
    Column("CPU / SQLite's", _shared("cpu_us")),
    Column("rate / SQLite's", _shared("rate")),
    Column("database CPU us", _median("database_us")),
)
_WHOLE_RATIOS = (
    Column("rate / nginx's", _ratio("rate", "nginx")),
    Column("rate / LiteLLM's", _ratio("rate", "litellm")),
    Column("rate / Portkey's", _ratio("rate", "portkey")),
)
_WHOLE = (
    Column("requests/s", _median("rate")),
    Column("added p50 us", _median("added_p50_us")),
    Column("added p99 us", _median("added_p99_us")),
    Column("CPU us/request", _median("cpu_us")),
    Column("memory MB", _median("memory_mb")),
    *_CPU_RATIOS,
    *_WHOLE_RATIOS,
)
_STREAM = (
    Column("chunks/s", _median("rate")),
    Column("first p50 us", _median("first_p50_us")),
    Column("first p99 us", _median("first_p99_us")),
    Column("p50 - nginx's", _beyond("first_p50_us", "nginx")),
    Column("p99 - nginx's", _beyond("first_p99_us", "nginx")),
    Column("lag p50 us", _median("lag_p50_us")),
    Column("lag p99 us", _median("lag_p99_us")),
    Column("CPU us/chunk", _median("cpu_us")),
    Column("memory MB", _median("memory_mb")),
    *_CPU_RATIOS,
)
_ALONE = (
    Column("CPU us/call", _median("cpu_us")),
    Column("CPU / baseline's", _ratio("cpu_us", "baseline")),
    Column("store ready s", _median("store_s")),
    Column("rules ready s", _median("rules_s")),
    Column("accounts", _median("accounts")),
    Column("memory MB", _median("memory_mb")),
    Column("resident MB", _median("resident_mb")),
    Column("more per 100,000 calls, MB", _median("growth_mb")),
    Column("verify s", _median("verify_s")),
    Column("verify us/record", _median("verify_us")),
    Column("streams complete", _median("complete")),
    Column("KB/stream", _median("stream_kb")),
)
_SCALE_OUT = (
    Column("reservations/s", _median("rate")),
    Column("rate / 1 gateway's", _alone("rate")),
    Column("rate / with slices", _sliced("rate")),
    Column("commits/call", _median("commits")),
    Column("gateway CPU us/call", _median("cpu_us")),
    Column("/ 1 gateway's", _alone("cpu_us")),
    Column("PostgreSQL CPU us/call", _median("database_us")),
    Column("/ with slices", _sliced("database_us")),
    Column("calls", _median("calls")),
    Column("refused", _median("refused")),
    Column("spent %", _median("spent")),
    Column("most taken %", _median("most")),
    Column("wait p50 us", _median("wait_p50_us")),
    Column("wait p99 us", _median("wait_p99_us")),
    Column("failed", _median("failed")),
)


def columns(table: Table) -> Sequence[Column]:
    """What is worth showing of such a load: columns in which anything was measured."""
    match table.load:
        case str():
            possible = _SCALE_OUT if table.scene == scale_out.SCENE else _ALONE
        case load:
            possible = _STREAM if load.kind == "stream" else _WHOLE
    return [each for each in possible if any(each.cell(row, table) != MISSING for row in table.rows)]


def show(table: Table, console: Console) -> None:
    """Print a table, and below it what is missing from it and why."""
    shown = columns(table)
    console.print(f"{table.scene}: {titled(table.load)}", markup=False, style="italic")
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column("")
    for column in shown:
        grid.add_column(column.heading, justify="right")
    for row in table.rows:
        grid.add_row(row.name, *(column.cell(row, table) for column in shown))
    console.print(grid)
    problems = [f"{row.name}: {row.problem}" for row in table.rows if row.problem is not None]
    for note in problems + _caveats(table):
        console.print(f"  {note}", markup=False, style="yellow")
    console.print()


def show_entrants(outcome: Outcome, console: Console) -> None:
    """Print what each contender does with a call."""
    for each in outcome.entrants:
        console.print(f"{each.contender.name}: {_entrant(each)}", markup=False)


def markdown(outcome: Outcome) -> str:
    """The same, to be pasted into a page."""
    parts: list[str] = []
    for table in outcome.tables:
        shown = columns(table)
        lines = [f"### {table.scene}: {titled(table.load)}", ""]
        headings = [column.heading for column in shown] or ["result"]
        lines.append("| contender | " + " | ".join(headings) + " |")
        lines.append("|---|" + "---:|" * len(headings))
        for row in table.rows:
            cells = [column.cell(row, table) for column in shown]
            if row.problem is not None:
                cells = [_plain(row.problem)] + [""] * (len(headings) - 1)
            lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
        lines += ["", *_caveats(table)]
        parts.append("\n".join(lines).rstrip())
    if not outcome.entrants:
        return "\n\n".join(parts) + "\n"
    known = [f"| {each.contender.name} | {_plain(_entrant(each))} |" for each in outcome.entrants]
    parts.append("\n".join(["| contender | what runs |", "|---|---|", *known]))
    return "\n\n".join(parts) + "\n"


def _caveats(table: Table) -> list[str]:
    share = table.disturbed()
    if share < DISTURBED:
        return []
    return [f"Other processes took {share:.0%} of the cores meanwhile: trust ratios of CPU time only."]


def _entrant(each: Entrant) -> str:
    if each.problem is not None:
        return f"takes no part: {each.problem}"
    return f"{each.version}; {each.contender.about}"


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
