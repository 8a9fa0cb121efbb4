"""Weighing a call: holds per account, the clamp and its numbers, modes, what full enforcement would do."""

from collections.abc import Mapping

import pytest

from fakes.engines import Bench, budget, turns
from palyra.budgets.evaluation import Outcome
from palyra.budgets.terms import Mode
from palyra.core.errors import ApprovalRequired, BudgetExceeded, PalyraError, PriceUnknown
from palyra.core.money import format_usd
from palyra.ledger.account import NEVER_RUN
from palyra.lifecycle.call import Call
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.wire import Endpoint


def plan_of(bench: Bench, call: Call) -> Plan:
    """The plan of a call, without running it."""
    snapshot = bench.engine.rules.snapshot
    subject = snapshot.subject(call.credential or "")
    assert subject is not None
    return make_plan(call, subject, snapshot.index, bench.engine, bench.clock.now())


def cost_of(call: Call, output_tokens: int, input_tokens: int = 0) -> int:
    """Nano-USD at the prices of ``small``; without ``input_tokens`` those that the call holds."""
    return (input_tokens or call.ask.text_bytes + 64) * 1_000 + output_tokens * 2_000


async def refused(bench: Bench, call: Call) -> PalyraError:
    """The error of a call that does not run."""
    running = bench.start(call)
    await turns(running.done)
    error = running.exception()
    assert isinstance(error, PalyraError)
    return error


async def test_one_hold_per_account_in_the_metric_of_each() -> None:
    bench = Bench(
        budget("cost", "1.00"),
        budget("in", 10_000, metric="input_tokens"),
        budget("out", 10_000, metric="output_tokens"),
        budget("all", 10_000, metric="total_tokens"),
        budget("calls", 10, metric="requests"),
        budget("each-call", "1.00", interval="request"),
        budget("alerts", "0.0001", action="alert"),
    )
    call = bench.call()

    plan = plan_of(bench, call)

    tokens = call.ask.text_bytes + 64
    assert {hold.account.policy_id: (hold.amount, hold.limit) for hold in plan.reservation.holds} == {
        "cost": (cost_of(call, 64), 1_000_000_000),
        "in": (tokens, 10_000),
        "out": (64, 10_000),
        "all": (tokens + 64, 10_000),
        "calls": (1, 10),
        "alerts": (cost_of(call, 64), None),
    }
    assert all(hold.shadow == hold.amount for hold in plan.reservation.holds)


async def test_a_refused_plan_holds_nothing() -> None:
    bench = Bench(budget("none", "0.00001"), budget("much", "9.00"))

    assert plan_of(bench, bench.call()).reservation.holds == ()


@pytest.mark.parametrize(
    ("fields", "choices"),
    [({"max_tokens": 50_000}, 1), ({"max_tokens": 50_000, "n": 4}, 4), ({"max_tokens": None}, 1)],
)
async def test_a_clamp_grants_all_that_is_affordable_and_not_a_token_more(
    fields: Mapping[str, object], choices: int
) -> None:
    limit = 20_000_000
    bench = Bench(budget("b", format_usd(limit)))
    call = bench.call(fields=fields)

    plan = plan_of(bench, call)

    granted = plan.judgement.granted
    assert plan.judgement.admitted
    assert plan.output_cap == granted.output_cap
    assert granted.choices == choices
    assert cost_of(call, granted.output_tokens) <= limit < cost_of(call, granted.output_tokens + choices)
    assert plan.decision.clamp is not None
    assert plan.decision.clamp.granted == granted.output_cap


@pytest.mark.parametrize(
    ("metric", "limit", "granted"),
    [
        ("output_tokens", 1_000, 1_000),
        ("total_tokens", 1_000, None),
        ("input_tokens", 10, 0),
        ("requests", 0, 0),
    ],
)
async def test_only_metrics_with_output_can_be_met_by_less_output(
    metric: str, limit: int, granted: int | None
) -> None:
    bench = Bench(budget("b", limit, metric=metric))
    call = bench.call(max_tokens=50_000)

    plan = plan_of(bench, call)

    expected = limit - call.ask.text_bytes - 64 if granted is None else granted
    assert plan.judgement.admitted is (expected > 0)
    assert plan.output_cap == (expected or None)


async def test_embeddings_are_not_clamped() -> None:
    bench = Bench(budget("b", "0.00001"))
    call = bench.call(endpoint=Endpoint.embeddings, messages=None, max_tokens=None, input="hi")

    plan = plan_of(bench, call)

    assert not plan.judgement.admitted
    assert plan.output_cap is None


async def test_a_cap_that_is_small_already_is_refused_not_lowered() -> None:
    bench = Bench(budget("b", "0.0001", min_output_tokens=64))
    call = bench.call(max_tokens=64)
    assert cost_of(call, 0) > 0

    assert not plan_of(bench, call).judgement.admitted


async def test_the_worst_of_all_policies_decides_and_the_tightest_is_named() -> None:
    bench = Bench(
        budget("a-ask", "0.0001", action="approval_required"),
        budget("b-block", "0.0001"),
        budget("c-tighter", "0.00001"),
        budget("d-ok", "5.00"),
    )

    error = await refused(bench, bench.call())

    assert type(error) is BudgetExceeded
    assert error.detail["policy_id"] in ("b-block", "c-tighter")
    stored = await bench.store.records.decision("req_0001")
    assert stored is not None
    assert (stored.decision.outcome, stored.decision.error_code) == (Outcome.DENY, "budget_exceeded")


