"""Buckets of any zone partition the hours, over every change of the clock; their sums are the summary."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palyra.core.hours import DAY_NS, HALF_DAY_NS, HOUR_NS, bucket_of, next_hour
from palyra.core.instant import Instant, from_datetime, to_datetime
from palyra.reports.stretch import SPAN_DAYS_MAX, Stretch
from palyra.reports.usage_buckets import BUCKETS_MAX, POINTS_MAX, Unit, cut, points_of

ZONES = sorted(available_timezones())
ODD = (
    "Europe/Prague",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Antarctica/Troll",
)
MOMENTS = st.integers(
    from_datetime(datetime(2001, 1, 1, tzinfo=UTC)), from_datetime(datetime(2040, 1, 1, tzinfo=UTC))
)
LENGTHS = st.one_of(st.integers(1, 4 * DAY_NS), st.integers(1, SPAN_DAYS_MAX * DAY_NS))
UNITS = st.sampled_from([Unit.DAY, Unit.MONTH, Unit.AUTO])


def at(*when: int) -> Instant:
    return from_datetime(datetime(*when, tzinfo=UTC))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((*ODD, *ZONES)), MOMENTS, LENGTHS, UNITS)
def test_no_hour_is_lost_and_none_counted_twice(name: str, since: int, length: int, unit: Unit) -> None:
    stretch = Stretch(Instant(since), Instant(since + length))
    made = cut(stretch, unit, ZoneInfo(name))
    edges = [edge for bucket in made.buckets for edge in (bucket.start, bucket.end)]
    assert edges[1:-1:2] == edges[2::2], "side by side"
    assert all(bucket.start < bucket.end and bucket.start % HOUR_NS == 0 for bucket in made.buckets)
    if made.buckets:
        assert (edges[0], edges[-1]) == (next_hour(stretch.since), next_hour(stretch.until))
    else:
        assert next_hour(stretch.since) == next_hour(stretch.until)
    # What a database is asked: each bucket has its hours, and only those.
    for number, bucket in enumerate(made.buckets):
        assert bucket_of(bucket.start, made.runs) == number
        assert bucket_of(bucket.end - HOUR_NS, made.runs) == number
    assert len({bucket.label for bucket in made.buckets}) == len(made.buckets)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from((*ODD, *ZONES)), MOMENTS, st.integers(1, 40))
def test_an_hour_is_in_the_bucket_of_the_local_day_in_which_it_starts(
    name: str, since: int, days: int
) -> None:
    zone = ZoneInfo(name)
    made = cut(Stretch(Instant(since), Instant(since + days * DAY_NS)), Unit.DAY, zone)
    for bucket in made.buckets:
        for hour in range(bucket.start, bucket.end, HOUR_NS):
            local = to_datetime(hour).astimezone(zone).date().isoformat()
            # Where the clock falls back over midnight, an hour of the new day is called one of the old.
            assert local == bucket.label or local < bucket.label


@settings(max_examples=100, deadline=None)
@given(MOMENTS, st.integers(1, SPAN_DAYS_MAX * DAY_NS))
def test_a_curve_has_every_hour_in_at_most_48_points(since: int, length: int) -> None:
    run = points_of(Stretch(Instant(since), Instant(since + length)))
    assert 1 <= run.buckets <= POINTS_MAX
    first, last = next_hour(since), next_hour(since + length)
    if run.start != first:
        # Of a long stretch they are whole half-days.
        assert (run.start % HALF_DAY_NS, run.step % HALF_DAY_NS) == (0, 0)
        assert 0 < first - run.start < HALF_DAY_NS < length // 16
    assert last <= run.end
    assert run.end - run.step < last or last == first


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Prague", (2026, 3, 29), 23),
        ("Europe/Prague", (2026, 10, 25), 25),
        ("America/New_York", (2026, 11, 1), 25),
        ("Antarctica/Troll", (2026, 3, 29), 22),
        ("UTC", (2026, 3, 29), 24),
    ],
)
def test_a_day_on_which_the_clock_moves_is_as_long_as_it_is(
    zone: str, day: tuple[int, int, int], hours: int
) -> None:
    noon = at(*day, 12)
    made = cut(Stretch(Instant(noon - 3 * DAY_NS), Instant(noon + 3 * DAY_NS)), Unit.DAY, ZoneInfo(zone))
    (found,) = [each for each in made.buckets if each.label == datetime(*day, tzinfo=UTC).date().isoformat()]
    assert (found.end - found.start) // HOUR_NS == hours
    assert made.aligned


def test_the_repeated_hour_of_autumn_is_two_buckets_with_labels_of_their_own() -> None:
    stretch = Stretch(at(2026, 10, 24, 23), at(2026, 10, 25, 3))
    labels = [each.label for each in cut(stretch, Unit.HOUR, ZoneInfo("Europe/Prague")).buckets]
    assert labels == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_a_zone_of_half_hours_says_that_its_days_begin_late() -> None:
    stretch = Stretch(at(2026, 11, 1), at(2026, 11, 4))
    made = cut(stretch, Unit.DAY, ZoneInfo("Asia/Kolkata"))
    assert not made.aligned
    assert not cut(stretch, Unit.HOUR, ZoneInfo("Asia/Kolkata")).aligned
    assert made.buckets[1].start == at(2026, 11, 1, 19), "half past six in the evening is midnight there"


def test_a_year_of_days_is_asked_for_in_few_runs() -> None:
    stretch = Stretch(at(2026, 1, 1), at(2027, 1, 2))
    made = cut(stretch, Unit.DAY, ZoneInfo("Europe/Prague"))
    assert (len(made.buckets), len(made.runs) <= 7) == (367, True)


@pytest.mark.parametrize(
    ("days", "unit"), [(1, Unit.HOUR), (3, Unit.HOUR), (4, Unit.DAY), (92, Unit.DAY), (93, Unit.MONTH)]
)
def test_the_unit_fits_the_length(days: int, unit: Unit) -> None:
    since = at(2026, 1, 1)
    made = cut(
        Stretch(since, Instant(since + timedelta(days=days) // timedelta(microseconds=1) * 1_000)),
        Unit.AUTO,
        ZoneInfo("UTC"),
    )
    assert made.unit is unit
    assert len(made.buckets) <= BUCKETS_MAX
