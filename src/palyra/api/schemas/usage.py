"""The shapes of sums of usage."""

from pydantic import BaseModel


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
    """The period of the same length before [since, until).

    It is ``whole`` where usage is ``kept_since`` its start or longer, by anybody.
    """

    since: str
    until: str
    kept_since: str | None
    whole: bool
    totals: UsageSums
    p95_latency_ms: int | None


class UsageChange(BaseModel):
    """Each figure less that of the period before, and in percent of it, null where it is 0 or not whole."""

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
    p95_latency_ms: int | None
    p95_latency_ms_percent: str | None


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
