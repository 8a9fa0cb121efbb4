"""The shapes of what the control plane answers, for the OpenAPI document.

Money is ``<name>_nano_usd`` (integer) beside ``<name>_usd`` (decimal string). Times are RFC 3339 in UTC.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from palyra.budgets.terms import Action, Metric, Mode, UnknownPrice
from palyra.budgets.windows import Interval


class Problem(BaseModel):
    """RFC 9457. ``field`` names what is at fault; some codes have members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None


class PolicyShown(BaseModel):
    """A budget as stored, with its version and origin."""

    model_config = ConfigDict(extra="allow")

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
    thresholds: list[dict[str, Any]]
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
    origin: str


class PolicyPage(BaseModel):
    """Budgets by id."""

    items: list[PolicyShown]
    next_cursor: str | None


class AccountShown(BaseModel):
    """One account, with its amounts ``posted``, ``held``, ``consumed``, ``limit``, ``remaining`` and more."""

    model_config = ConfigDict(extra="allow")

    entity: str
    window_start: str
    window_end: str | None
    open: bool


class PolicyStatus(BaseModel):
    """A budget and its accounts."""

    policy: PolicyShown
    accounts: list[AccountShown]


class DecisionRow(BaseModel):
    """A decision in a list."""

    model_config = ConfigDict(extra="allow")

    request_id: str
    at: str
    state: str
    outcome: str
    status: str
    principal: str
    agent: str | None
    session: str | None
    requested_model: str
    model: str
    cost_nano_usd: int | None = None
    cost_usd: str | None = None


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    items: list[DecisionRow]
    next_cursor: str | None


class DecisionShown(DecisionRow):
    """A decision with all that was known, decided and used."""

    estimate: dict[str, Any] | None
    price: dict[str, Any] | None
    evaluations: list[dict[str, Any]]
    clamp: dict[str, Any] | None
    counterfactual: dict[str, Any] | None
    settlement: dict[str, Any] | None


class KeyShown(BaseModel):
    """A key, recognised by its prefix."""

    id: str
    prefix: str
    principal: str
    agent: str | None
    roles: list[str]
    models: list[str]
    tags: dict[str, str]
    created_at: str
    created_by: str
    revoked_at: str | None
    origin: str


class KeyCreated(KeyShown):
    """The only answer that ever holds a key in clear."""

    key: str


class KeyPage(BaseModel):
    """Keys, oldest first."""

    items: list[KeyShown]
    next_cursor: str | None


class UsageSums(BaseModel):
    """Sums over calls. ``unpriced`` calls are in no cost; ``latency_ms`` is the sum over the ``timed``.

    ``saved`` is what routing saved against the default models; below zero where it cost more.
    """

    requests: int
    denied: int
    estimated: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    asked: int
    clamped: int
    failed: int
    timed: int
    latency_ms: int
    cost_nano_usd: int
    cost_usd: str
    saved_nano_usd: int
    saved_usd: str


class UsageGroup(UsageSums):
    """Sums of one group."""

    group: dict[str, str]


class UsagePeriod(BaseModel):
    """The period of the same length before [since, until)."""

    since: str
    until: str
    totals: UsageSums


class UsageSummary(BaseModel):
    """Sums over [since, until). ``change`` has each figure against ``previous``, and in percent of it."""

    since: str
    until: str
    group_by: list[str]
    totals: UsageSums
    previous: UsagePeriod
    change: dict[str, int | str | None]
    groups: list[UsageGroup]


class UsageBucket(UsageSums):
    """Sums over the hours in [start, end). ``label`` is the local date, month or time."""

    start: str
    end: str
    label: str


class UsageSeries(BaseModel):
    """One figure per bucket: of a group, or of all ``other`` ones."""

    name: str
    other: bool
    total: int
    points: list[int]


class UsageTimeline(BaseModel):
    """Usage over time. ``aligned``: every bucket begins exactly where the local clock says."""

    since: str
    until: str
    bucket: str
    timezone: str
    aligned: bool
    by: str | None
    metric: str
    unit: str
    totals: UsageSums
    buckets: list[UsageBucket]
    series: list[UsageSeries]


class UsageItem(UsageSums):
    """Sums of one agent, principal, provider, or model at one. ``last_hour``: when it was last seen."""

    agent: str | None = None
    principal: str | None = None
    model: str | None = None
    provider: str | None = None
    share_percent: str | None
    average_cost_nano_usd: int | None
    average_cost_usd: str | None
    last_hour: str
    sparkline: list[int]


