"""The one thread that writes: it commits whatever has queued up as one transaction (group commit).

The loop gathers, and hands a batch over when a turn brought no more writes, or when GATHER_S are over. One
batch is under way at a time, and is told of before the next one is cut: so the balances that the book then
has are those that the batch leaves, and are stored as they are. Where that may not be so (writes kept from
a failed commit, a write tried by itself, the end) entry lines are summed instead.

| what fails                  | reservations and other writes | essential writes                       |
|-----------------------------|-------------------------------|----------------------------------------|
| the disk is full            | fail at once                  | are kept until there is room           |
| the disk, for good          | fail, and all later ones      | fail: the writer is poisoned, because  |
|                             |                               | nobody knows what a failed fsync left  |
| one write cannot be stored  | only that one fails           | poisoned: its truth cannot be recorded |
| one write was overtaken     | only that one fails           | cannot be: they compare with nothing   |
"""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter, sleep

from palyra.core.errors import LedgerUnavailable
from palyra.core.limits import JOURNAL_QUEUE_MAX, SETTLE_WAIT_S
from palyra.ledger.account import Account
from palyra.ledger.book import Book
from palyra.ledger.held import HeldEntries
from palyra.store.chain import Row
from palyra.store.commit import Committer
from palyra.store.ledger import resolve
from palyra.store.write import Overtaken, Write, superseded

BATCH_MAX = 512
GATHER_S = 0.0005
"""How long a write may wait for others to join its commit while the loop is busy."""
RETRY_S = 0.1
CLOSE_ATTEMPTS = int(SETTLE_WAIT_S / RETRY_S)
"""How often a closing writer tries again to write what it kept, before it leaves that to the next start."""
FATAL_CODES = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Outcome = tuple[Sequence[Write], Exception | None]
Batch = tuple[list[Write], list[Row] | None]
"""Writes, and a row for each account they change: its balance after them."""


