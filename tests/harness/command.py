"""``palyra`` as a process of its own, told where the daemon is and with which key."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from harness.daemon import SCRUBBED, DaemonProcess

RUN_S = 60.0


def begin(daemon: DaemonProcess, key: str, words: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command line; both of its outputs are pipes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
    return subprocess.Popen(
        [sys.executable, "-m", "palyra", *words],
        cwd=daemon.directory,
        env=kept | {"PALYRA_URL": daemon.url, "PALYRA_KEY": key},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(daemon: DaemonProcess, key: str, *words: str, code: int = 0) -> tuple[str, str]:
    """Run a command line to its end: what it wrote to stdout and to stderr.

    AssertionError with its output unless it exits with ``code``.
    """
    with begin(daemon, key, words) as process:
        out, err = process.communicate(timeout=RUN_S)
    assert process.returncode == code, f"exit {process.returncode}\n{out}{err}"
    assert "Traceback" not in err, err
    return out, err


def run_json(daemon: DaemonProcess, key: str, *words: str) -> Any:
    """The document that a command prints with ``--json``."""
    return json.loads(run(daemon, key, *words, "--json")[0])
