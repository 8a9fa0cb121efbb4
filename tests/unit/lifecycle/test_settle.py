"""How an ending is billed: the table of ``lifecycle.settle``; and that a trial lives on its own balance."""

import pytest

from fakes.engines import Bench, budget
from palyra.ledger.event import Expired, Released, Settled
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.settle import Ending, resolve
from palyra.lifecycle.wire import FailureKind, Reported, UpstreamFailure
from palyra.pricing.usage import Usage


def planned(bench: Bench, **fields: object) -> Plan:
    call = bench.call(fields=fields)
    snapshot = bench.engine.rules.snapshot
    subject = snapshot.subject("alice")
    assert subject is not None
    return make_plan(call, subject, snapshot.index, bench.engine, bench.clock.now())


def ending(
    bench: Bench,
    status: int | None = 200,
    reported: Reported | None = None,
    *,
    seen: int = 0,
    failure: UpstreamFailure | None = None,
    client_gone: bool = False,
) -> Ending:
    return Ending(bench.clock.now(), status, reported, seen, failure, client_gone, 3)


def failure(*, sent: bool) -> UpstreamFailure:
    return UpstreamFailure(FailureKind.cut, "gone", sent)


async def test_what_the_provider_reports_is_billed_and_the_hold_is_settled() -> None:
    bench = Bench(budget("b", "5.00"))
    plan = planned(bench)

    event, settlement = resolve(plan, ending(bench, reported=Reported(Usage(20, 40), "default", "small-1")))

    assert isinstance(event, Settled)
    assert event.amounts == {
        "input_tokens": 20,
        "output_tokens": 40,
        "total_tokens": 60,
        "requests": 1,
        "cost_usd": 100_000,
    }
    assert (settlement.state, settlement.cost, settlement.source) == (CallState.SETTLED, 100_000, "provider")
    assert (settlement.service_tier, settlement.upstream_model) == ("default", "small-1")
    assert (settlement.held, settlement.overrun) == (plan.decision.cost_bound, False)
    assert [(line.unit, line.cost_usd) for line in settlement.bill] == [
        ("input", "0.00002"),
        ("output", "0.00008"),
    ]


@pytest.mark.parametrize(
    ("status", "broken"), [(None, failure(sent=False)), (429, None), (500, failure(sent=True))]
)
async def test_a_call_that_the_provider_did_not_serve_is_released_without_a_bill(
    status: int | None, broken: UpstreamFailure | None
) -> None:
    bench = Bench(budget("b", "5.00"))

    event, settlement = resolve(planned(bench), ending(bench, status, failure=broken))

    assert isinstance(event, Released)
    assert (settlement.state, settlement.source) == (CallState.RELEASED, "none")
    assert (settlement.usage, settlement.cost, settlement.bill) == (None, None, ())
    assert (settlement.upstream_status, settlement.first_byte_ms) == (status, 3)


@pytest.mark.parametrize("broken", [None, failure(sent=True)])
async def test_l6_a_call_that_may_have_run_unseen_is_in_doubt_at_what_it_held(
    broken: UpstreamFailure | None,
) -> None:
    bench = Bench(budget("b", "5.00"))
    plan = planned(bench)

    event, settlement = resolve(plan, ending(bench, None, failure=broken))

    assert isinstance(event, Expired)
    assert (settlement.state, settlement.source) == (CallState.IN_DOUBT, "estimated")
    assert settlement.cost == plan.decision.cost_bound
    assert settlement.usage == Usage(plan.judgement.granted.input_tokens, 64)


@pytest.mark.parametrize(
    ("reported", "used"),
    [
        (None, (None, 30)),
        (Reported(Usage(5, 7), input_known=True, output_known=False), (5, 30)),
        (Reported(Usage(5, 50), input_known=True, output_known=False), (5, 50)),
        (Reported(Usage(5, 7), input_known=False, output_known=True), (None, 7)),
    ],
)
async def test_l6_what_the_provider_left_out_is_estimated_never_zero(
    reported: Reported | None, used: tuple[int | None, int]
) -> None:
    bench = Bench(budget("b", "5.00"))
    plan = planned(bench)

    _, settlement = resolve(plan, ending(bench, reported=reported, seen=30))

    wanted = plan.judgement.granted.input_tokens if used[0] is None else used[0]
    assert settlement.usage == Usage(wanted, used[1])
    assert settlement.source == "estimated"
    assert settlement.cost == wanted * 1_000 + used[1] * 2_000


@pytest.mark.parametrize(
    ("broken", "client_gone", "told"),
    [
        (failure(sent=True), False, "broke off: gone"),
        (None, True, "the client left"),
        (None, False, "reported no usable usage"),
    ],
)
async def test_an_estimate_says_why(broken: UpstreamFailure | None, client_gone: bool, told: str) -> None:
    bench = Bench()

    _, settlement = resolve(planned(bench), ending(bench, failure=broken, client_gone=client_gone))

    assert told in settlement.reason


async def test_l6_something_used_that_has_no_price_costs_what_was_held() -> None:
    bench = Bench(budget("b", "5.00"))
    plan = planned(bench)

    event, settlement = resolve(plan, ending(bench, reported=Reported(Usage(20, 40, web_searches=1))))

    assert isinstance(event, Settled)
    assert settlement.cost == event.amounts["cost_usd"] == plan.decision.cost_bound
    assert (settlement.source, settlement.reason) == ("estimated", "used something that has no price")
    assert settlement.bill[-1].unit == "web_search"
    assert settlement.bill[-1].cost_usd == ""


async def test_l4_more_than_was_held_is_an_overrun_where_a_limit_binds() -> None:
    more = Reported(Usage(20, 100_000))
    for action, overrun in (("block", True), ("alert", False)):
        bench = Bench(budget("b", "5.00", action=action))
        assert resolve(planned(bench), ending(bench, reported=more))[1].overrun is overrun


async def test_a_call_without_a_price_has_no_cost_and_no_bill() -> None:
    bench = Bench(budget("b", 1_000_000, metric="total_tokens"))

    event, settlement = resolve(
        planned(bench, model="unpriced"), ending(bench, reported=Reported(Usage(20, 40)))
    )

    assert isinstance(event, Settled)
    assert "cost_usd" not in event.amounts
    assert (settlement.cost, settlement.bill) == (None, ())


async def test_a_trial_is_judged_by_its_own_balance_not_by_the_real_one() -> None:
    bench = Bench(budget("tried", "0.0005", mode="dry_run", min_output_tokens=1_000))
    refused, small = bench.call(max_tokens=200), bench.call(max_tokens=1)

    first = await bench.answered(refused, 20, 200)
    assert first.plan.decision.counterfactual is not None
    assert first.plan.decision.counterfactual.would == ("tried=would_block",)
    second = await bench.answered(small, 20, 1)

    posted, held, shadow, _ = bench.balance("tried")
    assert posted + held + (second.plan.decision.cost_bound or 0) > 500_000, "the real balance is full"
    assert shadow == 22_000
    assert second.plan.decision.counterfactual is not None
    assert second.plan.decision.counterfactual.would == ()
