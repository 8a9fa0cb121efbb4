"""A SQLite ledger, copied into an empty PostgreSQL database: its journal becomes that of gateway 0.

| step                | in the target                                                                   |
|---------------------|---------------------------------------------------------------------------------|
| begin               | the schema, gateway 0 as a name, and a revision that no gateway starts on       |
| the large tables    | chunk by chunk, each a transaction; a copy that broke off goes on where it is   |
| the switch          | all the rest, the proof that both sides are equal, and the revision: one commit |
| after it            | the replay of the journal, as ``palyra audit verify`` does it                   |

The source is only read, after it was brought to the newest revision, and nobody else has it meanwhile.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec

from palyra.core.invariant import InvariantViolation
from palyra.core.secret import Secret
from palyra.store import copy_sql, sql
from palyra.store.copy_sql import (
    COUNTED,
    DECISIONS,
    DOCUMENTS,
    FIGURES,
    GROUPED,
    JOURNAL,
    LATENCIES,
    REST,
    ROLLUPS,
    TAGS,
    Table,
)
from palyra.store.leftovers import unresolved
from palyra.store.lock import OwnerLock
from palyra.store.migrate import HEAD, migrate, upgrade
from palyra.store.page import JournalPage, unpack
from palyra.store.postgres.link import check_durable
from palyra.store.postgres.partitions import Month, make_partitions
from palyra.store.postgres.reading import SQLALCHEMY_URL
from palyra.store.postgres.revision import UNFINISHED, DatabaseUnreachable, connect_patiently, revision_of
from palyra.store.postgres.sql import FILL_HALF_DAYS
from palyra.store.postgres.verify import verify_shared
from palyra.store.reader import connect_read_only
from palyra.store.restore import verify

CHUNK_ROWS = 1_000
CLOSE_S = 5.0
_NAME = "sqlite copy"
_SHOWN = 16
"""How many digits of a hash tell one journal from another."""
_GONE = ("08", "57")
"""Classes of SQLSTATE that say that the server, or the way to it, went away."""
_USED_HINT = "copy into an empty database"
_ANEW_HINT = "drop the target, make an empty database, and copy into that"

Row = tuple[Any, ...]
Tell = Callable[[str, int, int], None]
"""(step, done, total): how far a copy is; the steps are the tables, ``source`` and ``audit``."""


class CopyError(Exception):
    """A copy cannot be made, or cannot go on; ``hint`` is the next step."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class AccountSums(NamedTuple):
    """The accounts of one metric, summed up in its unit (nano-USD for money)."""

    metric: str
    accounts: int
    posted: int
    held: int
    shadow_posted: int
    shadow_held: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in the target. ``cost`` in nano-USD; ``head`` is the last hash of the chain, in hex.

    ``was_done``: it was there before. ``pending``: calls that the first gateway will end in doubt.
    """

    was_done: bool
    rows: Mapping[str, int]
    records: int
    head: str
    pending: int
    accounts: Sequence[AccountSums]
    requests: int
    cost: int


async def copy_to_server(
    path: Path, url: Secret, tell: Tell = lambda _step, _done, _total: None, chunk: int = CHUNK_ROWS
) -> Copied:
    """Copy the ledger in a SQLite file to a PostgreSQL database, or go on with a copy that broke off.

    Raises DatabaseLocked while a daemon has the file; CopyError where source or target are not fit for it, or
    came out different; InvariantViolation where the target does not hold although it is equal; NotDurable;
    DatabaseUnreachable.
    """
    owner = OwnerLock(path)
    try:
        target = await connect_patiently(url, "palyra db copy")
        try:
            return await _copy(path, url, target, tell, chunk)
        except asyncpg.PostgresError as error:
            if str(error.sqlstate or "")[:2] in _GONE:
                raise _lost(error) from error
            raise CopyError(f"PostgreSQL refuses the copy: {error}", "see the server's log") from error
        except (asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
            raise _lost(error) from error
        finally:
            with suppress(Exception):
                await target.close(timeout=CLOSE_S)
    finally:
        owner.release()


async def _copy(path: Path, url: Secret, target: Any, tell: Tell, chunk: int) -> Copied:
    await check_durable(target)
    _bring_up(path)
    source = Source(path)
    try:
        was_done = await _is_done(target, source)
        if not was_done:
            _verify_source(path, tell)
            work = _Work(source, target, tell, chunk)
            await work.begin(url)
            await work.copy_large_tables()
            await work.switch()
            await target.execute(copy_sql.ANALYZE)
            await verify_shared(url, lambda done, total: tell("audit", done, total))
        return source.copied(was_done=was_done)
    finally:
        source.close()


def _bring_up(path: Path) -> None:
    """Bring the source to the newest revision. Nothing that is no ledger gets a schema."""
    connection = connect_read_only(path)
    try:
        (has_revision,) = connection.execute(sql.HAS_REVISION).fetchone()
    except sqlite3.DatabaseError as error:
        raise CopyError(f"{path} cannot be read: {error}", "name the file of the daemon") from error
    finally:
        connection.close()
    if not has_revision:
        raise CopyError(f"{path} is no database of Palyra", "name the file of the daemon")
    migrate(path)


def _verify_source(path: Path, tell: Tell) -> None:
    try:
        verify(path, lambda done, total: tell("source", done, total))
    except InvariantViolation as broken:
        raise CopyError(f"the journal of {path} does not hold: {broken}", "restore a backup") from broken


def _lost(error: BaseException) -> DatabaseUnreachable:
    reason = str(error) or type(error).__name__
    return DatabaseUnreachable(
        f"the connection to the target was lost: {reason}; run the same command again, it goes on"
    )


class Source:
    """The SQLite file, as one snapshot."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_read_only(path)
        self._connection.isolation_level = None
        self._connection.execute("BEGIN")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def all(self, statement: str, *parameters: int | str) -> Iterator[Row]:
        """The rows of a statement, one by one."""
        return self._connection.execute(statement, parameters)

    def one(self, statement: str, *parameters: int | str) -> Row | None:
        """The first row of a statement."""
        return self._connection.execute(statement, parameters).fetchone()

    def chunk(self, table: Table, after: Row, most: int) -> list[Row]:
        """The next rows of a large table."""
        return self._connection.execute(table.rows, (*after, most)).fetchall()

    def count(self, table: Table) -> int:
        """How many rows a large table has."""
        return self._connection.execute(table.total).fetchone()[0]

    @cached_property
    def last(self) -> JournalPage | None:
        """The newest page of the journal."""
        row = self.one(sql.LAST_PAGE)
        return JournalPage(*row) if row else None

    @cached_property
    def last_documents(self) -> int:
        """The number of the newest page of documents."""
        return self._connection.execute(sql.LAST_DOCUMENTS).fetchone()[0]

    @cached_property
    def name(self) -> str:
        """What its copy is called: by the first hash of the journal."""
        row = self.one(copy_sql.FIRST_PAGE)
        return f"{_NAME} {_short(row[0] if row else b'')}"

    @cached_property
    def state(self) -> str:
        """Where journal and documents end: any change of the ledger makes it another."""
        return f"{_short(self.last.chain if self.last else b'')}/{self.last_documents}"

    @property
    def name_when_done(self) -> str:
        """What its copy is called once it is whole."""
        return f"{self.name} up to {self.state}"

    @cached_property
    def pending(self) -> int:
        """How many calls no record ends."""
        if self.last is None:
            return 0
        pages = (JournalPage(*row) for row in self.all(sql.PAGES, self.last.open_from))
        return sum(len(reservations) for _, reservations in unresolved(pages))

    @cached_property
    def figures(self) -> Mapping[str, list[Row]]:
        """What must be the same in the target."""
        return {name: sorted(self.all(statement)) for name, statement in FIGURES.items()}

    def copied(self, *, was_done: bool) -> Copied:
        """The summary of a copy of it."""
        figures = self.figures
        rows = {
            name: sum(row[1] for row in figures[name]) if name in GROUPED else figures[name][0][0]
            for name in COUNTED
        }
        totals = self._connection.execute(copy_sql.TOTALS).fetchone()
        return Copied(
            was_done=was_done,
            rows=rows,
            records=figures["journal"][0][1],
            head=self.last.chain.hex() if self.last else "",
            pending=self.pending,
            accounts=[AccountSums(*row) for row in figures["accounts"]],
            requests=totals[0],
            cost=totals[1],
        )


