"""The settings of one process: frozen, validated, with every default filled in."""

from dataclasses import dataclass, field
from pathlib import Path

from palyra.alerts.alert import Kind as AlertKind
from palyra.alerts.alert import Severity
from palyra.alerts.notices import Target
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.core.limits import BODY_BYTES_MAX
from palyra.core.secret import Secret
from palyra.identity.keys import ApiKey
from palyra.lifecycle.approvals import ApprovalTerms
from palyra.lifecycle.providers import Resilience
from palyra.lifecycle.sign_ins import HOURS
from palyra.pricing.entry import PriceEntry
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.routing.rules import RoutingRules

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8484


LEASE_S = 10.0
SLICE_S = 1.0
SLICE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class SharedDatabase:
    """A PostgreSQL database that gateways share. ``shown`` is its URL without user and password."""

    url: Secret
    shown: str

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the daemon listens and keeps data. ``port`` 0 picks a free one.

    ``database`` is a SQLite file of its own, or a PostgreSQL database that it shares with others.
    ``allowed_hosts`` are further names that requests may carry in ``Host``, without port. ``public_url`` is
    where people reach the daemon, None for where it listens.
    """

    database: Path | SharedDatabase
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    max_body_bytes: int = BODY_BYTES_MAX
    allow_remote: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    allowed_hosts: tuple[str, ...] = ()
    workers: int = 1
    public_url: str | None = None


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """How a gateway shares a PostgreSQL ledger. ``name`` None: host and process id.

    It counts as dead when it has not renewed its lease for ``lease_s`` seconds. A slice is what a hot account
    uses up in ``slice_s`` seconds, and at most the fraction ``slice_share`` of what is left. ``spool`` is the
    folder for ends of calls that the database cannot take.
    """

    name: str | None = None
    lease_s: float = LEASE_S
    slices: bool = True
    slice_s: float = SLICE_S
    slice_share: float = SLICE_SHARE
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How many whole ``months`` of journal and decisions are kept before the current one; None for ever."""

    months: int | None = None


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """The owner's key in clear if the operator gives one; ``owner_key_ref`` is where it was looked for."""

    owner_key: Secret | None = None
    owner_key_ref: str | None = None


@dataclass(frozen=True, slots=True)
class GovernanceSettings:
    """What holds where a policy or a call does not say otherwise."""

    mode: Mode = Mode.ENFORCED
    timezone: str = "UTC"
    unknown_price: UnknownPrice = UnknownPrice.DENY
    default_model: str | None = None


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """What routing may choose, and how failures of providers are borne."""

    rules: RoutingRules = field(default_factory=RoutingRules)
    resilience: Resilience = field(default_factory=Resilience)


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Seconds: how long a provider's list of models holds, how long it may take to give it, and how long the
    result of a connection test holds.
    """

    ttl_s: float = 300.0
    timeout_s: float = 5.0
    health_ttl_s: float = 60.0


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Seconds between two looks at what nobody asks for: forecasts, spikes, causes that are gone."""

    check_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """How many hours a sign-in holds."""

    session_hours: int = HOURS


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """A provider as configured. ``base_url`` is not checked yet: ``upstream.guard`` does that.

    Timeouts are seconds; None means the default of ``core.limits``. ``credential`` is None if none is
    configured, or if the variable that ``credential_ref`` names is not set. ``endpoints`` are names of wire
    formats, empty for all of the kind. ``concurrency`` bounds the calls in flight at this provider, and
    ``credential_concurrency`` those with its credential, whichever provider they go to; None: no bound.
    ``discover``: whether the provider is asked for its models.
    """

    id: str
    kind: Kind
    base_url: str
    credential: Secret | None = None
    credential_ref: str | None = None
    ca_file: Path | None = None
    connect_timeout_s: float | None = None
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    total_timeout_s: float | None = None
    enabled: bool = True
    endpoints: tuple[str, ...] = ()
    concurrency: int | None = None
    credential_concurrency: int | None = None
    discover: bool = True
    display_name: str | None = None

    @property
    def credential_id(self) -> str:
        """What tells this credential from others without being it: its reference, else the provider's id."""
        return self.credential_ref or f"provider:{self.id}"

    def provider(self) -> Provider:
        """The provider as the registry knows it."""
        name = self.display_name or self.id
        return Provider(self.id, self.kind, self.enabled, frozenset(self.endpoints), name)


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """``timeout_s``: how long one attempt may take; ``concurrency``: attempts at a time for each target."""

    timeout_s: float = 10.0
    concurrency: int = 2


@dataclass(frozen=True, slots=True)
class AppriseUrl:
    """A target that Apprise speaks to: chat, mail and many others. The URL holds its credentials."""

    url: Secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """A target that gets signed JSON. ``secrets`` are in use at the same time, while one replaces another."""

    url: Secret
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class NotifyTarget:
    """Who is told of alerts. ``allow_private``: it may be within the network, or on this machine."""

    id: str
    way: AppriseUrl | Webhook
    kinds: frozenset[AlertKind] = frozenset(AlertKind)
    min_severity: Severity = Severity.INFO
    resolved: bool = True
    allow_private: bool = False

    def target(self) -> Target:
        """The target as alerts know it."""
        return Target(self.id, self.kinds, self.min_severity, self.resolved)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon is told. ``source`` is the path of the file, or ``environment``."""

    source: str
    server: ServerSettings
    auth: AuthSettings = field(default_factory=AuthSettings)
    governance: GovernanceSettings = field(default_factory=GovernanceSettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    approvals: ApprovalTerms = field(default_factory=ApprovalTerms)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    notifications: NotificationSettings = field(default_factory=NotificationSettings)
    providers: tuple[ProviderSettings, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    budgets: tuple[Policy, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    prices: tuple[PriceEntry, ...] = ()
    notify: tuple[NotifyTarget, ...] = ()
