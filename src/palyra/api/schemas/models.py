"""The shapes of models, providers, prices and what routing saved, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel

from palyra.budgets.terms import Mode
from palyra.registry.models import Capability, CostTier, Kind, LatencyTier, ModelRole
from palyra.routing.breaker import BreakerState
from palyra.routing.choose import Health
from palyra.routing.failure import Reason


class ModelPrice(BaseModel):
    """USD per million tokens as decimal strings, of the standard tier; null where there is no price.

    ``source`` says where it is from: ``config``, or the name and version of the price list.
    """

    input_usd_per_million: str | None
    output_usd_per_million: str | None
    cache_read_usd_per_million: str | None
    source: str | None


class ModelCooldown(BaseModel):
    """Until when the model is left alone, and why."""

    until: str
    reason: Reason


class ModelShown(BaseModel):
    """A model, by the name that asks for it. ``sources`` tells for each value who said it.

    ``health`` is whether a call may go there now, ``breaker`` that of its provider.
    """

    id: str
    provider: str
    upstream_name: str
    role: ModelRole
    cost_tier: CostTier
    latency_tier: LatencyTier
    context_window: int | None
    output_limit: int | None
    capabilities: list[Capability] | None
    origin: str
    enabled: bool
    aliases: list[str]
    fallbacks: list[str]
    price: ModelPrice
    health: Health
    breaker: BreakerState
    cooldown: ModelCooldown | None
    sources: dict[str, str]


class ModelList(BaseModel):
    """Models. ``live``: their health is that of a running daemon."""

    live: bool
    items: list[ModelShown]


class RoutingSettings(BaseModel):
    """How models are chosen and failures are met, as configured. ``smart`` and ``candidates`` are words."""

    smart: str
    candidates: str
    failover: bool
    sticky_s: int
    retries: int
    breaker_failures: int
    breaker_open_s: float


class CredentialShown(BaseModel):
    """Where the credential of a provider is kept; never the credential."""

    reference: str | None
    present: bool
    needed: bool


class FaultShown(BaseModel):
    """The last failure of a provider."""

    at: str
    reason: Reason
    message: str


class CooldownShown(ModelCooldown):
    """A model that a provider turned away, or all of them (null)."""

    model: str | None


class ProviderHealth(BaseModel):
    """How a provider does, as the calls of this process saw it since its start."""

    breaker: BreakerState
    retry_at: str | None
    attempts: int
    faults: int
    first_byte_ms: int | None
    last_ok_at: str | None
    last_fault: FaultShown | None
    cooldowns: list[CooldownShown]


class ScopeLoadShown(BaseModel):
    """Calls in flight, and those that wait, at one limit."""

    scope: str
    limit: int | None
    foreground: int
    background: int
    foreground_waiting: int
    background_waiting: int
    deferred_total: int
    timed_out_total: int


class ConnectionChecked(BaseModel):
    """A connection test of one provider. ``cached``: it was made before, ``age_s`` seconds ago."""

    provider: str
    enabled: bool
    state: Literal[
        "ok",
        "no_model_list",
        "disabled",
        "missing_credential",
        "auth_failed",
        "rate_limited",
        "unexpected_answer",
        "unreachable",
        "tls_failed",
        "timed_out",
    ]
    well: bool
    message: str
    status: int | None
    connect_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None
    models: list[str]
    cached: bool
    checked_at: str
    age_s: int


class ProviderShown(BaseModel):
    """A provider: settings, models, and how it does. ``health`` is null where no daemon runs."""

    id: str
    display_name: str
    kind: Kind
    enabled: bool
    base_url: str
    endpoints: list[str]
    credential: CredentialShown
    models: int
    priced: int
    discovered_at: str | None
    discovery_age_s: int | None
    health: ProviderHealth | None
    load: list[ScopeLoadShown]
    check: ConnectionChecked | None


class PriceBookShown(BaseModel):
    """Which prices count: the version of the book, and how many entries are the operator's own."""

    version: str
    own: int


