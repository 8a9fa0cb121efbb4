"""What the database cannot take right now, on a disk of the gateway's own, within a bound.

One file a process, locked while it lives. A line is one write: the event, and the decision or settlement with
it. The file is emptied when the database has everything; a file that no process locks was left by one that
died, and its lines are written by the gateway that finds it.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from palyra.store.write import Write

SPOOL_BYTES_MAX = 64 * 1024 * 1024
"""What does not fit is kept in memory only: if the gateway dies, too, those calls are posted as held."""
SUFFIX = ".spool"


class Spooled(msgspec.Struct, frozen=True, array_like=True):
    """One write that waits. ``event`` is its journal line, ``document`` its decision or settlement."""

    node: int
    request_id: str
    event: msgspec.Raw
    document: msgspec.Raw


_read = msgspec.json.Decoder(Spooled)


class Leftover(NamedTuple):
    """The file of a process that died; ``release`` it when its writes are stored."""

    path: Path
    descriptor: int
    writes: list[Spooled]

    def release(self, *, stored: bool) -> None:
        """Delete the file if its writes are ``stored``, and let others have it."""
        if stored:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Spool:
    """The file of this process; made when it is first needed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{SUFFIX}"
        self._descriptor: int | None = None
        self._size = 0
        self._last: asyncio.Future[None] | None = None

    def keep(self, node: int, writes: Sequence[Write], told: Callable[[Exception | None], None]) -> None:
        """Write these down, on a thread; ``told`` is called on the loop: None, or why it cannot be done."""
        data = b"".join([line for write in writes if (line := _line(node, write)) is not None])
        if self._size + len(data) > SPOOL_BYTES_MAX:
            told(OSError(errno.ENOSPC, f"the spool is full: {self._path}"))
            return
        self._size += len(data)
        before = self._last

        async def store() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await asyncio.to_thread(self._append, data)
            except OSError as error:
                told(error)
            else:
                told(None)

        self._last = asyncio.ensure_future(store())

    def clear(self) -> None:
        """The database has everything."""
        self._size = 0
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)

    def close(self, *, keep: bool) -> None:
        """Give the file up; without ``keep`` it is deleted."""
        if self._descriptor is not None:
            if not keep:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def leftovers(self) -> Iterator[Leftover]:
        """The files of processes that died, each locked for us."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else ():
            if path == self._path:
                continue
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            yield Leftover(path, descriptor, list(_lines_of(path)))

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._descriptor, data)
        os.fsync(self._descriptor)


def _line(node: int, write: Write) -> bytes | None:
    if write.call is None or write.line is None:
        return None
    spooled = Spooled(node, write.call.id, msgspec.Raw(write.line), msgspec.Raw(write.document))
    return msgspec.json.encode(spooled) + b"\n"


def _lines_of(path: Path) -> Iterator[Spooled]:
    """The whole lines of a file: a torn one at its end was never told of."""
    for line in path.read_bytes().splitlines():
        with suppress(msgspec.DecodeError):
            yield _read.decode(line)
