"""What calls say to the desk of alerts, on the real path: which kind, of whom, in which words, how often."""

import asyncio
from collections.abc import Mapping

import pytest

from fakes.alarms import desk, told
from fakes.engines import Bench, budget, turns
from palyra.alerts.alert import Alert, Kind, Severity
from palyra.budgets.terms import Mode
from palyra.core.errors import ApprovalRequired, BudgetExceeded, PalyraError, PriceUnknown
from palyra.core.limits import LEASE_S
from palyra.lifecycle.approvals import Approvals, ApprovalTerms
from palyra.lifecycle.expire import expire_overdue
from palyra.lifecycle.ports import AlertFilter
from palyra.lifecycle.signals import tell_of_approval
from palyra.lifecycle.usual import UsualPlan

COST = 20 * 1_000 + 40 * 2_000
HOLD = 269_000
"""Of the usual call of the bench."""


def bench_of(*policies: Mapping[str, object], mode: Mode = Mode.ENFORCED) -> Bench:
    """A bench with a desk of alerts."""
    bench = Bench(*policies, mode=mode)
    bench.engine.alarms = desk(bench.store.records, bench.clock)
    return bench


async def alerts(bench: Bench) -> list[Alert]:
    """All of them as stored, oldest first."""
    assert bench.engine.alarms is not None
    await bench.engine.alarms.tend()
    return list(reversed(await bench.store.records.alerts(AlertFilter(limit=1_000))))


async def refused(bench: Bench, principal: str = "alice", model: str = "small") -> PalyraError:
    """Make a call that does not run."""
    with pytest.raises(PalyraError) as caught:
        await bench.start(bench.call(principal, model=model))
    return caught.value


async def test_a_usual_call_says_nothing() -> None:
    bench = bench_of(budget("all", "1.00", soft_limit="0.90", thresholds=[{"at": 0.5, "then": "notify"}]))

    plans = [(await bench.answered(bench.call())).plan for _ in range(4)]

    assert isinstance(plans[-1], UsualPlan)
    assert await alerts(bench) == []


async def test_each_level_of_a_budget_is_one_alert_for_each_account_and_window() -> None:
    levels = [{"at": 0.5, "then": "notify"}, {"at": 0.9, "then": "notify"}]
    bench = bench_of(budget("each", "0.0005", scope="principal:*", soft_limit="0.00045", thresholds=levels))

    for principal in ("alice", "alice", "bob"):
        await bench.answered(bench.call(principal))
    found = await alerts(bench)

    assert [(each.kind, each.principal, each.facts["at"], each.count) for each in found] == [
        (Kind.BUDGET_THRESHOLD, "alice", "0.5", 2),
        (Kind.BUDGET_THRESHOLD, "bob", "0.5", 1),
    ]
    assert found[0].policy_id == "each"
    assert found[0].facts["limit"] == 500_000

    await bench.answered(bench.call())
    assert [each.facts["at"] for each in await alerts(bench)] == ["0.5", "0.5", "0.9"]

    bench.clock.advance(86_400)
    for _ in range(2):
        await bench.answered(bench.call())
    later = [each for each in await alerts(bench) if each.first_at == bench.clock.now()]
    assert [(each.principal, each.facts["at"]) for each in later] == [("alice", "0.5")]


async def test_the_soft_limit_is_a_level_at_its_share_of_the_hard_one_and_says_what_changes() -> None:
    policy = budget("all", "1.00", soft_limit="0.0001", routing_mode_override="enforced")
    bench = bench_of(policy, mode=Mode.SUGGEST)

    await bench.answered(bench.call())
    (alert,) = await alerts(bench)

    assert (alert.facts["at"], alert.severity) == ("0.0001", Severity.WARNING)
    assert "Above the soft limit the mode is enforced." in alert.message


async def test_the_soft_limit_itself_is_not_over_it_and_a_threshold_itself_is_reached() -> None:
    thresholds = [{"at": 0.2, "then": "notify"}]
    bench = bench_of(budget("all", 10, metric="requests", soft_limit=3, thresholds=thresholds))

    levels: list[list[object]] = []
    for _ in range(4):
        await bench.answered(bench.call())
        levels.append([each.facts["at"] for each in await alerts(bench)])

    assert levels == [[], ["0.2"], ["0.2"], ["0.2", "0.3"]]