class ModelProblem(BaseModel):
    """What is wrong with the models as configured."""

    severity: Literal["error", "warning"]
    field: str
    message: str


class ModelStatus(BaseModel):
    """Providers and how they do. ``live``: with what a daemon knows."""

    live: bool
    source: str
    default_model: str | None
    mode: Mode
    routing: RoutingSettings
    providers: list[ProviderShown]
    models: int
    priced: int
    prices: PriceBookShown
    problems: list[ModelProblem]


class ConnectionGenerated(BaseModel):
    """A call of one output token at a provider. What it used is there if it was made."""

    provider: str
    ok: bool
    message: str
    model: str | None = None
    request_id: str | None = None
    first_byte_ms: int | None = None
    total_ms: int | None = None
    cost_nano_usd: int | None = None
    cost_usd: str | None = None


class ConnectionsTested(BaseModel):
    """The results. ``ok``: every enabled provider is well. ``generated``: where calls were asked for."""

    ok: bool
    live: bool
    providers: list[ConnectionChecked]
    generated: list[ConnectionGenerated] | None = None


class PriceShown(BaseModel):
    """One price. ``prices`` has USD per million tokens by unit, and USD each of fees, as decimal strings.

    Units of another tier are ``tier.unit``, those of a bracket ``unit>tokens``. ``when`` is for people.
    """

    provider: str
    model: str
    valid_from: str | None
    valid_until: str | None
    source: str
    prices: dict[str, str]
    when: str


class PriceList(BaseModel):
    """The price book: the operator's own prices in the order they are tried, then the list below them."""

    version: str
    items: list[PriceShown]


class RoutedCost(BaseModel):
    """What calls cost, and what that saves against the default; below zero where it is dearer."""

    cost_nano_usd: int
    cost_usd: str
    saving_nano_usd: int
    saving_usd: str
    saving_percent: str | None


class RoutedCosts(BaseModel):
    """The same calls on three choices of a model."""

    ran: RoutedCost
    always_default: RoutedCost
    always_recommended: RoutedCost


class AllRoutedCosts(RoutedCosts):
    """And on the same mix of models, dealt out at random."""

    shuffled: RoutedCost


class RoutedBand(RoutedCosts):
    """Calls of one band of complexity; ``unscored`` were taken up elsewhere."""

    band: Literal["easy", "default", "hard", "unscored"]
    calls: int


class RoutedEndpoint(AllRoutedCosts):
    """Calls of one endpoint."""

    endpoint: str
    calls: int


class RoutedModel(BaseModel):
    """How many calls had a model as their default, as recommended, and as the one that ran."""

    model: str
    default: int
    recommended: int
    ran: int


class UncomparedModel(BaseModel):
    """A model without a price, which kept so many calls from being compared."""

    model: str
    calls: int


class LeftOut(BaseModel):
    """Calls that cannot be compared, by why."""

    no_price: int
    no_settlement: int


class RoutedCalls(BaseModel):
    """What became of the calls that were read."""

    read: int
    not_routed: int
    counted: int
    estimated: int
    failed_over: int
    partly_priced: int
    left_out: LeftOut


class RoutingVerdict(BaseModel):
    """A word for programs and sentences for people."""

    code: Literal[
        "no_calls", "nothing_comparable", "nothing_beyond_mix", "saves_beyond_mix", "dearer_than_mix"
    ]
    text: str


class RoutingReportShown(AllRoutedCosts):
    """Settled calls whose model Palyra chose, or would have: four costs, each with its saving."""

    since: str
    until: str
    principal: str | None
    truncated: bool
    read_since: str | None
    calls: RoutedCalls
    verdict: RoutingVerdict
    bands: list[RoutedBand]
    models: list[RoutedModel]
    endpoints: list[RoutedEndpoint]
    unpriced_models: list[UncomparedModel]
