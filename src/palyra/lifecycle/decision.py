"""The record of one call: what was asked, estimated, decided and used. Stored whole, explained by request id.

Nothing here holds prompt or completion text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from palyra.core.instant import Instant
from palyra.pricing.usage import Usage


class CallState(StrEnum):
    """Where a call stands. Only ``pending`` holds money."""

    PENDING = "pending"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in_doubt"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Labels:
    """Who a call belongs to."""

    key_id: str
    principal: str
    agent: str | None
    session: str | None
    parent_session: str | None
    task_class: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EstimateRecord:
    """What the call was expected to use, and the bound that was held. Costs in nano-USD, None if unknown."""

    input_bytes: int
    input_tokens_expected: int
    input_tokens_bound: int
    output_tokens_bound: int
    output_cap_requested: int | None
    choices: int
    cost_expected: int | None
    cost_bound: int | None
    method: str


@dataclass(frozen=True, slots=True)
class PriceRecord:
    """The price entry a cost was computed with; ``known`` is False for a ceiling or a missing price."""

    provider: str
    model: str
    source: str
    entry_id: str
    book_version: str
    known: bool


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One policy against this call. Amounts in the metric's unit: nano-USD for cost_usd, counts otherwise."""

    policy_id: str
    policy_version: int
    scope: str
    metric: str
    interval: str
    entity: str
    window_start: int
    window_end: int
    status: str
    mode: str
    consumed: int
    amount: int | None
    projected: int | None
    soft_limit: int | None
    hard_limit: int | None
    remaining: int | None
    would: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ClampRecord:
    """The output cap was lowered from ``requested`` to ``granted`` tokens to fit ``policy_id``."""

    requested: int
    granted: int
    policy_id: str


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What full enforcement of the dry-run policies would have done."""

    would: tuple[str, ...]
    outcome: str
    cost_bound: int | None
    clamped_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that was known and decided before the call went upstream."""

    request_id: str
    at: Instant
    endpoint: str
    stream: bool
    labels: Labels
    requested_model: str
    recommended_model: str
    model: str
    provider: str
    route: str
    route_reason: str
    mode: str
    mode_origin: str
    outcome: str
    status: str
    estimate: EstimateRecord | None
    price: PriceRecord | None
    evaluations: tuple[EvaluationRecord, ...]
    clamp: ClampRecord | None = None
    counterfactual: Counterfactual | None = None
    error_code: str | None = None
    message: str = ""
    idempotency_key: bool = False

    @property
    def cost_bound(self) -> int | None:
        """What was held at most, in nano-USD; None if it could not be computed."""
        return self.estimate.cost_bound if self.estimate else None

    def elapsed_ms(self, now: Instant) -> int:
        """Milliseconds since the call was decided."""
        return (now - self.at) // 1_000_000


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of a bill: ``quantity`` of ``unit`` at ``usd_per_million`` (per each for fees)."""

    unit: str
    quantity: int
    usd_per_million: str
    cost_usd: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended. ``cost`` in nano-USD, None if it cannot be computed (never 0 in its place)."""

    at: Instant
    state: CallState
    source: str
    reason: str
    usage: Usage | None
    cost: int | None
    held: int | None
    total_ms: int
    overrun: bool = False
    late: bool = False
    service_tier: str | None = None
    upstream_status: int | None = None
    upstream_model: str | None = None
    client_gone: bool = False
    first_byte_ms: int | None = None
    lines: tuple[CostLine, ...] = field(default=())
    counterfactual_cost: int | None = None


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as read back, with its settlement if the call is over."""

    decision: Decision
    state: CallState
    settlement: Settlement | None
