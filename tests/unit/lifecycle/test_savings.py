"""What routing saved is summed with each call, and is what the routing report says of the same calls."""

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from fakes.engines import Bench, budget, turns
from fakes.sums import EVER, assert_sums_agree
from palyra.api.routing import EnginePrices
from palyra.budgets.terms import Mode
from palyra.core.errors import PalyraError
from palyra.lifecycle.decision import CallState, Decision, Settlement
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.providers import Resilience
from palyra.pricing.usage import Usage
from palyra.registry.models import Capability, CostTier, Kind, ModelEntry, Provider
from palyra.reports.routing import Tally
from palyra.routing.backoff import Retries
from palyra.routing.breaker import BreakerSettings
from palyra.routing.rules import RoutingRules, Smart

STUB, SPARE = (Provider(name, Kind.OPENAI_COMPATIBLE) for name in ("stub", "spare"))
ALL = frozenset(Capability)
MODELS = tuple(
    ModelEntry(name, provider, name, output_limit=100_000, capabilities=ALL, cost_tier=tier)
    for name, provider, tier in (
        ("tiny", "stub", CostTier.LOW),
        ("small", "stub", CostTier.STANDARD),
        ("large", "stub", CostTier.PREMIUM),
        ("unpriced", "stub", CostTier.PREMIUM),
        ("small", "spare", CostTier.STANDARD),
        ("large", "spare", CostTier.PREMIUM),
    )
)
PRICES = {
    "stub": {
        "tiny": {"input": "0.10", "output": "0.20"},
        "small": {"input": "1.00", "output": "2.00"},
        "large": {"input": "10.00", "output": "20.00", "cache_read": "1.00"},
    },
    # Without a price of large: a call that goes there has no known cost.
    "spare": {"small": {"input": "3.00", "output": "6.00"}},
}
EASY: Mapping[str, object] = {}
MIDDLE: Mapping[str, object] = {"messages": [{"role": "user", "content": "x" * 16_000}]}
HARD: Mapping[str, object] = {
    "messages": [{"role": "user", "content": "x" * 20_000}] * 12,
    "tools": [{"type": "function", "function": {"name": f"f{number}"}} for number in range(8)],
}
NO_RETRY = Resilience(Retries(0), BreakerSettings(1_000))


def bench(*policies: Mapping[str, object], smart: Smart = Smart.ALWAYS, **more: Any) -> Bench:
    return Bench(
        *policies,
        models=MODELS,
        prices=PRICES,
        providers=(STUB, SPARE),
        default_model="small",
        routing=RoutingRules(smart),
        resilience=NO_RETRY,
        **more,
    )


async def served(on: Bench, dice: random.Random, call: Any) -> None:
    """One call to its end, whatever that is; now and then its provider fails."""
    sent = on.upstream.calls
    sent.clear()
    running = on.start(call)
    while not running.done():
        await turns(lambda: running.done() or bool(sent))
        if sent:
            at_provider = sent.pop()
            if dice.random() < 0.2:
                at_provider.refuse(500)
            else:
                at_provider.answer(dice.randrange(1, 5_000), dice.randrange(1, 60))
    with suppress(PalyraError):
        await running


async def settled(on: Bench, call: Any, tokens: tuple[int, int] = (20, 40)) -> tuple[Decision, Settlement]:
    await on.answered(call, *tokens)
    stored = await on.store.records.decision(call.request_id)
    assert stored is not None
    assert stored.settlement is not None
    return stored.decision, stored.settlement


@pytest.mark.parametrize("smart", Smart)
@pytest.mark.parametrize("mode", Mode)
async def test_sums_are_what_the_routing_report_says(mode: Mode, smart: Smart) -> None:
    """Of calls of every kind: routed up and down, moved by a budget, taken up elsewhere, without a price."""
    dice = random.Random(f"{mode}{smart}")
    degrade = {"thresholds": [{"at": "0.5", "then": "degrade", "to": "low"}]}
    on = bench(
        budget("pressed", "0.02", scope="principal:bob", unknown_price="allow", **degrade),
        budget("all", "1000.00", unknown_price="allow"),
        mode=mode,
        smart=smart,
    )
    for _ in range(70):
        call = on.call(
            dice.choice(("alice", "bob")),
            model=dice.choice(("auto", "tiny", "small", "large", "stub/large", "unpriced")),
            fields=dice.choice((EASY, MIDDLE, HARD)),
        )
        await served(on, dice, call)
        on.clock.advance(dice.randrange(3_000))
    found: dict[str, int] = {}
    for principal in ("alice", "bob"):
        tally = Tally(EnginePrices(on.engine))
        wanted = DecisionFilter(principal=principal, state=CallState.SETTLED, limit=1_000)
        for stored in await on.store.records.decisions(wanted):
            tally.add(stored)
        costs = tally.costs()
        found[principal] = costs.default - costs.ran
    sums = {
        each.group["principal"]: each.saved for each in await on.store.records.usage(*EVER, ("principal",))
    }
    assert sums == found
    assert any(sums.values())
    await assert_sums_agree(on.store)


async def test_a_cheaper_model_saves_the_difference_at_the_real_usage() -> None:
    decision, settlement = await settled(bench(), bench().call(model="large"))
    assert (decision.model, settlement.cost) == ("tiny", 10_000)
    assert settlement.saved == (20 * 10 + 40 * 20) * 1_000 - 10_000


async def test_a_dearer_model_saves_less_than_nothing() -> None:
    on = bench()
    decision, settlement = await settled(on, on.call(model="small", fields=HARD))
    assert decision.model == "large"
    assert settlement.saved == -9 * (20 + 80) * 1_000


@pytest.mark.parametrize("smart", [Smart.NEVER, Smart.ALWAYS])
async def test_on_its_default_a_call_saves_nothing(smart: Smart) -> None:
    on = bench(smart=smart)
    decision, settlement = await settled(on, on.call(model="tiny"))
    assert (decision.model, settlement.saved) == ("tiny", None)


async def test_without_a_price_of_the_default_nothing_is_known() -> None:
    on = bench(budget("all", "1000.00", unknown_price="allow"))
    decision, settlement = await settled(on, on.call(model="unpriced"))
    assert (decision.model, settlement.saved) == ("tiny", None)
    assert settlement.usage == Usage(20, 40)
