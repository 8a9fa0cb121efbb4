"""Forecast of one budget in one window: where it will stand at the end, and when it runs out.

Use follows the clock, so it is not carried on in a straight line. Three bases, the best one that the past
allows:

* ``hour_of_week``, from 14 days of past on: every hour of the week has its own usual use, the mean of the
  last 28 days. It is raised or lowered by the **level**: what the last days used against what is usual for
  them. A day counts half as much as one that is 3 days younger, so that a team that grows or an agent that
  runs away shows within a day, and one odd hour does not.
* ``hour_of_day``, from 3 days on: every hour of the day has the mean of the last 7 days. There is no level:
  weekdays cannot be told apart yet, and a weekend would lower it for the week after.
* ``rate``, before that and in windows of less than 3 hours: what was used so far goes on evenly.

What is expected is what was consumed, and for each hour to come its usual use times the level.

The **band** comes from the misses: for each day of the past, what the days before it made expect, against
what came. What was wrong about a level stays wrong for all days to come, so the band widens faster than the
days add up. Eight of ten outcomes should be in it if the days to come are like the past. Where there are too
few misses to tell, it reaches from nothing more to twice as much more.

Ratios are floats, amounts are rounded to integers once, at the end. None of this is money in the ledger.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from palyra.alerts.hourly import (
    DAYS_OF_WEEK,
    HOURS_OF_DAY,
    HOURS_OF_WEEK,
    HourlyUse,
    hour_number,
)
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.core.money import INT64_MAX

PAST_DAYS = 28
"""Older hours are not looked at."""
AHEAD_NS = 31 * DAY_NS
"""So far into a window without a near end is looked: as far as the longest month."""

_DAYS_FOR_WEEK, _DAYS_FOR_DAY = 14, 3
_HALF_LIFE_OF_LEVEL = 3
"""In days."""
_SHORT_WINDOW_NS = 3 * HOUR_NS
_LEAST_SHARE = 10
"""A rate needs a tenth of the window, a day at most: one call is no rate."""
_USUAL_HOURS = 12
"""The level starts as if so many average hours had been as usual: noise where little is usual is no level."""
_WARM_UP_DAYS = 3
_MISSES_MIN = 3
_EIGHT_OF_TEN = 1.2816


class Basis(StrEnum):
    """What a forecast goes by: see the module."""

    HOUR_OF_WEEK = "hour_of_week"
    HOUR_OF_DAY = "hour_of_day"
    RATE = "rate"


class Forecast(NamedTuple):
    """How a window will go on. Amounts in the unit of the metric.

    ``expected`` is the balance at ``until``, the end of the window or 31 days ahead; ``low`` and ``high`` are
    its band, ``consumed <= low <= expected <= high``. ``exhausted_at`` is when the limit is reached: never
    before ``now``, and None if that is not expected by ``until``.
    """

    basis: Basis
    until: Instant
    consumed: int
    limit: int
    expected: int
    low: int
    high: int
    exhausted_at: Instant | None

    def threatens(self, *, firing: bool) -> bool:
        """Whether to warn, or to go on doing so if an alert is ``firing``.

        It begins where the middle between ``low`` and ``expected`` reaches the limit, which is a chance of
        three in four, and ends where ``expected`` no longer does: so it does not flap. A budget that is
        exhausted already is no forecast.
        """
        if self.consumed >= self.limit:
            return False
        return (self.expected if firing else (self.low + self.expected) // 2) >= self.limit


class _Rhythm(NamedTuple):
    """The usual use of each hour of the day or week, the level on it, and how far a day is from both."""

    basis: Basis
    usual: Sequence[float]
    level: float
    keep: float
    """What a day counts against the one after it."""
    miss: float | None
    """Of one day, in the unit of the metric; None if too few are known."""


_Segment = tuple[int, int, float]
"""A stretch of time to come, at most an hour where there is a rhythm: its begin and end, and its use."""


def forecast(
    hours: Iterable[HourlyUse], start: Instant, end: Instant, now: Instant, consumed: int, limit: int
) -> Forecast | None:
    """The window [start, end) of an account that has ``consumed`` (posted and held) of ``limit`` at ``now``.

    ``hours`` is the use of the same account or entity by the hour, in any order, from before the window too,
    up to 28 days back; hours that are left out after the first one used nothing. The running hour may be left
    out. None if too little is known to tell. Raises ValueError unless ``start <= now <= end``.
    """
    if not start <= now <= end:
        raise ValueError("a forecast is made within its window")
    until = Instant(min(end, now + AHEAD_NS))
    first, past = _past(hours, now)
    rhythm = None if end - start < _SHORT_WINDOW_NS else _rhythm(first, past)
    if rhythm is None:
        began = max(start, first * HOUR_NS) if past else start
        if now < end and now - began < min((end - start) // _LEAST_SHARE, DAY_NS):
            return None
        segments = [(now, until, consumed / max(1, now - began) * (until - now))]
    else:
        segments = _by_rhythm(rhythm, now, until)
    more = sum(amount for _, _, amount in segments)
    band = more if rhythm is None or rhythm.miss is None else _band(rhythm.miss, rhythm.keep, until - now)
    expected = _balance(consumed, more)
    return Forecast(
        Basis.RATE if rhythm is None else rhythm.basis,
        until,
        consumed,
        limit,
        expected,
        _balance(consumed, max(0.0, more - band)),
        _balance(consumed, more + band),
        None if expected < limit else _reached(segments, limit - consumed, now, until),
    )


def _past(hours: Iterable[HourlyUse], now: Instant) -> tuple[int, list[int]]:
    """The number of the first hour, and the use of each whole hour from it to ``now``."""
    this = hour_number(now)
    oldest = this - PAST_DAYS * HOURS_OF_DAY
    known = [(start // HOUR_NS, amount) for start, amount in hours]
    first = max(oldest, min((number for number, _ in known), default=this))
    past = [0] * max(0, this - first)
    for number, amount in known:
        if first <= number < this:
            past[number - first] += max(0, amount)
    return first, past


def _rhythm(first: int, past: Sequence[int]) -> _Rhythm | None:
    """None if the past is too short for any."""
    days = len(past) // HOURS_OF_DAY
    if days >= _DAYS_FOR_WEEK:
        keep = 0.5 ** (1 / _HALF_LIFE_OF_LEVEL)
        usual = _usual(first, past, HOURS_OF_WEEK)
        level, miss = _level(first, past, usual, keep)
        return _Rhythm(Basis.HOUR_OF_WEEK, usual, level, keep, miss)
    if days >= _DAYS_FOR_DAY:
        keep = 0.5 ** (1 / DAYS_OF_WEEK)
        week = past[-HOURS_OF_WEEK:]
        first += len(past) - len(week)
        usual = _usual(first, week, HOURS_OF_DAY)
        return _Rhythm(Basis.HOUR_OF_DAY, usual, 1.0, keep, _level(first, week, usual, keep)[1])
    return None


def _usual(first: int, past: Sequence[int], slots: int) -> list[float]:
    """The mean of the hours of each slot: an hour of the day or of the week, by its number."""
    each = [past[(slot - first) % slots :: slots] for slot in range(slots)]
    return [sum(amounts) / len(amounts) for amounts in each]


def _level(
    first: int, past: Sequence[int], usual: Sequence[float], keep: float
) -> tuple[float, float | None]:
    """The level after the last day, and by how much a day misses what the days before it made expect."""
    slots = len(usual)
    turn = first % slots
    usual_then = [*usual[turn:], *usual[:turn]] * (len(past) // slots + 1)
    recent = as_usual = sum(usual) / slots * _USUAL_HOURS
    misses: list[float] = []
    for day, begin in enumerate(range(len(past) % HOURS_OF_DAY, len(past), HOURS_OF_DAY)):
        end = begin + HOURS_OF_DAY
        actual = sum(past[begin:end])
        expected = sum(usual_then[begin:end])
        if day >= _WARM_UP_DAYS and as_usual > 0:
            misses.append(actual - recent / as_usual * expected)
        recent, as_usual = recent * keep + actual, as_usual * keep + expected
    level = recent / as_usual if as_usual > 0 else 0.0
    if len(misses) < _MISSES_MIN:
        return level, None
    # What is usual was taken from the same days, so it is nearer to them than to those to come.
    times = len(past) / slots
    return level, sqrt(sum(each * each for each in misses) / len(misses)) * times / (times - 1)


def _by_rhythm(rhythm: _Rhythm, now: Instant, until: Instant) -> list[_Segment]:
    usual, slots = rhythm.usual, len(rhythm.usual)
    by_ns = rhythm.level / HOUR_NS
    bounds = [now, *range((now // HOUR_NS + 1) * HOUR_NS, until, HOUR_NS), until]
    return [
        (begin, end, usual[begin // HOUR_NS % slots] * (end - begin) * by_ns)
        for begin, end in pairwise(bounds)
    ]


def _band(miss: float, keep: float, ahead_ns: int) -> float:
    """How far ``expected`` may be off, either way, where one day misses by ``miss``.

    The miss of a day is in the sum once, and ``1 - keep`` of it in each day after, through the level.
    """
    days = ahead_ns / DAY_NS
    variance = 0.0
    for day in range(int(days) + 1):
        variance += min(1.0, days - day) * (1 + day * (1 - keep)) ** 2
    return _EIGHT_OF_TEN * miss * sqrt(variance)


def _balance(consumed: int, more: float) -> int:
    return min(consumed + round(more), max(consumed, INT64_MAX))


def _reached(segments: Sequence[_Segment], room: int, now: Instant, until: Instant) -> Instant:
    """When ``room`` is used up, which it is by ``until``."""
    if room <= 0:
        return now
    used = 0.0
    for begin, end, amount in segments:
        if amount > 0 and used + amount >= room:
            return Instant(min(end, begin + round((end - begin) * max(0.0, room - used) / amount)))
        used += amount
    return until
