"""One decision as a JSON document: everything that was known, decided and used.

The records come from ``palyra.lifecycle``; reports stand beside it and read the shapes only.
"""

from typing import TYPE_CHECKING

from msgspec.structs import asdict

from palyra.budgets.terms import TIERS, Metric, amount_fields
from palyra.core.instant import END_OF_TIME, isoformat

if TYPE_CHECKING:
    from palyra.lifecycle.decision import (
        Counterfactual,
        Decision,
        EstimateRecord,
        EvaluationRecord,
        OverrideRecord,
        RoutingRecord,
        Settlement,
        StoredDecision,
    )
    from palyra.lifecycle.decision_search import DecisionsFound
    from palyra.routing.choose import Option


def money(name: str, nano: int | None) -> dict[str, object]:
    """``<name>_nano_usd`` (integer) and ``<name>_usd`` (decimal string); both None if not known (L6)."""
    return amount_fields(Metric.COST_USD, name, nano)


def window_end(instant: int) -> str | None:
    """RFC 3339, or None for a window that never ends."""
    return None if instant >= END_OF_TIME else isoformat(instant)


def decision_document(stored: "StoredDecision") -> dict[str, object]:
    """The whole decision: labels, route, estimate, evaluations, clamp, price, settlement, counterfactual."""
    decision, settlement = stored.decision, stored.settlement
    return {
        **_head(stored),
        "key_id": decision.labels.key_id,
        "parent_session": decision.labels.parent_session,
        "task_class": decision.labels.task_class,
        "tags": dict(decision.labels.tags),
        "recommended_model": decision.recommended_model,
        "route": decision.route,
        "route_reason": decision.route_reason,
        "mode_origin": decision.mode_origin,
        "idempotency_key": decision.idempotency_key,
        "estimate": _estimate(decision.estimate),
        "price": asdict(decision.price) if decision.price else None,
        "evaluations": [_evaluation(each) for each in decision.evaluations],
        "overrides": [_override(decision, each) for each in decision.overrides],
        "clamp": asdict(decision.clamp) if decision.clamp else None,
        "routing": routing_document(decision.routing),
        "continues": decision.continues,
        "counterfactual": _counterfactual(decision.counterfactual, settlement),
        "settlement": _settlement(settlement) if settlement else None,
    }


def decision_row(stored: "StoredDecision") -> dict[str, object]:
    """The decision in a list: who, which model, what came out, what it cost."""
    settlement = stored.settlement
    usage = settlement.usage if settlement else None
    return {
        **_head(stored),
        "recommended_model": stored.decision.recommended_model,
        "route": stored.decision.route,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        **money("cost", settlement.cost if settlement else None),
        "total_ms": settlement.total_ms if settlement else None,
        "clamped": stored.decision.clamp is not None,
        "would": list(stored.decision.counterfactual.would) if stored.decision.counterfactual else [],
    }


def decision_page(found: "DecisionsFound", limit: int) -> dict[str, object]:
    """One page, newest first; ``next_cursor`` is None on the last. One more than ``limit`` may be given.

    ``scanned_until``: the page is not full, for only the calls from then on were looked at.
    """
    shown, scanned = found.items[:limit], found.scanned
    cursor = None if scanned is None else scanned.request_id
    if len(found.items) > limit:
        scanned, cursor = None, shown[-1].decision.request_id
    return {
        "items": [decision_row(each) for each in shown],
        "next_cursor": cursor,
        "scanned_until": None if scanned is None else isoformat(scanned.at),
    }


def routing_document(record: "RoutingRecord | None") -> dict[str, object] | None:
    """How the recommended model was chosen; None where there was nothing to choose.

    ``score`` is 0 to 1. Each candidate has what it was judged by, and why it lost.
    """
    if record is None:
        return None
    return {
        "score_version": record.version,
        "score": record.score / 1_000,
        "features": asdict(record.features),
        "open": record.open,
        "default_model": record.default_model,
        "session_model": record.sticky,
        "chosen": f"{record.provider}/{record.model}",
        "by": record.by,
        "reason": record.reason,
        "degraded_by": list(record.degraded_by),
        "would_degrade": list(record.would_degrade),
        "candidates": [_candidate(option) for option in record.options],
    }


