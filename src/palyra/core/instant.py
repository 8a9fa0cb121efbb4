"""Instants: integer nanoseconds since the Unix epoch, UTC. Nobody in the pure core reads a clock."""

from datetime import UTC, datetime, timedelta
from typing import NewType

Instant = NewType("Instant", int)

NANOSECONDS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

END_OF_TIME = Instant(2**63 - 1)
"""The end of a window that never ends (about the year 2262)."""


def from_datetime(moment: datetime) -> Instant:
    """Exact conversion. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without a time zone is not an instant")
    return Instant((moment - _EPOCH) // _MICROSECOND * 1_000)


def to_datetime(instant: int) -> datetime:
    """UTC datetime, truncated to the microsecond."""
    return _EPOCH + timedelta(microseconds=instant // 1_000)


def isoformat(instant: int) -> str:
    """RFC 3339 in UTC with a ``Z``, for example ``2026-11-23T15:00:00Z``."""
    return to_datetime(instant).isoformat().replace("+00:00", "Z")


def to_the_second(instant: int) -> Instant:
    """The start of its second: what is foreseen is not known to the nanosecond."""
    return Instant(instant - instant % NANOSECONDS)


def parse_instant(text: str) -> Instant:
    """Parse RFC 3339. Raises ValueError if the text has no time zone or is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write RFC 3339 such as 2026-12-31T00:00:00Z") from None
    return from_datetime(moment)
