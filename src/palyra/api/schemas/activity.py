"""Answers about sessions, tags and latencies, as OpenAPI describes them."""

from typing import Literal

from pydantic import BaseModel

from palyra.api.schemas.decisions import DecisionPage


class UsageSessionItem(BaseModel):
    """A session, all of its calls that are over. ``agent`` and ``model`` are those of its last call."""

    principal: str
    session: str
    agent: str | None
    model: str
    first_at: str
    last_at: str
    first_call: str
    last_call: str
    requests: int
    denied: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    cost_usd: str


class UsageSessions(BaseModel):
    """Sessions with calls in [since, until)."""

    since: str
    until: str
    sort: str
    items: list[UsageSessionItem]
    next_cursor: str | None


class UsageCalls(BaseModel):
    """Sums of some calls."""

    requests: int
    denied: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    cost_usd: str


class UsageSessionBucket(UsageCalls):
    """The calls of one bucket."""

    start: str


class UsageSessionTimeline(BaseModel):
    """The calls of a session over time, in buckets of UTC. ``truncated``: the older ones are not in it."""

    bucket: Literal["minute", "hour", "day"]
    truncated: bool
    buckets: list[UsageSessionBucket]


class UsageSessionModel(UsageCalls):
    """The calls that one model ran."""

    model: str
    provider: str


class UsageSession(DecisionPage):
    """A session, and its calls as the list of decisions has them.

    ``timeline`` and ``models`` are of its newest 2,000 calls.
    """

    session: UsageSessionItem
    timeline: UsageSessionTimeline
    models: list[UsageSessionModel]


class UsageTag(BaseModel):
    """Sums of the calls with one value of a tag. The share is of all calls with the tag."""

    tag: str
    value: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    cost_usd: str
    share_percent: str | None


class UsageTags(BaseModel):
    """Values of tags over [since, until), the dearest first."""

    since: str
    until: str
    items: list[UsageTag]


class UsageLatency(BaseModel):
    """How long the ``timed`` calls took, in milliseconds, to an eighth."""

    timed: int
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class UsageModelLatency(UsageLatency):
    """The same of one model at a provider."""

    provider: str
    model: str


class UsageLatencies(BaseModel):
    """How long calls took over [since, until)."""

    since: str
    until: str
    totals: UsageLatency
    items: list[UsageModelLatency]
