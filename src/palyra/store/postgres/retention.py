"""Months that are dropped: their sums are carried on first, in the same transaction."""

from typing import Any

import structlog

from palyra.core.instant import Instant
from palyra.store.page import JournalPage
from palyra.store.postgres import sql
from palyra.store.postgres.carried import Carried
from palyra.store.postgres.partitions import Month

_log = structlog.get_logger("palyra.store")


async def drop_old_months(connection: Any, now: Instant, months: int) -> list[str]:
    """Drop the months of journal, documents and decisions that ended ``months`` months before this one.

    One gateway at a time does. Returns what was dropped, such as ``2026_01``. Sessions go with their
    last call; rollups and balances stay.
    """
    await connection.execute(sql.LOCK_BRIEFLY)
    current = Month.of(now)
    dropped: list[str] = []
    for (name,) in await connection.fetch(sql.MONTHS):
        month = Month(int(name[:4]), int(name[5:]))
        if current.since(month) <= months:
            break
        async with connection.transaction():
            if not await connection.fetchval(sql.ONE_AT_A_TIME):
                return dropped
            if await connection.fetchval(sql.HELD_BEFORE, month.following.start):
                break
            await _carry(connection, month.following.start)
            await connection.fetch(sql.DROP_MONTH, name)
            await connection.execute(sql.DROP_OLD_SESSIONS, month.following.start)
            await connection.execute(sql.DROP_OLD_CHANGES, month.following.start)
        _log.info("month dropped", month=name)
        dropped.append(name)
    return dropped


async def _carry(connection: Any, until: int) -> None:
    """Add the pages before ``until`` to what is carried of each journal."""
    carried = {row[0]: row for row in await connection.fetch(sql.CARRIED)}
    current: Carried | None = None
    async for row in connection.cursor(sql.PAGES_BEFORE, until):
        if current is None or current.node != row[0]:
            if current is not None:
                await connection.execute(sql.CARRY, *current.row())
            before = carried.get(row[0])
            current = Carried.nothing(row[0]) if before is None else Carried.read(before)
        current = current.after(JournalPage(*row[1:]))
    if current is not None:
        await connection.execute(sql.CARRY, *current.row())
