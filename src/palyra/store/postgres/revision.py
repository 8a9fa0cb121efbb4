"""The schema of a shared database: which revision it is at, and how it is brought to the newest."""

from collections.abc import Awaitable
from typing import Any

import asyncpg

from palyra.core.errors import PalyraError
from palyra.core.secret import Secret
from palyra.store.migrate import HEAD, upgrade
from palyra.store.postgres import sql
from palyra.store.postgres.link import CONNECT_S, connect
from palyra.store.postgres.reading import SQLALCHEMY_URL

UNFINISHED = f"{HEAD}-unfinished-copy"
"""The revision of a copy that is not whole yet: it is not ``HEAD``, so that no gateway starts on it."""


class WrongRevision(PalyraError):
    """The schema of a shared database is not the one that this version needs."""

    status = 409
    code = "database_revision"


class DatabaseUnreachable(PalyraError):
    """A shared database cannot be reached."""

    status = 503
    code = "database_unreachable"


async def connect_patiently(url: Secret, name: str) -> Any:
    """A connection whose statements may take as long as they do. Raises DatabaseUnreachable."""
    connecting = asyncpg.connect(url.reveal(), timeout=CONNECT_S, server_settings={"application_name": name})
    return await _reached(connecting)


async def revision_of(connection: Any) -> str | None:
    """The revision that a connection's database is at, None for one without a schema."""
    if not await connection.fetchval(sql.HAS_REVISION):
        return None
    return await connection.fetchval(sql.REVISION)


async def server_revision(url: Secret) -> str | None:
    """The same of the database at ``url``. Raises DatabaseUnreachable."""
    connection = await _reached(connect(url, "palyra"))
    try:
        return await revision_of(connection)
    finally:
        await connection.close()


async def _reached(connecting: Awaitable[Any]) -> Any:
    try:
        return await connecting
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DatabaseUnreachable(f"the database cannot be reached: {reason}") from error


async def check_server(url: Secret) -> None:
    """Make the schema of a new PostgreSQL database; an older one is left to ``palyra db upgrade``.

    Gateways of two versions must not share a schema that only one of them knows. Raises WrongRevision.
    """
    found = await server_revision(url)
    if found is None:
        await upgrade_server(url)
    elif found == UNFINISHED:
        raise WrongRevision(
            "a copy into this database was begun and not finished; run palyra db copy again, to its end"
        )
    elif found != HEAD:
        raise WrongRevision(
            f"the database is at revision {found}, this version needs {HEAD}; "
            "stop all gateways and run: palyra db upgrade"
        )


async def upgrade_server(url: Secret) -> None:
    """Run every revision that a PostgreSQL database lacks, in one transaction; one process at a time does."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(
        SQLALCHEMY_URL, poolclass=NullPool, async_creator=lambda: connect_patiently(url, "palyra")
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(7207190012)"))
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
