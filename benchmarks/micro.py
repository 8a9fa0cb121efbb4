"""The parts of a call: runs ``benchmarks/parts`` with pytest-benchmark and reads what it measured."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Result

PARTS = Path(__file__).parent / "parts"
_US = 1_000_000
_ABOUT = {
    "test_evaluate_5_of_10_000_policies": "match, read the balances, evaluate, combine",
    "test_plan_a_call": "labels, route, estimate, 5 of 10,000 budgets, decision",
    "test_a_governed_call_in_memory": "CPU: plan, reserve, settle, records; the ledger in memory",
    "test_a_governed_call_on_disk": "CPU of all threads: the same, two durable commits a call, 64 in flight",
    "test_the_wait_for_the_group_commit": "CPU of all threads; the wait itself in the next rows",
}


def run(*, quick: bool) -> list[Result]:
    """All of them, or only the short ones. Raises AssertionError with pytest's output if one fails."""
    with tempfile.TemporaryDirectory(prefix="palyra-parts-") as folder:
        report = Path(folder) / "parts.json"
        arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
        # The project's own options switch the plug-in off: with several processes it only warns.
        arguments += ["-o", "addopts=--import-mode=importlib", str(PARTS)]
        arguments += ["--benchmark-timer=time.process_time", f"--benchmark-json={report}"]
        arguments += ["-k", "not governed and not group_commit"] if quick else []
        # Called from a test, this process may be a worker, and workers do not measure.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        ran = subprocess.run(
            arguments, cwd=PARTS.parents[1], env=environment, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise AssertionError(f"the benchmarks of the parts failed:\n{ran.stdout}\n{ran.stderr}")
        measured = json.loads(report.read_text())["benchmarks"]
    return [row for each in measured for row in _rows(each)]


def _rows(measured: dict[str, Any]) -> list[Result]:
    """The CPU time of one call, and what else was noted beside it."""
    name, stats, extra = measured["name"], measured["stats"], measured["extra_info"]
    each = _US / extra.get("calls", 1)
    title = name.removeprefix("test_").replace("_", " ").replace("[]", "").replace("[", ", ").replace("]", "")
    row = Result(
        title, stats["median"] * each, "us", stats["min"] * each, stats["max"] * each, _ABOUT.get(name, "")
    )
    noted = [
        Result(f"{title}, {key.removesuffix('_us')}", value, "us", value, value)
        for key, value in extra.items()
        if key.endswith("_us")
    ]
    return [row, *noted]
