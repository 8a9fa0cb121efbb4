"""``palyra`` as a process of its own, told where the daemon is and with which key."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Any

from harness import nursery
from harness.daemon import SCRUBBED, DaemonProcess

RUN_S = 60.0


def begin(daemon: DaemonProcess, key: str, words: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command line; both of its outputs are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "palyra", *words],
        cwd=daemon.directory,
        env=_environment(daemon, key),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(daemon: DaemonProcess, key: str, *words: str, code: int = 0) -> tuple[str, str]:
    """Run a command line to its end: what it wrote to stdout and to stderr.

    AssertionError with its output unless it exits with ``code``.
    """
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as error_file:
        process = nursery.start(words, daemon.directory, _environment(daemon, key), out_file, error_file)
        try:
            ended = process.wait(RUN_S)
        finally:
            process.kill()
        out, err = (_text(each) for each in (out_file, error_file))
    assert ended == code, f"exit {ended}\n{out}{err}"
    assert "Traceback" not in err, err
    return out, err


def run_json(daemon: DaemonProcess, key: str, *words: str) -> Any:
    """The document that a command prints with ``--json``."""
    return json.loads(run(daemon, key, *words, "--json")[0])


def _environment(daemon: DaemonProcess, key: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
    return kept | {"PALYRA_URL": daemon.url, "PALYRA_KEY": key}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