def _candidate(option: "Option") -> dict[str, object]:
    return {
        "model": option.model,
        "provider": option.provider,
        **money("cost_bound", option.cost),
        "cost_tier": TIERS[option.cost_rank],
        "latency_rank": option.latency_rank,
        "health": option.health.value,
        "room": option.room,
        "kept": not option.lost,
        "lost": option.lost or None,
    }


def _head(stored: "StoredDecision") -> dict[str, object]:
    decision: Decision = stored.decision
    return {
        "request_id": decision.request_id,
        "at": isoformat(decision.at),
        "state": stored.state.value,
        "outcome": decision.outcome,
        "status": decision.status,
        "error_code": decision.error_code,
        "message": decision.message,
        "mode": decision.mode,
        "endpoint": decision.endpoint,
        "stream": decision.stream,
        "principal": decision.labels.principal,
        "agent": decision.labels.agent,
        "session": decision.labels.session,
        "requested_model": decision.requested_model,
        "model": decision.model,
        "provider": decision.provider,
    }


def _estimate(estimate: "EstimateRecord | None") -> dict[str, object] | None:
    if estimate is None:
        return None
    fields = asdict(estimate)
    expected, bound = fields.pop("cost_expected"), fields.pop("cost_bound")
    return {**fields, **money("cost_expected", expected), **money("cost_bound", bound)}


def _evaluation(record: "EvaluationRecord") -> dict[str, object]:
    budget = record.budget
    metric = Metric(budget.metric)
    document: dict[str, object] = {
        "policy_id": budget.policy_id,
        "policy_version": budget.policy_version,
        "scope": budget.scope,
        "metric": budget.metric,
        "interval": budget.interval,
        "entity": budget.entity,
        "window_start": isoformat(budget.window_start),
        "window_end": window_end(budget.window_end),
        "status": record.status,
        "mode": record.mode,
        "would": record.would,
        "message": record.message,
    }
    amounts = {
        "consumed": record.consumed,
        "amount": record.amount,
        "projected": record.projected,
        "soft_limit": budget.soft_limit,
        "hard_limit": budget.hard_limit,
        "remaining": record.remaining,
    }
    for name, amount in amounts.items():
        document |= amount_fields(metric, name, amount)
    return document


def _override(decision: "Decision", record: "OverrideRecord") -> dict[str, object]:
    """What people granted and the call needed: by which approvals, how much, and whether it is used up."""
    budgets = {each.budget.policy_id: each.budget for each in decision.evaluations}
    return {
        "policy_id": record.policy_id,
        "approvals": list(record.approvals),
        "single_use": record.single_use,
        "metric": budgets[record.policy_id].metric,
        **amount_fields(Metric(budgets[record.policy_id].metric), "extra", record.extra),
    }


def _counterfactual(
    record: "Counterfactual | None", settlement: "Settlement | None"
) -> dict[str, object] | None:
    if record is None:
        return None
    return {
        "would": list(record.would),
        "outcome": record.outcome,
        "model": record.model,
        "clamped_output_tokens": record.clamped_output_tokens,
        **money("cost_bound", record.cost_bound),
        **money("cost", settlement.counterfactual_cost if settlement else None),
    }


def _settlement(settlement: "Settlement") -> dict[str, object]:
    return {
        "at": isoformat(settlement.at),
        "state": settlement.state.value,
        "source": settlement.source,
        "reason": settlement.reason,
        "usage": asdict(settlement.usage) if settlement.usage else None,
        **money("cost", settlement.cost),
        **money("held", settlement.held),
        "overrun": settlement.overrun,
        "late": settlement.late,
        "service_tier": settlement.service_tier,
        "upstream_status": settlement.upstream_status,
        "upstream_model": settlement.upstream_model,
        "client_gone": settlement.client_gone,
        "first_byte_ms": settlement.first_byte_ms,
        "total_ms": settlement.total_ms,
        "lines": [asdict(line) for line in settlement.bill],
        "attempts": [asdict(each) for each in settlement.attempts],
    }
