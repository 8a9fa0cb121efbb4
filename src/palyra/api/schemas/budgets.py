"""The shapes of budgets, their accounts and their past, for the OpenAPI document.

An amount is in the unit of the metric: ``NAME`` for counts, ``NAME_nano_usd`` and ``NAME_usd`` for money; the
other fields are not there.
"""

from typing import Literal

from pydantic import BaseModel

from palyra.budgets.terms import Action, Metric, Mode, Then, UnknownPrice
from palyra.budgets.windows import Interval


class ThresholdShown(BaseModel):
    """What happens at a fraction of the limit, which is a decimal string."""

    at: str
    then: Then
    to: str | None = None


class PolicyShown(BaseModel):
    """A budget as stored, with its version and origin. Limits are there as written, and as amounts."""

    id: str
    name: str
    scope: str
    metric: Metric
    interval: Interval
    timezone: str
    soft_limit: str | int | None
    hard_limit: str | int | None
    action: Action
    mode: Mode | None
    routing_mode_override: Mode | None
    degrade_to: str | None
    thresholds: list[ThresholdShown]
    min_output_tokens: int
    unknown_price: UnknownPrice | None
    enabled: bool
    valid_from: str | None
    valid_until: str | None
    soft_limit_nano_usd: int | None = None
    soft_limit_usd: str | None = None
    hard_limit_nano_usd: int | None = None
    hard_limit_usd: str | None = None
    version: int
    created_by: str
    updated_by: str
    origin: Literal["file", "api"]


class PolicyPage(BaseModel):
    """Budgets by id."""

    items: list[PolicyShown]
    next_cursor: str | None


class AccountShown(BaseModel):
    """One account. ``forecast`` is the balance expected at ``forecast_at``, the end of the window or 31 days
    ahead; ``exhausted_at`` is when the hard limit will be reached. Both are null where they cannot be told.
    """

    entity: str
    metric: Metric
    window_start: str
    window_end: str | None
    open: bool
    posted: int | None = None
    posted_nano_usd: int | None = None
    posted_usd: str | None = None
    held: int | None = None
    held_nano_usd: int | None = None
    held_usd: str | None = None
    consumed: int | None = None
    consumed_nano_usd: int | None = None
    consumed_usd: str | None = None
    limit: int | None = None
    limit_nano_usd: int | None = None
    limit_usd: str | None = None
    soft_limit: int | None = None
    soft_limit_nano_usd: int | None = None
    soft_limit_usd: str | None = None
    hard_limit: int | None = None
    hard_limit_nano_usd: int | None = None
    hard_limit_usd: str | None = None
    extra: int | None = None
    extra_nano_usd: int | None = None
    extra_usd: str | None = None
    remaining: int | None = None
    remaining_nano_usd: int | None = None
    remaining_usd: str | None = None
    sliced: int | None = None
    sliced_nano_usd: int | None = None
    sliced_usd: str | None = None
    shadow_posted: int | None = None
    shadow_posted_nano_usd: int | None = None
    shadow_posted_usd: str | None = None
    shadow_held: int | None = None
    shadow_held_nano_usd: int | None = None
    shadow_held_usd: str | None = None
    forecast: int | None = None
    forecast_nano_usd: int | None = None
    forecast_usd: str | None = None
    forecast_at: str | None
    exhausted_at: str | None


class PolicyStatus(BaseModel):
    """A budget and its accounts."""

    policy: PolicyShown
    accounts: list[AccountShown]


class PolicyGauge(PolicyStatus):
    """A budget and its accounts of now: those nearest to their limit, of ``accounts_total``."""

    accounts_total: int


class PolicyGauges(BaseModel):
    """Budgets by id, with their accounts of now."""

    items: list[PolicyGauge]
    next_cursor: str | None


class FieldProblem(BaseModel):
    """What is wrong with a field, and what to write instead."""

    field: str
    detail: str


class PolicyCheck(BaseModel):
    """A budget that was looked at and not stored. ``policy``: as it would be shown, null if it is not ``ok``.

    ``exists``: a budget of this id is in force or disabled.
    """

    ok: bool
    problems: list[FieldProblem]
    policy: PolicyShown | None
    exists: bool
