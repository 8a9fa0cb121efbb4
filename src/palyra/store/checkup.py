"""What a database says of itself, without being changed: its revision, its size, its gateways."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from palyra.core.secret import Secret
from palyra.store import sql as sqlite_sql
from palyra.store.migrate import HEAD
from palyra.store.page import JournalPage
from palyra.store.postgres import sql
from palyra.store.postgres.revision import UNFINISHED, connect_patiently, revision_of
from palyra.store.reader import connect_read_only

_SERVER_VERSION: Final = "SHOW server_version"
_SIZE: Final = "SELECT pg_database_size(current_database())"
_HAS_NODES: Final = "SELECT to_regclass('nodes') IS NOT NULL"


class Gateway(NamedTuple):
    """One that joined and did not leave. ``is_late``: its lease ran out, it counts as dead."""

    id: int
    name: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """How a database is. ``version`` is the server's, or that of the SQLite library.

    ``synchronous_commit`` is None for SQLite, which always waits for the disk. ``records`` of the journal,
    None where the schema is another one. ``size`` in bytes. ``months`` with a partition, such as ``2026_11``.
    """

    revision: str | None
    version: str
    size: int
    synchronous_commit: str | None = None
    records: int | None = None
    gateways: tuple[Gateway, ...] = ()
    months: tuple[str, ...] = ()


def look_at_file(path: Path) -> Condition:
    """How a SQLite file is. Raises sqlite3.DatabaseError where it is none."""
    connection = _connect(path)
    try:
        revision, records = _revision(connection), None
        if revision == HEAD:
            row = connection.execute(sqlite_sql.LAST_PAGE).fetchone()
            records = JournalPage(*row).follows - 1 if row else 0
    finally:
        connection.close()
    size = sum(each.stat().st_size for each in (path, _log_of(path)) if each.exists())
    return Condition(revision, sqlite3.sqlite_version, size, records=records)


def file_revision(path: Path) -> str | None:
    """The revision that a SQLite file is at, None for one without a schema or that is not there."""
    if not path.exists():
        return None
    connection = _connect(path)
    try:
        return _revision(connection)
    finally:
        connection.close()


async def look_at_server(url: Secret) -> Condition:
    """How a PostgreSQL database is, by one snapshot. Raises DatabaseUnreachable."""
    connection = await connect_patiently(url, "palyra db check")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await revision_of(connection)
            is_known = revision in (HEAD, UNFINISHED)
            months = await connection.fetch(sql.MONTHS) if is_known else ()
            return Condition(
                revision,
                await connection.fetchval(_SERVER_VERSION),
                await connection.fetchval(_SIZE),
                await connection.fetchval(sql.SYNCHRONOUS),
                await connection.fetchval(sql.COUNT_RECORDS) if is_known else None,
                await _gateways(connection) if is_known else (),
                tuple(month for (month,) in months),
            )
    finally:
        await connection.close()


async def gateways_of(url: Secret) -> tuple[Gateway, ...]:
    """The gateways of a PostgreSQL database at any revision. Raises DatabaseUnreachable."""
    connection = await connect_patiently(url, "palyra db upgrade")
    try:
        return await _gateways(connection) if await connection.fetchval(_HAS_NODES) else ()
    finally:
        await connection.close()


def is_known(revision: str) -> bool:
    """Whether this version has a revision, and so knows the way from there to the newest."""
    from alembic.script import ScriptDirectory

    directory = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    return any(each.revision == revision for each in directory.walk_revisions())


async def _gateways(connection: Any) -> tuple[Gateway, ...]:
    rows = await connection.fetch(sql.NODES)
    return tuple(Gateway(row["id"], row["name"], row["is_late"]) for row in rows)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that leaves nothing beside the file, also where the folder cannot be written."""
    if _log_of(path).exists():
        return connect_read_only(path)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _revision(connection: sqlite3.Connection) -> str | None:
    (tables,) = connection.execute(sqlite_sql.HAS_REVISION).fetchone()
    row = connection.execute(sqlite_sql.REVISION).fetchone() if tables else None
    return None if row is None else row[0]
