"""Rows on the terminal and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result
from palyra import __version__

RESULTS = Path(__file__).parent / "results"
NO_PEERS = (
    "No other gateway is measured here yet, so these numbers say nothing about how Palyra compares. "
    "Driver, provider and daemon share this machine's cores; compare runs of one machine only."
)


def show(rows: Sequence[Result], console: Console) -> None:
    """One line per row: median, range, what was measured."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    table.add_column("")
    table.add_column("")
    for row in rows:
        table.add_row(
            row.name, _number(row.value), f"{_number(row.least)} - {_number(row.most)}", row.unit, row.about
        )
    console.print(table)
    console.print(f"\n{NO_PEERS}")


def save(rows: Sequence[Result], folder: Path) -> Path:
    """Write the rows with what they were measured on; returns the file."""
    now = datetime.now(UTC)
    document = {
        "version": __version__,
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "peers": [],
        "rows": [asdict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
