"""``palyra demo`` as a user runs it: the scene, the address to try, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import poll

DEMO_S = 280.0
MARK = "STARTED_BY_TEST"
"""A variable that a demo hands on to all that it starts."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that has played its scene and waits for Ctrl-C."""

    process: subprocess.Popen[bytes]
    told: Mapping[str, Any]


def is_running(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def marked(setting: str) -> list[str]:
    """The processes that have this in their environment, where the system shows it."""
    found: list[str] = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if setting.encode() in each.read_bytes().split(b"\0"):
                found.append(each.parent.name)
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Demo]:
    """``palyra demo --json``, after its line has come."""
    out, log = tmp_path / "out", tmp_path / "log"
    with out.open("wb") as out_file, log.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "palyra", "demo", "--json", "--port", "0"],
            stdout=out_file,
            stderr=log_file,
            process_group=0,
        )
    try:
        poll(lambda: process.poll() is not None or b"\n" in out.read_bytes(), bool, DEMO_S, "the demo's line")
        assert process.poll() is None, log.read_text()
        yield Demo(process, json.loads(out.read_bytes()))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.mark.timeout(320)
def test_the_scene_plays_the_pasted_line_works_and_ctrl_c_ends_every_process(running: Demo) -> None:
    told = running.told
    assert told["console"] == f"{told['url']}/console"
    first, stream, clamped, *spent = told["steps"]
    assert first["status"] == stream["status"] == clamped["status"] == 200
    assert first["text"]
    assert stream["text"]
    assert "x-palyra-budget-remaining" in first["headers"]
    assert "x-palyra-estimated-cost-usd" in first["headers"]
    assert int(clamped["headers"]["x-palyra-clamped-max-tokens"]) < 64_000
    assert [step["status"] for step in spent[:-1]] == [200] * (len(spent) - 1)
    assert len(spent) > 1
    assert spent[-1]["status"] == 402
    assert json.loads(spent[-1]["text"])["error"]["code"] == "budget_exceeded"

    assert all(is_running(pid) for pid in told["pids"].values())
    pasted = subprocess.run(
        ["bash", "-c", told["curl"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    assert " 200 " in pasted.stdout.splitlines()[0]
    assert "x-palyra-request-id" in pasted.stdout.lower()

    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(30) == 0
    assert not any(is_running(pid) for pid in told["pids"].values())
    assert not Path(told["config"]).exists()


@pytest.mark.timeout(320)
def test_people_see_the_answers_the_refusal_and_why_and_nothing_is_left_running() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "palyra", "demo", "--no-history", "--once", "--port", "0"],
        env=os.environ | {MARK: str(os.getpid())},
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    for words in (
        "budget",
        "x-palyra-clamped-max-tokens",
        "budget_exceeded",
        "Why?",
        "Usage so far",
        "alice",
    ):
        assert words in ran.stdout
    config = ran.stdout.partition("its config is ")[2].split()[0]
    assert not Path(config).exists()
    assert marked(f"{MARK}={os.getpid()}") == []


def test_without_the_extra_the_next_step_is_told() -> None:
    program = "import sys; sys.modules['xllamacpp'] = None; from palyra.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 7
    assert "pip install 'palyra[demo]'" in ran.stderr
