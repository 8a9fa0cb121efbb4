import os
from pathlib import Path

import pytest

from palyra.cli.child import ChildFailed, start

# Modules of the standard library stand in for programs of ours; a module of the test's folder says the rest.
QUIET = "import sys; sys.stdin.read()"


def write_module(folder: Path, text: str) -> str:
    """A module that ``python -m`` finds in ``folder``."""
    (folder / "acted.py").write_text(text)
    return "acted"


def test_a_child_announces_itself_and_is_stopped(tmp_path: Path) -> None:
    name = write_module(tmp_path, f'print(\'{{"url": "here"}}\', flush=True)\n{QUIET}')
    child = start("actor", [name], tmp_path, os.environ)

    assert child.announcement(20)["url"] == "here"
    child.stop()

    assert child.process.poll() is not None


def test_a_child_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    child = start("actor", [write_module(tmp_path, "raise SystemExit('no database')")], tmp_path, os.environ)

    with pytest.raises(ChildFailed, match="no database"):
        child.announcement(20)

    child.stop()


def test_a_child_that_stays_silent_is_reported(tmp_path: Path) -> None:
    child = start("actor", [write_module(tmp_path, QUIET)], tmp_path, os.environ)
    try:
        with pytest.raises(ChildFailed, match="did not announce itself"):
            child.announcement(0.0)
    finally:
        child.stop()


def test_a_child_that_says_something_else_is_reported(tmp_path: Path) -> None:
    child = start(
        "actor", [write_module(tmp_path, f"print('hello', flush=True)\n{QUIET}")], tmp_path, os.environ
    )
    try:
        with pytest.raises(ChildFailed, match="hello"):
            child.announcement(20)
    finally:
        child.stop()


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('{}', flush=True)\n"
    child = start(
        "actor", [write_module(tmp_path, deaf + "signal.sigwait({signal.SIGUSR1})")], tmp_path, os.environ
    )
    child.announcement(20)

    child.stop(patience_s=0.1)

    assert child.process.returncode == -9
