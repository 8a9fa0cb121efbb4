"""The journals of a shared ledger as a file for auditors, while its gateways run, by one snapshot."""

from collections.abc import Mapping
from typing import Any

from palyra.core.secret import Secret
from palyra.store.export import Contents, Course, Exporter, Journal, Request, Tell, Write
from palyra.store.migrate import HEAD
from palyra.store.page import JournalPage
from palyra.store.postgres import sql
from palyra.store.postgres.revision import WrongRevision, connect_patiently, revision_of

_PAGES_AT_ONCE = 200
END = 2**63 - 1
"""After every instant."""


async def export_shared(
    url: Secret, request: Request, write: Write, tell: Tell = lambda _done, _total: None
) -> Contents:
    """Export the journals of all gateways; one whose old months were dropped begins behind them.

    Raises InvariantViolation (G3) where a chain is broken: then no last line is written. WrongRevision where
    there is no whole ledger of this version, and DatabaseUnreachable.
    """
    connection = await connect_patiently(url, "palyra audit")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await revision_of(connection)
            if found != HEAD:
                raise WrongRevision(f"the database is at revision {found}, this version needs {HEAD}")
            journals = await _journals(connection, request)
            exporter = Exporter(request, "postgresql", journals, write, tell)
            for journal in journals:
                await _add(connection, exporter, journal)
            return exporter.end()
    finally:
        await connection.close()


async def _journals(connection: Any, request: Request) -> list[Journal]:
    """What there is of each journal, in the order of their nodes."""
    carried = {row["node"]: row for row in await connection.fetch(sql.CARRIED)}
    found = {
        node: Journal(node, row["next_seq"], row["next_seq"] - 1, row["chain"].hex(), row["chain"].hex())
        for node, row in carried.items()
    }
    for row in await connection.fetch(
        sql.COVERED, request.since or 0, END if request.until is None else request.until
    ):
        found[row["node"]] = _covered(row, carried.get(row["node"]))
    return [found[node] for node in sorted(found)]


def _covered(row: Any, carried: Mapping[str, Any] | None) -> Journal:
    """A journal of which there are pages."""
    first, after = row["first"], row["after"]
    if first is None:
        first, after = (carried["next_seq"], carried["chain"]) if carried else (1, b"")
    follows, head = row["follows"], row["head"]
    if follows is None or follows < first:
        follows, head = first, after
    # Page 0, of a journal that was copied from an old SQLite file, has no record: the first is behind it.
    return Journal(row["node"], max(first, 1), max(follows, 1) - 1, after.hex(), head.hex())


async def _add(connection: Any, exporter: Exporter, journal: Journal) -> None:
    course = Course(journal)
    pages = connection.cursor(sql.PAGES, journal.node, journal.first, prefetch=_PAGES_AT_ONCE)
    async for row in pages:
        page = JournalPage(*row)
        if page.seq > journal.last:
            break
        exporter.page(course, page)
    course.end()
