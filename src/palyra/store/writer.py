"""The one thread that writes: it commits whatever has queued up as one transaction (group commit).

Rows go to SQLite as one JSON array per table, so that a commit takes a handful of calls without the
interpreter lock, however many calls it serves.

| what fails                  | reservations and other writes | essential writes                       |
|-----------------------------|-------------------------------|----------------------------------------|
| the disk is full            | fail at once                  | are kept until there is room           |
| the disk, for good          | fail, and all later ones      | fail: the writer is poisoned, because  |
|                             |                               | nobody knows what a failed fsync left  |
| one write cannot be stored  | only that one fails           | poisoned: its truth cannot be recorded |
"""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from palyra.core.errors import LedgerUnavailable
from palyra.core.limits import JOURNAL_QUEUE_MAX, SETTLE_WAIT_S
from palyra.ledger.account import AccountKey
from palyra.store import sql
from palyra.store.codec import encode
from palyra.store.write import RollupDelta, RollupKey, Write

BATCH_MAX = 2_048
RETRY_S = 0.1
CLOSE_ATTEMPTS = int(SETTLE_WAIT_S / RETRY_S)
"""How often a closing writer tries again to write what it kept, before it leaves that to the next start."""
FATAL_CODES = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Resolved = Callable[[Sequence[Write], Exception | None], None]
"""Called on the writer thread with the writes of one commit; hands them over to the loop thread."""


