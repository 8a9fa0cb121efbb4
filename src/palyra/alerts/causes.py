"""Causes: what two occurrences must have in common to be one alert. Spelled here and nowhere else.

Each begins with its kind. Of the parts only the last one, or the entity in the middle, may have a colon, so
that different parts never make the same cause.
"""

from decimal import Decimal

from palyra.alerts.alert import Kind
from palyra.core.instant import Instant

EVERYBODY = "~everybody"
"""Stands where no principal is meant; no principal's own name begins with ``~``."""


def budget_threshold(policy_id: str, entity: str, window_start: Instant, at: Decimal) -> str:
    """One level of one budget in one window. ``at`` is the fraction of the limit; 0.8 and 0.80 are one."""
    level = f"{at.normalize():f}"
    return f"{Kind.BUDGET_THRESHOLD.value}:{policy_id}:{entity}:{window_start}:{level}"


def budget_exhausted(policy_id: str, entity: str, window_start: Instant) -> str:
    """One budget in one window."""
    return f"{Kind.BUDGET_EXHAUSTED.value}:{policy_id}:{entity}:{window_start}"


def forecast_exhaustion(policy_id: str, entity: str, window_start: Instant) -> str:
    """One budget in one window."""
    return f"{Kind.FORECAST_EXHAUSTION.value}:{policy_id}:{entity}:{window_start}"


def approval_pending(approval_id: str) -> str:
    """One request."""
    return f"{Kind.APPROVAL_PENDING.value}:{approval_id}"


def cost_spike(principal: str | None) -> str:
    """One principal, None for all together: hours of it that follow each other are one alert."""
    return f"{Kind.COST_SPIKE.value}:{_whose(principal)}"


def unusual_model_mix(principal: str | None) -> str:
    """One principal, None for all together."""
    return f"{Kind.UNUSUAL_MODEL_MIX.value}:{_whose(principal)}"


def provider_health(provider: str) -> str:
    """One provider, whichever of its credentials or models fail."""
    return f"{Kind.PROVIDER_HEALTH.value}:{provider}"


def unpriced_model(provider: str, model: str) -> str:
    """One model at one provider, whoever calls it."""
    return f"{Kind.UNPRICED_MODEL.value}:{provider}:{model}"


def overrun(provider: str, model: str) -> str:
    """One model at one provider: its calls use more than is held for them."""
    return f"{Kind.OVERRUN.value}:{provider}:{model}"


def unsettled_reservation(provider: str) -> str:
    """One provider: nobody knows how its calls ended."""
    return f"{Kind.UNSETTLED_RESERVATION.value}:{provider}"


def _whose(principal: str | None) -> str:
    return EVERYBODY if principal is None else principal
