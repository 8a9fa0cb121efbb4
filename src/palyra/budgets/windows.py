"""Windows: the concrete stretch of time that a budget counts, computed from (interval, zone, instant).

Invariant P1: in every zone the windows of an interval partition time, so that no instant is counted
twice or not at all. Two rules give that:

* A day (week, month) starts at the first instant whose local date has reached its first date. A
  midnight that the clock skips moves to the skip, a midnight that comes twice counts once, a date
  that a zone leaves out has no window, and a day that the clock repeats is one long day.
* An hour is one elapsed hour on the grid of full hours of the local clock. The repeated hour in
  autumn is a window of its own. Only where the clock moves by a part of an hour (Lord Howe) does
  the grid move; the hour that the move cuts short ends there.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from palyra.core.instant import END_OF_TIME, NANOSECONDS, Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SECOND = timedelta(seconds=1)
_DAY_S = 86_400
_HOUR_S = 3_600
_BEGINNING_OF_TIME = Instant(-(2**63))


class Interval(StrEnum):
    """How long a budget counts before it starts at zero again. ``daily`` and the like are accepted."""

    REQUEST = "request"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"

    @classmethod
    def _missing_(cls, value: object) -> "Interval | None":
        aliases = {"hourly": cls.HOUR, "daily": cls.DAY, "weekly": cls.WEEK, "monthly": cls.MONTH}
        return aliases.get(value) if isinstance(value, str) else None


class Window(NamedTuple):
    """``start <= t < end``, in nanoseconds since the epoch."""

    start: Instant
    end: Instant


class Windows:
    """The windows of one interval in one zone. Keeps the last one: traffic asks for it again and again.

    Hold one per policy. Safe to share between threads: the kept window is swapped as a whole.
    """

    __slots__ = ("_last", "interval", "zone")

    def __init__(self, interval: Interval, zone: ZoneInfo) -> None:
        self.interval = interval
        self.zone = zone
        self._last = Window(Instant(0), Instant(0))

    def at(self, now: Instant) -> Window:
        """The window that contains ``now``."""
        last = self._last
        if last[0] <= now < last[1]:
            return last
        found = window_at(self.interval, self.zone, now)
        self._last = found
        return found


def window_at(interval: Interval, zone: ZoneInfo | str, at: Instant) -> Window:
    """The window of ``interval`` in the IANA ``zone`` that contains ``at`` (before END_OF_TIME).

    ``week`` starts on Monday (ISO 8601). ``total`` is everything since the epoch, and everything
    before it. ``request`` is the instant itself: a call shares its window with no other call.
    Raises what ``zoneinfo.ZoneInfo`` raises for an unknown zone name.
    """
    where = ZoneInfo(zone) if isinstance(zone, str) else zone
    match interval:
        case Interval.REQUEST:
            return Window(at, Instant(at + 1))
        case Interval.TOTAL:
            return Window(Instant(0), END_OF_TIME) if at >= 0 else Window(_BEGINNING_OF_TIME, Instant(0))
        case Interval.HOUR:
            start, end = _hour(at // NANOSECONDS, where)
        case _:
            start, end = _calendar(interval, at // NANOSECONDS, where)
    return Window(Instant(start * NANOSECONDS), Instant(min(end * NANOSECONDS, END_OF_TIME)))


def _calendar(interval: Interval, second: int, zone: ZoneInfo) -> tuple[int, int]:
    first = _first_date(interval, _local(second, zone).date())
    following = _next_date(interval, first)
    start, end = _first_second_of(first, zone), _first_second_of(following, zone)
    # The clock may fall back across midnight: the local date is then behind the window it belongs to.
    while second >= end:
        first, following = following, _next_date(interval, following)
        start, end = end, _first_second_of(following, zone)
    return start, end


def _first_date(interval: Interval, day: date) -> date:
    match interval:
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)
        case _:
            return day


def _next_date(interval: Interval, first: date) -> date:
    match interval:
        case Interval.WEEK:
            return first + timedelta(days=7)
        case Interval.MONTH:
            return (first + timedelta(days=31)).replace(day=1)
        case _:
            return first + timedelta(days=1)


def _first_second_of(day: date, zone: ZoneInfo) -> int:
    """The first second since the epoch at which the local date is ``day`` or later."""
    local_midnight = (day.toordinal() - _EPOCH_ORDINAL) * _DAY_S
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    first = local_midnight - _offset(midnight)
    below = local_midnight - _offset(midnight.replace(fold=1))
    if below >= first:  # midnight exists; where it comes twice, fold=0 is the first
        return first
    while first - below > 1:  # the clock skips midnight, somewhere in (below, first]
        middle = (below + first) // 2
        if _local(middle, zone).date() >= day:
            first = middle
        else:
            below = middle
    return first


def _hour(second: int, zone: ZoneInfo) -> tuple[int, int]:
    phase = _phase(second, zone)
    start = second - (second + phase) % _HOUR_S
    end = start + _HOUR_S
    if _phase(start, zone) != phase:
        start = _phase_change(start, second, zone)
    if _phase(end - 1, zone) != phase:
        end = _phase_change(second, end - 1, zone)
    return start, end


def _phase_change(before: int, after: int, zone: ZoneInfo) -> int:
    """The first second in (before, after] on the hour grid of ``after``; the two grids differ."""
    wanted = _phase(after, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _phase(middle, zone) == wanted:
            after = middle
        else:
            before = middle
    return after


def _phase(second: int, zone: ZoneInfo) -> int:
    return _offset(_local(second, zone)) % _HOUR_S


def _local(second: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(seconds=second)).astimezone(zone)


def _offset(moment: datetime) -> int:
    return (moment - moment.replace(tzinfo=UTC, fold=0)) // -_SECOND
