"""What an alert says: a title, a message of what happened and what to do next, and facts for programs.

One function for each kind. Amounts are integers in the unit of the metric; messages cut them to cents, and
below a dollar to four figures, downwards, so that a budget never reads as fuller than it is. Facts are exact.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import msgspec

from palyra.alerts import causes
from palyra.alerts.alert import Kind, Severity
from palyra.alerts.course import Finding
from palyra.alerts.forecast import Forecast
from palyra.alerts.mix import ModelShare, Shift
from palyra.alerts.spike import Spike
from palyra.core.instant import END_OF_TIME, Instant, isoformat, to_the_second
from palyra.core.money import NANO_PER_USD, format_usd

MONEY = "cost_usd"
_BELOW_A_CENT = 7
_FIGURES = 4


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """How one budget stands in one window: amounts in the unit of ``metric`` (nano-USD for ``cost_usd``).

    ``consumed`` is posted and held; ``limit`` what it is measured against, without overrides. ``whose`` names
    the account among those of the policy as people say it (``principal alice``), empty if it has only one.
    """

    policy_id: str
    name: str
    entity: str
    metric: str
    window_start: Instant
    window_end: Instant
    consumed: int
    limit: int
    whose: str = ""
    principal: str | None = None


def amount_text(metric: str, amount: int) -> str:
    """An amount with its unit, short: ``12.34 USD``, ``0.01234 USD``, ``1200 tokens``, ``1 request``."""
    if metric == MONEY:
        beyond = _BELOW_A_CENT if amount >= NANO_PER_USD else max(0, len(str(amount)) - _FIGURES)
        return f"{format_usd(amount - amount % 10**beyond)} USD"
    unit = "request" if metric == "requests" else "token"
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"


def budget_threshold(budget: BudgetView, at: Decimal, effect: str = "") -> Finding:
    """A budget reached the fraction ``at`` of its limit. ``effect`` is a sentence on what that changed."""
    message = (
        f"{_used(budget)}{_then(effect)}{_until(budget)} See `palyra budgets status {budget.policy_id}`."
    )
    return _of_budget(
        budget,
        kind=Kind.BUDGET_THRESHOLD,
        cause=causes.budget_threshold(budget.policy_id, budget.entity, budget.window_start, at),
        severity=Severity.INFO if at < 1 and not effect else Severity.WARNING,
        title=f"Budget {budget.name} is at {_percent(Fraction(at))}",
        message=message,
        facts={"at": str(at.normalize())},
    )


def budget_exhausted(budget: BudgetView, effect: str, *, stops_calls: bool) -> Finding:
    """A budget has no room for a call. ``effect``: a sentence on what becomes of further calls."""
    message = (
        f"{_used(budget)}{_then(effect)}{_until(budget)} Ask for an override, or raise the limit of the "
        f"policy {budget.policy_id}."
    )
    return _of_budget(
        budget,
        kind=Kind.BUDGET_EXHAUSTED,
        cause=causes.budget_exhausted(budget.policy_id, budget.entity, budget.window_start),
        severity=Severity.CRITICAL if stops_calls else Severity.WARNING,
        title=f"Budget {budget.name} is exhausted",
        message=message,
        facts={"stops_calls": stops_calls},
    )


def forecast_exhaustion(budget: BudgetView, forecast: Forecast) -> Finding:
    """A budget will not last. Raises ValueError for a forecast that does not reach the limit."""
    reached = forecast.exhausted_at
    if reached is None:
        raise ValueError("this forecast does not reach the limit")
    expected, low, high = (
        amount_text(budget.metric, amount) for amount in (forecast.expected, forecast.low, forecast.high)
    )
    return _of_budget(
        budget,
        kind=Kind.FORECAST_EXHAUSTION,
        cause=causes.forecast_exhaustion(budget.policy_id, budget.entity, budget.window_start),
        severity=Severity.WARNING,
        title=f"Budget {budget.name} will not last",
        message=(
            f"{_used(budget)} As use goes on, the limit is reached at about {_time(reached)}, and {expected} "
            f"is expected by {_time(forecast.until)} (between {low} and {high}). Raise the limit, or see "
            "what drives it with `palyra usage summary --by agent,model`."
        ),
        facts={
            "basis": forecast.basis.value,
            "exhausted_at": isoformat(reached),
            "until": isoformat(forecast.until),
            "expected": forecast.expected,
            "low": forecast.low,
            "high": forecast.high,
        },
    )


def approval_pending(
    approval_id: str, policy_id: str, requester: str, metric: str, asked: int, expires_at: Instant
) -> Finding:
    """Somebody waits for a decision. ``asked`` is the amount on top of the limit."""
    return Finding(
        kind=Kind.APPROVAL_PENDING,
        cause=causes.approval_pending(approval_id),
        severity=Severity.WARNING,
        title=f"{requester} asks to go over the budget {policy_id}",
        message=(
            f"{requester} asks for {amount_text(metric, asked)} on top of the limit. Without a decision the "
            f"request ends at {_time(expires_at)}. Decide with `palyra approvals approve {approval_id}` or "
            f"`palyra approvals deny {approval_id}`."
        ),
        facts={
            "approval_id": approval_id,
            "metric": metric,
            "asked": asked,
            "expires_at": isoformat(expires_at),
        },
        policy_id=policy_id,
        principal=requester,
    )


def cost_spike(principal: str | None, spike: Spike) -> Finding:
    """An hour of one principal, or of all together, cost much more than usual."""
    hour = spike.hour
    return Finding(
        kind=Kind.COST_SPIKE,
        cause=causes.cost_spike(principal),
        severity=Severity.WARNING,
        title=f"{_whom(principal)}: cost spike",
        message=(
            f"The hour from {_time(hour.start)} cost {amount_text(MONEY, hour.amount)}. Usual at that hour "
            f"is {amount_text(MONEY, spike.usual)}, by the median of {spike.days} days. See which model and "
            "agent it was with `palyra usage summary --by hour,agent,model`. A budget by the hour stops it "
            "the next time."
        ),
        facts={
            "hour": isoformat(hour.start),
            "cost_nano_usd": hour.amount,
            "usual_nano_usd": spike.usual,
            "threshold_nano_usd": spike.threshold,
            "days": spike.days,
        },
        principal=principal,
    )


def unusual_model_mix(principal: str | None, shift: Shift) -> Finding:
    """One principal, or all together, used other models on the last day than in the week before."""
    what = "cost" if shift.by == "cost" else "calls"
    gained, lost = shift.gained, shift.lost
    return Finding(
        kind=Kind.UNUSUAL_MODEL_MIX,
        cause=causes.unusual_model_mix(principal),
        severity=Severity.INFO,
        title=f"{_whom(principal)}: other models than usual",
        message=(
            f"{_percent(shift.moved)} of the {what} of the last day moved to other models than in the week "
            f"before: {_moved(gained)}, {_moved(lost)}. If nobody meant that, look at the routes of the "
            "calls with `palyra models routing-report`."
        ),
        facts={
            "moved_percent": _whole_percent(shift.moved),
            "by": shift.by,
            "gained": gained.model,
            "lost": lost.model,
        },
        principal=principal,
    )


def provider_health(provider: str, reason: str, since: Instant, *, is_open: bool) -> Finding:
    """A provider is not well. ``reason`` as its last failure said; ``is_open``: no call is sent to it now."""
    effect = (
        "No call is sent to it until a probe succeeds; fallbacks serve where there are any."
        if is_open
        else "Calls are still sent to it."
    )
    return Finding(
        kind=Kind.PROVIDER_HEALTH,
        cause=causes.provider_health(provider),
        severity=Severity.CRITICAL if is_open else Severity.WARNING,
        title=f"Provider {provider} is not well",
        message=(
            f"Since {_time(since)} calls to {provider} fail: {reason}. {effect} See `palyra models status`, "
            f"and try it with `palyra models test-connection --provider {provider}`."
        ),
        facts={"provider": provider, "reason": reason, "since": isoformat(since), "open": is_open},
    )


def unpriced_model(provider: str, model: str, effect: str) -> Finding:
    """A model without a price was called. ``effect``: a sentence on what became of the call."""
    return Finding(
        kind=Kind.UNPRICED_MODEL,
        cause=causes.unpriced_model(provider, model),
        severity=Severity.WARNING,
        title=f"No price for {model}",
        message=(
            f"{model} of {provider} was called, and what it costs is not known.{_then(effect)} Add its price "
            "to the configuration, under [[prices]]."
        ),
        facts={"provider": provider, "model": model},
    )


def overrun(
    provider: str, model: str, request_id: str, metric: str, held: int, used: int, principal: str | None
) -> Finding:
    """A call used more than was held for it (L4). ``held`` and ``used`` are those of the call."""
    return Finding(
        kind=Kind.OVERRUN,
        cause=causes.overrun(provider, model),
        severity=Severity.WARNING,
        title=f"A call of {model} used more than was held",
        message=(
            f"{amount_text(metric, held)} was held for it and {amount_text(metric, used)} was posted, in "
            f"full. A budget can be passed by the difference. See `palyra explain {request_id}`, and check "
            f"the price and the limits of {model}."
        ),
        facts={
            "provider": provider,
            "model": model,
            "request_id": request_id,
            "metric": metric,
            "held": held,
            "used": used,
        },
        principal=principal,
    )


def unsettled_reservation(provider: str, request_id: str, metric: str, held: int, reason: str) -> Finding:
    """A reservation was never settled: what it ``held`` is posted, in doubt."""
    return Finding(
        kind=Kind.UNSETTLED_RESERVATION,
        cause=causes.unsettled_reservation(provider),
        severity=Severity.WARNING,
        title=f"Nobody knows how a call to {provider} ended",
        message=(
            f"{amount_text(metric, held)} is posted in doubt, as held: {reason}. The real usage corrects it "
            f"if it still comes. Compare with the provider's bill; see `palyra explain {request_id}`."
        ),
        facts={
            "provider": provider,
            "request_id": request_id,
            "metric": metric,
            "held": held,
            "reason": reason,
        },
    )


def _of_budget(
    budget: BudgetView,
    *,
    kind: Kind,
    cause: str,
    severity: Severity,
    title: str,
    message: str,
    facts: Mapping[str, object],
) -> Finding:
    return Finding(
        kind=kind,
        cause=cause,
        severity=severity,
        title=f"{title}: {budget.whose}" if budget.whose else title,
        message=message,
        facts={
            "entity": budget.entity,
            "metric": budget.metric,
            "window_start": isoformat(budget.window_start),
            "window_end": None if budget.window_end >= END_OF_TIME else isoformat(budget.window_end),
            "consumed": budget.consumed,
            "limit": budget.limit,
            **facts,
        },
        policy_id=budget.policy_id,
        principal=budget.principal,
    )


def _used(budget: BudgetView) -> str:
    consumed, limit = (amount_text(budget.metric, amount) for amount in (budget.consumed, budget.limit))
    return f"{consumed} of {limit} is used or held."


def _until(budget: BudgetView) -> str:
    end = budget.window_end
    return "" if end >= END_OF_TIME else f" The next window begins at {_time(end)}."


def _then(sentence: str) -> str:
    return f" {sentence}" if sentence else ""


def _time(at: Instant) -> str:
    return isoformat(to_the_second(at))


def _percent(share: Fraction) -> str:
    return f"{_whole_percent(share)} %"


def _whole_percent(share: Fraction) -> int:
    return share.numerator * 100 // share.denominator


def _moved(share: ModelShare) -> str:
    return f"{share.model} from {_percent(share.before)} to {_percent(share.now)}"


def _whom(principal: str | None) -> str:
    return "All principals" if principal is None else principal
