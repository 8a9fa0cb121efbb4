"""Everything the path of a call works with, handed in by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import SystemRandom

from palyra.budgets.terms import Mode, UnknownPrice
from palyra.core.limits import CALLS_IN_FLIGHT_MAX, OUTPUT_TOKENS_WITHOUT_LIMIT, SETTLE_WAIT_S
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.idempotency import Replays
from palyra.lifecycle.kinds import Kinds
from palyra.lifecycle.patience import Patience
from palyra.lifecycle.ports import Clock, Ids, Ledger, Others, Records
from palyra.lifecycle.providers import Providers, Resilience
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.sessions import Sessions
from palyra.lifecycle.wire import Endpoint, Upstream, UsageMeter
from palyra.pricing.book import PriceBook
from palyra.registry.registry import Registry
from palyra.routing.rules import RoutingRules

MeterFactory = Callable[[Endpoint, bool, bool], UsageMeter]
"""(endpoint, stream, hide the usage event we asked for) -> meter of one answer."""

TokenCounter = Callable[[str, bytes], int | None]
"""(the provider's name of the model, request body) -> its input tokens; None where it cannot tell."""


@dataclass(frozen=True, slots=True)
class Governance:
    """The ``[governance]`` settings that the path reads."""

    mode: Mode
    unknown_price: UnknownPrice
    output_tokens_without_limit: int = OUTPUT_TOKENS_WITHOUT_LIMIT


@dataclass(slots=True)
class Engine:
    """Ports and rules of one process. ``registry`` is swapped whole when discovery learns something."""

    clock: Clock
    ids: Ids
    ledger: Ledger
    records: Records
    upstream: Upstream
    make_meter: MeterFactory
    rules: Rules
    registry: Registry
    prices: PriceBook
    governance: Governance
    others: Others | None = None
    """None where this process has the ledger alone."""
    token_counter: TokenCounter | None = None
    random: Callable[[], float] = SystemRandom().random
    """In [0, 1), to spread retries."""
    routing: RoutingRules = field(default_factory=RoutingRules)
    providers: Providers = field(default_factory=lambda: Providers({}, Resilience()))
    sessions: Sessions = field(default_factory=lambda: Sessions(RoutingRules().sticky_ns))
    kinds: Kinds = field(default_factory=Kinds)
    grants: Grants = field(default_factory=Grants)
    """Swapped whole when people grant something, and when it ends."""
    approvals: Approvals | None = None
    """None where nobody can be asked."""
    alarms: Alarms | None = None
    """None where nobody is told."""
    replays: Replays = field(default_factory=Replays)
    patience: Patience = field(default_factory=lambda: Patience(SETTLE_WAIT_S))
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX
    reserving: int = 0
    in_flight: int = 0
    pausing: int = 0
    """Calls between two tries, or that wait for a free slot at their provider."""
    draining: int = 0

    @property
    def full(self) -> bool:
        """Whether no further call may start (V2). Those that wait for something are in flight in a moment."""
        return self.reserving + self.in_flight + self.pausing >= self.calls_in_flight_max
