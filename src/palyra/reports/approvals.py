"""A request to go over a budget as a JSON document: what a person needs to decide, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from palyra.approvals.approval import Approval, Grant, GrantKind, Ruling
from palyra.approvals.rules import EACH_CALL, standing
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Metric, amount_fields
from palyra.core.instant import Instant, isoformat
from palyra.ledger.account import AccountKey, Balance
from palyra.reports.accounts import account_document
from palyra.reports.explain import window_end


@dataclass(frozen=True, slots=True)
class BudgetNow:
    """The account that a request is about, as it is now; its window may be a later one than that of the ask.

    ``overrides`` are the live grants that raise its limit, in the order in which they were given; ``sliced``
    is claimed by gateways for calls to come. Amounts in the unit of the policy's metric.
    """

    policy: Policy
    key: AccountKey
    window_end: Instant
    balance: Balance
    sliced: int
    overrides: Sequence[Approval]

    @property
    def consumed(self) -> int:
        """What is posted and held."""
        return self.balance.posted + self.balance.held


@dataclass(frozen=True, slots=True)
class Figures:
    """What else is known of a request: ``budget`` is None where it is gone, ``used`` is whether its ``once``
    grant let its call through.
    """

    budget: BudgetNow | None = None
    used: bool = False


def approval_document(
    approval: Approval, url: str, figures: Figures, now: Instant, seen_by: str | None = None
) -> dict[str, object]:
    """The request, its numbers as they were at the last ask, what was decided, and ``budget_now``.

    ``remaining`` is below zero where the budget was over its limit already. ``principal`` is None for a grant
    that would cover every call on the account. Whoever decided is None where time or an edit did. To the
    principal ``seen_by`` no override of another one is shown.
    """
    ruling = approval.ruling
    return {
        "id": approval.id,
        "version": approval.version,
        "subject": approval.subject,
        "state": approval.state.value,
        "standing": standing(approval),
        "requester": approval.requester,
        "requester_key": approval.requester_key,
        "principal": approval.principal,
        "agent": approval.agent,
        "session": approval.session,
        "model": approval.model,
        "request_id": approval.request_id,
        **_budget_fields(approval),
        "risk": approval.risk.value,
        "occurrences": approval.occurrences,
        "reason": approval.reason,
        "created_at": isoformat(approval.created_at),
        "asked_at": isoformat(approval.asked_at),
        "expires_at": isoformat(approval.expires_at),
        "grant": None if approval.grant is None else _grant(approval, approval.grant, figures, now),
        "decided_by": None if ruling is None else ruling.principal,
        "decided_at": None if ruling is None else isoformat(ruling.at),
        "decision_reason": None if ruling is None else ruling.reason,
        "revocation": None if approval.revocation is None else _ruling(approval.revocation),
        "used_by": approval.used_by,
        "url": url,
        "budget_now": None if figures.budget is None else _budget_now(figures.budget, now, seen_by),
    }


def extra_used(approval: Approval, budget: BudgetNow, now: Instant) -> int | None:
    """How much of a live grant is used, in the unit of its metric: grants that were given earlier first.

    None for a grant that is over or for one call, and where the budget counts something else by now.
    """
    grant, limit = approval.live_grant(now), budget.policy.hard_limit
    if grant is None or grant.kind is GrantKind.ONCE or limit is None or approval.interval == EACH_CALL:
        return None
    if all(each.id != approval.id for each in budget.overrides):
        return None
    over = budget.consumed - limit
    for each in budget.overrides:
        if each.id == approval.id:
            break
        over -= each.grant.extra if each.grant is not None else 0
    return min(grant.extra, max(0, over))


def _budget_fields(approval: Approval) -> dict[str, object]:
    """Which account, and its amounts at the last ask."""
    metric = Metric(approval.metric)
    each_call = approval.interval == EACH_CALL
    amounts = {
        "limit": approval.limit,
        "consumed": approval.consumed,
        "amount": approval.amount,
        "asked": approval.asked,
        "projected": approval.projected,
        "remaining": approval.limit - approval.consumed,
    }
    document: dict[str, object] = {
        "policy_id": approval.policy_id,
        "policy_version": approval.policy_version,
        "scope": approval.scope,
        "metric": metric.value,
        "interval": approval.interval,
        "entity": approval.entity,
        "window_start": None if each_call else isoformat(approval.window_start),
        "window_end": None if each_call else window_end(approval.window_end),
    }
    for name, amount in amounts.items():
        document |= amount_fields(metric, name, amount)
    return document


def _grant(approval: Approval, grant: Grant, figures: Figures, now: Instant) -> dict[str, object]:
    """``live``: something can still come of it. ``used`` tells of ``once``, ``extra_used`` of the others.

    A grant whose call was released is free again, though the record names that call.
    """
    metric = Metric(approval.metric)
    once = grant.kind is GrantKind.ONCE
    is_over = approval.live_grant(now) is None
    used = once and (figures.used or (is_over and approval.used_by is not None))
    part = None if figures.budget is None else extra_used(approval, figures.budget, now)
    return {
        "kind": grant.kind.value,
        "live": not is_over and not used,
        "expires_at": isoformat(grant.expires_at),
        "used": used if once else None,
        **amount_fields(metric, "extra", grant.extra),
        **amount_fields(metric, "extra_used", part),
    }


def _ruling(ruling: Ruling) -> dict[str, object]:
    return {"by": ruling.principal, "at": isoformat(ruling.at), "reason": ruling.reason}


def _budget_now(budget: BudgetNow, now: Instant, seen_by: str | None) -> dict[str, object]:
    """The account as in the status of the budget; ``extra`` is what live grants put on top of its limit."""
    policy = budget.policy
    extra = sum(each.grant.extra for each in budget.overrides if each.grant is not None)
    document = account_document(
        policy, budget.key, budget.window_end, budget.balance, now, budget.sliced, extra
    )
    if policy.interval.value == EACH_CALL:
        document |= {"window_start": None, "window_end": None, "open": True}
    grants = [(each, each.grant) for each in budget.overrides if each.grant is not None]
    return {
        "policy_version": policy.version,
        **document,
        "overrides": [
            _override(approval, grant)
            for approval, grant in grants
            if seen_by is None or approval.principal in (None, seen_by)
        ],
    }


def _override(approval: Approval, grant: Grant) -> dict[str, object]:
    return {
        "id": approval.id,
        "kind": grant.kind.value,
        "principal": approval.principal,
        "expires_at": isoformat(grant.expires_at),
        **amount_fields(Metric(approval.metric), "extra", grant.extra),
    }
