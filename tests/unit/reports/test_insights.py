"""Insights: shares, prices, routes; each call once, each price where it is known."""

from typing import Any

from msgspec import structs

from fakes.records import NOON
from fakes.till import decision, settlement
from palyra.core.hours import DAY_NS
from palyra.core.instant import Instant
from palyra.lifecycle.decision import CallState, Counterfactual, StoredDecision
from palyra.lifecycle.usage import UsageTotals
from palyra.pricing.usage import Usage
from palyra.reports.hints import ProviderSight, Sight
from palyra.reports.insights import Found, Sampled, could_save, insights_document, providers_of
from palyra.reports.stretch import Stretch

DAY = Stretch(Instant(NOON - DAY_NS), NOON)


def sums(cost: int, requests: int = 1, unpriced: int = 0, failed: int = 0, **group: str) -> UsageTotals:
    return UsageTotals(group, requests, 0, 0, unpriced, 10, 5, 0, 0, 0, cost, failed=failed)


def model(name: str, cost: int, requests: int = 1, unpriced: int = 0, failed: int = 0) -> UsageTotals:
    return sums(cost, requests, unpriced, failed, model=name, provider="stub")


def call(number: int, **changes: Any) -> StoredDecision:
    cost, would = changes.pop("cost", 10), changes.pop("would", None)
    made = structs.replace(decision(f"req_{number:02}"), **changes)
    end = settlement(CallState.SETTLED, cost=cost, usage=Usage(1, 1))
    return StoredDecision(made, CallState.SETTLED, structs.replace(end, counterfactual_cost=would))


def document(**changes: Any) -> Any:
    parts: dict[str, Any] = {
        "models": (),
        "principals": (),
        "agents": (),
        "sampled": Sampled((), False),
        "health": (),
        "budgets": (),
        "alerts": (),
    }
    return insights_document(Found(stretch=DAY, **parts | changes), Sight())


def test_w41_a_mix_keeps_its_sum_whatever_has_no_price() -> None:
    """A call without a price is counted apart, and takes nothing from the sums before and after it."""
    models = [
        model("a", 60),
        model("free", 0, requests=3, unpriced=3),
        model("b", 40, requests=2, unpriced=1),
    ]
    shown = document(models=models)
    assert [(each["name"], each["share_percent"], each["unpriced"]) for each in shown["model_mix"]] == [
        ("a", "60.00", 0),
        ("b", "40.00", 1),
        ("free", "0.00", 3),
    ]
    assert (
        sum(each["cost_nano_usd"] for each in shown["model_mix"]) == shown["totals"]["cost_nano_usd"] == 100
    )
    assert shown["pricing"] == {
        "known_models": 1,
        "unpriced_models": [
            {"model": "free", "provider": "stub", "requests": 3},
            {"model": "b", "provider": "stub", "requests": 1},
        ],
        "unpriced_calls": 4,
    }


def test_w39_the_mix_is_of_the_models_that_ran_and_the_rest_is_one() -> None:
    models = [model(f"m{number}", 100 - number, requests=2) for number in range(12)]
    mix = document(models=models)["model_mix"]
    assert [each["name"] for each in mix[:8]] == [f"m{number}" for number in range(8)]
    assert mix[8] == {
        "name": "",
        "provider": None,
        "other": True,
        "requests": 8,
        "unpriced": 0,
        "cost_nano_usd": 92 + 91 + 90 + 89,
        "cost_usd": "0.000000362",
        "share_percent": mix[8]["share_percent"],
    }
    assert len(mix) == 9


def test_a_mix_of_the_dearest_agents_has_all_others_as_one() -> None:
    shown = document(models=[model("a", 100, requests=10)], agents=[sums(70, 4, agent="nightly")])
    assert [(each["name"], each["other"], each["requests"]) for each in shown["agent_mix"]] == [
        ("nightly", False, 4),
        ("", True, 6),
    ]
    assert [(each["other"], each["cost_nano_usd"]) for each in shown["principal_mix"]] == [(True, 100)]


def test_w42_each_call_counts_once_with_its_own_decision() -> None:
    """Not the decision of an older one, nor a default for those that were not read."""
    calls = [
        call(9, mode="enforced", route="degrade"),
        call(8, mode="suggest", recommended_model="small"),
        call(7, mode="dry_run"),
        call(6, mode="suggest"),
    ]
    shown = document(sampled=Sampled(calls, True))
    routing = shown["routing"]
    assert routing["modes"] == {"suggest": 2, "dry_run": 1, "enforced": 1}
    assert (routing["calls"], routing["sampled"]) == (4, True)
    assert (routing["rerouted"], routing["overruled"]) == (1, 1)
    assert [each["request_id"] for each in shown["recent_decisions"]] == ["req_09"]


def test_the_newest_rerouted_calls_are_shown() -> None:
    calls = [call(number, route=("proceed", "failover")[number % 2]) for number in range(40, 0, -1)]
    shown = document(sampled=Sampled(calls, False))["recent_decisions"]
    assert [each["request_id"] for each in shown] == [f"req_{number:02}" for number in range(39, 19, -2)]


def test_what_routing_would_save_is_of_calls_where_both_costs_are_known() -> None:
    shadow = Counterfactual((), "admit", None, model="small")
    calls = [
        call(1, counterfactual=shadow, cost=10, would=4),
        call(2, counterfactual=shadow, cost=10, would=12),
        call(3, counterfactual=shadow, cost=None, would=12),
        call(4, counterfactual=shadow, cost=10, would=None),
        call(5, counterfactual=structs.replace(shadow, model=None), cost=10, would=1),
        StoredDecision(decision("req_06"), CallState.PENDING, None),
    ]
    assert could_save(calls) == 4
    assert document(sampled=Sampled(calls, False))["routing"]["could_save_usd"] == "0.000000004"


def test_providers_are_those_that_were_called_and_those_that_are_known() -> None:
    models = [model("a", 1, requests=4, failed=1), sums(1, 2, failed=2, model="b", provider="stub")]
    health = [{"provider": "spare", "state": "open", "retry_at": "then"}]
    assert providers_of(models, health) == [
        ProviderSight("spare", 0, 0, "open", "then"),
        ProviderSight("stub", 6, 3),
    ]
