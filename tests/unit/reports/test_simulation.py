"""The sums of a simulation: what is counted once, on which side, and in whose favour."""

import asyncio
from contextlib import suppress

import pytest

from fakes.engines import PRICES, STUB, Bench, budget, turns
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import PalyraError
from palyra.core.instant import Instant
from palyra.lifecycle.flow import Answered, Repeated
from palyra.lifecycle.replay import replay
from palyra.lifecycle.simulate import Simulation, Terms
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.reports import simulation
from palyra.reports.simulation import OTHERS, Tally

SMALL, LARGE = 100_000, 1_000_000
"""Nano-USD of 20 input and 40 output tokens."""


def read(document: dict[str, object]) -> Policy:
    return parse_policy(document, defaults=PolicyDefaults(), version=1, actor="test", origin="api")


async def tallied(bench: Bench, *documents: dict[str, object]) -> Tally:
    policies = [read(each) for each in documents]
    tally = Tally(policies, Instant(0))
    await replay(bench.store.history, Instant(0), Simulation(Terms(policies), bench.engine), tally, _silent)
    return tally


async def _silent(done: int, total: int) -> None:
    assert done <= total


async def test_what_history_cut_short_and_moved_is_on_its_own_side() -> None:
    bench = Bench(
        budget("cut", 300, metric="output_tokens", scope="model:small"),
        budget("move", "0.000600", action="degrade", degrade_to="tiny", scope="model:large"),
    )
    await bench.answered(bench.call(max_tokens=2_000))
    await bench.answered(bench.call(model="large"))
    totals = (await tallied(bench, budget("free", "9.00"))).totals
    assert (totals.really.clamped, totals.really.degraded) == (1, 1)
    assert (totals.simulated.clamped, totals.simulated.degraded) == (0, 0)
    assert totals.saved == SMALL // 10 - LARGE
    assert totals.estimated == 1


async def test_what_a_budget_moves_is_its_saving() -> None:
    bench = Bench()
    await bench.answered(bench.call(model="large"))
    tally = await tallied(bench, budget("move", "0.000600", action="degrade", degrade_to="small"))
    sums = tally.policies["move"]
    assert (sums.degraded, sums.saved) == (1, LARGE - SMALL)
    assert sums.first_hard is not None
    assert sums.first_hard.request_id == "req_0001"


async def test_a_budget_that_only_alerts_is_told_of_and_saves_nothing() -> None:
    bench = Bench()
    for _ in range(2):
        await bench.answered(bench.call())
    tally = await tallied(bench, budget("loud", 1, metric="requests", action="alert", soft_limit=1))
    sums = tally.policies["loud"]
    assert (sums.alerted, sums.over_soft, sums.saved) == (1, 0, 0)
    assert (sums.first_soft, sums.first_hard) == (sums.first_hard, sums.first_soft)
    soft = (await tallied(bench, budget("soft", 9, metric="requests", soft_limit=1))).policies["soft"]
    assert (soft.over_soft, soft.first_hard) == (1, None)


async def test_examples_are_the_first_ones_and_no_more_than_a_few() -> None:
    bench = Bench()
    for _ in range(8):
        await bench.answered(bench.call())
    tally = await tallied(bench, budget("none", 0, metric="requests"))
    first = [f"req_000{number}" for number in range(1, 6)]
    assert tally.policies["none"].examples == {"blocked": first}
    assert tally.examples == {"stopped": first, "let_in": []}


async def test_a_call_that_is_taken_up_elsewhere_is_one_call() -> None:
    names = ("stub", "other")
    bench = Bench(
        providers=(STUB, Provider("other", Kind.OPENAI_COMPATIBLE)),
        models=[ModelEntry("small", name, "small", output_limit=100_000) for name in names],
        prices={name: {"small": PRICES["small"]} for name in names},
    )
    running = bench.start(bench.call())
    while not running.done():
        await turns(lambda: running.done() or bool(bench.upstream.calls))
        if not bench.upstream.calls:
            break
        call = bench.upstream.calls.pop()
        if call.request.provider_id == "other":
            call.answer(20, 40)
            break
        call.fail(sent=False)
    await running
    kept = await tallied(bench, budget("one", 1, metric="requests"))
    assert (kept.calls, kept.totals.simulated.ran, kept.totals.simulated.cost) == (1, 1, SMALL)
    stopped = await tallied(bench, budget("none", 0, metric="requests"))
    assert (stopped.calls, stopped.totals.stopped, stopped.totals.saved) == (1, 1, SMALL)
    assert stopped.policies["none"].blocked == 1


async def test_a_refusal_that_is_no_budgets_is_on_both_sides() -> None:
    bench = Bench()
    for _ in range(6):
        running = bench.start(bench.call())
        with suppress(PalyraError):
            await _failing(bench, running)
    totals = (await tallied(bench, budget("one", 100, metric="requests"))).totals
    assert totals.really.other == totals.simulated.other > 0
    assert (totals.stopped, totals.let_in) == (0, 0)


async def _failing(bench: Bench, running: "asyncio.Task[Answered | Repeated]") -> None:
    while not running.done():
        await turns(lambda: running.done() or bool(bench.upstream.calls))
        if bench.upstream.calls:
            bench.upstream.calls.pop().fail(sent=False)
    await running


async def test_agents_that_clients_invent_share_one_line_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "GROUPS_MAX", 2)
    bench = Bench()
    for number in range(4):
        await bench.answered(bench.call(headers={"x-palyra-agent": f"bot-{number}"}))
    tally = await tallied(bench, budget("one", 100, metric="requests"))
    assert {name: sums.calls for name, sums in tally.agents.items()} == {"bot-0": 1, "bot-1": 1, OTHERS: 2}
    assert sum(sums.really.cost for sums in tally.agents.values()) == 4 * SMALL


async def test_a_cost_that_nobody_knows_is_in_no_sum() -> None:
    bench = Bench()
    await bench.answered(bench.call(model="unpriced"))
    totals = (await tallied(bench, budget("calls", 9, metric="requests"))).totals
    assert (totals.unpriced, totals.really.cost, totals.simulated.cost) == (1, 0, 0)
