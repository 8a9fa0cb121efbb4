"""The levels of a budget that people are told of, and where an account stands on the way to them. Pure."""

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from palyra.alerts.words import BudgetView
from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import ScopeKind, Then
from palyra.core.instant import Instant

_PLACES = Decimal("0.0001")


class Level(NamedTuple):
    """Told of from ``amount`` on, in the metric's unit. ``at``: the fraction of the limit that it is.

    ``effect`` is a sentence on what changes there, empty if nothing does.
    """

    at: Decimal
    amount: int
    effect: str = ""


def levels_of(policy: Policy) -> list[Level]:
    """The soft limit and each ``notify`` threshold; one at a fraction."""
    found = {
        threshold.at.normalize(): Level(threshold.at.normalize(), amount)
        for threshold, amount in zip(policy.thresholds, policy.levels, strict=True)
        if threshold.then is Then.NOTIFY
    }
    soft = policy.soft_limit
    if soft is not None:
        at = _share(soft, policy.hard_limit)
        known = found.get(at)
        # More than the soft limit is over it, the limit itself is not.
        amount = soft + 1 if known is None else min(soft + 1, known.amount)
        found[at] = Level(at, amount, _effect(policy))
    return list(found.values())


def view_of(
    policy: Policy, entity: str, window_start: Instant, window_end: Instant, consumed: int
) -> BudgetView:
    """One account as alerts speak of it. ``consumed`` in the unit of the policy's metric."""
    limit = policy.soft_limit if policy.hard_limit is None else policy.hard_limit
    return BudgetView(
        policy_id=policy.id,
        name=policy.name,
        entity=entity,
        metric=policy.metric.value,
        window_start=window_start,
        window_end=window_end,
        consumed=consumed,
        limit=limit or 0,
        whose=_whose(policy, entity),
        principal=entity if policy.scope.kind is ScopeKind.PRINCIPAL else None,
    )


def _share(soft: int, hard: int | None) -> Decimal:
    if not hard:
        return Decimal(1)
    return (Decimal(soft) / hard).quantize(_PLACES, ROUND_DOWN).normalize()


def _effect(policy: Policy) -> str:
    changes: list[str] = []
    if policy.degrade_to is not None:
        changes.append(f"calls move to {policy.degrade_to}")
    if policy.routing_mode_override is not None:
        changes.append(f"the mode is {policy.routing_mode_override.value}")
    return f"Above the soft limit {' and '.join(changes)}." if changes else ""


def _whose(policy: Policy, entity: str) -> str:
    scope = policy.scope
    if scope.kind is ScopeKind.GLOBAL or not scope.each:
        return ""
    if entity.startswith(UNLABELLED) and scope.kind in (ScopeKind.SESSION, ScopeKind.AGENT):
        return f"calls of {entity[1:]} without {scope.kind.value}"
    return f"{scope.kind.value} {entity}"
