"""The embedded store: one SQLite file, owned by one process, written by one thread.

WAL with ``synchronous=FULL``: a commit is on the disk when ``done`` is called (D1, D2). Start-up brings the
schema up to date, restores the balances and checks them against the journal (D3).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.core.invariant import invariant
from palyra.identity.keys import ApiKey
from palyra.ledger.account import AccountKey, Balance
from palyra.ledger.book import Book
from palyra.ledger.event import LedgerEvent, decode_event, is_ledger_kind
from palyra.lifecycle.decision import StoredDecision
from palyra.lifecycle.ports import AccountStatus, DecisionFilter, UsageTotals
from palyra.store import codec, sql
from palyra.store.ledger import JournaledLedger, resolve
from palyra.store.lock import OwnerLock
from palyra.store.migrate import migrate
from palyra.store.reader import Reader, connect_read_only
from palyra.store.records import JournaledRecords
from palyra.store.write import ClaimChange, RollupDelta, Write, rollup_delta
from palyra.store.writer import Writer, link

if TYPE_CHECKING:
    from sqlalchemy import Connection

REPLAY_AT_START_MAX = 50_000
"""Journals up to this length are replayed in full at start-up; longer ones by ``verify``."""
_PAGE = 5_000


class SqliteStore:
    """Ledger and records on one SQLite file. Open it on the loop that will use it; close it on the same."""

    def __init__(self, path: Path, now: Callable[[], Instant], loop: asyncio.AbstractEventLoop) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = OwnerLock(path)
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            migrate(path)
            connection = _open_writer(path)
            undo.callback(connection.close)
            self.last_instant = Instant(connection.execute(sql.LAST_INSTANT).fetchone()[0] or 0)
            book = _restore_book(connection, max(now(), self.last_instant))
            self._writer = Writer(connection, self._hand_over)
            self.ledger = JournaledLedger(self._writer, book)
            with suppress(sqlite3.OperationalError):  # tidying up may wait for a disk with room
                connection.execute(sql.DROP_OLD_CLAIMS, (now(),))
            self.ledger.restore(
                (ClaimChange(*row) for row in connection.execute(sql.CLAIMS)),
                connection.execute(sql.METERED),
                _in_doubt(connection),
            )
            undo.pop_all()
        self._loop = loop
        self._reader = Reader(path, loop)
        self.records = SqliteRecords(self._writer, self.ledger, now, self._reader)
        self._writer.start()

    @property
    def writable(self) -> bool:
        """Whether a reservation would be accepted now."""
        return self._writer.accepts()

    def close(self) -> None:
        """Write what is queued, close every connection, give the file up."""
        self._writer.close()
        self._reader.close()
        self._lock.release()

    def _hand_over(self, writes: Sequence[Write], error: Exception | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve, writes, error)


class SqliteRecords(JournaledRecords):
    """The Records port on SQLite; reads run on reader threads."""

    def __init__(
        self, writer: Writer, ledger: JournaledLedger, now: Callable[[], Instant], reader: Reader
    ) -> None:
        super().__init__(writer, ledger, now)
        self._reader = reader

    async def decision(self, request_id: str) -> StoredDecision | None:
        """See ``Records.decision``."""
        rows = await self._reader.rows(sql.DECISION, request_id)
        return codec.stored_decision(*rows[0]) if rows else None

    # SQLAlchemy loads with the first question of people, on a reader's thread: calls and start-up need none.

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        """See ``Records.decisions``."""

        def question(connection: "Connection") -> Sequence[StoredDecision]:
            from palyra.store import reads

            return reads.list_decisions(connection, wanted)

        return await self._reader.ask(question)

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """See ``Records.usage``."""

        def question(connection: "Connection") -> Sequence[UsageTotals]:
            from palyra.store import reads

            return reads.usage(connection, since, until, group_by)

        return await self._reader.ask(question)

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        """See ``Records.accounts``."""

        def question(connection: "Connection") -> Sequence[AccountStatus]:
            from palyra.store import reads

            return reads.list_accounts(connection, policy_id)

        return await self._reader.ask(question)

    async def policies(self) -> Sequence[Policy]:
        """See ``Records.policies``."""
        return [codec.policy_from(text) for (text,) in await self._reader.rows(sql.POLICIES)]

    async def policy_version(self, policy_id: str) -> int:
        """See ``Records.policy_version``."""
        ((version,),) = await self._reader.rows(sql.POLICY_VERSION, policy_id)
        return version

    async def keys(self) -> Sequence[ApiKey]:
        """See ``Records.keys``."""
        return [codec.key_from(text) for (text,) in await self._reader.rows(sql.KEYS)]


class Audit(NamedTuple):
    """What ``verify`` went through; ``head`` is the chain's last hash, an anchor to keep elsewhere."""

    records: int
    accounts: int
    head: str


