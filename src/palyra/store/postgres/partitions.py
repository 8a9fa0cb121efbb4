"""Months of the large tables: made before they begin, dropped whole when retention ends."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import structlog

from palyra.core.instant import NANOSECONDS, Instant
from palyra.store.postgres import sql
from palyra.store.postgres.link import Connection

MONTHS_AHEAD = 2

_log = structlog.get_logger("palyra.store")


class Month(NamedTuple):
    """A month of the calendar, UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, instant: Instant) -> "Month":
        """The month of an instant."""
        return cls(*datetime.fromtimestamp(instant // NANOSECONDS, UTC).timetuple()[:2])

    def since(self, other: "Month") -> int:
        """How many months it begins after another one."""
        return (self.year - other.year) * 12 + self.month - other.month

    @property
    def name(self) -> str:
        """As in the names of partitions: ``2026_01``."""
        return f"{self.year:04}_{self.month:02}"

    @property
    def following(self) -> "Month":
        """The month after this one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def start(self) -> int:
        """When it begins, in nanoseconds since the epoch."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()) * NANOSECONDS


async def ensure_partitions(connection: Connection, now: Instant) -> None:
    """Make the month of ``now`` and those after it, where they are missing and nobody is in the way.

    A month that began without its partition has rows in the default one, and stays there.
    """
    await connection.execute(sql.LOCK_BRIEFLY)
    month = Month.of(now)
    for _ in range(MONTHS_AHEAD + 1):
        try:
            await make_partitions(connection, [month])
        except asyncpg.PostgresError as error:
            _log.warning("a month has no partition of its own", month=month.name, reason=str(error))
        month = month.following


async def make_partitions(connection: Connection, months: Iterable[Month]) -> None:
    """Make these months, where they are missing."""
    for each in months:
        await connection.fetch(sql.PARTITION, each.name, each.start, each.following.start)
