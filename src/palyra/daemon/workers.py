"""Several workers on one port (``SO_REUSEPORT``): started one by one, replaced when they die, ended together.

Each worker is a gateway of its own on the shared ledger, as if it ran on a machine of its own.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import structlog

from palyra.config.settings import Settings
from palyra.core.errors import PalyraError
from palyra.daemon.http import listen
from palyra.daemon.service import Announcement

START_S = 60.0
REPLACE_AFTER_S = 1.0
FAILS_MAX = 5
"""So many workers in a row that end before they listen are the end of all, where none is left."""

Run = Callable[[Settings, Callable[[Announcement], None]], None]

_log = structlog.get_logger("palyra.workers")


def run_workers(settings: Settings, announce: Callable[[Announcement], None], run: Run) -> None:
    """Run as many as the settings say until SIGTERM or SIGINT. Raises PalyraError if none can start."""
    reserved = listen(settings, shared=True)
    port = reserved.getsockname()[1]
    settings = replace(settings, server=replace(settings.server, port=port))
    workers = _Workers(settings, run)
    try:
        announce(workers.start_first())
        workers.watch()
    finally:
        workers.stop()
        reserved.close()


class _Workers:
    """The worker processes, by process id."""

    def __init__(self, settings: Settings, run: Run) -> None:
        self._settings = settings
        self._run = run
        self._alive: dict[int, int] = {}
        self._fails = 0
        self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)

    def start_first(self) -> Announcement:
        """Start one and wait until it listens: it makes the schema and the owner key where there is none."""
        told = self._start()
        if told is None:
            raise PalyraError("no worker could start; its log says why")
        return told

    def watch(self) -> None:
        """Keep the number of workers until the end is asked for."""
        while not self._stopping:
            while len(self._alive) < self._settings.server.workers and not self._stopping:
                self._fails = 0 if self._start() is not None else self._fails + 1
                if self._fails >= FAILS_MAX and not self._alive:
                    raise PalyraError(f"{FAILS_MAX} workers in a row could not start; their log says why")
            if self._reap(blocking=False):
                continue
            select.select([], [], [], REPLACE_AFTER_S / 4)

    def stop(self) -> None:
        """Ask all to end, and wait for them."""
        for pid in self._alive:
            os.kill(pid, signal.SIGTERM)
        while self._alive:
            self._reap(blocking=True)

    def _start(self) -> Announcement | None:
        """Start a worker; what it says when it listens, None if it ends before."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become_worker(writing)
        os.close(writing)
        self._alive[pid] = reading
        told = _first_line(reading)
        if told is None:
            self._reap(blocking=False)
        return told

    def _become_worker(self, writing: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        code = 1
        try:
            self._run(self._settings, lambda told: _tell(writing, told))
            code = 0
        except PalyraError as error:
            _log.error("worker cannot start", reason=error.message)
        except Exception:  # noqa: BLE001 (this process ends here, and its parent must hear of it)
            _log.exception("worker failed")
        finally:
            os._exit(code)

    def _reap(self, *, blocking: bool) -> bool:
        """Note that a worker ended."""
        try:
            pid, status = os.waitpid(-1, 0 if blocking else os.WNOHANG)
        except ChildProcessError:
            self._alive.clear()
            return False
        except InterruptedError:
            return False
        if pid == 0:
            return False
        reading = self._alive.pop(pid, None)
        if reading is not None:
            os.close(reading)
        if not self._stopping:
            _log.warning("worker ended", pid=pid, code=os.waitstatus_to_exitcode(status))
            time.sleep(REPLACE_AFTER_S)
        return True

    def _stop_soon(self, _number: int, _frame: object) -> None:
        self._stopping = True


def _tell(writing: int, told: Announcement) -> None:
    os.write(writing, msgspec.json.encode(told) + b"\n")


def _first_line(reading: int) -> Announcement | None:
    """What a worker says when it listens; None if it ends or takes too long."""
    end, line = time.monotonic() + START_S, b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        part = os.read(reading, 65_536) if ready else b""
        if not part:
            return None
        line += part
    return msgspec.json.decode(line, type=Announcement)
