"""``python -m benchmarks``: measure, print a table, keep the numbers in benchmarks/results."""

import argparse
import sys
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks import end_to_end, micro, report
from benchmarks.measure import QUICK, Effort


async def _measure(effort: Effort, results: Path, console: Console) -> None:
    with console.status("measuring the parts of a call"):
        rows = await micro.run(effort)
    with console.status("measuring the daemon"):
        rows += await end_to_end.run(effort)
    report.show(rows, console)
    console.print(f"Saved as {report.save(rows, results)}")


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a second instead of a minute: only shows that it runs"
    )
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="folder for the JSON file")
    asked = parser.parse_args()
    effort = QUICK if asked.quick else Effort()
    uvloop.run(_measure(effort, asked.results, Console(width=None if sys.stdout.isatty() else 160)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
