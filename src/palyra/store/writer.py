"""The one thread that writes: it commits whatever has queued up as one transaction (group commit).

Rows go to SQLite as one JSON array per table, so that a commit takes a handful of calls without the
interpreter lock, however many calls it serves. A full disk fails reservations and keeps the essential
writes until there is room; a failing disk poisons the writer for good, because after a failed fsync
nobody knows what is stored.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from palyra.core.errors import LedgerUnavailable
from palyra.core.limits import JOURNAL_QUEUE_MAX
from palyra.ledger.account import AccountKey
from palyra.store import sql
from palyra.store.codec import encode
from palyra.store.write import RollupDelta, RollupKey, Write

BATCH_MAX = 2_048
RETRY_S = 0.1
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
        return self._writable and self._poisoned is None and self._queue.qsize() < JOURNAL_QUEUE_MAX

    @property
    def poisoned(self) -> bool:
        """Whether the disk failed in a way that only a restart can clear."""
        return self._poisoned is not None

    def append(self, write: Write) -> None:
        """Queue one write."""
        self._queue.put(write)

    def close(self) -> None:
        """Write what is queued, then stop and close the connection."""
        self._closing.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._commit_or_fail(batch)
            if last and not self._retained:
                return
            if last and self._poisoned is not None:
                return

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
        try:
            self._commit(batch)
        except sqlite3.Error as error:
            self._rollback()
            if _is_fatal(error):
                self._poisoned = error
            self._sort_out(batch, error)
        else:
            self._writable = True
            self._resolved(batch, None)

    def _sort_out(self, batch: list[Write], error: sqlite3.Error) -> None:
        reason = LedgerUnavailable(f"the ledger cannot be written: {error}")
        if self._poisoned is not None:
            self._resolved(batch, reason)
            return
        self._retained = [write for write in batch if write.essential]
        self._writable = not self._retained
        self._resolved([write for write in batch if not write.essential], reason)

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

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


def _is_fatal(error: sqlite3.Error) -> bool:
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
