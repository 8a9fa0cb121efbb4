"""The shape of insights, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel

from palyra.alerts.alert import Severity
from palyra.api.schemas.alerts import AlertShown
from palyra.api.schemas.budgets import AccountShown
from palyra.api.schemas.decisions import DecisionRow
from palyra.api.schemas.models import FaultShown
from palyra.api.schemas.usage import UsageSums
from palyra.budgets.terms import Metric
from palyra.budgets.windows import Interval
from palyra.reports.hints import HintKind, Pressure


class UnpricedModel(BaseModel):
    """A model without a price; ``requests`` counts its calls that have none."""

    model: str
    provider: str
    requests: int


class UsagePricing(BaseModel):
    """``known_models`` ran, and had a price for each call. The models are the 20 with the most such calls."""

    known_models: int
    unpriced_models: list[UnpricedModel]
    unpriced_calls: int


class ProviderInsight(BaseModel):
    """How a provider does now, as this gateway sees it; ``requests`` and ``failed`` are of the period.

    ``state`` is ``ok``, ``open`` or ``half_open`` (its breaker), ``cooling``, ``disabled``, or ``unknown``.
    """

    provider: str
    kind: str
    enabled: bool
    state: Literal["ok", "open", "half_open", "cooling", "disabled", "unknown"]
    breaker: str | None
    retry_at: str | None
    first_byte_ms: int | None
    last_ok_at: str | None
    last_fault: FaultShown | None
    requests: int
    failed: int
    error_percent: str | None


class ModeCounts(BaseModel):
    """Calls by the mode that held for them."""

    suggest: int
    dry_run: int
    enforced: int


class RoutingInsight(BaseModel):
    """Routes of the newest ``calls``, at most 500; ``sampled``: the period has more of them.

    ``rerouted`` ran elsewhere than asked, ``overruled`` not where Palyra recommended; ``could_save`` is what
    the recommended models would have cost less. ``saved`` is what routing saved over the whole period.
    """

    calls: int
    sampled: bool
    modes: ModeCounts
    rerouted: int
    overruled: int
    could_save_nano_usd: int
    could_save_usd: str
    saved_nano_usd: int
    saved_usd: str


class BudgetInsight(BaseModel):
    """An account of a budget that is at its limit or will be, in its own window."""

    policy_id: str
    name: str
    scope: str
    metric: Metric
    interval: Interval
    why: Pressure
    account: AccountShown


class MixItem(BaseModel):
    """A share of the cost. ``other``: all that are not told apart. ``provider`` is that of models."""

    name: str
    provider: str | None
    other: bool
    requests: int
    unpriced: int
    cost_nano_usd: int
    cost_usd: str
    share_percent: str | None


class HintShown(BaseModel):
    """Something to look at, and what to do next. ``link`` is a page below ``/console``."""

    kind: HintKind
    severity: Severity
    title: str
    detail: str
    action: str
    link: str


class UsageInsights(BaseModel):
    """What the usage of [since, until) amounts to. Health, budgets and alerts are those of now."""

    since: str
    until: str
    totals: UsageSums
    pricing: UsagePricing
    health: list[ProviderInsight]
    routing: RoutingInsight
    recent_decisions: list[DecisionRow]
    budgets: list[BudgetInsight]
    alerts: list[AlertShown]
    model_mix: list[MixItem]
    principal_mix: list[MixItem]
    agent_mix: list[MixItem]
    hints: list[HintShown]
