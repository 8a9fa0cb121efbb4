"""The shapes of what the control plane answers, for the OpenAPI document.

Money is ``<name>_nano_usd`` (integer) beside ``<name>_usd`` (decimal string). Times are RFC 3339 in UTC.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """RFC 9457. ``field`` names what is at fault; some codes have members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None


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
    average_latency_ms: int | None
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
    p95_latency_ms: int | None


class UsageChange(BaseModel):
    """Each figure less that of the period before, and in percent of it; null where that was 0."""

    requests: int
    requests_percent: str | None
    denied: int
    denied_percent: str | None
    estimated: int
    estimated_percent: str | None
    unpriced: int
    unpriced_percent: str | None
    input_tokens: int
    input_tokens_percent: str | None
    output_tokens: int
    output_tokens_percent: str | None
    cache_read_tokens: int
    cache_read_tokens_percent: str | None
    cache_write_tokens: int
    cache_write_tokens_percent: str | None
    reasoning_tokens: int
    reasoning_tokens_percent: str | None
    asked: int
    asked_percent: str | None
    clamped: int
    clamped_percent: str | None
    failed: int
    failed_percent: str | None
    timed: int
    timed_percent: str | None
    latency_ms: int
    latency_ms_percent: str | None
    cost_nano_usd: int
    cost_usd: str
    cost_percent: str | None
    saved_nano_usd: int
    saved_usd: str
    saved_percent: str | None
    average_latency_ms: int | None
    average_latency_ms_percent: str | None


class UsageSummary(BaseModel):
    """Sums over [since, until), and against ``previous``.

    ``held_now`` is what the ``running`` calls may cost at most, but for ``running_unpriced`` of them.
    """

    since: str
    until: str
    group_by: list[str]
    totals: UsageSums
    p95_latency_ms: int | None
    running: int
    running_unpriced: int
    held_now_nano_usd: int
    held_now_usd: str
    previous: UsagePeriod
    change: UsageChange
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
