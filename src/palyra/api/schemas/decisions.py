"""The shapes of decisions, for the OpenAPI document. Costs in nano-USD and USD; null is not known (L6)."""

from pydantic import BaseModel

from palyra.budgets.evaluation import Outcome
from palyra.budgets.terms import Metric, Mode
from palyra.budgets.windows import Interval
from palyra.lifecycle.decision import CallState
from palyra.routing.choose import Health


class EstimateShown(BaseModel):
    """What the call was expected to use, and at most: the bound was held. ``method``: how it was counted."""

    input_bytes: int
    input_tokens_expected: int
    input_tokens_bound: int
    output_tokens_bound: int
    output_cap_requested: int | None
    choices: int
    method: str
    cost_expected_nano_usd: int | None
    cost_expected_usd: str | None
    cost_bound_nano_usd: int | None
    cost_bound_usd: str | None


class PriceUsed(BaseModel):
    """The price that costs were computed with. ``known``: it is that of the model, and no ceiling."""

    provider: str
    model: str
    source: str
    entry_id: str
    book_version: str
    known: bool


class EvaluationShown(BaseModel):
    """One budget against the call.

    Amounts of ``cost_usd`` are ``<name>_nano_usd`` and ``<name>_usd``, those of other metrics ``<name>``: an
    evaluation has the ones or the others.

    ``amount`` is what the call would hold, ``projected`` the sum of it and ``consumed``.
    """

    policy_id: str
    policy_version: int
    scope: str
    metric: Metric
    interval: Interval
    entity: str
    window_start: str
    window_end: str | None
    status: str
    mode: Mode
    would: str | None
    message: str
    consumed: int | None = None
    consumed_nano_usd: int | None = None
    consumed_usd: str | None = None
    amount: int | None = None
    amount_nano_usd: int | None = None
    amount_usd: str | None = None
    projected: int | None = None
    projected_nano_usd: int | None = None
    projected_usd: str | None = None
    soft_limit: int | None = None
    soft_limit_nano_usd: int | None = None
    soft_limit_usd: str | None = None
    hard_limit: int | None = None
    hard_limit_nano_usd: int | None = None
    hard_limit_usd: str | None = None
    remaining: int | None = None
    remaining_nano_usd: int | None = None
    remaining_usd: str | None = None


class OverrideUsed(BaseModel):
    """What people granted and the call needed: ``extra`` in the unit of ``metric``, as in evaluations."""

    policy_id: str
    approvals: list[str]
    single_use: bool
    metric: Metric
    extra: int | None = None
    extra_nano_usd: int | None = None
    extra_usd: str | None = None


class ClampShown(BaseModel):
    """The output cap was lowered from ``requested`` to ``granted`` tokens, to fit a budget."""

    requested: int
    granted: int
    policy_id: str


class FeaturesShown(BaseModel):
    """What the complexity of a call was scored by."""

    text_bytes: int
    tokens: int
    turns: int
    tools: int
    images: int
    wants_json: bool


class CandidateShown(BaseModel):
    """A model that might have served the call. ``lost``: why it did not, null if it was ``kept`` in."""

    model: str
    provider: str
    cost_bound_nano_usd: int | None
    cost_bound_usd: str | None
    cost_tier: str
    latency_rank: int
    health: Health
    room: str
    kept: bool
    lost: str | None


class RoutingShown(BaseModel):
    """How the recommended model was chosen. ``score`` is the complexity, from 0 to 1.

    ``by`` is a word for programs, ``reason`` a sentence. ``open``: the caller left the choice to Palyra.
    """

    score_version: int
    score: float
    features: FeaturesShown
    open: bool
    default_model: str
    session_model: str | None
    chosen: str
    by: str
    reason: str
    degraded_by: list[str]
    would_degrade: list[str]
    candidates: list[CandidateShown]


class CounterfactualShown(BaseModel):
    """What full enforcement, or the recommended ``model``, would have made of the call."""

    would: list[str]
    outcome: Outcome
    model: str | None
    clamped_output_tokens: int | None
    cost_bound_nano_usd: int | None
    cost_bound_usd: str | None
    cost_nano_usd: int | None
    cost_usd: str | None


class UsageReported(BaseModel):
    """Tokens by class: input and output include their parts."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    input_image_tokens: int
    web_searches: int


class BillLine(BaseModel):
    """``quantity`` of ``unit`` at ``usd_per_million``, or per each where it is a fee."""

    unit: str
    quantity: int
    usd_per_million: str
    cost_usd: str


class AttemptShown(BaseModel):
    """One try at a provider, in milliseconds since the decision.

    ``then`` is what came of its failure: ``retry``, ``failover`` or empty.
    """

    provider: str
    model: str
    began_ms: int
    ended_ms: int
    status: int | None
    outcome: str
    message: str
    then: str


class SettlementShown(BaseModel):
    """How the call ended: what it used, cost, and had held."""

    at: str
    state: CallState
    source: str
    reason: str
    usage: UsageReported | None
    cost_nano_usd: int | None
    cost_usd: str | None
    held_nano_usd: int | None
    held_usd: str | None
    overrun: bool
    late: bool
    service_tier: str | None
    upstream_status: int | None
    upstream_model: str | None
    client_gone: bool
    first_byte_ms: int | None
    total_ms: int
    lines: list[BillLine]
    attempts: list[AttemptShown]


class CallPlanned(BaseModel):
    """What was decided of a call before it ran."""

    at: str
    outcome: Outcome
    status: str
    error_code: str | None
    message: str
    mode: Mode
    endpoint: str
    stream: bool
    principal: str
    agent: str | None
    session: str | None
    requested_model: str
    model: str
    provider: str


class CallReasons(BaseModel):
    """Why it was decided so."""

    parent_session: str | None
    task_class: str
    tags: dict[str, str]
    recommended_model: str
    route: str
    route_reason: str
    mode_origin: str
    estimate: EstimateShown | None
    price: PriceUsed | None
    evaluations: list[EvaluationShown]
    overrides: list[OverrideUsed]
    clamp: ClampShown | None
    routing: RoutingShown | None
    counterfactual: CounterfactualShown | None


class DecisionRow(CallPlanned):
    """A decision in a list. Tokens and cost are of calls that are over; ``would`` is that of dry runs."""

    request_id: str
    state: CallState
    route: str
    recommended_model: str
    input_tokens: int | None
    output_tokens: int | None
    cost_nano_usd: int | None
    cost_usd: str | None
    total_ms: int | None
    clamped: bool
    would: list[str]


class DecisionPage(BaseModel):
    """Decisions, newest first.

    ``scanned_until``: only the calls from then on were looked at, and the page is not full; ``next_cursor``
    goes on behind them.
    """

    items: list[DecisionRow]
    next_cursor: str | None
    scanned_until: str | None


class DecisionWhole(CallPlanned, CallReasons):
    """A decision with all that was known, decided and used.

    ``continues`` is the call that this one takes up elsewhere, after its provider failed.
    """

    request_id: str
    state: CallState
    key_id: str
    idempotency_key: bool
    continues: str | None
    settlement: SettlementShown | None


class DecisionShown(DecisionWhole):
    """The same, and what took it up elsewhere, in order."""

    continued_as: list[DecisionWhole]


class RefusalShown(BaseModel):
    """How the caller would be refused."""

    status: int
    code: str


class CallExplained(CallPlanned, CallReasons):
    """The decision that a call would get.

    ``survey``: how a model would be chosen, had the caller left it open.
    """

    live: bool
    would_run: bool
    survey: RoutingShown | None
    error: RefusalShown | None
