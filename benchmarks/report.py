"""What a run leaves behind: rows of the small benchmarks on the terminal, and everything as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from benchmarks.measure import Result
from benchmarks.side_by_side import Outcome
from benchmarks.tables import number
from benchmarks.trials import titled
from palyra import __version__

RESULTS = Path(__file__).parent / "results"


def show(rows: Sequence[Result], console: Console) -> None:
    """One line per row: median, range, what was measured."""
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    console.print("parts of a call", style="italic")
    for heading, justify in (
        ("", "left"),
        ("median", "right"),
        ("range", "right"),
        ("", "left"),
        ("", "left"),
    ):
        grid.add_column(heading, justify="right" if justify == "right" else "left")
    for row in rows:
        span = f"{number(row.least)} - {number(row.most)}"
        grid.add_row(row.name, number(row.value), span, row.unit, row.about)
    console.print(grid)
    console.print()


def save(rows: Sequence[Result], outcome: Outcome, folder: Path) -> Path:
    """Write what was measured, and on what; returns the file."""
    now = datetime.now(UTC)
    document = {
        "version": __version__,
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "rows": [asdict(row) for row in rows],
    } | _document(outcome)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _document(outcome: Outcome) -> dict[str, object]:
    contenders = [
        {
            "name": each.contender.name,
            "version": each.version,
            "about": each.contender.about,
            "problem": each.problem,
        }
        for each in outcome.entrants
    ]
    tables = [
        {
            "scene": table.scene,
            "title": titled(table.load),
            "load": table.load if isinstance(table.load, str) else asdict(table.load),
            "rows": [asdict(row) for row in table.rows],
        }
        for table in outcome.tables
    ]
    return {"contenders": contenders, "tables": tables}
