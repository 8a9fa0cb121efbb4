"""``python -m benchmarks.usage_pages``: how long a daemon takes for each report on a month of usage.

Reports read sums: their time goes with the cells of the time that is asked for, and not with the calls. Where
other work runs on the machine, the least of many rounds says most.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import httpx2
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.base import free_port
from benchmarks.database import Database
from benchmarks.processes import TICKS_PER_S, cores
from benchmarks.usage_month import Month, fill_file, fill_server

KEY = "sk-palyra-benchmark-0f2b9c"
START_S = 30.0
EXPORTS_MAX = 2
"""An export takes seconds."""
_CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
database = "{database}"

[[providers]]
id = "stub"
kind = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"

[[keys]]
id = "bench"
sha256 = "{sha256}"
principal = "bench"
roles = ["viewer"]
"""
PAGES: Mapping[str, str] = {
    "summary, with the period before": "summary?since=30d",
    "summary by principal and model": "summary?since=30d&group_by=principal,model",
    "summary by all four": "summary?since=30d&group_by=principal,agent,model,provider",
    "timeline, 3 days by the hour, by agent": "timeline?since=3d&bucket=hour&by=agent&top=10",
    "timeline, 30 days, UTC": "timeline?since=30d",
    "timeline, 30 days, Prague": "timeline?since=30d&timezone=Europe/Prague",
    "timeline by agent, UTC": "timeline?since=30d&by=agent&top=10",
    "timeline by agent, Prague": "timeline?since=30d&timezone=Europe/Prague&by=agent&top=10",
    "timeline by agent, New York": "timeline?since=30d&timezone=America/New_York&by=agent&top=10",
    "timeline by agent, Kolkata": "timeline?since=30d&timezone=Asia/Kolkata&by=agent&top=10",
    "timeline by model, Prague": "timeline?since=30d&timezone=Europe/Prague&by=model&top=10",
    "timeline by agent, 60 days, months, Prague": (
        "timeline?since=60d&bucket=month&timezone=Europe/Prague&by=agent&top=10"
    ),
    "agents": "agents?since=30d",
    "principals": "principals?since=30d",
    "models": "models?since=30d",
    "providers": "providers?since=30d",
    "agents of one team": "agents?since=30d&principal=team-1",
    "agents, 24 hours": "agents?since=24h",
    "sessions": "sessions?since=30d",
    "sessions of one model, dearest first": "sessions?since=30d&model=model-3&sort=dearest",
    "sessions of one agent and provider": "sessions?since=30d&agent=agent-003&provider=provider-0",
    "sessions of a day 25 days ago": "sessions?since=1d&until=25d",
    "tags": "tags?since=30d",
    "latencies": "latencies?since=30d",
    "insights": "insights?since=30d",
    "export, hours as CSV, whole": "export?since=30d&dataset=hours",
}
"""What is asked for; an export is a file and no page."""


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of one page: until its last byte (the median and the least), and of CPU (the average)."""

    wall: float
    least: float
    cpu: float
    size: int


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon under measurement; ``cpu_s`` is what it and its database have used."""

    http: httpx2.Client
    cpu_s: Callable[[], float]


def measure(running: Running, path: str, rounds: int) -> Took:
    """Ask for a page so many times, after one that does not count."""
    if path.startswith("export"):
        rounds = min(rounds, EXPORTS_MAX)
    walls: list[float] = []
    used: list[float] = []
    size = 0
    for _ in range(rounds + 1):
        before, begun = running.cpu_s(), time.perf_counter()
        answer = running.http.get(f"/api/v1/usage/{path}")
        walls.append((time.perf_counter() - begun) * 1_000)
        used.append((running.cpu_s() - before) * 1_000)
        answer.raise_for_status()
        size = len(answer.content)
    return Took(median(walls[1:]), min(walls[1:]), sum(used[1:]) / rounds, size)


@contextmanager
def served(database: str, folder: Path, more_cpu_s: Callable[[], float]) -> Generator[Running]:
    """A daemon on a database, until the end of the block."""
    port = free_port()
    config = folder / "palyra.toml"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    config.write_text(_CONFIG.format(port=port, database=database, sha256=digest))
    process = subprocess.Popen(
        [sys.executable, "-m", "palyra", "serve", "--config", str(config), "--json"],
        cwd=folder,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    headers = {"authorization": f"Bearer {KEY}"}
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False
        ) as http:
            _wait(http)
            yield Running(http, lambda: _cpu_s(process.pid) + more_cpu_s())
    finally:
        process.terminate()
        process.wait(30)


def run(months: Mapping[str, Month], rounds: int, console: Console, *, postgres: bool) -> None:
    """Print a table per month: every page on SQLite, and on a PostgreSQL of the benchmark's own."""
    for name, month in months.items():
        found: dict[str, Mapping[str, Took]] = {}
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            cells = fill_file(folder / "palyra.db", month)
            with served("sqlite:///palyra.db", folder, lambda: 0.0) as running:
                found["SQLite"] = {page: measure(running, path, rounds) for page, path in PAGES.items()}
            if postgres:
                found["PostgreSQL"] = _on_server(folder, month, rounds)
        _show(console, f"{name}: {month.calls:,} calls in {cells:,} cells", found)


def _on_server(folder: Path, month: Month, rounds: int) -> Mapping[str, Took]:
    database = Database.start(folder, cores())
    try:
        url = database.new()
        fill_server(url, month)
        with served(url, folder, database.cpu_s) as running:
            return {page: measure(running, path, rounds) for page, path in PAGES.items()}
    finally:
        database.end()


def _show(console: Console, title: str, found: Mapping[str, Mapping[str, Took]]) -> None:
    table = Table("page", title=title, title_justify="left")
    for store in found:
        for column in ("ms", "least", "CPU ms"):
            table.add_column(f"{store} {column}", justify="right")
    table.add_column("KB", justify="right")
    for page in PAGES:
        tooks = [each[page] for each in found.values()]
        cells = [f"{figure:,.0f}" for took in tooks for figure in (took.wall, took.least, took.cpu)]
        table.add_row(page, *cells, f"{tooks[0].size / 1_000:,.0f}")
    console.print(table)


def _wait(http: httpx2.Client) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if http.get("/readyz").is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the daemon does not answer")


def _cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, stat[11:13])) / TICKS_PER_S


def main() -> None:
    """Measure a believable month, the same with more and fewer calls, and two where nobody sleeps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.usage_pages", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-postgres", action="store_true")
    parser.add_argument("--one", action="store_true", help="the first month only")
    asked = parser.parse_args()
    first = Month(time.time_ns(), asked.calls)
    months = {"a month": first}
    if not asked.one:
        months["a tenth of the calls"] = replace(first, calls=asked.calls // 10)
        months["ten times the calls"] = replace(first, calls=asked.calls * 10)
        every = replace(first, models_per_agent=8, rhythm=False)
        months["every agent and model in every hour"] = every
        months["three times the agents"] = replace(every, agents=120)
    console = Console(width=160) if not sys.stdout.isatty() else Console()
    run(months, asked.rounds, console, postgres=not asked.no_postgres)


if __name__ == "__main__":
    main()
