"""Sums for people, made anew in a shared ledger that no gateway works on."""

from collections.abc import Sequence
from typing import Any

from palyra.core.secret import Secret
from palyra.store.derived import Counted
from palyra.store.migrate import HEAD
from palyra.store.postgres import sql
from palyra.store.postgres.revision import WrongRevision, connect_patiently, revision_of
from palyra.store.rebuild import CALLS_AT_ONCE, Pages, Progress, Rebuilt, anew, read_call
from palyra.store.write import HOUR_NS


async def rebuild_shared(url: Secret, progress: Progress = lambda _done, _total: None) -> Rebuilt:
    """Make the sums of a PostgreSQL database anew, in one transaction, as rows of node 0.

    Gateways that join meanwhile wait for it. Raises WrongRevision where the schema is not this version's, and
    DatabaseUnreachable.
    """
    connection = await connect_patiently(url, "palyra db rebuild-rollups")
    try:
        found = await revision_of(connection)
        if found != HEAD:
            raise WrongRevision(f"the database is at revision {found}, this version needs {HEAD}")
        async with connection.transaction():
            await connection.execute(sql.LOCK_SUMS)
            return await _rebuild(connection, progress)
    finally:
        await connection.close()


async def _rebuild(connection: Any, progress: Progress) -> Rebuilt:
    total, oldest = await connection.fetchrow(sql.CALLS_KEPT)
    if oldest is None:
        return Rebuilt(0, 0)
    since = oldest - oldest % HOUR_NS
    for statement in sql.FORGET_SUMS:
        await connection.execute(statement, since)
    kept = {tuple(row) for row in await connection.fetch(sql.SESSIONS_KEPT)}
    pages = Pages()
    done = 0
    cursor = await connection.cursor(sql.EVERY_CALL)
    while some := await cursor.fetch(CALLS_AT_ONCE):
        sums = anew([await _call(connection, pages, row) for row in some], kept)
        tables = (sums.rollups, sums.latencies, sums.tags, sums.sessions, sums.session_parts)
        for statement, rows in zip(sql.ADD_SUMS, tables, strict=True):
            if rows:
                await connection.executemany(statement, rows)
        done += len(some)
        progress(done, total)
    for statement in (*sql.FORGET_HALF_DAYS, *sql.FILL_HALF_DAYS):
        await connection.execute(statement)
    return Rebuilt(done, since)


async def _call(connection: Any, pages: Pages, row: Sequence[Any]) -> Counted | None:
    state, node, page, place, end_page, end_place = row
    decision = await _line(connection, pages, node, page, place)
    end = None if end_page is None else await _line(connection, pages, node, end_page, end_place)
    return read_call(state, decision, end)


async def _line(connection: Any, pages: Pages, node: int, page: int, place: int) -> bytes:
    lines = pages.find(node, page)
    if lines is None:
        lines = pages.add(node, page, await connection.fetchval(sql.DOCUMENTS, node, page))
    return lines[place]