class _Instants:
    """When pages of documents were filed: what their month is. To be asked in the order of the pages."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._filed: Iterator[Row] | None = None
        self._next: Row | None = None

    def of(self, page: int, body: bytes) -> int:
        """The ``at`` of the journal page that was committed with it, or else of the newest decision in it."""
        if self._filed is None:
            self._filed = self._source.all(copy_sql.FILED, page - 1)
            self._next = next(self._filed, None)
        while self._next is not None and self._next[0] < page:
            self._next = next(self._filed, None)
        if self._next is not None and self._next[0] == page:
            return self._next[1]
        return max(map(_decided_at, unpack(body)), default=0)


def _decided_at(document: bytes) -> int:
    """When a decision was made; 0 for a settlement."""
    match msgspec.json.decode(document):
        case [str(), int(at), *_]:
            return at
        case {"request_id": str(), "at": int(at)}:
            return at
        case _:
            return 0


class _Work:
    """One attempt at a copy."""

    def __init__(self, source: Source, target: Any, tell: Tell, chunk: int) -> None:
        self._source = source
        self._target = target
        self._tell = tell
        self._chunk = chunk

    async def begin(self, url: Secret) -> None:
        """Make the schema and gateway 0, or see that the copy there is one of this source.

        What can change in rows that are copied already is copied anew if the source went on meanwhile.
        """
        source, target = self._source, self._target
        if await revision_of(target) != UNFINISHED:
            await _begin(url, source.name)
        await self._refuse_others()
        node = await target.fetchrow(copy_sql.COPY_NODE)
        page = await target.fetchrow(copy_sql.LAST_PAGE)
        is_of_this = page is None or source.one(copy_sql.CHAIN_AT, page[0]) == (page[1],)
        if node is None or node["name"] != source.name or not is_of_this:
            raise CopyError("the target holds an unfinished copy of another ledger", _ANEW_HINT)
        if node["holder"] != source.state:
            async with target.transaction():
                await target.execute(copy_sql.FORGET)
                await target.execute(copy_sql.NOTE, source.state)

    async def copy_large_tables(self) -> None:
        """Everything that is not rewritten with the switch."""
        months = [Month(*row) for row in self._source.all(copy_sql.MONTHS)]
        await make_partitions(self._target, months)
        instants = _Instants(self._source)
        await self._copy(JOURNAL, self._dated)
        await self._copy(DOCUMENTS, lambda row: (*row, instants.of(*row)))
        await self._copy(DECISIONS)
        for table in (ROLLUPS, LATENCIES, TAGS):
            await self._copy(table)

    def _dated(self, page: Row) -> Row:
        """A journal page as it is, but that the head of an older format goes with the month of page 1."""
        if page[0] != 0:
            return page
        first = self._source.one(copy_sql.FIRST_INSTANT)
        return (*page[:2], first[0] if first else 0, *page[3:])

    async def _copy(self, table: Table, whole: Callable[[Row], Row] = lambda row: row) -> None:
        last = await self._target.fetchrow(table.last)
        key: Row = tuple(last) if last else table.first
        total, done = self._source.count(table), await self._target.fetchval(table.total)
        self._tell(table.name, done, total)
        while rows := self._source.chunk(table, key, self._chunk):
            await self._target.copy_records_to_table(
                table.name,
                columns=("node", *table.columns),
                records=[(0, *whole(row)) for row in rows],
            )
            key = rows[-1][: table.keys]
            done += len(rows)
            self._tell(table.name, done, total)

    async def switch(self) -> None:
        """Everything else, the proof, and the revision that lets gateways in: all of it, or nothing."""
        source, target = self._source, self._target
        ((last_at,),) = source.all(sql.LAST_INSTANT)
        async with target.transaction():
            await target.execute(copy_sql.LOCK_NODES)
            await self._refuse_others()
            for rest in REST:
                told = await target.copy_records_to_table(
                    rest.name, columns=rest.columns, records=source.all(rest.rows)
                )
                count = int(told.rpartition(" ")[2])
                self._tell(rest.name, count, count)
            for statement in FILL_HALF_DAYS:
                await target.execute(statement)
            await target.execute(
                copy_sql.SWITCH_NODE,
                source.name_when_done,
                source.pending > 0,
                source.last.follows if source.last else 1,
                source.last_documents + 1,
                last_at or 0,
            )
            await target.execute(copy_sql.SWITCH_RULES)
            await self._prove_figures()
            await self._prove_balances()
            await target.execute(copy_sql.SWITCH_REVISION, HEAD)

    async def _prove_figures(self) -> None:
        for name, statement in FIGURES.items():
            found = sorted(_plain(row) for row in await self._target.fetch(statement))
            _check_equal(name, self._source.figures[name], found)

    async def _prove_balances(self) -> None:
        """Every account, one by one."""
        mine = self._source.all(copy_sql.BALANCES)
        async for row in self._target.cursor(copy_sql.BALANCES, prefetch=CHUNK_ROWS):
            _check_equal("accounts", next(mine, None), _plain(row))
        _check_equal("accounts", next(mine, None), None)

    async def _refuse_others(self) -> None:
        """A gateway that was about to join while the copy began is not a part of it."""
        other = await self._target.fetchval(copy_sql.OTHER_NODES)
        if other is not None:
            raise CopyError(f"the gateway {other} joined the target before it was whole", _ANEW_HINT)


async def _is_done(target: Any, source: Source) -> bool:
    """Whether the target holds this source already. Raises CopyError where it holds anything else."""
    found = await revision_of(target)
    if found not in (None, HEAD, UNFINISHED):
        raise CopyError(f"the target is at revision {found}, not a new database", _USED_HINT)
    if found != HEAD:
        return False
    node = await target.fetchrow(copy_sql.COPY_NODE)
    if node is not None and node["name"] == source.name_when_done:
        return True
    if node is not None and node["name"].startswith(f"{source.name} "):
        raise CopyError(
            "the source has changed since it was copied: calls were made on it that the target lacks",
            "keep the daemon off that file; if no gateway works on the target yet, drop it and copy again",
        )
    if await target.fetchval(copy_sql.IS_USED):
        raise CopyError("the target is in use: it holds a ledger of its own", _USED_HINT)
    return False


async def _begin(url: Secret, name: str) -> None:
    """Make the schema with gateway 0 and the revision of an unfinished copy, in one transaction."""
    from alembic.util import CommandError
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(
        SQLALCHEMY_URL, poolclass=NullPool, async_creator=lambda: connect_patiently(url, "palyra db copy")
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(text(copy_sql.LOCK_SCHEMA))
            await connection.run_sync(upgrade)
            await connection.execute(text(copy_sql.LOCK_NODES))
            if (await connection.execute(text(copy_sql.IS_USED))).scalar():
                raise CopyError("the target is in use: it holds a ledger of its own", _USED_HINT)
            await connection.execute(text(copy_sql.BEGIN), {"name": name})
            await connection.execute(text(copy_sql.SET_REVISION), {"revision": UNFINISHED})
    except (DBAPIError, CommandError) as error:
        reason = getattr(error, "orig", error)
        raise CopyError(f"the schema cannot be made in the target: {reason}", _USED_HINT) from error
    finally:
        await engine.dispose()


def _check_equal(name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise CopyError(f"the copy differs in {name}: {ours} in the source, {theirs} in it", _ANEW_HINT)


def _plain(row: Sequence[Any]) -> Row:
    """A row of PostgreSQL as SQLite has it: sums are whole numbers."""
    return tuple(int(value) if isinstance(value, Decimal) else value for value in row)


def _short(chain: bytes) -> str:
    return chain.hex()[:_SHOWN] or "nothing"
