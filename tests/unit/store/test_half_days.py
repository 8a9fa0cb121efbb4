"""Half-days of a ledger of the revision before are filled from its hours, on both databases."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from fakes.records import NOON
from fakes.sums import EVER, half_days_disagree
from fakes.till import Till, decision, hold
from harness.postgres import new_database, rows
from palyra.core.hours import HALF_DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.lifecycle.usage import UsageFilter
from palyra.store import migrate
from palyra.store.postgres.revision import upgrade_server
from palyra.store.sqlite import verify
from unit.store.test_migration import upgraded

BEFORE = "0006"
HOURS = (NOON - HOUR_NS, NOON, NOON + HOUR_NS, NOON + 11 * HOUR_NS, NOON + 12 * HOUR_NS)
"""Of three half-days."""
COST = 10**15


def row(number: int, hour: int, node: int | None = None) -> str:
    """A cell of the hours as that revision has it: 17 figures."""
    nodes = "" if node is None else f", {node}"
    figures = ", ".join(str(number * each) for each in range(1, 10))
    return f"({hour}, 'alice', 'größe ☃', 'm', 'stub'{nodes}, {figures}, {COST}, 1, 2, 3, 4, 5, 6, {number})"


def test_a_file_gets_the_half_days_of_its_past(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    engine.dispose()
    with sqlite3.connect(path) as raw:
        for number, hour in enumerate(HOURS, 1):
            raw.execute(f"INSERT INTO rollups VALUES {row(number, hour)}")
    raw.close()

    migrate.migrate(path)

    with sqlite3.connect(path) as raw:
        assert half_days_disagree(raw) == []
        found = raw.execute("SELECT half_day, last_hour, requests, cost, saved, latency_ms FROM half_days")
        assert found.fetchall() == [
            (NOON - HALF_DAY_NS, HOURS[0], 1, COST, 0, 1),
            (NOON, HOURS[3], 2 + 3 + 4, 3 * COST, 0, 2 + 3 + 4),
            (NOON + HALF_DAY_NS, HOURS[4], 5, COST, 0, 5),
        ]
    raw.close()
    assert verify(path).records == 0


async def test_a_shared_ledger_gets_those_of_each_gateway_and_goes_on() -> None:
    url = new_database(empty=True)
    await upgraded(url, BEFORE)
    for node in (0, 7):
        for number, hour in enumerate(HOURS, 1):
            await rows(url, f"INSERT INTO rollups VALUES {row(number, hour, node)}")
    await upgrade_server(Secret(url))
    stored = "SELECT half_day, node, last_hour, requests, cost, saved FROM half_days ORDER BY node, half_day"
    assert [tuple(each) for each in await rows(url, stored)] == [
        each
        for node in (0, 7)
        for each in (
            (NOON - HALF_DAY_NS, node, HOURS[0], 1, COST, 0),
            (NOON, node, HOURS[3], 9, 3 * COST, 0),
            (NOON + HALF_DAY_NS, node, HOURS[4], 5, COST, 0),
        )
    ]
    till = await Till.on_server(url)
    made = decision("req_1", NOON, agent="größe ☃", model="m")
    till.reserve("req_1", hold(9), told_of=made)
    till.settle("req_1", 7)
    await till.flush()
    (whole,) = await till.store.records.usage(*EVER, ())
    assert (whole.requests, whole.cost) == (2 * 15 + 1, 10 * COST + 7)
    half_day = UsageFilter(NOON, Instant(NOON + HALF_DAY_NS))
    (sums,) = await till.store.records.usage_groups(half_day, ("agent",))
    assert (sums.requests, sums.cost) == (2 * 9 + 1, 6 * COST + 7)
    await till.leave()
