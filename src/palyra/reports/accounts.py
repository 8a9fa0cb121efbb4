"""Where one account of a budget stands, as a JSON document."""

from palyra.alerts.forecast import Forecast
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Metric, amount_fields
from palyra.core.instant import Instant, isoformat, to_the_second
from palyra.ledger.account import AccountKey, Balance
from palyra.reports.explain import window_end


def account_document(
    policy: Policy, key: AccountKey, ends: int, balance: Balance, now: int, sliced: int = 0, extra: int = 0
) -> dict[str, object]:
    """Posted, held, limits and what remains; ``shadow_*`` is the balance if dry-run budgets were enforced.

    ``sliced`` is claimed by gateways for calls to come, and not part of ``consumed``: others cannot use it
    before it is given back. ``extra`` is what live overrides put on top of the hard limit. ``remaining`` has
    it in; it is below zero after an overrun (L4) or a grant for one call, and None without a limit.
    Limits are None for an account of another metric, which an edit of the budget may leave behind. ``open``:
    the window lasts.
    """
    metric = Metric(key.metric)
    same = metric is policy.metric
    soft, hard = (policy.soft_limit, policy.hard_limit) if same else (None, None)
    limit = hard if hard is not None else soft
    consumed = balance.posted + balance.held
    amounts: dict[str, int | None] = {
        "posted": balance.posted,
        "held": balance.held,
        "consumed": consumed,
        "limit": limit,
        "soft_limit": soft,
        "hard_limit": hard,
        "extra": extra,
        "remaining": None if limit is None else limit + extra - consumed,
        "sliced": sliced,
        "shadow_posted": balance.shadow_posted,
        "shadow_held": balance.shadow_held,
    }
    document: dict[str, object] = {
        "entity": key.entity,
        "metric": metric.value,
        "window_start": isoformat(key.window_start),
        "window_end": window_end(ends),
        "open": ends > now,
    }
    for name, amount in amounts.items():
        document |= amount_fields(metric, name, amount)
    return document


def forecast_fields(
    policy: Policy, key: AccountKey, balance: Balance, seen: Forecast | None, now: Instant
) -> dict[str, object]:
    """How the window of an account will end, from what its forecast says; None where it cannot be told.

    ``forecast`` is the balance that is expected at ``forecast_at``: the end of the window, or 31 days ahead
    where that is later. ``exhausted_at`` is when the hard limit will be reached, None if it will not in this
    window, or has been already.
    """
    metric, consumed = Metric(key.metric), balance.posted + balance.held
    expected = None if seen is None else max(seen.expected, consumed)
    exhausted_at = None
    if seen is not None and policy.hard_limit is not None and consumed < policy.hard_limit:
        exhausted_at = seen.exhausted_at
    return {
        **amount_fields(metric, "forecast", expected),
        "forecast_at": None if seen is None else isoformat(seen.until),
        "exhausted_at": None if exhausted_at is None else isoformat(to_the_second(max(exhausted_at, now))),
    }