async def test_a_call_that_is_refused_is_not_on_the_account_so_it_reaches_no_level() -> None:
    bench = bench_of(budget("all", "0.00001", thresholds=[{"at": 0.5, "then": "notify"}]))

    assert isinstance(await refused(bench), BudgetExceeded)
    (alert,) = await alerts(bench)

    assert (alert.kind, alert.severity, alert.facts["consumed"]) == (
        Kind.BUDGET_EXHAUSTED,
        Severity.CRITICAL,
        0,
    )
    assert "is refused" in alert.message


async def test_a_limit_that_200_calls_run_into_at_once_is_one_alert() -> None:
    bench = bench_of(budget("all", "0.00001"))

    errors = await asyncio.gather(*(bench.start(bench.call()) for _ in range(200)), return_exceptions=True)

    assert {type(each) for each in errors} == {BudgetExceeded}
    (alert,) = await alerts(bench)
    assert (alert.kind, alert.count) == (Kind.BUDGET_EXHAUSTED, 200)
    assert await told(bench.store.records) == [("raised", alert.cause)]


@pytest.mark.parametrize("mode", [Mode.SUGGEST, Mode.DRY_RUN])
async def test_a_hard_limit_that_is_not_enforced_exhausts_nothing(mode: Mode) -> None:
    bench = bench_of(budget("all", "0.00001", thresholds=[{"at": 1, "then": "notify"}]), mode=mode)

    await bench.answered(bench.call())

    assert [(each.kind, each.facts["at"]) for each in await alerts(bench)] == [(Kind.BUDGET_THRESHOLD, "1")]


async def test_a_budget_that_only_alerts_does_so_and_stops_no_call() -> None:
    bench = bench_of(budget("all", "0.00001", action="alert"))

    await bench.answered(bench.call())
    (alert,) = await alerts(bench)

    assert (alert.kind, alert.severity, alert.facts["stops_calls"]) == (
        Kind.BUDGET_EXHAUSTED,
        Severity.WARNING,
        False,
    )
    assert "calls still run" in alert.message


async def test_a_budget_of_each_call_is_one_alert_for_all_calls_above_it() -> None:
    bench = bench_of(budget("cap", "0.00001", interval="request"))

    for _ in range(3):
        await refused(bench)
        bench.clock.advance(1)
    (alert,) = await alerts(bench)

    assert (alert.count, alert.facts["window_end"]) == (3, None)
    assert alert.facts["consumed"] == HOLD


async def test_a_session_without_a_label_is_named_by_its_principal() -> None:
    bench = bench_of(budget("runs", "0.00001", scope="session:*"))

    await refused(bench)
    (alert,) = await alerts(bench)

    assert alert.title == "Budget runs is exhausted: calls of alice without session"
    assert alert.principal is None


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("deny", "The call was refused"),
        ("ceiling", "the dearest price"),
        ("allow", "no budget of money counts it"),
    ],
)
async def test_a_model_without_a_price_is_one_alert_that_says_what_became_of_the_call(
    rule: str, sentence: str
) -> None:
    bench = bench_of(budget("all", "1.00", unknown_price=rule))

    for principal in ("alice", "bob"):
        if rule == "deny":
            assert isinstance(await refused(bench, principal=principal, model="unpriced"), PriceUnknown)
        else:
            await bench.answered(bench.call(principal, model="unpriced"))
    (alert,) = await alerts(bench)

    assert (alert.kind, alert.count, alert.cause) == (Kind.UNPRICED_MODEL, 2, "unpriced_model:stub:unpriced")
    assert sentence in alert.message


async def test_a_model_whose_call_another_budget_stopped_is_not_told_to_have_been_called() -> None:
    bench = bench_of(budget("calls", 1, metric="requests"))
    await bench.answered(bench.call())

    assert isinstance(await refused(bench, model="unpriced"), BudgetExceeded)

    assert [each.kind for each in await alerts(bench)] == [Kind.BUDGET_EXHAUSTED]


