"""``palyra`` as a process of its own, told where the daemon is and with which key."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness import nursery
from harness.daemon import DaemonProcess, unaware

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
    ran = finish(words, daemon.directory, _environment(daemon, key))
    assert ran.returncode == code, f"exit {ran.returncode}\n{ran.stdout}{ran.stderr}"
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.stdout, ran.stderr


def finish(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a command line to its end, with nothing to read, in a folder and with an environment of its own."""
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as error_file:
        process = nursery.start(words, folder, environment, out_file, error_file)
        try:
            ended = process.wait(RUN_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(words), ended, _text(out_file), _text(error_file))


def run_json(daemon: DaemonProcess, key: str, *words: str) -> Any:
    """The document that a command prints with ``--json``."""
    return json.loads(run(daemon, key, *words, "--json")[0])


def _environment(daemon: DaemonProcess, key: str) -> dict[str, str]:
    return unaware() | {"PALYRA_URL": daemon.url, "PALYRA_KEY": key}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
