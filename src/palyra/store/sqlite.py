"""The embedded store: one SQLite file, owned by one process, written by one thread.

WAL with ``synchronous=FULL``: a commit is on the disk when ``done`` is called (D1, D2). Start-up brings the
schema up to date, restores the balances and checks them against the journal (D3).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.standing import AccountStatus, OpenWindow, Standing
from palyra.store import codec, sql
from palyra.store.commit import Committer
from palyra.store.history import SqliteHistory
from palyra.store.ledger import Journal, JournaledLedger
from palyra.store.lock import OwnerLock
from palyra.store.migrate import migrate
from palyra.store.reader import Reader
from palyra.store.records import newest, stored_decision, together
from palyra.store.restore import restore, verify
from palyra.store.stored import StoredRecords
from palyra.store.write import ClaimChange
from palyra.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

__all__ = ["SqliteRecords", "SqliteStore", "verify"]


class SqliteStore:
    """Ledger and records on one SQLite file. Open it on the loop that will use it; close it on the same."""

    others = None
    routing = None
    """Nobody else has this ledger."""

    def __init__(self, path: Path, now: Callable[[], Instant], loop: asyncio.AbstractEventLoop) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = OwnerLock(path)
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            migrate(path)
            connection = open_writer(path)
            undo.callback(connection.close)
            self.last_instant = Instant(connection.execute(sql.LAST_INSTANT).fetchone()[0] or 0)
            found = restore(connection, max(now(), self.last_instant))
            self._writer = Writer(Committer(connection, found.pending), found.book, loop)
            self.ledger = JournaledLedger(self._writer, found.book)
            with suppress(sqlite3.OperationalError):  # tidying up may wait for a disk with room
                connection.execute(sql.DROP_OLD_CLAIMS, (now(),))
            self.ledger.restore(
                (ClaimChange(*row) for row in connection.execute(sql.CLAIMS)),
                connection.execute(sql.METERED),
                found.in_doubt,
                found.pending,
            )
            undo.pop_all()
        self._reader = Reader(path, loop)
        self.records = SqliteRecords(self._writer, self.ledger, now, self._reader)
        self.history = SqliteHistory(self._history_rows)
        self._writer.start()

    @property
    def writable(self) -> bool:
        """Whether a reservation would be accepted now."""
        return self._writer.accepts()

    @property
    def in_doubt(self) -> int:
        """Calls posted as held."""
        return len(self.ledger.book.in_doubt)

    def forget(self, now: Instant) -> None:
        """Drop accounts whose window is over from memory."""
        self.ledger.book.forget_ended(now)

    async def _history_rows(self, name: str, *parameters: int) -> Sequence[Sequence[Any]]:
        return await self._reader.rows(sql.HISTORY[name], *parameters)

    def close(self) -> None:
        """Write what is queued, close every connection, give the file up."""
        self._writer.close()
        self._reader.close()
        self._lock.release()


class SqliteRecords(StoredRecords):
    """The Records port on SQLite; reads run on reader threads."""

    def __init__(
        self, journal: Journal, ledger: JournaledLedger, now: Callable[[], Instant], reader: Reader
    ) -> None:
        super().__init__(journal, ledger, now)
        self._reader = reader

    async def _read(self, name: str, *parameters: str | int) -> Sequence[Sequence[Any]]:
        return await self._reader.rows(sql.READ[name], *parameters)

    async def _ask(self, question: "Callable[[Connection], T]") -> T:
        return await self._reader.ask(question)

    async def decision(self, request_id: str) -> StoredDecision | None:
        """See ``Records.decision``."""
        call = self._ledger.open_call(request_id)
        if call is not None:
            return StoredDecision(call.decision.whole(), CallState.PENDING, None)
        rows = await self._reader.rows(sql.DECISION, request_id)
        return stored_decision(*rows[0]) if rows else None

    # SQLAlchemy loads with the first question of people, on a reader's thread: calls and start-up need none.

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        """See ``Records.decisions``."""

        def question(connection: "Connection") -> Sequence[StoredDecision]:
            from palyra.store import reads

            return reads.list_decisions(connection, wanted)

        pending = self._pending(wanted)
        return newest(wanted, pending, await self._reader.ask(question))

    async def search_decisions(self, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
        """See ``DecisionSearch.search_decisions``."""
        pending = self._pending(wanted)
        return together(wanted, inside, pending, await self._found(wanted, inside))

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        """See ``Records.accounts``."""

        def question(connection: "Connection") -> Sequence[AccountStatus]:
            from palyra.store import reads

            return reads.list_accounts(connection, policy_id)

        return self._live(await self._reader.ask(question))

    async def standing(self, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
        """See ``StandingRecords.standing``."""
        stored = await super().standing(windows, most)
        return {
            policy_id: replace(each, accounts=self._live(each.accounts)) for policy_id, each in stored.items()
        }

    def _live(self, stored: Sequence[AccountStatus]) -> Sequence[AccountStatus]:
        """What an open account holds changes all the time: the live figure wins over the stored one."""
        live = self._ledger.accounts
        return [
            replace(each, balance=live[each.key].balance()) if each.key in live else each for each in stored
        ]

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


def open_writer(path: Path) -> sqlite3.Connection:
    """The read-write connection: in WAL, on the disk with each commit."""
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
