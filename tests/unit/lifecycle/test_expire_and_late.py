"""Leases that run out, settlements that come late, windows that end under a running call."""

import asyncio
from typing import cast

import pytest

from fakes.engines import Bench, budget, slow, turns
from fakes.records import NOON
from palyra.core.limits import LEASE_S
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.expire import expire_overdue, resolve_leftovers
from palyra.lifecycle.flow import Answered
from palyra.lifecycle.patience import Patience

COST = 20 * 1_000 + 40 * 2_000
DAY_S = 86_400


async def test_a_lease_that_still_runs_is_left_alone() -> None:
    bench = Bench(budget("all", "1.00"))
    running = bench.start(bench.call())
    call = await bench.at_provider()

    bench.clock.advance(int(LEASE_S) - 1)

    assert await expire_overdue(bench.engine) == 0
    call.answer(20, 40)
    await running
    assert bench.balance("all")[:2] == (COST, 0)


async def test_a_lease_that_ran_out_is_posted_in_doubt_and_the_late_truth_corrects_it() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    call = await bench.at_provider()
    hold = bench.balance("all").held

    bench.clock.advance(int(LEASE_S) + 1)
    assert await expire_overdue(bench.engine) == 1

    assert bench.balance("all")[:2] == (hold, 0)
    doubtful = await bench.settlement(asked.request_id)
    assert (doubtful.state, doubtful.source, doubtful.cost) == (CallState.IN_DOUBT, "estimated", hold)
    assert await expire_overdue(bench.engine) == 0

    call.answer(20, 40)
    await running

    assert bench.balance("all")[:2] == (COST, 0)
    settled = await bench.settlement(asked.request_id)
    assert (settled.state, settled.late, settled.cost) == (CallState.SETTLED, True, COST)
    (total,) = await bench.store.records.usage(NOON, bench.clock.now(), ())
    assert (total.requests, total.cost) == (1, COST)


async def test_a_late_truth_above_the_hold_is_posted_in_full() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    call = await bench.at_provider()
    bench.clock.advance(int(LEASE_S) + 1)
    await expire_overdue(bench.engine)

    call.answer(5_000, 5_000)
    await running

    assert bench.balance("all")[:2] == (15_000_000, 0)
    settled = await bench.settlement(asked.request_id)
    assert (settled.late, settled.overrun) == (True, True)


async def test_what_a_dead_process_left_is_resolved_at_the_start() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = [bench.call() for _ in range(3)]
    tasks = [bench.start(each) for each in asked]
    await bench.at_provider(3)
    hold = bench.balance("all").held

    assert await resolve_leftovers(bench.engine) == 3

    assert bench.balance("all")[:2] == (hold, 0)
    reasons = {(await bench.settlement(each.request_id)).reason for each in asked}
    assert reasons == {"the process ended before the call was settled"}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_call_is_counted_in_the_window_in_which_it_was_held() -> None:
    bench = Bench(budget("all", "1.00"))
    running = bench.start(bench.call())
    call = await bench.at_provider()
    (key,) = bench.store.ledger.book.accounts

    bench.clock.advance(DAY_S)
    call.answer(20, 40)
    await running

    ((only, account),) = bench.store.ledger.book.accounts.items()
    assert only == key
    assert account.balance()[:2] == (COST, 0)


@pytest.mark.parametrize(
    ("interval", "seconds"), [("hour", 3_600), ("day", DAY_S), ("week", 7 * DAY_S), ("month", 31 * DAY_S)]
)
async def test_a_full_budget_is_open_again_in_the_next_window(interval: str, seconds: int) -> None:
    bench = Bench(budget("all", 1, metric="requests", interval=interval))
    await bench.answered(bench.call())
    refused = bench.start(bench.call())
    await turns(refused.done)

    bench.clock.advance(seconds)
    await bench.answered(bench.call())

    assert refused.exception() is not None
    assert len(bench.store.ledger.book.accounts) == 2
    assert bench.balance("all")[:2] == (2, 0)


async def test_a_total_budget_never_opens_again() -> None:
    bench = Bench(budget("all", 1, metric="requests", interval="total"))
    await bench.answered(bench.call())
    bench.clock.advance(20 * 365 * DAY_S)

    refused = bench.start(bench.call())
    await turns(refused.done)

    assert refused.exception() is not None


async def test_a_caller_who_is_cancelled_while_the_provider_answers_is_settled_by_its_usage() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    call = await bench.at_provider()

    running.cancel()
    await turns(running.done)
    assert bench.engine.draining == 1
    call.answer(20, 40)
    await turns(lambda: bench.balance("all").held == 0)

    settled = await bench.settlement(asked.request_id)
    assert (settled.client_gone, settled.cost) == (True, COST)
    assert (bench.engine.in_flight, bench.engine.draining) == (0, 0)


async def test_an_answer_goes_out_without_its_cost_if_the_settlement_finds_no_room_on_the_disk() -> None:
    bench = Bench(budget("all", "1.00"))
    bench.engine.patience = Patience(0.0)
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    journal.flush()

    (await bench.at_provider()).answer(20, 40)
    answered = cast("Answered", await running)

    assert len(journal.waiting) == 1
    assert answered.exchange.acknowledged is None
    assert b"x-palyra-cost-usd" not in dict(answered.headers())
    journal.flush()
    assert answered.exchange.acknowledged is not None
    assert dict(answered.headers())[b"x-palyra-cost-usd"] == b"0.0001"


async def test_a_start_does_not_wait_for_ever_for_a_disk_without_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("palyra.lifecycle.expire.SETTLE_WAIT_S", 0.0)
    bench = Bench(budget("all", "1.00"))
    running = bench.start(bench.call())
    call = await bench.at_provider()
    hold = bench.balance("all").held
    disk = slow(bench)

    assert await resolve_leftovers(bench.engine) == 1

    assert bench.balance("all")[:2] == (hold, 0)
    disk.flush()
    call.answer(20, 40)
    disk.flush()
    await turns(running.done)
