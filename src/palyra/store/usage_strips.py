"""Which sums a report reads: half-days where it can, hours at the edges, so that rows are few.

| what is asked for                        | what is read                                                   |
|------------------------------------------|----------------------------------------------------------------|
| a stretch of time                        | the half-days within, the hours before and behind them         |
| buckets of whole half-days               | the same                                                       |
| buckets that begin at other hours (a day | the half-days between the midnights and noons that are nearest |
| or a month of most time zones)           | to their edges, and the hours between those and the edges      |
| buckets shorter than a half-day          | hours                                                          |

Hours between an edge and the midnight or noon next to it are counted on its wrong side by the half-days: they
are added on one side and subtracted on the other. Sums are whole numbers, so nothing is lost by that. An edge
has at most six such hours: a month of days reads 60 half-days and up to 180 hours in the place of 720.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from palyra.core.hours import HALF_DAY_NS, HOUR_NS, HourRun, next_hour
from palyra.core.instant import Instant


class Strip(NamedTuple):
    """Rows of one table in [since, until): of each step from ``start`` on, the first ``length`` nanoseconds.

    A row in step ``n`` counts ``right`` times for the bucket ``first + n``, and ``left`` times for the one
    before that.
    """

    by_half_day: bool
    since: Instant
    until: Instant
    start: Instant
    step: int
    length: int
    first: int
    left: int = 0
    right: int = 1

    @property
    def has_gaps(self) -> bool:
        """Whether there are rows in [since, until) that it has not."""
        return self.length < self.step

    @property
    def instants(self) -> list[int]:
        """When each row that it has begins."""
        grain = HALF_DAY_NS if self.by_half_day else HOUR_NS
        steps = range(self.start, self.until, self.step)
        return [start + at for start in steps for at in range(0, self.length, grain)]


class _Bucket(NamedTuple):
    start: int
    end: int
    number: int

    @property
    def is_long(self) -> bool:
        return self.end - self.start >= HALF_DAY_NS


def strips_of_stretch(since: Instant, until: Instant, run: HourRun | None = None) -> list[Strip]:
    """What the hours that start in [since, until) are read from, none of them twice.

    With ``run`` each row is in the bucket of it that has its start.
    """
    first, last = next_hour(since), next_hour(until)
    if first >= last:
        return []
    inner, outer = _up(first), _down(last)
    if inner >= outer or not _has_half_days(run):
        edges = [(False, first, last)]
    else:
        edges = [(False, first, inner), (True, inner, outer), (False, outer, last)]
    return [_strip(*edge, run) for edge in edges if edge[1] < edge[2]]


def strips_of_buckets(since: Instant, until: Instant, runs: Sequence[HourRun]) -> list[Strip]:
    """What the buckets of ``runs`` are read from, as far as they are in [since, until)."""
    found: list[Strip] = []
    buckets = _buckets(next_hour(since), next_hour(until), runs)
    for is_long, some in groupby(buckets, lambda bucket: bucket.is_long):
        if is_long:
            found += _by_half_day(list(some))
        else:
            found += _joined(_single(False, each.start, each.end, each.number) for each in some)
    return found


def _strip(by_half_day: bool, start: int, end: int, run: HourRun | None) -> Strip:
    """All of one stretch; its buckets are those of ``run``, and one without it."""
    if run is None:
        return _single(by_half_day, start, end, 0)
    return Strip(by_half_day, Instant(start), Instant(end), run.start, run.step, run.step, run.first)


def _single(by_half_day: bool, start: int, end: int, number: int, left: int = 0, right: int = 1) -> Strip:
    """A strip of one step."""
    since, until, length = Instant(start), Instant(end), end - start
    return Strip(by_half_day, since, until, since, length, length, number, left, right)


def _has_half_days(run: HourRun | None) -> bool:
    """Whether no half-day is in two buckets."""
    return run is None or not (run.start % HALF_DAY_NS or run.step % HALF_DAY_NS)


def _buckets(first: int, last: int, runs: Sequence[HourRun]) -> list[_Bucket]:
    """Those with an hour in [first, last), cut to it."""
    found: list[_Bucket] = []
    for run in runs:
        skipped = max(0, (first - run.start) // run.step)
        for number in range(skipped, run.buckets):
            start = run.start + number * run.step
            if start >= last:
                break
            found.append(_Bucket(max(start, first), min(start + run.step, last), run.first + number))
    return [each for each in found if each.start < each.end]


def _by_half_day(buckets: Sequence[_Bucket]) -> list[Strip]:
    """Buckets side by side: half-days between the nearest midnights and noons, corrected by hours."""
    edges = [buckets[0].start, *(each.end for each in buckets)]
    near = [_nearest(edge) for edge in edges]
    half_days = _joined(
        _single(True, start, end, bucket.number)
        for bucket, (start, end) in zip(buckets, pairwise(near), strict=True)
        if start < end
    )
    hours: list[Strip] = []
    for place, (edge, at) in enumerate(zip(edges, near, strict=True)):
        if edge != at:
            # Between an edge and a noon behind it, half-days count for the left what belongs to the right.
            sign = 1 if edge < at else -1
            left = 0 if place == 0 else -sign
            right = 0 if place == len(buckets) else sign
            number = buckets[0].number + place
            hours.append(_single(False, min(edge, at), max(edge, at), number, left, right))
    return [*half_days, *_joined(hours)]


def _joined(strips: Iterable[Strip]) -> list[Strip]:
    """Strips of one step each, in order, as few of many steps."""
    found: list[Strip] = []
    for each in strips:
        last = found[-1] if found else None
        step = None if last is None else _step_to(each, last)
        if last is None or step is None:
            found.append(each)
        else:
            found[-1] = last._replace(step=step, until=each.until)
    return found


def _step_to(strip: Strip, last: Strip) -> int | None:
    """How far the steps of ``last`` are apart if ``strip`` is one more of them, None if it is not."""
    if (last.length, last.left, last.right) != (strip.length, strip.left, strip.right):
        return None
    if strip.first == last.first + 1:
        return strip.start - last.start
    following = last.until - last.length + last.step
    is_next = strip.start == following and strip.first == last.first + (following - last.start) // last.step
    return last.step if is_next else None


def _up(hour: int) -> int:
    return -(-hour // HALF_DAY_NS) * HALF_DAY_NS


def _down(hour: int) -> int:
    return hour // HALF_DAY_NS * HALF_DAY_NS


def _nearest(hour: int) -> int:
    return _down(hour + HALF_DAY_NS // 2)