def verify(path: Path, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Audit:
    """Check chain and balances of a database that no process is writing.

    Raises InvariantViolation naming G3 (the chain is broken at a record) or D3 (replay gives other balances).
    """
    connection = connect_read_only(path)
    try:
        (total,) = connection.execute(sql.JOURNAL_COUNT).fetchone()
        book = Book()
        count, head = 0, ""
        for seq, at, kind, ref, body, chain in _journal(connection):
            count += 1
            invariant(seq == count, "G3", f"journal record {count} is missing")
            expected = link(head, seq, at, kind, ref, body)
            invariant(chain == expected, "G3", f"journal record {seq} was changed")
            head = chain
            if is_ledger_kind(kind):
                book.apply(decode_event(kind, body))
            if count % _PAGE == 0:
                progress(count, total)
        _check_balances(book, connection)
        return Audit(count, len(book.accounts), head)
    finally:
        connection.close()


def _open_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        "PRAGMA wal_autocheckpoint=4000",
        "PRAGMA journal_size_limit=67108864",
        "PRAGMA cache_size=-65536",
    ):
        connection.execute(statement)
    return connection


def _restore_book(connection: sqlite3.Connection, now: Instant) -> Book:
    """Live accounts and unresolved reservations as stored, checked against a journal that is short."""
    (records,) = connection.execute(sql.JOURNAL_COUNT).fetchone()
    if records <= REPLAY_AT_START_MAX:
        replayed = Book()
        for ledger_event in _ledger_events(connection):
            replayed.apply(ledger_event)
        _check_balances(replayed, connection)
    book = Book()
    for *key, window_end, posted, held, shadow_posted, shadow_held in connection.execute(
        sql.LIVE_ACCOUNTS, (now,)
    ):
        book.restore(AccountKey(*key), window_end, Balance(posted, held, shadow_posted, shadow_held))
    held_by: dict[AccountKey, int] = {}
    for state, text in connection.execute(sql.UNRESOLVED):
        reserved = codec.reservation(text)
        if state == "in_doubt":
            book.in_doubt[reserved.id] = reserved
            continue
        book.pending[reserved.id] = reserved
        for hold in reserved.holds:
            held_by[hold.account] = held_by.get(hold.account, 0) + hold.amount
    for key, account in book.accounts.items():
        invariant(
            account.held == held_by.get(key, 0), "D3", f"account {key} holds what no reservation explains"
        )
    return book


def _in_doubt(connection: sqlite3.Connection) -> Iterator[tuple[str, RollupDelta]]:
    """What each call in doubt counts for in the rollups: a late settlement takes it back (L7)."""
    for row in connection.execute(sql.IN_DOUBT):
        stored = codec.stored_decision(*row)
        if stored.settlement is not None:
            yield stored.decision.request_id, rollup_delta(stored.decision, stored.settlement)


def _check_balances(book: Book, connection: sqlite3.Connection) -> None:
    stored = {AccountKey(*row[:4]): Balance(*row[5:]) for row in connection.execute(sql.ACCOUNTS)}
    replayed = {key: account.balance() for key, account in book.accounts.items()}
    for key in stored.keys() | replayed.keys():
        invariant(
            stored.get(key) == replayed.get(key),
            "D3",
            f"account {key} stands at {stored.get(key)}, the journal says {replayed.get(key)}",
        )


def _ledger_events(connection: sqlite3.Connection) -> Iterator[LedgerEvent]:
    for _seq, _at, kind, _ref, body, _chain in _journal(connection):
        if is_ledger_kind(kind):
            yield decode_event(kind, body)


def _journal(connection: sqlite3.Connection) -> Iterator[tuple[int, int, str, str, str, str]]:
    after = 0
    while True:
        page = connection.execute(sql.JOURNAL_RECORDS, (after, _PAGE)).fetchall()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]
