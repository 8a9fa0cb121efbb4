"""The journal checked and exported while the daemon works: by a snapshot of its own, off the loop.

A check is mostly Python, and shares the interpreter with calls: it rests now and then, and between two pages
others have their turn. A snapshot keeps SQLite from tidying its log up, so nothing reads one for ever:
neither a check that nobody waits for at shutdown, nor an export whose client takes nothing.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from palyra.api.deps import AuditFlaw, AuditOutcome
from palyra.config.settings import SharedDatabase
from palyra.core.errors import LedgerUnavailable, Overloaded
from palyra.core.instant import Instant
from palyra.core.invariant import InvariantViolation

if TYPE_CHECKING:
    from palyra.store.export import Request
    from palyra.store.restore import Audit

REST_S = 0.005
"""How long a check rests between two words on how far it is, which are about 20 ms apart."""
CHUNK_BYTES = 64 * 1024
CHUNKS_AHEAD = 4
"""So much of an export waits for its client (V2)."""
STALLED_S = 60.0
"""An export whose client takes nothing for so long is given up."""
_LOOK_S = 0.25


class Stopped(Exception):
    """Nobody wants to know any more."""


class Auditor:
    """One check and one export at a time."""

    def __init__(self, database: Path | SharedDatabase) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="palyra-audit")
        self._stopping = threading.Event()
        self._verifying = self._exporting = False

    async def verify(self) -> AuditOutcome:
        """See ``AuditDesk.verify``."""
        if self._verifying:
            raise Overloaded("another check of the journal runs; come again when it is over")
        self._verifying = True
        checking = asyncio.get_running_loop().run_in_executor(self._threads, self._verify)
        # Whoever asked may go away: the check goes on, and no other one begins before it is over.
        checking.add_done_callback(self._verified)
        return await asyncio.shield(checking)

    async def export(
        self, made_at: Instant, since: Instant | None, until: Instant | None
    ) -> AsyncGenerator[bytes]:
        """See ``AuditDesk.export``."""
        from palyra.store.export import Request

        if self._exporting:
            raise Overloaded("another export of the journal runs; come again when it is over")
        self._exporting = True
        loop, outlet = asyncio.get_running_loop(), _Outlet(self._stopping, asyncio.get_running_loop())
        name = os.fsencode(str(self._database)).decode(errors="replace")
        request = Request(name, made_at, since, until)
        writing = loop.run_in_executor(self._threads, partial(self._export, request, outlet))
        writing.add_done_callback(lambda done: self._exported(done, outlet))
        try:
            while (chunk := await outlet.next()) is not None:
                yield chunk
            await writing
        finally:
            outlet.leave()

    def leave(self) -> None:
        """Ask what runs to end."""
        self._stopping.set()

    def stop(self) -> None:
        """End what runs, and wait for it: a moment."""
        self.leave()
        self._threads.shutdown()

    def _verified(self, checking: "asyncio.Future[AuditOutcome]") -> None:
        self._verifying = False
        if not checking.cancelled():
            checking.exception()

    def _exported(self, writing: "asyncio.Future[None]", outlet: "_Outlet") -> None:
        self._exporting = False
        if not writing.cancelled():
            writing.exception()
        outlet.end()

    def _verify(self) -> AuditOutcome:
        from palyra.store.auditing import JournalBroken

        began = monotonic()
        try:
            with _told():
                audit = self._replay()
        except InvariantViolation as broken:
            where = broken if isinstance(broken, JournalBroken) else None
            flaw = AuditFlaw(
                broken.message,
                broken.invariant_id,
                None if where is None else where.node,
                None if where is None else where.record,
            )
            return AuditOutcome(0 if where is None else where.checked, 0, "", flaw, _ms_since(began))
        return AuditOutcome(audit.records, audit.accounts, audit.head, None, _ms_since(began))

    def _replay(self) -> "Audit":
        if isinstance(self._database, SharedDatabase):
            from palyra.store.postgres.verify import verify_shared

            return asyncio.run(verify_shared(self._database.url, self._rest))
        from palyra.store.restore import verify

        return verify(self._database, self._rest)

    def _export(self, request: "Request", outlet: "_Outlet") -> None:
        try:
            with _told():
                self._write(request, outlet)
        except InvariantViolation as broken:
            raise LedgerUnavailable(
                f"the journal does not hold, and is not exported: {broken}; POST /audit/verify says more"
            ) from broken
        outlet.flush()

    def _write(self, request: "Request", outlet: "_Outlet") -> None:
        if isinstance(self._database, SharedDatabase):
            from palyra.store.postgres.export import export_shared

            asyncio.run(export_shared(self._database.url, request, outlet.write, self._rest))
            return
        from palyra.store.export import export_file

        export_file(self._database, request, outlet.write, self._rest)

    def _rest(self, _done: int, _total: int) -> None:
        if self._stopping.is_set():
            raise Stopped
        sleep(REST_S)


class _Outlet:
    """What a thread writes and the loop reads, in chunks, a few of them ahead."""

    def __init__(self, stopping: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._stopping = stopping
        self._loop = loop
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(CHUNKS_AHEAD)
        self._left = threading.Event()
        self._lines: list[bytes] = []
        self._size = 0

    def write(self, line: bytes) -> None:
        """Take a line, on the thread. Raises Stopped where nobody reads any more."""
        self._lines.append(line)
        self._size += len(line)
        if self._size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over what was written, on the thread."""
        if not self._lines:
            return
        end = monotonic() + STALLED_S
        while not self._room.acquire(timeout=_LOOK_S):
            if self._left.is_set() or self._stopping.is_set() or monotonic() > end:
                raise Stopped
        if self._left.is_set():
            raise Stopped
        chunk, self._lines, self._size = b"".join(self._lines), [], 0
        self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

    async def next(self) -> bytes | None:
        """The next chunk, None behind the last one, on the loop."""
        chunk = await self._chunks.get()
        if chunk is not None:
            self._room.release()
        return chunk

    def end(self) -> None:
        """Nothing more is written, on the loop."""
        self._chunks.put_nowait(None)

    def leave(self) -> None:
        """Nobody reads any more."""
        self._left.set()


@contextmanager
def _told() -> Generator[None]:
    """A database that cannot be read, in the words of the API."""
    from asyncpg import InterfaceError, PostgresError

    try:
        yield
    except Stopped:
        raise LedgerUnavailable("the daemon is about to stop") from None
    except (sqlite3.DatabaseError, PostgresError, InterfaceError, OSError) as error:
        raise LedgerUnavailable(f"the journal cannot be read now: {error}") from error


def _ms_since(began: float) -> int:
    return round((monotonic() - began) * 1_000)
