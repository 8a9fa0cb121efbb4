"""Whether the cause of an alert is gone, and why, in words. Pure: what is known comes as arguments."""

from collections.abc import Mapping
from typing import cast

from palyra.alerts.alert import Alert, Kind
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode
from palyra.core.hours import DAY_NS
from palyra.core.instant import NANOSECONDS, Instant, parse_instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.budget_levels import levels_of

QUIET_NS = 600 * NANOSECONDS
"""So long nothing of it must be seen before a balance that moves with every call ends an alert."""
BUDGET_KINDS = frozenset({Kind.BUDGET_THRESHOLD, Kind.BUDGET_EXHAUSTED, Kind.FORECAST_EXHAUSTION})


def account_of(alert: Alert) -> tuple[AccountKey, Instant | None]:
    """The account that a budget's alert is about, and when its window ends; None if it never does."""
    facts = _texts(alert.facts)
    key = AccountKey(
        alert.policy_id or "", facts["metric"], facts["entity"], parse_instant(facts["window_start"])
    )
    end = alert.facts["window_end"]
    return key, None if end is None else parse_instant(str(end))


def budget_is_over(alert: Alert, policy: Policy | None, now: Instant) -> str | None:
    """What of the policy, or of time, ended the alert of a budget; None if nothing did."""
    if policy is None:
        return "The budget was deleted."
    if not policy.live_at(now):
        return "The budget is not in force any more."
    key, end = account_of(alert)
    if end is not None and now >= end:
        return "Its window is over."
    if policy.metric.value != key.metric:
        return "The budget counts something else now."
    stops = alert.kind is Kind.BUDGET_EXHAUSTED and alert.facts["stops_calls"]
    if stops and policy.mode is not None and policy.mode is not Mode.ENFORCED:
        return "The budget is not enforced any more."
    return None


def budget_has_room(alert: Alert, policy: Policy, consumed: int, quiet_ns: int) -> str | None:
    """What of the balance ended it; None if nothing did.

    ``consumed`` in the unit of the metric; nothing of the alert was seen for ``quiet_ns``.
    """
    limit = policy.soft_limit if policy.hard_limit is None else policy.hard_limit
    is_raised = (limit or 0) > cast("int", alert.facts["limit"])
    if alert.kind is Kind.BUDGET_EXHAUSTED:
        if policy.hard_limit is None:
            return "The budget has no hard limit any more."
        most, over = policy.hard_limit, "The budget has room again."
    else:
        amounts = {str(level.at): level.amount for level in levels_of(policy)}
        found = amounts.get(str(alert.facts["at"]))
        if found is None:
            return "The budget does not have this level any more."
        most, over = found, "Less than this is used and held again."
    if consumed >= most:
        return None
    if is_raised:
        return "The limit was raised."
    return over if quiet_ns >= QUIET_NS else None


def day_is_over(quiet_ns: int) -> str | None:
    """The end of what leaves no other trace: nothing more of it for a day."""
    return "It did not happen again for a day." if quiet_ns >= DAY_NS else None


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}
