"""Processes that the demo starts: each known by its id, with a log file, and stopped by the demo."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

POLL_S = 0.05


class ChildFailed(Exception):
    """A child did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process of ours. ``log`` is its stderr, ``out`` its stdout."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def announcement(self, deadline_s: float) -> Mapping[str, object]:
        """The first line of its stdout, a JSON object. ChildFailed if none comes within ``deadline_s``."""
        self.wait_until(lambda: b"\n" in self.out.read_bytes(), deadline_s, "announce itself")
        line = self.out.read_bytes().partition(b"\n")[0]
        try:
            parsed: object = json.loads(line)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise ChildFailed(f"{self.name} announced itself with {line[:200]!r}, which is no JSON object")
        return cast("dict[str, object]", parsed)

    def wait_until(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Poll ``condition``; ChildFailed when the process ends first or after ``deadline_s`` seconds."""
        end = time.monotonic() + deadline_s
        while not condition():
            if self.process.poll() is not None:
                raise ChildFailed(f"{self.name} ended with code {self.process.returncode}:\n{self.log_end()}")
            if time.monotonic() > end:
                raise ChildFailed(f"{self.name} did not {what} within {deadline_s:g} s:\n{self.log_end()}")
            time.sleep(POLL_S)

    def log_end(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask it to end, wait ``patience_s`` seconds, then kill it. Nothing happens if it is gone."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Child:
    """Start ``python -m …arguments`` in ``directory``, in a process group of its own.

    Its stdin is a pipe from us: it sees the end of it when this process is gone, however it went.
    """
    out, log = directory / f"{name}.out", directory / f"{name}.log"
    with out.open("wb") as out_file, log.open("wb") as log_file:
        # The command is this interpreter with arguments of our own; no shell, no input of a caller.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *arguments],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=out_file,
            stderr=log_file,
            process_group=0,
        )
    return Child(name, process, out, log)
