"""The settings of one process: frozen, validated, with every default filled in."""

from dataclasses import dataclass, field
from pathlib import Path

from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.core.limits import BODY_BYTES_MAX
from palyra.core.secret import Secret
from palyra.identity.keys import ApiKey
from palyra.pricing.entry import PriceEntry
from palyra.registry.models import Kind, Model, Provider

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8484


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the daemon listens and keeps data. ``port`` 0 picks a free one; ``database`` is a SQLite file.

    ``allowed_hosts`` are further names that requests may carry in ``Host``, without port.
    """

    database: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    max_body_bytes: int = BODY_BYTES_MAX
    allow_remote: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    allowed_hosts: tuple[str, ...] = ()


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
class ProviderSettings:
    """A provider as configured. ``base_url`` is not checked yet: ``upstream.guard`` does that.

    Timeouts are seconds; None means the default of ``core.limits``. ``credential`` is None if none is
    configured, or if the variable that ``credential_ref`` names is not set.
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

    def provider(self) -> Provider:
        """The provider as the registry knows it."""
        return Provider(self.id, self.kind)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon is told. ``source`` is the path of the file, or ``environment``."""

    source: str
    server: ServerSettings
    auth: AuthSettings = field(default_factory=AuthSettings)
    governance: GovernanceSettings = field(default_factory=GovernanceSettings)
    providers: tuple[ProviderSettings, ...] = ()
    models: tuple[Model, ...] = ()
    budgets: tuple[Policy, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    prices: tuple[PriceEntry, ...] = ()
