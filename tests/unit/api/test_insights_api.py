"""Insights through the control plane: whose, of when, and that reading them changes nothing."""

import json
from typing import Any

import pytest
from msgspec import structs

from fakes.records import NOON
from fakes.stored import alert
from fakes.till import decision, settlement
from harness.typed import misfits
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.standing import AccountStatus
from palyra.lifecycle.usage import UsageTotals
from palyra.pricing.usage import Usage

DAY_START, DAY_END = Instant(NOON - 12 * HOUR_NS), Instant(NOON + 12 * HOUR_NS)
USD = 1_000_000_000
STATUS: dict[str, Any] = {
    "id": "stub",
    "kind": "openai",
    "enabled": True,
    "health": {
        "breaker": "open",
        "retry_at": "2026-11-23T12:01:00Z",
        "first_byte_ms": 120,
        "last_ok_at": None,
        "last_fault": {"at": "2026-11-23T11:59:00Z", "reason": "cut", "message": "gone"},
        "cooldowns": [],
    },
}


def insights(plane: Any, query: str = "", role: str = "viewer") -> Any:
    answer = plane.call("GET", f"/api/v1/usage/insights?{query}", role)
    assert answer.status_code == 200, answer.text
    schemas = plane.client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert misfits(answer.json(), schemas["UsageInsights"], schemas) == []
    return answer.json()


def use(plane: Any, hours_ago: int, cost: int, *, requests: int = 1, failed: int = 0, **names: str) -> None:
    group = {"principal": "alice", "agent": "nightly", "model": "small", "provider": "stub"} | names
    at = Instant(NOON - hours_ago * HOUR_NS)
    saved = 7 if failed else 0
    sums = UsageTotals(group, requests, 0, 0, 0, 10, 5, 0, 0, 0, cost, failed=failed, saved=saved)
    plane.records.totals.append((at, sums))


def create(plane: Any, policy_id: str, **fields: object) -> None:
    document = {"id": policy_id, "scope": "principal:*", "metric": "cost_usd", "interval": "day"}
    made = plane.call("POST", "/api/v1/budgets", json={**document, "hard_limit": "5.00", **fields})
    assert made.status_code == 201, made.text


def stand(plane: Any, policy_id: str, entity: str, posted: int, metric: str = "cost_usd") -> None:
    key = AccountKey(policy_id, metric, entity, DAY_START)
    plane.records.account_rows.append(AccountStatus(key, DAY_END, Balance(posted, 0, posted, 0)))


