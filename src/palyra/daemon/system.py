"""What the path takes from the system: the clock and new ids."""

import time

import uuid_utils

from palyra.core.instant import Instant


class SystemClock:
    """The wall clock, held so that it never runs backwards (P3). ``floor`` is the last instant on record."""

    __slots__ = ("_last",)

    def __init__(self, floor: Instant = Instant(0)) -> None:  # noqa: B008 (an integer)
        self._last = floor

    def now(self) -> Instant:
        """See ``Clock.now``."""
        now = time.time_ns()
        if now > self._last:
            self._last = Instant(now)
        return self._last

    def not_before(self, floor: Instant) -> None:
        """Start from the last instant that the journal knows."""
        self._last = max(self._last, floor)


class TimeSortedIds:
    """Request ids that sort by time: UUIDv7 behind a prefix."""

    def request_id(self) -> str:
        """See ``Ids.request_id``."""
        return f"req_{uuid_utils.uuid7().hex}"