async def test_an_ask_is_told_as_such_and_an_unknown_price_too() -> None:
    bench = Bench(budget("a", "0.0001", action="approval_required"))

    assert isinstance(await refused(bench, bench.call()), ApprovalRequired)
    assert isinstance(await refused(bench, bench.call(model="unpriced")), PriceUnknown)


async def test_cheaper_models_are_those_that_would_cost_less_cheapest_first() -> None:
    bench = Bench(budget("b", "0.00001"))

    dear = await refused(bench, bench.call(model="large"))
    cheapest = await refused(bench, bench.call(model="tiny"))

    assert dear.detail["cheaper_models"] == ["tiny", "small"]
    assert cheapest.detail["cheaper_models"] == []


async def test_dry_run_holds_the_shadow_that_enforcement_would_hold() -> None:
    limit = 20_000_000
    bench = Bench(
        budget("clamps", format_usd(limit), mode="dry_run"),
        budget("counts", "100.00"),
    )
    call = bench.call(max_tokens=50_000)

    plan = plan_of(bench, call)

    shadow = plan.decision.counterfactual
    assert shadow is not None
    assert shadow.would == ("clamps=would_clamp",)
    assert shadow.clamped_output_tokens is not None
    bound = cost_of(call, shadow.clamped_output_tokens)
    assert shadow.cost_bound == bound <= limit
    assert plan.output_cap is None
    holds = {hold.account.policy_id: hold for hold in plan.reservation.holds}
    assert {hold.amount for hold in holds.values()} == {cost_of(call, 50_000)}
    assert {hold.shadow for hold in holds.values()} == {bound}
    assert (holds["clamps"].limit, holds["counts"].limit) == (None, 100_000_000_000)


async def test_a_call_that_enforcement_would_refuse_leaves_every_shadow_alone() -> None:
    bench = Bench(budget("blocks", "0.00001", mode="dry_run"), budget("counts", "100.00"))

    plan = plan_of(bench, bench.call())

    assert {hold.shadow for hold in plan.reservation.holds} == {NEVER_RUN}
    answered = await bench.answered(bench.call())
    assert answered.plan.decision.counterfactual is not None
    assert bench.balance("counts") == (100_000, 0, 0, 0)
    assert bench.balance("blocks") == (100_000, 0, 0, 0)


async def test_the_shadow_of_a_trial_fills_up_on_its_own_balance() -> None:
    bench = Bench(budget("tried", "0.0006", mode="dry_run"))

    for _ in range(6):
        await bench.answered(bench.call())

    posted, _, shadow, _ = bench.balance("tried")
    assert posted == 600_000
    assert 0 < shadow < posted
    assert shadow <= 600_000


async def test_a_suggested_policy_takes_no_part_in_a_trial() -> None:
    bench = Bench(budget("suggested", "0.00001", mode="suggest"), budget("tried", "5.00", mode="dry_run"))

    plan = plan_of(bench, bench.call())

    assert plan.decision.counterfactual is not None
    assert plan.decision.counterfactual.would == ()
    assert plan.decision.counterfactual.outcome == "admit"


async def test_suggest_has_no_counterfactual_at_all() -> None:
    bench = Bench(budget("b", "0.00001"), mode=Mode.SUGGEST)

    plan = plan_of(bench, bench.call())

    assert plan.judgement.admitted
    assert plan.decision.counterfactual is None
    assert [hold.limit for hold in plan.reservation.holds] == [None]


async def test_a_counterfactual_clamp_is_priced_with_the_cached_part_of_the_input() -> None:
    bench = Bench(budget("b", "0.02", mode="dry_run"))
    call = bench.call(max_tokens=50_000)
    running = bench.start(call)
    provider = await bench.at_provider()

    provider.answer(100, 40_000, prompt_tokens_details={"cached_tokens": 100})
    await running

    settled = await bench.settlement(call.request_id)
    assert settled.cost == 100 * 100 + 40_000 * 2_000
    stored = await bench.store.records.decision(call.request_id)
    assert stored is not None
    assert stored.decision.counterfactual is not None
    cap = stored.decision.counterfactual.clamped_output_tokens
    assert cap is not None
    assert settled.counterfactual_cost == 100 * 100 + cap * 2_000


@pytest.mark.parametrize(("principal", "mode"), [("alice", Mode.ENFORCED), ("root", Mode.SUGGEST)])
async def test_only_an_admin_loosens_the_mode(principal: str, mode: Mode) -> None:
    bench = Bench(budget("b", "5.00"))
    call = bench.call(principal, headers={"x-palyra-mode": "suggest"})

    decision = plan_of(bench, call).decision

    assert decision.mode == mode
    assert decision.mode_origin == ("caller" if mode is Mode.SUGGEST else "config")


async def test_a_budget_that_allows_unknown_prices_is_not_charged_another_ones_ceiling() -> None:
    bench = Bench(
        budget("counts", "5.00", unknown_price="ceiling"),
        budget("waves-through", "5.00", unknown_price="allow"),
    )
    asked = bench.call(model="unpriced")

    await bench.answered(asked)

    settled = await bench.settlement(asked.request_id)
    assert settled.cost is not None
    assert bench.balance("counts")[:2] == (settled.cost, 0)
    assert bench.balance("waves-through")[:2] == (0, 0)
    assert not settled.overrun
