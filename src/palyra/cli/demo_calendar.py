"""When things happen in the past of the demo: all of it follows from the moment at which it ends.

It is a month, and the quieter one before it, so that there is something to compare the month with.
"""

from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import NANOSECONDS, Instant, to_datetime

SECOND_NS = NANOSECONDS
MINUTE_NS = 60 * SECOND_NS
MONTH_DAYS = 31
DAYS = 61
BEGINNINGS = 0.15
"""How much of the work of the month there was at first."""
WEEKEND = 5
"""The first weekday that is none; Monday is 0."""


def midnight(at: int) -> Instant:
    """The start of the day in UTC."""
    return Instant(at // DAY_NS * DAY_NS)


def weekday(at: int) -> int:
    """0 for Monday."""
    return to_datetime(at).weekday()


def begin_of(now: Instant, days: int = DAYS) -> Instant:
    """The start of the days that end at ``now``."""
    return Instant(now - days * DAY_NS)


def growth(now: Instant, day: int) -> float:
    """How much of its later work a team does on a day: it grows until the month begins."""
    before = max(0.0, (now - day) / DAY_NS - MONTH_DAYS)
    return 1 - (1 - BEGINNINGS) * min(1.0, before / (DAYS - MONTH_DAYS))


def working_day(now: Instant, days_ago: int) -> Instant:
    """The start of the day so long ago, or of the last working day before it."""
    day = midnight(now) - days_ago * DAY_NS
    while weekday(day) >= WEEKEND:
        day -= DAY_NS
    return Instant(day)


def new_model_from(now: Instant) -> Instant:
    """When a team tries a model that has no price yet."""
    return Instant(working_day(now, 14) + 9 * HOUR_NS + 10 * MINUTE_NS)


def priced_from(now: Instant) -> Instant:
    """When that model got its price: in the afternoon of the same day."""
    return Instant(working_day(now, 14) + 15 * HOUR_NS + 30 * MINUTE_NS)


def outage(now: Instant) -> tuple[Instant, Instant]:
    """When the provider of the dearest model does not serve."""
    start = working_day(now, 9) + 14 * HOUR_NS + 5 * MINUTE_NS
    return Instant(start), Instant(start + 26 * MINUTE_NS)


def runaway_from(now: Instant) -> Instant:
    """When an agent begins to loop: four days before the end."""
    return Instant(now - 4 * DAY_NS)