@pytest.fixture
def busy(plane: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two principals, a provider that is down, budgets at their limits, alerts, calls on other routes."""
    for hour in range(25, 9 * 24):
        use(plane, hour, USD // 24)
    use(plane, 1, 5 * USD, requests=90, failed=10)
    use(plane, 2, USD, principal="caller", agent="mine", model="large")
    create(plane, "daily", soft_limit="4.00")
    create(plane, "of-bob", scope="principal:bob", hard_limit="1.00")
    stand(plane, "daily", "alice", 6 * USD)
    stand(plane, "daily", "caller", 4 * USD)
    stand(plane, "daily", "bob", 1)
    stand(plane, "of-bob", "bob", 2 * USD)
    for number, principal in enumerate(("alice", "caller")):
        raised = alert(f"alr_{number}", principal=principal, cause=str(number))
        plane.records.kept.alerts[raised.id] = raised
        made = structs.replace(
            decision(f"req_{number}", Instant(NOON - HOUR_NS), principal=principal), route="degrade"
        )
        end = settlement(CallState.SETTLED, NOON, cost=5, usage=Usage(1, 1))
        plane.records.stored[made.request_id] = StoredDecision(made, CallState.SETTLED, end)
    monkeypatch.setattr(plane.deps.models, "status", lambda: {"providers": [STATUS]}, raising=False)
    return plane


def test_everything_is_told_to_a_viewer(busy: Any) -> None:
    shown = insights(busy, "since=24h")
    assert shown["totals"]["cost_nano_usd"] == 6 * USD
    (provider,) = shown["health"]
    assert (provider["state"], provider["failed"], provider["error_percent"]) == ("open", 10, "9.90")
    assert [(each["policy_id"], each["account"]["entity"], each["why"]) for each in shown["budgets"]] == [
        ("of-bob", "bob", "hard_limit"),
        ("daily", "alice", "hard_limit"),
        ("daily", "caller", "soft_limit"),
    ]
    assert [each["id"] for each in shown["alerts"]] == ["alr_1", "alr_0"]
    assert [each["request_id"] for each in shown["recent_decisions"]] == ["req_1", "req_0"]
    assert [each["name"] for each in shown["agent_mix"]] == ["nightly", "mine"]
    assert shown["routing"]["saved_nano_usd"] == shown["totals"]["saved_nano_usd"] == 7
    assert [each["kind"] for each in shown["hints"]] == [
        "budget_exhausted",
        "budget_exhausted",
        "provider_down",
        "budget_over_soft_limit",
        "provider_errors",
        "agent_spends_more",
    ]


def test_w44_a_caller_is_told_of_its_own_and_of_nobody_else(busy: Any) -> None:
    shown = insights(busy, role="caller")
    assert shown["totals"]["cost_nano_usd"] == USD
    text = json.dumps(shown)
    for hidden in ("alice", "bob", "small", "of-bob", "gone"):
        assert hidden not in text, hidden
    assert shown["health"] == []
    assert [(each["policy_id"], each["account"]["entity"]) for each in shown["budgets"]] == [
        ("daily", "caller")
    ]
    assert [each["id"] for each in shown["alerts"]] == ["alr_1"]
    assert [each["request_id"] for each in shown["recent_decisions"]] == ["req_1"]
    assert [each["name"] for each in shown["principal_mix"]] == ["caller"]
    refused = busy.call("GET", "/api/v1/usage/insights?principal=alice", "caller")
    assert (refused.status_code, refused.json()["field"]) == (422, "principal")


def test_w45_budgets_are_told_of_in_their_own_windows_whatever_period_is_asked(busy: Any) -> None:
    whole = insights(busy, "since=30d")["budgets"]
    assert whole == insights(busy, "since=1h")["budgets"]
    assert whole == insights(busy, "since=60d&until=50d")["budgets"]
    assert {(each["account"]["window_start"], each["account"]["window_end"]) for each in whole} == {
        ("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z")
    }


def test_w43_reading_insights_writes_nothing(busy: Any) -> None:
    def kept() -> Any:
        records = busy.records
        return (
            list(records.totals),
            list(records.audit),
            dict(records.kept.alerts),
            dict(records.kept.notices),
            dict(records.stored),
        )

    before = kept()
    for role in ("owner", "viewer", "caller"):
        insights(busy, role=role)
    assert kept() == before


def test_filters_are_those_of_the_summary(busy: Any) -> None:
    assert insights(busy, "agent=mine")["totals"]["cost_nano_usd"] == USD
    assert insights(busy, "model=large&provider=stub")["model_mix"][0]["name"] == "large"
    assert insights(busy, "provider=other")["health"] == []
    alice = insights(busy, "principal=alice")
    assert [(each["policy_id"], each["account"]["entity"]) for each in alice["budgets"]] == [
        ("daily", "alice")
    ]
    assert [each["id"] for each in alice["alerts"]] == ["alr_0"]


def test_a_budget_that_runs_out_is_told_of_with_when(plane: Any) -> None:
    create(plane, "daily")
    for hour in range(1, 5 * 24):
        use(plane, hour, USD // 4)
    stand(plane, "daily", "alice", 7 * USD // 2)
    shown = insights(plane)
    (budget,) = shown["budgets"]
    assert (budget["why"], budget["account"]["exhausted_at"]) == ("forecast", "2026-11-23T18:00:00Z")
    assert "2026-11-23T18:00:00Z" in shown["hints"][0]["detail"]


def test_an_agent_is_compared_with_its_own_week(plane: Any) -> None:
    for day in range(2, 7):
        use(plane, day * 24, USD, agent="steady")
        use(plane, day * 24, USD, agent="runaway")
    use(plane, 3, 2 * USD, agent="steady")
    use(plane, 3, 9 * USD, agent="runaway")
    use(plane, 3, 9 * USD, agent="new")
    hints = insights(plane)["hints"]
    assert [each["title"] for each in hints] == ["Agent runaway spends more than usual"]


def test_where_nothing_was_used_there_is_nothing_to_say(plane: Any) -> None:
    shown = insights(plane)
    assert shown["hints"] == shown["budgets"] == shown["model_mix"] == []
    assert shown["routing"]["modes"] == {"suggest": 0, "dry_run": 0, "enforced": 0}
