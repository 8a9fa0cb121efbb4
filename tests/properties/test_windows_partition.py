"""P1: windows partition time in every zone. W1: an interval that is written is applied."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palyra.budgets.windows import Interval, Windows, window_at
from palyra.core.instant import NANOSECONDS, Instant, from_datetime

ZONES = sorted(available_timezones())
INTERVALS = [Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH]
HOUR_S = 3_600
YEARS = range(2000, 2041)
SHARDS = 8


def seconds(*when: int) -> int:
    return from_datetime(datetime(*when, tzinfo=UTC)) // NANOSECONDS


def offset(second: int, zone: ZoneInfo) -> object:
    return datetime.fromtimestamp(second, zone).utcoffset()


def changes(zone: ZoneInfo) -> list[int]:
    """The seconds at which the clock of ``zone`` moves, found by looking every ten days."""
    found: list[int] = []
    step = 10 * 24 * HOUR_S
    low, stop = seconds(YEARS[0], 1, 1), seconds(YEARS[-1], 1, 1)
    before = offset(low, zone)
    while low < stop:
        high = low + step
        after = offset(high, zone)
        if after != before:
            below, above = low, high
            while above - below > 1:
                middle = (below + above) // 2
                below, above = (below, middle) if offset(middle, zone) == after else (middle, above)
            found.append(above)
        low, before = high, after
    return found


def check_partition(interval: Interval, zone: ZoneInfo, at: Instant) -> None:
    start, end = window_at(interval, zone, at)
    assert start <= at < end
    assert window_at(interval, zone, end).start == end
    assert window_at(interval, zone, Instant(start - 1)).end == start
    assert window_at(interval, zone, start) == (start, end)
    assert window_at(interval, zone, Instant(end - 1)) == (start, end)


def distinct_clocks() -> list[str]:
    """One zone name for each history of clock changes that differs: aliases need no second check."""
    seen: dict[tuple[object, ...], str] = {}
    for name in ZONES:
        zone = ZoneInfo(name)
        samples = [offset(seconds(year, month, 15), zone) for year in YEARS for month in (1, 4, 7, 10)]
        seen.setdefault(tuple(samples), name)
    return list(seen.values())


def test_every_zone_partitions_time_around_its_last_changes() -> None:
    """All zones; the last change of each by day and by hour, where the windows are odd."""
    for name in ZONES:
        zone = ZoneInfo(name)
        for second in (seconds(2011, 12, 30, 10), seconds(2026, 3, 29, 1), seconds(2040, 10, 28, 1)):
            for interval in (Interval.HOUR, Interval.DAY):
                check_partition(interval, zone, Instant(second * NANOSECONDS))


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_kind_of_clock_partitions_time_around_each_change(shard: int) -> None:
    """Every change from 2000 to 2040 of every clock that differs, sampled: first, last and oddest."""
    for name in distinct_clocks()[shard::SHARDS]:
        zone = ZoneInfo(name)
        moved = changes(zone)
        for change in dict.fromkeys([*moved[:2], *moved[len(moved) // 2 :][:2], *moved[-2:]]):
            for interval in INTERVALS:
                for near in (-1, 0):
                    check_partition(interval, zone, Instant((change + near) * NANOSECONDS))


@given(
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(list(Interval)),
    at=st.integers(seconds(1900, 1, 1) * NANOSECONDS, seconds(2200, 1, 1) * NANOSECONDS),
)
@settings(max_examples=400, deadline=None)
def test_any_instant_lies_in_exactly_one_window(zone: str, interval: Interval, at: int) -> None:
    where = ZoneInfo(zone)
    if interval is Interval.TOTAL:
        window = window_at(interval, where, Instant(at))
        assert window.start <= at < window.end
        return
    check_partition(interval, where, Instant(at))


@given(
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(INTERVALS),
    at=st.integers(seconds(2000, 1, 1) * NANOSECONDS, seconds(2040, 1, 1) * NANOSECONDS),
    steps=st.lists(st.integers(-40 * 24 * HOUR_S, 40 * 24 * HOUR_S), max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_the_kept_window_never_differs_from_the_computed_one(
    zone: str, interval: Interval, at: int, steps: list[int]
) -> None:
    where = ZoneInfo(zone)
    windows = Windows(interval, where)
    for step in [0, *steps]:
        at += step * NANOSECONDS
        assert windows.at(Instant(at)) == window_at(interval, where, Instant(at))


@given(
    zone=st.sampled_from(ZONES),
    at=st.integers(seconds(2000, 1, 1) * NANOSECONDS, seconds(2040, 1, 1) * NANOSECONDS),
)
@settings(max_examples=150, deadline=None)
def test_an_hour_is_never_longer_than_an_hour(zone: str, at: int) -> None:
    start, end = window_at(Interval.HOUR, zone, Instant(at))
    assert 0 < end - start <= HOUR_S * NANOSECONDS