class Writer:
    """Owns the only read-write connection and the chain of the journal."""

    def __init__(self, connection: sqlite3.Connection, resolved: Resolved) -> None:
        self._connection = connection
        self._resolved = resolved
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._retained: list[Write] = []
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._writable = True
        self._poisoned: Exception | None = None
        head = connection.execute(sql.JOURNAL_HEAD).fetchone()
        self._seq: int = head[0] if head else 0
        self._chain: str = head[1] if head else ""
        self._thread = threading.Thread(target=self._run, name="palyra-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def accepts(self) -> bool:
        """Whether a new reservation would be written now."""
        if self._poisoned is not None or self._closing.is_set():
            return False
        return self._writable and self._queue.qsize() < JOURNAL_QUEUE_MAX

    @property
    def poisoned(self) -> bool:
        """Whether the disk failed in a way that only a restart can clear."""
        return self._poisoned is not None

    def append(self, write: Write) -> None:
        """Queue one write. After ``close``, or where a new reservation would be refused, others fail (V2)."""
        if not write.essential and not self.accepts():
            self._resolved([write], LedgerUnavailable("the ledger takes no writes right now; retry shortly"))
            return
        self._queue.put(write)
        if self._ended.is_set():
            self._turn_away([])

    def close(self) -> None:
        """Write what is queued, then stop and close the connection.

        What cannot be written within CLOSE_ATTEMPTS fails; the next start finds those calls pending.
        """
        self._closing.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        attempts_left = CLOSE_ATTEMPTS
        while attempts_left:
            batch, last = self._next_batch()
            if batch:
                self._commit_or_fail(batch)
            if last:
                attempts_left = attempts_left - 1 if self._retained else 0
        self._ended.set()
        self._turn_away(self._retained)

    def _turn_away(self, kept: list[Write]) -> None:
        """Fail what was kept and what came too late."""
        left = list(kept)
        while not self._queue.empty():
            try:
                late = self._queue.get_nowait()
            except Empty:  # the other thread took it
                break
            if late is not None:
                left.append(late)
        if left:
            self._resolved(left, LedgerUnavailable("the ledger is closed"))

    def _next_batch(self) -> tuple[list[Write], bool]:
        """Essential writes kept from a failed commit come first; then everything queued, up to a bound."""
        batch, self._retained = self._retained, []
        last = self._closing.is_set()
        try:
            first = self._queue.get(timeout=RETRY_S) if batch or last else self._queue.get()
            while first is not None:
                batch.append(first)
                if len(batch) >= BATCH_MAX:
                    return batch, False
                first = self._queue.get_nowait()
        except Empty:
            return batch, last
        return batch, True

    def _commit_or_fail(self, batch: list[Write]) -> None:
        if self._poisoned is not None:
            self._resolved(batch, LedgerUnavailable(f"the disk of the ledger failed: {self._poisoned}"))
            return
        error = self._try(batch)
        if error is None:
            self._writable = True
            self._resolved(batch, None)
        elif _is_of_the_disk(error):
            self._sort_out(batch, error)
        else:
            self._one_by_one(batch)

    def _try(self, batch: list[Write]) -> Exception | None:
        """Commit, or roll back and return why."""
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 (a thread that dies would leave every call waiting)
            if not self._rolled_back() or _is_fatal(error):
                self._poisoned = error
            return error
        return None

    def _one_by_one(self, batch: list[Write]) -> None:
        """Some write of the batch cannot be stored: the others must not suffer for it. Keeps their order."""
        for place, write in enumerate(batch):
            error = self._try([write])
            if error is None:
                self._resolved([write], None)
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
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def _commit(self, batch: list[Write]) -> None:
        seq, chain, journal_rows = self._chain_rows(batch)
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if journal_rows:
            execute(sql.INSERT_JOURNAL, (encode(journal_rows),))
        for statement, rows in (
            (sql.UPSERT_ACCOUNTS, _account_rows(batch)),
            (sql.INSERT_DECISIONS, _opened_rows(batch)),
            (sql.CLOSE_DECISIONS, _closed_rows(batch)),
            (sql.UPSERT_ROLLUPS, _rollup_rows(batch)),
        ):
            if rows:
                execute(statement, (encode(rows),))
        for write in batch:
            if write.claim is not None:
                execute(*sql.claim(write.claim))
            if write.statement is not None:
                execute(sql.NAMED[write.statement.name], write.statement.parameters)
        execute("COMMIT")
        self._seq, self._chain = seq, chain

    def _chain_rows(self, batch: list[Write]) -> tuple[int, str, list[tuple[int, int, str, str, str, str]]]:
        seq, chain = self._seq, self._chain
        rows: list[tuple[int, int, str, str, str, str]] = []
        for write in batch:
            if write.journal is None:
                continue
            kind, ref, body = write.journal
            seq += 1
            text = encode(body)
            chain = link(chain, seq, write.at, kind, ref, text)
            rows.append((seq, write.at, kind, ref, text, chain))
        return seq, chain, rows


def link(previous: str, seq: int, at: int, kind: str, ref: str, body: str) -> str:
    """The SHA-256 of a journal record and its predecessor's; parts are length-prefixed so none can shift."""
    digest = hashlib.sha256(previous.encode())
    for part in (str(seq), str(at), kind, ref, body):
        raw = part.encode()
        digest.update(b"%d:" % len(raw))
        digest.update(raw)
    return digest.hexdigest()


def _is_of_the_disk(error: Exception) -> bool:
    """Whether any write would have failed: no room, no memory, a lock, or damage."""
    return isinstance(error, sqlite3.OperationalError | MemoryError) or _is_fatal(error)


def _is_fatal(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in FATAL_CODES


def _account_rows(batch: list[Write]) -> list[tuple[object, ...]]:
    """Entry lines summed per account: a hot account costs one row per commit."""
    sums: dict[AccountKey, list[int]] = {}
    for write in batch:
        for posting in write.postings:
            figures = sums.get(posting.account)
            if figures is None:
                sums[posting.account] = [posting.window_end, *posting[2:]]
            else:
                figures[1] += posting.posted
                figures[2] += posting.held
                figures[3] += posting.shadow_posted
                figures[4] += posting.shadow_held
    return [(*account, *figures) for account, figures in sums.items()]


def _opened_rows(batch: list[Write]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for write in batch:
        decision = write.opened
        if decision is not None:
            labels = decision.labels
            rows.append(
                (
                    decision.request_id,
                    decision.at,
                    write.opened_state,
                    decision.outcome,
                    labels.principal,
                    labels.agent,
                    labels.session,
                    decision.model,
                    encode(decision),
                    None if write.reservation is None else encode(write.reservation),
                )
            )
    return rows


def _closed_rows(batch: list[Write]) -> list[tuple[str, str, str]]:
    """The last settlement of a call wins; a call opened and closed in one batch is opened first."""
    closed = {write.closed[0]: write.closed[1] for write in batch if write.closed is not None}
    return [(request_id, end.state, encode(end)) for request_id, end in closed.items()]


def _rollup_rows(batch: list[Write]) -> list[tuple[object, ...]]:
    sums: dict[RollupKey, RollupDelta] = {}
    for write in batch:
        if write.rollup is not None:
            key, delta = write.rollup
            sums[key] = sums[key].plus(delta) if key in sums else delta
    return [(*key, *delta) for key, delta in sums.items()]
