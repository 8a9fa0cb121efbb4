"""L2: a report from half-days, corrected by hours at the edges, is the one that hours alone give."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from fakes.sums import half_days_disagree
from fakes.till import decision
from palyra.core.hours import HALF_DAY_NS, HOUR_NS, HourRun
from palyra.core.instant import Instant, parse_instant
from palyra.lifecycle.usage import (
    CELL,
    NAMES,
    UsageCell,
    UsageFigure,
    UsageFilter,
    UsageRows,
    UsageTop,
    UsageTotals,
)
from palyra.reports.stretch import Stretch
from palyra.reports.usage_buckets import Unit, cut, points_of
from palyra.store import sql, usage_reads
from palyra.store.derived import derived
from palyra.store.migrate import migrate
from palyra.store.usage_kept import KeptUsage, Rollup
from palyra.store.usage_strips import strips_of_buckets
from palyra.store.write import RollupDelta, RollupKey

ZONES = (
    "UTC",
    "Europe/Prague",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Apia",
)
HOURS = 54
"""All that is counted is within so many hours: several of them on either side of each midnight and noon."""
LONG = 40 * 24
STARTS = [
    parse_instant(f"2026-{day}T00:00:00Z")
    # Before and while clocks change somewhere, and when a month ends.
    for day in ("01-31", "03-07", "03-28", "04-04", "06-30", "09-26", "10-03", "10-24", "10-31", "12-31")
]
CALL = decision("req_1", session=None)
WORDS = {
    "principal": ("alice", "bob"),
    "agent": ("", "größe ☃"),
    "model": ("large", "small"),
    "provider": ("one", "two"),
}


class Cells(NamedTuple):
    """Usage as it may have been counted, commit by commit, from the hour ``start`` on."""

    start: Instant
    commits: Sequence[Sequence[tuple[RollupKey, RollupDelta]]]

    @property
    def rollups(self) -> list[Rollup]:
        """Every change, as the plain reports take it."""
        return [
            Rollup(
                Instant(key.hour),
                {name: str(getattr(key, name)) for name in CELL},
                UsageTotals({}, *delta[:10], *delta[12:]),
            )
            for commit in self.commits
            for key, delta in commit
        ]


class Plain(KeptUsage):
    """Reports from hours alone."""

    def __init__(self, rollups: list[Rollup]) -> None:
        self._rollups = rollups

    def _kept_rollups(self) -> list[Rollup]:
        return self._rollups


def _key(hour: int, names: tuple[str, ...]) -> RollupKey:
    return RollupKey(hour, *names)


def _delta(requests: int, denied: int, cost: int, tokens: int, saved: int) -> RollupDelta:
    return RollupDelta(requests, denied, input_tokens=tokens, cost=cost, saved=saved)


@st.composite
def cells(draw: st.DrawFn) -> Cells:
    start = draw(st.sampled_from(STARTS))
    amount = st.integers(0, 10**12)
    hours = st.integers(0, HOURS - 1).map(lambda hour: start + hour * HOUR_NS)
    key = st.builds(_key, hours, st.tuples(*(st.sampled_from(WORDS[name]) for name in NAMES)))
    delta = st.builds(
        _delta,
        st.integers(1, 3),
        st.integers(0, 2),
        amount,
        amount,
        st.integers(-(10**12), 10**12),
    )
    commit = st.lists(st.tuples(key, delta), min_size=1, max_size=25)
    return Cells(start, draw(st.lists(commit, min_size=1, max_size=3)))


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A ledger on a file, its sums to be filled anew for each example."""
    path: Path = tmp_path_factory.mktemp("usage") / "palyra.db"
    migrate(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def fill(connection: Connection, usage: Cells) -> None:
    """Store it as the writer does."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    for table in ("rollups", "half_days"):
        raw.execute(f"DELETE FROM {table}")
    for commit in usage.commits:
        made = derived([(CALL, key, delta) for key, delta in commit])
        sql.store(raw.execute, sql.UPSERT_ROLLUPS, made.rollups)
        sql.store(raw.execute, sql.UPSERT_HALF_DAYS, made.half_days)


def by_place(found: Sequence[UsageCell]) -> dict[tuple[int, str | None], UsageTotals]:
    assert len({(each.bucket, each.name) for each in found}) == len(found)
    return {(each.bucket, each.name): each.sums for each in found}


# Some begin or end in the middle of what is counted, most have all of it.
STRETCHES = st.tuples(
    st.integers(-LONG, HOURS) | st.integers(-36, HOURS),
    st.integers(1, LONG) | st.integers(1, HOURS),
    st.integers(0, HOUR_NS - 1),
)
FILTERS = st.fixed_dictionaries({name: st.sampled_from((None, WORDS[name][0])) for name in NAMES})
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def stretch_of(usage: Cells, place: tuple[int, int, int]) -> Stretch:
    first, length, odd = place
    since = usage.start + first * HOUR_NS + odd
    return Stretch(Instant(since), Instant(since + length * HOUR_NS - odd % 3))


@EXAMPLES
@given(
    usage=cells(),
    place=STRETCHES,
    names=FILTERS,
    unit=st.sampled_from((Unit.DAY, Unit.MONTH, Unit.AUTO)),
    zone=st.sampled_from(ZONES),
    top=st.none()
    | st.builds(UsageTop, st.sampled_from(NAMES), st.sampled_from(UsageFigure), st.integers(1, 2)),
)
async def test_timelines_are_the_same(
    connection: Connection,
    usage: Cells,
    place: tuple[int, int, int],
    names: dict[str, str | None],
    unit: Unit,
    zone: str,
    top: UsageTop | None,
) -> None:
    fill(connection, usage)
    stretch = stretch_of(usage, place)
    wanted = UsageFilter(*stretch, **names)
    made = cut(stretch, unit, ZoneInfo(zone))
    expected = await Plain(usage.rollups).usage_series(wanted, made.runs, top)
    found = usage_reads.series(connection, wanted, made.runs, top)
    assert by_place(found) == by_place(expected)


@EXAMPLES
@given(
    usage=cells(),
    place=STRETCHES,
    names=FILTERS,
    by=st.sampled_from((("agent",), ("principal",), ("model", "provider"))),
    order=st.sampled_from((*UsageFigure, None)),
    hours=st.none() | st.integers(1, 30),
)
async def test_lists_and_sums_are_the_same(
    connection: Connection,
    usage: Cells,
    place: tuple[int, int, int],
    names: dict[str, str | None],
    by: tuple[str, ...],
    order: UsageFigure | None,
    hours: int | None,
) -> None:
    fill(connection, usage)
    stretch = stretch_of(usage, place)
    wanted = UsageFilter(*stretch, **names)
    plain = Plain(usage.rollups)
    spark = points_of(stretch)
    if hours is not None:
        spark = HourRun(spark.start, hours * HOUR_NS, -(-(spark.end - spark.start) // (hours * HOUR_NS)), 0)
    question = UsageRows(wanted, by, order, None, 100, spark)
    assert usage_reads.rows(connection, question) == await plain.usage_rows(question)
    for group_by in ((), by, ("principal", "model"), ("hour",)):
        found = usage_reads.groups(connection, wanted, group_by)
        assert found == await plain.usage_groups(wanted, group_by)


@EXAMPLES
@given(usage=cells())
def test_a_half_day_is_the_sum_of_its_hours(connection: Connection, usage: Cells) -> None:
    fill(connection, usage)
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    assert half_days_disagree(raw) == []
    for column in ("requests", "cost", "saved"):
        counted = sum(getattr(delta, column) for commit in usage.commits for _, delta in commit)
        for table in ("rollups", "half_days"):
            assert raw.execute(f"SELECT sum({column}) FROM {table}").fetchone() == (counted,)


@pytest.mark.parametrize("zone", ZONES)
def test_a_month_of_days_reads_a_third_of_the_hours_at_most(zone: str) -> None:
    since = parse_instant("2026-10-10T13:00:00Z")
    stretch = Stretch(since, Instant(since + 30 * 24 * HOUR_NS))
    strips = strips_of_buckets(*stretch, cut(stretch, Unit.DAY, ZoneInfo(zone)).runs)
    rows = sum(
        len(each.instants)
        if each.has_gaps
        else (each.until - each.since) // (HALF_DAY_NS if each.by_half_day else HOUR_NS)
        for each in strips
    )
    assert rows <= 250
    assert len(strips) <= 8
