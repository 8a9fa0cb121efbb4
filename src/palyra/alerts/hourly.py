"""Use by the hour: what the checks of alerts look at."""

from typing import NamedTuple

from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant

HOURS_OF_DAY = 24
DAYS_OF_WEEK = 7
HOURS_OF_WEEK = HOURS_OF_DAY * DAYS_OF_WEEK


class HourlyUse(NamedTuple):
    """What was used in one hour of UTC. ``amount`` in the unit of the metric: nano-USD, or a count."""

    start: Instant
    amount: int


def hour_number(at: Instant) -> int:
    """Whole hours from the epoch to ``at``; hours of the same day time differ by multiples of 24."""
    return at // HOUR_NS
