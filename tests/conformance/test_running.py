"""What runs now and what it holds, on every store, and over all gateways of one."""

from collections.abc import AsyncIterator
from typing import Any, LiteralString

import pytest
from msgspec import structs

from fakes.gateways import Gateway, join
from fakes.records import NOON, FakeClock
from fakes.till import Till, decision, hold
from harness import postgres
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.running import RunningFilter, RunningTotals
from palyra.store.postgres import sql
from palyra.store.postgres.reading import Reading

BOUND = 1_000
"""Of each call that ``decision`` makes."""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RunningFilter(), RunningTotals(3, 2 * BOUND, 1)),
        (RunningFilter(principal="alice"), RunningTotals(2, BOUND, 1)),
        (RunningFilter(agent=""), RunningTotals(1, BOUND, 0)),
        (RunningFilter(agent="nightly", model="large"), RunningTotals(1, 0, 1)),
        (RunningFilter(provider="other"), RunningTotals(1, BOUND, 0)),
        (RunningFilter(principal="nobody"), RunningTotals()),
    ],
)
async def test_what_runs_is_counted_with_what_it_holds(
    till: Till, wanted: RunningFilter, found: RunningTotals
) -> None:
    ended = decision("req_0")
    unpriced = decision("req_2", model="large")
    assert unpriced.estimate is not None
    unknown = structs.replace(unpriced, estimate=structs.replace(unpriced.estimate, cost_bound=None))
    for each in (ended, decision("req_1", agent=None, provider="other"), unknown):
        till.reserve(each.request_id, hold(1), told_of=each)
    till.reserve("req_3", hold(1), told_of=decision("req_3", principal="bob"))
    till.store.records.record_denial(decision("req_4", outcome="deny"))
    till.settle("req_0", 1)
    await till.flush()
    assert await till.store.records.running(wanted) == found
    for request_id in ("req_1", "req_3"):
        till.settle(request_id, 1)
    till.release("req_2")
    await till.flush()
    assert await till.store.records.running(RunningFilter()) == RunningTotals()


async def test_latencies_are_told_of_one_model_or_provider(till: Till) -> None:
    for number, (model, provider) in enumerate((("a", "x"), ("a", "y"), ("b", "y"))):
        made = decision(f"req_{number}", model=model, provider=provider)
        till.reserve(made.request_id, hold(1), told_of=made)
        till.settle(made.request_id, 1, total_ms=number)
    await till.flush()
    span = Instant(NOON - HOUR_NS), Instant(NOON + HOUR_NS)
    for provider, model, found in (
        ("y", None, [("y", "a"), ("y", "b")]),
        (None, "a", [("x", "a"), ("y", "a")]),
        ("y", "a", [("y", "a")]),
        ("x", "b", []),
    ):
        told = await till.store.records.latencies(*span, provider, model)
        assert [(each.provider, each.model) for each in told] == found


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways on a new database."""
    database = postgres.new_database()
    one, other = await join(database, FakeClock()), await join(database, FakeClock())
    yield one, other
    await one.store.close()
    await other.store.close()


async def test_what_runs_elsewhere_counts_and_the_past_is_read_once(
    pair: tuple[Gateway, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W50: asking again reads what was written since, not the journal from the oldest open call on."""
    one, other = pair
    read: list[int] = []
    rows = Reading.rows

    async def counting(reading: Reading, statement: LiteralString, *parameters: Any) -> list[Any]:
        found = await rows(reading, statement, *parameters)
        if statement == sql.SOME_PAGES:
            read.append(len(found))
        return found

    monkeypatch.setattr(Reading, "rows", counting)
    assert await other.admit("req_1", hold(1))
    for number in range(30):
        assert await other.admit(f"req_2{number}", hold(1))
        other.till.settle(f"req_2{number}", 1)
        await other.till.flush()
    assert await one.admit("req_3", hold(1))
    running = one.store.records.running
    assert await running(RunningFilter()) == RunningTotals(2, 2 * BOUND)
    first, read[:] = sum(read), []
    assert first >= 30
    assert await running(RunningFilter()) == RunningTotals(2, 2 * BOUND)
    assert sum(read) == 1
    assert await other.admit("req_4", hold(1))
    other.till.settle("req_1", 1)
    await other.till.flush()
    pending = await one.store.records.decisions(DecisionFilter(state=CallState.PENDING))
    assert [each.decision.request_id for each in pending] == ["req_4", "req_3"]
    assert sum(read) <= 4
    other.till.settle("req_4", 1)
    one.till.settle("req_3", 1)
    await other.till.flush()
    await one.till.flush()
    assert await running(RunningFilter()) == RunningTotals()


async def test_calls_of_a_gateway_that_left_run_no_more(pair: tuple[Gateway, Gateway]) -> None:
    one, other = pair
    assert await other.admit("req_1", hold(1))
    assert (await one.store.records.running(RunningFilter())).calls == 1
    await other.kill()
    await other.let_lease_end()
    assert await one.store.end_the_dead() == 1
    assert await one.store.records.running(RunningFilter()) == RunningTotals()