async def test_a_call_that_used_more_than_was_held_is_told_with_both_figures() -> None:
    bench = bench_of(budget("all", "1.00"))
    for _ in range(3):
        await bench.answered(bench.call())

    answered = await bench.answered(bench.call(), output_tokens=1_000)
    (alert,) = await alerts(bench)

    assert isinstance(answered.plan, UsualPlan), "a usual call can overrun, too"
    assert (alert.kind, alert.cause, alert.principal) == (Kind.OVERRUN, "overrun:stub:small", "alice")
    assert alert.facts["used"] == 20 * 1_000 + 1_000 * 2_000
    assert alert.facts["held"] == answered.plan.decision.cost_bound
    assert alert.facts["request_id"] == answered.plan.decision.request_id


async def test_an_overrun_of_tokens_is_told_in_tokens() -> None:
    bench = bench_of(budget("all", 10_000, metric="output_tokens"))

    await bench.answered(bench.call(), output_tokens=65)
    (alert,) = await alerts(bench)

    assert (alert.facts["metric"], alert.facts["held"], alert.facts["used"]) == ("output_tokens", 64, 65)


async def test_use_within_the_hold_is_no_overrun() -> None:
    bench = bench_of(budget("all", "1.00"))

    await bench.answered(bench.call(), output_tokens=64)

    assert await alerts(bench) == []


async def test_a_call_whose_end_nobody_knows_is_told_by_its_provider() -> None:
    bench = bench_of(budget("all", "1.00"))
    running = bench.start(bench.call())
    (await bench.at_provider()).fail()
    with pytest.raises(PalyraError):
        await running
    lost = bench.start(bench.call())
    await bench.at_provider(2)
    bench.clock.advance(int(LEASE_S) + 1)
    await expire_overdue(bench.engine)

    (alert,) = await alerts(bench)

    assert (alert.kind, alert.count, alert.cause) == (
        Kind.UNSETTLED_RESERVATION,
        2,
        "unsettled_reservation:stub",
    )
    assert "its lease ran out" in alert.message
    bench.upstream.calls[-1].answer(1, 1)
    await lost


async def test_a_request_for_approval_is_told_once_and_is_over_when_it_is_decided() -> None:
    bench = bench_of(budget("all", "0.00001", action="approval_required"))
    alarms = bench.engine.alarms
    assert alarms is not None
    bench.engine.approvals = people = Approvals(
        bench.store.records,
        bench.engine.rules,
        bench.clock,
        new_id=lambda: "apr_1",
        publish=lambda grants: None,
        terms=ApprovalTerms(),
        tell=lambda approval: tell_of_approval(approval, alarms),
    )

    for _ in range(3):
        assert isinstance(await refused(bench), ApprovalRequired)
    await people.sweep()
    waiting = [each for each in await alerts(bench) if each.kind is Kind.APPROVAL_PENDING]
    root = bench.engine.rules.subject_of("key-root")
    assert root is not None
    await people.deny("apr_1", "not today", by=root)
    after = [each for each in await alerts(bench) if each.kind is Kind.APPROVAL_PENDING]

    assert [(each.count, each.principal, each.policy_id) for each in waiting] == [(1, "alice", "all")]
    assert [each.resolution for each in after] == ["The request is denied by root."]
    (exhausted,) = [each for each in await alerts(bench) if each.kind is Kind.BUDGET_EXHAUSTED]
    assert (exhausted.count, "waits for an approval" in exhausted.message) == (3, True)


async def test_the_desk_may_fail_and_calls_do_not_notice() -> None:
    bench = bench_of(budget("all", "1.00", soft_limit="0.00001"))
    assert bench.engine.alarms is not None

    async def full(*_: object) -> None:
        raise PalyraError("The disk is full.")

    bench.store.records.save_alert = full  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(3):
        await bench.answered(bench.call())

    await turns(lambda: True)
    assert not bench.engine.alarms.firing
    assert bench.balance("all").posted == 3 * COST
