"""Stored calls to show: one that was served, one that was refused."""

from fakes.records import NOON
from palyra.budgets.binding import BudgetRecord
from palyra.lifecycle.decision import (
    CallState,
    ClampRecord,
    Counterfactual,
    Decision,
    EstimateRecord,
    EvaluationRecord,
    Labels,
    PriceRecord,
    Settlement,
    StoredDecision,
)
from palyra.pricing.usage import Usage

DAY_NS = 86_400 * 1_000_000_000


def labels(principal: str = "alice") -> Labels:
    return Labels("key-1", principal, "nightly", "run-7", None, "primary_interactive", {"team": "platform"})


def evaluation(status: str = "ok", metric: str = "cost_usd", message: str = "") -> EvaluationRecord:
    budget = BudgetRecord(
        policy_id="each-daily",
        policy_version=3,
        scope="principal:*",
        metric=metric,
        interval="day",
        entity="alice",
        window_start=NOON - DAY_NS // 2,
        window_end=NOON + DAY_NS // 2,
        soft_limit=None,
        hard_limit=5_000_000_000,
    )
    return EvaluationRecord(budget, status, "enforced", 4_000_000_000, 500_000_000, None, message)


def served(request_id: str = "req_1", principal: str = "alice", *, clamp: bool = False) -> StoredDecision:
    decision = Decision(
        request_id=request_id,
        at=NOON,
        endpoint="chat/completions",
        stream=True,
        labels=labels(principal),
        requested_model="gpt-4o-mini",
        recommended_model="gpt-4o-mini",
        model="gpt-4o-mini",
        provider="openai",
        route="proceed",
        route_reason="",
        mode="enforced",
        mode_origin="config",
        outcome="admit",
        status="ok",
        estimate=EstimateRecord(400, 100, 400, 1000, 64_000, 1, 100_000, 660_000, "bytes"),
        price=PriceRecord("openai", "gpt-4o-mini", "config", "cfg:gpt-4o-mini", "b1", known=True),
        evaluations=(evaluation(),),
        clamp=ClampRecord(64_000, 1000, "each-daily") if clamp else None,
        counterfactual=Counterfactual(("block",), "deny", 0),
    )
    settlement = Settlement(
        at=NOON,
        state=CallState.SETTLED,
        source="provider",
        reason="completed",
        usage=Usage(120, 80, cache_read_tokens=20),
        cost=66_000,
        held=660_000,
        overrun=False,
        late=False,
        service_tier=None,
        upstream_status=200,
        upstream_model="gpt-4o-mini-2024",
        client_gone=False,
        first_byte_ms=100,
        total_ms=900,
        counterfactual_cost=0,
        prices=(None, None, "0.15", "0.60", "0.15", "0.15", "0.15", "0.60", "0.15", "0.60", "0.15"),
    )
    return StoredDecision(decision, CallState.SETTLED, settlement)


def refused(request_id: str = "req_2", principal: str = "alice", outcome: str = "deny") -> StoredDecision:
    message = "each-daily: 4.50 USD would be above the hard limit of 4.20 USD."
    decision = Decision(
        request_id=request_id,
        at=NOON,
        endpoint="messages",
        stream=False,
        labels=labels(principal),
        requested_model="claude",
        recommended_model="claude",
        model="",
        provider="",
        route="proceed",
        route_reason="",
        mode="enforced",
        mode_origin="config",
        outcome=outcome,
        status="blocked",
        estimate=None,
        price=None,
        evaluations=(evaluation("blocked", "total_tokens", message),),
        error_code="budget_exceeded",
        message=message,
    )
    return StoredDecision(decision, CallState.DENIED, None)
