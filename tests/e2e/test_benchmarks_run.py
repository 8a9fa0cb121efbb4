"""The benchmarks stay runnable: a run too short for its numbers to mean anything measures every part."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_S = 150
COMPILERS = ("cc", "gcc", "clang")


def quick(results: Path, *more: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """``--quick``, with what it saved in ``results``."""
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--results", str(results), *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )


def test_a_quick_run_measures_the_parts_of_a_call(tmp_path: Path) -> None:
    finished = quick(tmp_path, "--scene", "micro")
    assert finished.returncode == 0, finished.stderr
    (saved,) = tmp_path.iterdir()
    rows = json.loads(saved.read_text())["rows"]
    assert rows
    assert all(0 < row["least"] <= row["value"] <= row["most"] for row in rows)


def test_a_quick_run_measures_gateways_that_share_a_database(tmp_path: Path) -> None:
    """It audits the books itself: what is posted was settled, and nothing goes above a limit."""
    finished = quick(tmp_path, "--scene", "scale-out", "--markdown", str(tmp_path / "tables.md"))
    assert finished.returncode == 0, finished.stderr
    (saved,) = tmp_path.glob("*.json")
    hot, used_up = json.loads(saved.read_text())["tables"]
    assert [row["name"] for row in hot["rows"]] == ["1 gateway", "2 gateways"]
    for row in hot["rows"]:
        (figures,) = row["rounds"]
        assert figures["rate"] > 0
        assert 0 < figures["commits"] < 1
        assert figures["cpu_us"] > 0
        assert 0 < figures["wait_p50_us"] <= figures["wait_p99_us"]
    for row in used_up["rows"]:
        (figures,) = row["rounds"]
        assert figures["refused"] > 0
        assert 90 < figures["spent"] <= figures["most"] <= 100
    assert "| 2 gateways |" in (tmp_path / "tables.md").read_text()


@pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="the stub and the load driver need a C compiler"
)
@pytest.mark.parametrize("scene", ["whole", "streams"])
def test_a_quick_run_measures_palyra_and_the_proxies_that_are_here(tmp_path: Path, scene: str) -> None:
    finished = quick(tmp_path, "--scene", scene, "--markdown", str(tmp_path / "tables.md"))
    assert finished.returncode == 0, finished.stderr
    (saved,) = tmp_path.glob("*.json")
    document = json.loads(saved.read_text())
    known = {each["name"]: each for each in document["contenders"]}
    assert known["palyra-5"]["problem"] is None
    assert known["nginx"]["problem"] is None or "apt-get install" in known["nginx"]["problem"]
    (table,) = document["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    assert {"nginx", "palyra-5", "palyra-postgres"} <= rows.keys()
    for name in ("palyra-5", "palyra-postgres"):
        assert rows[name]["problem"] is None
        (figures,) = rows[name]["rounds"]
        assert figures["cpu_us"] > 0
        assert figures["rate"] > 0
        assert ("database_us" in figures) == (name == "palyra-postgres")
    assert "| palyra-5 |" in (tmp_path / "tables.md").read_text()


def test_without_a_compiler_it_says_so_and_what_to_install(tmp_path: Path) -> None:
    finished = quick(tmp_path, "--scene", "whole", "--build", str(tmp_path / "build"), path=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert "no C compiler is on PATH" in finished.stdout
    (saved,) = tmp_path.glob("*.json")
    assert json.loads(saved.read_text())["tables"] == []