class Writer:
    """Takes writes on the loop thread, commits them on its own, and tells of them on the loop thread."""

    def __init__(self, committer: Committer, book: Book, loop: asyncio.AbstractEventLoop) -> None:
        self._committer = committer
        self._book = book
        self._loop = loop
        self._lock = threading.Lock()
        self._queue: list[Write] = []
        self._under_way = False
        """A batch is being gathered or written, and was not told of yet."""
        self._bell: SimpleQueue[Batch] = SimpleQueue()
        self._outcomes: list[Outcome] = []
        self._retained: list[Write] = []
        self._closing = False
        self._writable = True
        self._poisoned: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="palyra-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def accepts(self) -> bool:
        """Whether a new reservation would be written now."""
        if self._closing or self._poisoned is not None:
            return False
        return self._writable and len(self._queue) < JOURNAL_QUEUE_MAX

    @property
    def poisoned(self) -> bool:
        """Whether the disk failed in a way that only a restart can clear."""
        return self._poisoned is not None

    def append(self, write: Write) -> None:
        """Queue one write. After ``close``, or where a new reservation would be refused, others fail (V2)."""
        if self._closing or not (write.essential or self.accepts()):
            error = LedgerUnavailable("the ledger takes no writes right now; retry shortly")
            self._loop.call_soon(resolve, [write], error)
            return
        self._queue.append(write)
        if not self._under_way:
            self._begin()

    def close(self) -> None:
        """Write what is queued, then stop and close the connection.

        What cannot be written within CLOSE_ATTEMPTS fails; the next start finds those calls pending.
        """
        with self._lock:
            self._closing = True
            last, self._queue = self._queue, []
        self._bell.put((last, None))
        if self._thread.is_alive():
            self._thread.join()
        self._committer.close()

    def _begin(self) -> None:
        self._under_way = True
        self._loop.call_soon(self._gather, len(self._queue), perf_counter() + GATHER_S)

    def _gather(self, seen: int, until: float) -> None:
        """Hand a batch over, unless this turn of the loop brought more writes and the next one may, too."""
        count = len(self._queue)
        if seen < count < BATCH_MAX and perf_counter() < until:
            self._loop.call_soon(self._gather, count, until)
            return
        with self._lock:
            if self._closing:
                return
            batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
        self._bell.put((batch, None if self._queue else self._balances(batch)))

    def _balances(self, batch: Sequence[Write]) -> list[Row] | None:
        """A row for each account of the batch, as the book has it now; None if it has forgotten one."""
        accounts = self._book.accounts
        # Calls alike share one tuple of accounts.
        groups: dict[int, tuple[Account, ...]] = {}
        changed: set[Account] = set()
        for write in batch:
            entries = write.entries
            if isinstance(entries, HeldEntries):
                accounts_held = entries.held.stakes.accounts
                groups[id(accounts_held)] = accounts_held
                continue
            for posting in entries:
                account = accounts.get(posting[0])
                if account is None:
                    return None
                changed.add(account)
        for group in groups.values():
            changed.update(group)
        return [(*account.key, account.window_end, *account.balance()) for account in changed]

    def _told(self, outcomes: Sequence[Outcome], *, is_over: bool) -> None:
        """On the loop thread: this is what became of some writes. ``is_over``: of the batch under way."""
        try:
            for writes, error in outcomes:
                resolve(writes, error)
        finally:
            if is_over:
                self._under_way = False
                if self._queue:
                    self._begin()

    def _resolved(self, writes: Sequence[Write], error: Exception | None) -> None:
        if writes:
            self._outcomes.append((writes, error))

    def _tell(self, *, is_over: bool) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(partial(self._told, outcomes, is_over=is_over))

    def _run(self) -> None:
        while True:
            try:
                batch, balances = self._bell.get(timeout=RETRY_S if self._retained else None)
                is_over = True
            except Empty:
                batch, balances, is_over = [], None, False
            closing = self._closing
            self._write(batch, balances)
            self._tell(is_over=is_over)
            if closing and self._bell.empty():
                break
        for _ in range(CLOSE_ATTEMPTS):
            if self._retained:
                sleep(RETRY_S)
                self._write([], None)
        self._resolved(self._retained, LedgerUnavailable("the ledger is closed"))
        self._tell(is_over=False)

    def _write(self, batch: list[Write], balances: list[Row] | None) -> None:
        """Commit a batch; what was kept from a failed commit comes before it."""
        if self._retained:
            batch, balances = [*self._retained, *batch], None
            self._retained = []
        if batch:
            self._commit_or_fail(batch, balances)

    def _commit_or_fail(self, batch: list[Write], balances: list[Row] | None) -> None:
        if self._poisoned is not None:
            self._resolved(batch, LedgerUnavailable(f"the disk of the ledger failed: {self._poisoned}"))
            return
        error = self._try(batch, balances)
        while isinstance(error, Overtaken):
            self._resolved(error.writes, superseded())
            batch = error.rest(batch)
            error = self._try(batch, balances)
        if error is None:
            self._writable = True
            self._resolved(batch, None)
        elif _is_of_the_disk(error):
            self._sort_out(batch, error)
        else:
            self._one_by_one(batch)

    def _try(self, batch: list[Write], balances: list[Row] | None) -> Exception | None:
        """Commit, or roll back and return why."""
        try:
            self._committer.commit(batch, balances)
        except Exception as error:  # noqa: BLE001 (a thread that dies would leave every call waiting)
            if not self._rolled_back() or _is_fatal(error):
                self._poisoned = error
            return error
        return None

    def _one_by_one(self, batch: list[Write]) -> None:
        """Some write of the batch cannot be stored: the others must not suffer for it. Keeps their order."""
        for place, write in enumerate(batch):
            error = self._try([write], None)
            if error is None:
                self._resolved([write], None)
            elif isinstance(error, Overtaken):
                self._resolved([write], superseded())
            elif not _is_of_the_disk(error) and not write.essential:
                self._resolved([write], LedgerUnavailable(f"this cannot be stored: {error}"))
            else:
                if not _is_of_the_disk(error):
                    self._poisoned = error
                self._sort_out(batch[place:], error)
                return

    def _sort_out(self, batch: list[Write], error: Exception) -> None:
        reason = LedgerUnavailable(f"the ledger cannot be written: {error}")
        if self._poisoned is not None:
            self._resolved(batch, reason)
            return
        self._retained = [write for write in batch if write.essential]
        self._writable = not self._retained
        self._resolved([write for write in batch if not write.essential], reason)

    def _rolled_back(self) -> bool:
        try:
            self._committer.roll_back()
        except sqlite3.Error:
            return False
        return True


def _is_of_the_disk(error: Exception) -> bool:
    """Whether any write would have failed: no room, no memory, a lock, or damage."""
    return isinstance(error, sqlite3.OperationalError | MemoryError) or _is_fatal(error)


def _is_fatal(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in FATAL_CODES
