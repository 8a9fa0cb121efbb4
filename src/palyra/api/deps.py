"""What the control plane is given. Nothing here is looked up anywhere else."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from palyra.api.site import Site
from palyra.core.instant import Instant
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.forecasts import Forecasts
from palyra.lifecycle.listening import Changes
from palyra.lifecycle.outbox import Outbox
from palyra.lifecycle.ports import Clock, Ledger, Records
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.sign_ins import SignIns

BODY_BYTES_MAX = 1024 * 1024
"""No document of the control plane is larger (V2)."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the ledger takes calls; ``reason`` says why not, in words fit for strangers."""

    writable: bool
    reason: str = ""


class Sample(NamedTuple):
    """One number for ``/metrics``. ``name`` is a Prometheus name without the ``_total`` of counters."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: Mapping[str, str]
    value: float


class ModelDesk(Protocol):
    """What people ask of models. Every document is JSON; errors are those of the data plane."""

    def status(self) -> Mapping[str, object]:
        """Providers, defaults, failover and what is wrong."""
        ...

    def listing(self) -> Mapping[str, object]:
        """Every model."""
        ...

    async def explain(self, document: Mapping[str, object]) -> Mapping[str, object]:
        """The decision that a call would get now."""
        ...

    async def test(
        self, provider_id: str | None, timeout_s: float, *, refresh: bool, discover: bool = False
    ) -> Mapping[str, object]:
        """Test the connections of all providers, or of one."""
        ...

    async def generate(self, provider_id: str | None, clear_key: str) -> Sequence[Mapping[str, object]]:
        """Make a call of one token at each."""
        ...


@dataclass(frozen=True, slots=True)
class AuditFlaw:
    """Why the journal does not hold; ``record`` of gateway ``node`` is the first wrong one, if it is one."""

    detail: str
    invariant: str
    node: int | None
    record: int | None


@dataclass(frozen=True, slots=True)
class AuditOutcome:
    """What a check of the journal went through. ``head`` as ``palyra audit verify`` prints it."""

    records: int
    accounts: int
    head: str
    flaw: AuditFlaw | None
    took_ms: int


class AuditDesk(Protocol):
    """The journal as a whole, while the daemon works. Raises Overloaded while another such question runs."""

    async def verify(self) -> AuditOutcome:
        """Replay the journal: its chain must be whole, and its sums must be the balances."""
        ...

    def export(self, made_at: Instant, since: Instant | None, until: Instant | None) -> AsyncGenerator[bytes]:
        """The lines of an export of [since, until), in chunks; one that raises is not whole."""
        ...


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """Everything the control plane needs.

    ``prices`` gives a JSON document (``{"version", "items"}``), ``samples`` the numbers of ``/metrics``.
    ``hosts`` are the host names (no port) that requests may name; ``"*"`` stands for any and is for a daemon
    behind a proxy that checks them. ``site`` says which pages are our own.
    """

    rules: Rules
    records: Records
    ledger: Ledger
    clock: Clock
    approvals: Approvals
    alarms: Alarms
    outbox: Outbox
    forecasts: Forecasts
    prices: Callable[[], Mapping[str, object]]
    models: ModelDesk
    audit: AuditDesk
    health: Callable[[], Health]
    samples: Callable[[], Sequence[Sample]]
    hosts: frozenset[str]
    version: str
    sign_ins: SignIns
    changes: Changes
    site: Site = field(default_factory=Site)
    body_bytes_max: int = BODY_BYTES_MAX
