"""``palyra`` as a process of its own that need not load its code anew.

To load it takes most of a start, and the suites start hundreds. Here one process has loaded everything and
waits. Each start is a fork of it, which takes over the arguments, the environment, the folder and the files
that it is given, and then runs the very ``main``. It is ``python -m palyra`` where there is no fork, for an
environment that Python reads as it starts, for a daemon whose config a user wrote, and wherever ``palyra``
itself starts another.
"""

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, cast

LOADED = (
    "palyra.cli.app",
    "palyra.daemon",
    "palyra.api.app",
    "asyncpg",
    "genai_prices.data_snapshot",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)
"""Everything that a daemon, or a command, loads sooner or later."""

_SIZE_BYTES = 8
_FILES = 4
_lock = threading.Lock()


@dataclass(slots=True)
class Forked:
    """What a test needs of ``subprocess.Popen``, of a process that is not its child."""

    pid: int
    ending: int
    """A file to read its exit code from, once it is over."""
    arguments: Sequence[str]
    returncode: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it is over. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self.arguments), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout_s: float | None) -> int | None:
        with self.lock:
            if self.returncode is None and select.select([self.ending], [], [], timeout_s)[0]:
                told = os.read(self.ending, 100)
                os.close(self.ending)
                assert told, f"process {self.pid} is lost"
                self.returncode = int(told)
            return self.returncode


Process = Forked | subprocess.Popen[bytes]


def start(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: IO[bytes],
    errors: IO[bytes],
    *,
    fork: bool = True,
) -> Process:
    """Start ``palyra`` with these arguments, in a process group of its own and with nothing to read."""
    changed = {key for key in environment.keys() | os.environ.keys() if key.startswith(("PYTHON", "LD_"))}
    if fork and sys.platform == "linux" and all(environment.get(k) == os.environ.get(k) for k in changed):
        return _fork(words, folder, environment, out, errors)
    return subprocess.Popen(
        [sys.executable, "-m", "palyra", *words],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors,
        process_group=0,
    )


def _fork(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], out: IO[bytes], errors: IO[bytes]
) -> Forked:
    ending, told = os.pipe()
    asked = json.dumps(
        {"words": list(words), "folder": str(folder), "environment": dict(environment)}
    ).encode()
    with Path(os.devnull).open("rb") as nothing, _lock:
        files = [nothing.fileno(), out.fileno(), errors.fileno(), told]
        socket.send_fds(_nursery(), [len(asked).to_bytes(_SIZE_BYTES), asked], files)
        os.close(told)
        pid = os.read(ending, _SIZE_BYTES)
    assert pid, "the nursery ended"
    return Forked(int.from_bytes(pid), ending, ["palyra", *words])


@cache
def _nursery() -> socket.socket:
    """The connection to the process that forks, one per test process; it ends with the connection."""
    ours, its = socket.socketpair()
    process = subprocess.Popen([sys.executable, __file__], stdin=its.fileno(), process_group=0)
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _load() -> None:
    for name in LOADED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in a fork"  # noqa: PTH208
    gc.collect()
    gc.freeze()


def _main() -> None:
    """Fork for each request; return in the fork."""
    _load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = socket.socket(fileno=os.dup(0))
    while True:
        told, files, _, _ = socket.recv_fds(requests, _SIZE_BYTES, _FILES)
        if not told:
            os._exit(0)
        size = int.from_bytes(told)
        text = b""
        while len(text) < size:
            text += requests.recv(size - len(text))
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            break
        for each in files:
            os.close(each)
    _become(json.loads(text), files)


def _become(asked: Mapping[str, object], files: Sequence[int]) -> None:
    """Return in a fork that is what was asked for; its parent stays to tell how it ends."""
    *standard, told = files
    pid = os.fork()
    if pid:
        for each in (0, *standard):
            os.close(each)
        os.write(told, pid.to_bytes(_SIZE_BYTES))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(told, str(code).encode())
        os._exit(0)
    os.setpgid(0, 0)
    for number, each in enumerate(standard):
        os.dup2(each, number)
    for each in files:
        os.close(each)
    os.chdir(cast("str", asked["folder"]))
    os.environ.clear()
    os.environ.update(cast("dict[str, str]", asked["environment"]))
    sys.argv = ["palyra", *cast("list[str]", asked["words"])]


if __name__ == "__main__":
    _main()
    from palyra.cli import main

    main()
