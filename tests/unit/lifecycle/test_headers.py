"""The ``x-palyra-*`` headers of an answer, and the labels that a key pins."""

from collections.abc import Mapping

import pytest
from msgspec import structs

from fakes.engines import Bench, budget
from palyra.budgets.terms import Mode
from palyra.core.errors import InvalidApiKey
from palyra.lifecycle.authenticate import authenticate, labels_of
from palyra.lifecycle.call import Hints
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.respond import answer_headers, decision_headers
from palyra.lifecycle.settle import Ending, resolve
from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage

ROUTE = {
    "x-palyra-outcome": "admit",
    "x-palyra-mode": "enforced",
    "x-palyra-model": "small",
    "x-palyra-recommended-model": "small",
    "x-palyra-route": "proceed",
}


def planned(bench: Bench, **fields: object) -> Plan:
    call = bench.call(fields=fields)
    snapshot = bench.engine.rules.snapshot
    subject = authenticate(call.credential, snapshot)
    return make_plan(call, subject, snapshot.index, bench.engine, bench.clock.now())


def shown(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


async def test_a_call_without_budgets_is_told_its_route_and_its_dearest_cost() -> None:
    plan = planned(Bench())
    held = plan.decision.cost_bound
    assert held is not None
    assert shown(decision_headers(plan)) == {
        "x-palyra-request-id": plan.decision.request_id,
        **ROUTE,
        "x-palyra-estimated-cost-usd": f"{held / 10**9:.9f}".rstrip("0"),
    }


async def test_what_remains_is_after_the_hold_and_after_the_settle_after_the_cost() -> None:
    bench = Bench(budget("loose", "9.00"), budget("tight", "1.00"))
    await bench.answered(bench.call())
    plan = planned(bench)
    end = Ending(bench.clock.now(), 200, Reported(Usage(20, 40)), 0, None, False, None)
    _, settlement = resolve(plan, end)

    before, after = shown(decision_headers(plan)), shown(decision_headers(plan, settlement))

    left = 10**9 - 100_000 - (plan.decision.cost_bound or 0)
    assert before["x-palyra-budget-remaining"] == f"tight=0.{left:09d}".rstrip("0") + " USD"
    assert "x-palyra-cost-usd" not in before
    assert after["x-palyra-budget-remaining"] == "tight=0.9998 USD"
    assert after["x-palyra-cost-usd"] == "0.0001"
    assert "x-palyra-budget-warning" not in after


@pytest.mark.parametrize(
    ("metric", "left"),
    [
        ("total_tokens", "9940 tokens"),
        ("input_tokens", "9980 tokens"),
        ("output_tokens", "9960 tokens"),
        ("requests", "9999 requests"),
    ],
)
async def test_counts_remain_as_counts(metric: str, left: str) -> None:
    bench = Bench(budget("b", 10_000, metric=metric))
    plan = planned(bench)
    end = Ending(bench.clock.now(), 200, Reported(Usage(20, 40)), 0, None, False, None)

    told = shown(decision_headers(plan, resolve(plan, end)[1]))

    assert told["x-palyra-budget-remaining"] == f"b={left}"


async def test_a_threshold_that_is_reached_is_a_warning_though_nothing_is_exceeded() -> None:
    notifying = [{"at": "0.5", "then": "notify"}]
    bench = Bench(
        budget("near", 1, metric="requests", thresholds=notifying),
        budget("far", 10, metric="requests", thresholds=notifying),
        budget("over", 10, metric="requests", soft_limit=0),
    )
    assert shown(decision_headers(planned(bench)))["x-palyra-budget-warning"] == "near=ok, over=soft_limit"
    quiet = Bench(budget("near", 1, metric="requests", thresholds=notifying))
    assert shown(decision_headers(planned(quiet)))["x-palyra-budget-warning"] == "near=ok"


async def test_a_cap_that_was_lowered_is_told() -> None:
    bench = Bench(budget("b", "0.02"))
    plan = planned(bench, max_tokens=50_000)
    assert shown(decision_headers(plan))["x-palyra-clamped-max-tokens"] == str(plan.output_cap)
    ours = planned(Bench(), max_tokens=10**6)
    assert ours.output_cap is not None, "more than the model gives"
    assert shown(decision_headers(ours))["x-palyra-clamped-max-tokens"] == str(ours.output_cap)


async def test_what_a_trial_would_have_done_is_told() -> None:
    plan = planned(Bench(budget("tried", "0.00001"), mode=Mode.DRY_RUN))
    headers = shown(decision_headers(plan))
    assert headers["x-palyra-would"] == "tried=would_block"
    assert headers["x-palyra-mode"] == "dry_run"


async def test_a_refused_call_is_told_what_it_left_as_it_was() -> None:
    plan = planned(Bench(budget("b", "0.00001")))
    headers = shown(decision_headers(plan))
    assert headers["x-palyra-budget-remaining"] == "b=0.00001 USD"
    assert "x-palyra-clamped-max-tokens" not in headers


async def test_a_header_holds_printable_ascii_only() -> None:
    plan = planned(Bench())
    odd = structs.replace(plan, decision=structs.replace(plan.decision, model="größe\r\nx: y"))
    assert shown(decision_headers(odd))["x-palyra-model"] == "gr??e??x: y"


async def test_headers_of_the_connection_stay_behind() -> None:
    passed = answer_headers(
        planned(Bench()), [(b"date", b"now"), (b"content-type", b"a/b"), (b"set-cookie", b"c")], None
    )
    assert passed[0] == (b"content-type", b"a/b")
    assert passed[1][0] == b"x-palyra-request-id"


async def test_a_key_is_needed_and_must_be_known() -> None:
    rules = Bench().engine.rules.snapshot
    with pytest.raises(InvalidApiKey, match="no API key"):
        authenticate(None, rules)
    with pytest.raises(InvalidApiKey, match="unknown or revoked"):
        authenticate("sk-palyra-nobody", rules)


async def test_what_a_key_pins_no_client_changes() -> None:
    subject = authenticate("alice", Bench().engine.rules.snapshot)
    hints = Hints("mine", "run", None, "primary_interactive", {"team": "b", "x": "y"}, None)
    assert labels_of(subject, hints).tags == {"team": "b", "x": "y"}
    assert labels_of(subject, hints).agent == "mine"
    pinned = labels_of(type(subject)("k", "alice", "pinned", subject.roles, (), {"team": "a"}), hints)
    assert (pinned.agent, pinned.tags) == ("pinned", {"team": "a", "x": "y"})
    assert hints.tags == {"team": "b", "x": "y"}
