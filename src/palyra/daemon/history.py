"""The history and the rules of a database, for commands that read it without a daemon."""

import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

from palyra.budgets.policy import Policy
from palyra.config.settings import SharedDatabase
from palyra.lifecycle.history import History
from palyra.store import codec, sql
from palyra.store.history import SqliteHistory
from palyra.store.migrate import HEAD
from palyra.store.postgres import sql as shared_sql
from palyra.store.postgres.history import PostgresHistory
from palyra.store.postgres.revision import WrongRevision, connect_patiently, revision_of
from palyra.store.reader import connect_read_only


class Recorded(NamedTuple):
    """What a database has: its calls, and the policies that were made through the API."""

    history: History
    policies: Sequence[Policy]


@asynccontextmanager
async def open_history(database: Path | SharedDatabase) -> AsyncGenerator[Recorded]:
    """Open a database for reading. No daemon may write to a SQLite file meanwhile: hold its lock.

    Raises WrongRevision where there is no whole ledger of this version, and DatabaseUnreachable.
    """
    if isinstance(database, SharedDatabase):
        connection = await connect_patiently(database.url, "palyra budgets simulate")
        try:
            _check(await revision_of(connection))
            yield Recorded(
                PostgresHistory(connection.fetch), _policies(await connection.fetch(shared_sql.POLICIES))
            )
        finally:
            await connection.close()
        return
    file = connect_read_only(database)
    try:
        _check(_revision(file))
        yield Recorded(SqliteHistory(_Statements(file).run), _policies(file.execute(sql.POLICIES).fetchall()))
    finally:
        file.close()


class _Statements:
    """Runs the statements of the history at once: nobody else has this file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(self, name: str, *parameters: int) -> Sequence[Sequence[Any]]:
        statement: LiteralString = sql.HISTORY[name]
        return self._connection.execute(statement, parameters).fetchall()


def in_force(stored: Sequence[Policy], of_the_file: Sequence[Policy]) -> Mapping[str, Policy]:
    """The policies of a database and of a configuration: one of the file hides a stored one of its id."""
    return {policy.id: policy for policy in (*stored, *of_the_file)}


def _policies(rows: Sequence[Sequence[Any]]) -> list[Policy]:
    return [codec.policy_from(row[0]) for row in rows]


def _revision(connection: sqlite3.Connection) -> str | None:
    (tables,) = connection.execute(sql.HAS_REVISION).fetchone()
    row = connection.execute(sql.REVISION).fetchone() if tables else None
    return None if row is None else row[0]


def _check(found: str | None) -> None:
    if found != HEAD:
        raise WrongRevision(
            f"the database is at revision {found or 'none'}, this version needs {HEAD}; "
            "start the daemon once, or run: palyra db upgrade"
        )
