"""W50: a report reads half-days, and hours at its edges, by their key, once each, and no other table."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event

from palyra.core.hours import HOUR_NS, HourRun
from palyra.core.instant import Instant
from palyra.lifecycle.usage import UsageFigure, UsageFilter, UsageRows, UsageTop
from palyra.store import usage_reads
from palyra.store.migrate import migrate

HOURS = 48
WANTED = UsageFilter(Instant(0), Instant(HOURS * HOUR_NS))
RUNS = (HourRun(Instant(0), 24 * HOUR_NS, 1, 0), HourRun(Instant(24 * HOUR_NS), 12 * HOUR_NS, 2, 1))
DAYS = (HourRun(Instant(2 * HOUR_NS), 24 * HOUR_NS, 30, 0),)
MONTH = UsageFilter(DAYS[0].start, DAYS[0].end)
SPARK = HourRun(Instant(0), HOUR_NS, HOURS, 0)
PLACE = 5, ("agent",)
QUESTIONS: dict[str, Callable[[Connection], object]] = {
    "groups": lambda at: usage_reads.groups(at, WANTED, ("principal", "model")),
    "series": lambda at: usage_reads.series(at, WANTED, RUNS, None),
    "series of the largest": lambda at: usage_reads.series(
        at, WANTED, RUNS, UsageTop("agent", UsageFigure.COST, 5)
    ),
    "series of days of another zone": lambda at: usage_reads.series(at, MONTH, DAYS, None),
    "rows": lambda at: usage_reads.rows(
        at, UsageRows(WANTED, ("agent",), UsageFigure.COST, PLACE, 50, SPARK)
    ),
    "rows from the middle of a half-day": lambda at: usage_reads.rows(
        at, UsageRows(MONTH, ("agent",), UsageFigure.COST, PLACE, 50, None)
    ),
    "hours": lambda at: usage_reads.hours(at, WANTED, ("3", "a", "b", "c", "d"), 50),
}


def plan_of(path: Path, question: Callable[[Connection], object]) -> list[str]:
    """What SQLite does for a question. AssertionError if it is more than one statement."""
    engine = create_engine(f"sqlite:///{path}")
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        question(connection)
    engine.dispose()
    ((statement, parameters),) = asked
    with sqlite3.connect(path) as raw:
        found = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    raw.close()
    return found


HALF_DAYS = "SEARCH half_days USING PRIMARY KEY (half_day>? AND half_day<?)"
HOURS_OF_A_STRETCH = "SEARCH rollups USING PRIMARY KEY (hour>? AND hour<?)"
HOURS_OF_MANY_EDGES = "SEARCH rollups USING PRIMARY KEY (hour=?)"
READS = {
    "groups": [HALF_DAYS],
    "series": [HALF_DAYS] * len(RUNS),
    "series of the largest": [HALF_DAYS] * len(RUNS),
    "series of days of another zone": [HALF_DAYS, HOURS_OF_MANY_EDGES, *[HOURS_OF_A_STRETCH] * 2],
    "rows": [HOURS_OF_A_STRETCH],
    "rows from the middle of a half-day": [HALF_DAYS, *[HOURS_OF_A_STRETCH] * 2],
    "hours": [HOURS_OF_A_STRETCH],
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_w50_sums_are_read_once_by_their_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / "palyra.db"
    migrate(path)
    plan = plan_of(path, QUESTIONS[name])
    reads = [step for step in plan if "rollups" in step or "half_days" in step]
    assert sorted(reads) == READS[name]
    tables = {"journal", "decisions", "documents", "accounts", "idempotency", "approvals"}
    assert not any(table in step for table in tables for step in plan)


def test_w50_a_page_of_hours_is_not_sorted_and_ends_with_the_page(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    migrate(path)
    assert not any("TEMP B-TREE" in step for step in plan_of(path, QUESTIONS["hours"]))
