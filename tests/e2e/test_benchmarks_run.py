"""The benchmarks stay runnable: a run too short for its numbers to mean anything measures every row."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_S = 150


def test_a_quick_run_measures_every_row_and_says_that_there_are_no_peers(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert finished.returncode == 0, finished.stderr
    assert "No other gateway is measured here yet" in finished.stdout
    (saved,) = tmp_path.iterdir()
    document = json.loads(saved.read_text())
    assert document["peers"] == []
    rows = {row["name"]: row for row in document["rows"]}
    assert {"plan a call", "whole call, group commit", "provider alone", "through Palyra"} <= rows.keys()
    assert all(0 < row["least"] <= row["value"] <= row["most"] for row in rows.values())
