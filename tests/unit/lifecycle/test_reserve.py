"""Between the hold and the first byte: cancelled callers, failing disks, the bound on calls."""

import asyncio

import pytest

from fakes.engines import Bench, budget, slow, turns
from palyra.core.errors import LedgerUnavailable, Overloaded
from palyra.ledger.account import EMPTY
from palyra.lifecycle.decision import CallState, read_settlement
from palyra.lifecycle.reserve import GONE


async def test_nothing_goes_upstream_before_the_hold_is_on_disk() -> None:
    bench = Bench(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)

    assert bench.upstream.calls == []
    assert bench.balance("all").held > 0
    journal.flush()
    (await bench.at_provider()).answer(1, 1)
    await turns(lambda: len(journal.waiting) == 1)
    assert not running.done()
    journal.flush()
    await running


async def test_a_caller_that_is_cancelled_while_it_waits_leaves_nothing_held() -> None:
    bench = Bench(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)

    running.cancel()
    await turns(running.done)
    journal.flush()

    assert running.cancelled()
    assert bench.upstream.calls == []
    assert bench.balance("all") == EMPTY
    (release,) = journal.waiting
    assert release.state is CallState.RELEASED
    assert read_settlement(release.document).reason == GONE
    assert bench.engine.reserving == 0


async def test_a_caller_cancelled_in_the_turn_its_call_was_sent_is_drained() -> None:
    bench = Bench(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)

    journal.flush()
    running.cancel()
    await turns(running.done)

    assert running.cancelled()
    assert len(bench.upstream.calls) == 1, "the hold was durable, so the call went out in the same callback"
    assert bench.engine.draining == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_hold_that_did_not_reach_the_disk_never_was(cancelled: bool) -> None:
    bench = Bench(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call(idempotency_key="k"))
    await turns(lambda: len(journal.waiting) == 1)

    if cancelled:
        running.cancel()
        await turns(running.done)
    journal.flush(LedgerUnavailable("the disk is full"))
    await turns(running.done)

    assert running.cancelled() is cancelled
    assert cancelled or isinstance(running.exception(), LedgerUnavailable)
    assert bench.balance("all") == EMPTY
    assert journal.waiting == []
    assert bench.upstream.calls == []


async def test_a_ledger_that_takes_no_calls_admits_none() -> None:
    bench = Bench()
    bench.store.journal.failure = LedgerUnavailable("the disk is full")

    with pytest.raises(LedgerUnavailable):
        await bench.start(bench.call())

    assert bench.upstream.calls == []
    assert bench.engine.reserving == 0


async def test_calls_that_wait_for_the_disk_count_against_the_bound_on_calls() -> None:
    bench = Bench(budget("all", "1.00"))
    bench.engine.calls_in_flight_max = 2
    journal = slow(bench)
    running = [bench.start(bench.call()) for _ in range(5)]
    await turns(lambda: sum(task.done() for task in running) == 3)

    assert {type(task.exception()) for task in running if task.done()} == {Overloaded}
    journal.flush()
    await bench.at_provider(2)
    for call in bench.upstream.calls:
        call.answer(1, 1)
    journal.flush()
    await asyncio.wait(running)
    assert (bench.engine.reserving, bench.engine.in_flight) == (0, 0)
    assert len(bench.upstream.calls) == 2
