"""Hours of UTC: the grain of the rollups, and runs of them that reports put together."""

from collections.abc import Sequence
from typing import NamedTuple

from palyra.core.instant import NANOSECONDS, Instant

HOUR_NS = 3_600 * NANOSECONDS
HALF_DAY_NS = 12 * HOUR_NS
"""Half-days of UTC begin at midnight and at noon."""
DAY_NS = 24 * HOUR_NS


class HourRun(NamedTuple):
    """``buckets`` of ``step`` nanoseconds, from ``start``; ``first`` is the first number."""

    start: Instant
    step: int
    buckets: int
    first: int

    @property
    def end(self) -> Instant:
        """The end of the last bucket."""
        return Instant(self.start + self.step * self.buckets)


def next_hour(at: int) -> Instant:
    """The first full hour at or after ``at``."""
    return Instant(-(-at // HOUR_NS) * HOUR_NS)


def bucket_of(hour: int, runs: Sequence[HourRun]) -> int:
    """The number of the bucket that has ``hour``. Raises ValueError for an hour that no run has."""
    for run in runs:
        if run.start <= hour < run.end:
            return run.first + (hour - run.start) // run.step
    raise ValueError(f"no run has the hour {hour}")
