"""Months that are dropped take their calls with them, and neither balances nor proofs."""

from datetime import UTC, datetime

import pytest

from fakes.gateways import join
from fakes.records import FakeClock
from fakes.till import account, hold, rollup_sums, server_balances
from harness import postgres
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.invariant import InvariantViolation
from palyra.core.secret import Secret
from palyra.ledger.account import Balance
from palyra.lifecycle.decision import CallState
from palyra.store.postgres.verify import verify_shared

DAY_S = 24 * 3600


def at(year: int, month: int, day: int) -> Instant:
    return Instant(int(datetime(year, month, day, tzinfo=UTC).timestamp()) * NANOSECONDS)


async def months_of(database: str) -> list[str]:
    rows = await postgres.rows(
        database, "SELECT relname FROM pg_class WHERE relname ~ '^journal_[0-9]' AND relkind = 'r' ORDER BY 1"
    )
    return [name.removeprefix("journal_") for (name,) in rows]


async def test_old_months_go_and_what_they_added_up_to_stays() -> None:
    database = postgres.new_database()
    clock = FakeClock(at(2026, 1, 20))
    gateway = await join(database, clock)
    assert await gateway.admit("req_1", hold(10, 100))
    gateway.till.settle("req_1", 7)
    assert await gateway.admit("req_2", hold(20, 100))
    clock.advance(31 * DAY_S)
    await gateway.store.drop_old_months(12)
    gateway.till.settle("req_2", 15)  # held in January, used in February
    await gateway.till.flush()
    await gateway.store.close()
    clock.advance(31 * DAY_S)
    second = await join(database, clock)
    assert await second.admit("req_3", hold(30, 100))
    second.till.settle("req_3", 3)
    await second.till.flush()
    before = await verify_shared(Secret(database))

    assert await second.store.drop_old_months(1) == ["2026_01"]
    assert await second.store.drop_old_months(1) == []

    assert (await months_of(database))[0] == "2026_02"
    assert (await verify_shared(Secret(database))).head == before.head
    assert (await server_balances(database))[account()] == Balance(25, 0, 25, 0)
    assert await second.store.records.decision("req_1") is None
    assert (await rollup_sums(second.store))[:2] == (3, 25)
    assert await second.admit("req_4", hold(75, 100))
    assert not await second.admit("req_5", hold(1, 100))
    await second.store.close()


async def test_a_node_whose_pages_are_all_gone_goes_on_where_it_stood() -> None:
    """Its late truth has a place in its own journal."""
    database = postgres.new_database()
    clock = FakeClock(at(2026, 1, 20))
    gateway = await join(database, clock)
    assert await gateway.admit("req_1", hold(10, 100))
    gateway.till.settle("req_1", 7)
    await gateway.till.flush()
    await gateway.kill()
    clock.advance(100 * DAY_S)
    other = await join(database, clock)
    assert await other.store.drop_old_months(1) == ["2026_01", "2026_02"]
    await gateway.let_lease_end()
    assert await other.store.end_the_dead() == 1
    await verify_shared(Secret(database))
    await other.store.close()


async def test_a_change_in_what_is_carried_is_found() -> None:
    database = postgres.new_database()
    clock = FakeClock(at(2026, 1, 20))
    gateway = await join(database, clock)
    assert await gateway.admit("req_1", hold(10, 100))
    gateway.till.settle("req_1", 7)
    await gateway.till.flush()
    clock.advance(70 * DAY_S)
    assert await gateway.admit("req_2", hold(10, 100))
    await gateway.store.drop_old_months(1)
    await verify_shared(Secret(database))
    await postgres.rows(database, "UPDATE carried SET chain = sha256(chain)")
    with pytest.raises(InvariantViolation, match="G3"):
        await verify_shared(Secret(database))
    await gateway.store.close()


async def test_a_call_of_a_dropped_month_is_not_in_doubt_any_more() -> None:
    database = postgres.new_database()
    clock = FakeClock(at(2026, 1, 20))
    gateway = await join(database, clock)
    assert await gateway.admit("req_1", hold(10, 100))
    gateway.till.expire("req_1")
    await gateway.till.flush()
    stored = await gateway.store.records.decision("req_1")
    assert stored is not None
    assert stored.state is CallState.IN_DOUBT
    clock.advance(70 * DAY_S)
    await gateway.store.drop_old_months(1)
    assert await gateway.store.records.decision("req_1") is None
    assert (await server_balances(database))[account()] == Balance(10, 0, 10, 0)
    await gateway.store.close()
