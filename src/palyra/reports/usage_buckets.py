"""Buckets of a timeline: hours, days or months of somebody's own clock, made of whole hours of UTC.

Usage is stored by the hour of UTC, so an hour belongs to the bucket in which it starts, and buckets partition
the hours in every zone, over every change of the clock (P1). Where a zone is not a whole number of hours from
UTC, a day begins with the first hour of UTC after its midnight: at most 45 minutes late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from palyra.budgets.windows import Interval, window_at
from palyra.core.errors import FieldError
from palyra.core.hours import DAY_NS, HALF_DAY_NS, HOUR_NS, HourRun, next_hour
from palyra.core.instant import Instant, to_datetime
from palyra.reports.stretch import Stretch

BUCKETS_MAX = 1_000
POINTS_MAX = 48
_POINTS_OF_HOURS = 4
_HOURS_UP_TO = 3 * DAY_NS
_DAYS_UP_TO = 92 * DAY_NS


class Unit(StrEnum):
    """How long a bucket is. ``auto``: hours up to 3 days, days up to 92 days, else months."""

    AUTO = "auto"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Bucket(NamedTuple):
    """``start <= hour < end``; ``label`` is the date, the month or the local time at its start."""

    start: Instant
    end: Instant
    label: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch in buckets, in order. ``aligned``: every edge of the local clock is a full hour of UTC."""

    unit: Unit
    buckets: Sequence[Bucket]
    runs: Sequence[HourRun]
    aligned: bool


def cut(stretch: Stretch, unit: Unit, zone: ZoneInfo) -> Cut:
    """Cut a stretch in buckets of ``zone``; the first and the last may be parts of one.

    Raises FieldError("bucket") for more than BUCKETS_MAX.
    """
    unit = _fitting(stretch) if unit is Unit.AUTO else unit
    first, last = next_hour(stretch.since), next_hour(stretch.until)
    if unit is Unit.HOUR and last - first > BUCKETS_MAX * HOUR_NS:
        days = BUCKETS_MAX // 24
        raise FieldError("bucket", f"'hour' is for up to {days} days; take 'day', or a shorter time.")
    buckets: list[Bucket] = []
    aligned = True
    while first < last:
        end, label, whole = _bucket_at(first, unit, zone)
        aligned = aligned and whole
        end = min(end, last)
        buckets.append(Bucket(first, end, label))
        first = end
    return Cut(unit, buckets, runs_of(buckets), aligned)


def runs_of(buckets: Sequence[Bucket]) -> list[HourRun]:
    """Buckets side by side as few runs: one for each stretch of buckets that are equally long."""
    runs: list[HourRun] = []
    for number, bucket in enumerate(buckets):
        step = bucket.end - bucket.start
        if runs and runs[-1].step == step:
            runs[-1] = runs[-1]._replace(buckets=runs[-1].buckets + 1)
        else:
            runs.append(HourRun(bucket.start, step, 1, number))
    return runs


def points_of(stretch: Stretch) -> HourRun:
    """At most POINTS_MAX buckets of equal length, for a small drawing; at least one.

    Of a long stretch they are whole half-days of UTC, since those are read at once: the first bucket begins
    before the stretch then.
    """
    first, last = next_hour(stretch.since), next_hour(stretch.until)
    grain = HOUR_NS
    if last - first > _POINTS_OF_HOURS * POINTS_MAX * HOUR_NS:
        grain = HALF_DAY_NS
        first = Instant(first - first % HALF_DAY_NS)
    count = max(1, -(-(last - first) // grain))
    step = -(-count // POINTS_MAX)
    return HourRun(first, step * grain, -(-count // step), 0)


def _fitting(stretch: Stretch) -> Unit:
    length = stretch.until - stretch.since
    if length <= _HOURS_UP_TO:
        return Unit.HOUR
    return Unit.DAY if length <= _DAYS_UP_TO else Unit.MONTH


def _bucket_at(hour: Instant, unit: Unit, zone: ZoneInfo) -> tuple[Instant, str, bool]:
    """The end of the bucket that has ``hour``, its label, and whether it begins with a full hour of UTC."""
    local = to_datetime(hour).astimezone(zone)
    if unit is Unit.HOUR:
        whole = local.minute == 0 and local.second == 0
        return Instant(hour + HOUR_NS), local.isoformat(), whole
    interval = Interval.DAY if unit is Unit.DAY else Interval.MONTH
    start, end = window_at(interval, zone, hour)
    # The clock may fall back over midnight: the window has the date of its first moment.
    label = to_datetime(start).astimezone(zone).date().isoformat()
    return next_hour(end), label if unit is Unit.DAY else label[:7], start % HOUR_NS == 0