class UsageSparkline(BaseModel):
    """What ``items[].sparkline`` shows: ``buckets`` of so many ``hours`` each, from ``start``."""

    metric: str
    unit: str
    start: str
    hours: int
    buckets: int


class UsageList(BaseModel):
    """Groups by what they used, the largest first. ``all_cost`` is the cost of all, on other pages too."""

    since: str
    until: str
    sort: str
    all_cost_nano_usd: int
    all_cost_usd: str
    sparkline: UsageSparkline
    items: list[UsageItem]
    next_cursor: str | None


class Listing(BaseModel):
    """Items as the price book or the registry lists them."""

    model_config = ConfigDict(extra="allow")

    items: list[dict[str, Any]]


class ModelStatus(BaseModel):
    """Providers and how they do. ``live``: with what a daemon knows."""

    model_config = ConfigDict(extra="allow")

    live: bool
    default_model: str | None
    providers: list[dict[str, Any]]
    models: int
    priced: int
    problems: list[dict[str, str]]


class CallExplained(BaseModel):
    """The decision that a call would get; as a decision, without a settlement."""

    model_config = ConfigDict(extra="allow")

    would_run: bool
    outcome: str
    status: str
    mode: str
    requested_model: str
    recommended_model: str
    model: str
    provider: str
    route: str
    estimate: dict[str, Any] | None
    routing: dict[str, Any] | None
    evaluations: list[dict[str, Any]]


class Tested(BaseModel):
    """The results. ``ok``: every enabled provider is well."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    live: bool
    providers: list[dict[str, Any]]


class RoutingReportShown(BaseModel):
    """Settled calls whose model Palyra chose, or would have: four costs, each with its ``saving``.

    ``ran``, ``always_default``, ``always_recommended`` and ``shuffled`` have ``cost`` and ``saving`` in
    nano-USD and USD, and ``saving_percent``, against the default. ``verdict`` has a ``code`` and a ``text``.
    """

    since: str
    until: str
    principal: str | None
    truncated: bool
    read_since: str | None
    calls: dict[str, Any]
    ran: dict[str, Any]
    always_default: dict[str, Any]
    always_recommended: dict[str, Any]
    shuffled: dict[str, Any]
    verdict: dict[str, str]
    bands: list[dict[str, Any]]
    models: list[dict[str, Any]]
    endpoints: list[dict[str, Any]]
    unpriced_models: list[dict[str, Any]]


class ApprovalShown(BaseModel):
    """A request to go over a budget. ``limit``, ``consumed``, ``amount``, ``asked``, ``projected`` and
    ``remaining`` are as at the last ask, ``budget_now`` is as now.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    version: int
    subject: str
    state: str
    standing: str
    requester: str
    requester_key: str
    principal: str | None
    agent: str | None
    session: str | None
    model: str | None
    request_id: str | None
    policy_id: str
    policy_version: int
    scope: str
    metric: str
    interval: str
    entity: str
    window_start: str | None
    window_end: str | None
    risk: str
    occurrences: int
    reason: str
    created_at: str
    asked_at: str
    expires_at: str
    grant: dict[str, Any] | None
    decided_by: str | None
    decided_at: str | None
    decision_reason: str | None
    revocation: dict[str, Any] | None
    used_by: str | None
    url: str
    budget_now: dict[str, Any] | None


class ApprovalPage(BaseModel):
    """Requests, newest first."""

    items: list[ApprovalShown]
    next_cursor: str | None


class AlertShown(BaseModel):
    """Something that is wrong, or was. Amounts in ``facts`` are in the unit of ``facts.metric``."""

    id: str
    version: int
    state: str
    kind: str
    severity: str
    cause: str
    title: str
    message: str
    first_at: str
    last_at: str
    count: int
    facts: dict[str, Any]
    policy_id: str | None
    principal: str | None
    acknowledged: dict[str, str] | None
    resolved_at: str | None
    resolution: str


class AlertPage(BaseModel):
    """Alerts, newest first."""

    items: list[AlertShown]
    next_cursor: str | None


class NoticeShown(BaseModel):
    """A message about an alert to one target; ``error`` is of the last attempt."""

    id: str
    version: int
    state: str
    target: str
    event: str
    alert_id: str
    kind: str
    severity: str
    title: str
    created_at: str
    due_at: str
    attempts: int
    sent_at: str | None
    error: str


class NoticePage(BaseModel):
    """Messages, newest first."""

    items: list[NoticeShown]
    next_cursor: str | None


class TestedTargets(BaseModel):
    """The test messages on their way."""

    notices: list[NoticeShown]
