"""A SQLite ledger that is written in one go: a past is made in it, and nobody waits for the disk.

A write is acknowledged at once and committed with many others: what a crash leaves of a file that is being
made is worth nothing. Everything is on the disk when ``close`` returns. From then on it is a ledger like any
other: ``SqliteStore`` opens it and finds its books in order.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.ledger.book import Book
from palyra.store.commit import Committer
from palyra.store.ledger import JournaledLedger, resolve
from palyra.store.lock import OwnerLock
from palyra.store.migrate import migrate
from palyra.store.reader import Reader, connect_read_only
from palyra.store.sqlite import SqliteRecords, open_writer
from palyra.store.write import Overtaken, Write, superseded

if TYPE_CHECKING:
    from sqlalchemy import Connection

TOGETHER = 512
"""So many writes make one commit, and one page of the journal."""

T = TypeVar("T")


class PromptJournal:
    """Takes writes, tells of each at once, and commits them together."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._waiting: list[Write] = []

    def accepts(self) -> bool:
        """Always."""
        return True

    def append(self, write: Write) -> None:
        """Take one write. One that changes what has a version is committed by itself: it may be overtaken."""
        error = None if write.flaw is None else LedgerUnavailable(f"this cannot be stored: {write.flaw}")
        if error is None and write.statements:
            error = self._alone(write)
        elif error is None:
            self._waiting.append(write)
            if len(self._waiting) >= TOGETHER:
                self.flush()
        resolve([write], error)

    def flush(self) -> None:
        """Commit what is waiting."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._committer.commit(waiting, None)

    def _alone(self, write: Write) -> Exception | None:
        self.flush()
        try:
            self._committer.commit([write], None)
        except Overtaken:
            self._committer.roll_back()
            return superseded()
        return None


class PromptReader(Reader):
    """Answers at once, on the thread of whoever asks, from everything that was written before."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]) -> None:
        super().__init__(path, loop)
        self._flush = flush
        self._connection = connect_read_only(path)

    async def ask(self, question: "Callable[[Connection], T]") -> T:
        """See ``Reader.ask``."""
        self._flush()
        with self._engine.connect() as connection:
            return question(connection)

    async def rows(self, statement: LiteralString, *parameters: str | int) -> list[tuple[Any, ...]]:
        """See ``Reader.rows``."""
        self._flush()
        return self._connection.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Close every connection."""
        self._connection.close()
        super().close()


class PastStore:
    """Ledger and records on a new SQLite file. Raises FileExistsError where there is a ledger already."""

    def __init__(self, path: Path, now: Callable[[], Instant], loop: asyncio.AbstractEventLoop) -> None:
        if path.exists():
            raise FileExistsError(f"{path} is there already")
        self._lock = OwnerLock(path)
        migrate(path)
        self._connection = open_writer(path)
        self._connection.execute("PRAGMA synchronous=OFF")
        journal = PromptJournal(Committer(self._connection, ()))
        self._journal = journal
        self.ledger = JournaledLedger(journal, Book())
        self._reader = PromptReader(path, loop, journal.flush)
        self.records = SqliteRecords(journal, self.ledger, now, self._reader)

    @property
    def in_doubt(self) -> int:
        """Calls posted as held."""
        return len(self.ledger.book.in_doubt)

    def close(self) -> None:
        """Write everything to the disk and give the file up."""
        self._journal.flush()
        self._reader.close()
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._lock.release()
