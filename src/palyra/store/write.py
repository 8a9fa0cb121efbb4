"""One change on its way to the journal: what the ledger hands to the thread that writes.

Essential writes (settle, release, expire) are truth about money already spent: they are retried until
they are durable. Reservations are not: they fail at once and their hold is undone.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from palyra.ledger.account import Posting
from palyra.lifecycle.decision import CallState, Decision, Settlement
from palyra.lifecycle.ports import Done

HOUR_NS = 3_600_000_000_000


class RollupKey(NamedTuple):
    """A cell of the rollups: one hour (UTC, nanoseconds) x who x what."""

    hour: int
    principal: str
    agent: str
    model: str
    provider: str


class RollupDelta(NamedTuple):
    """What one call adds to its cell. ``cost`` in nano-USD; the metered pair calibrates estimates."""

    requests: int = 0
    denied: int = 0
    estimated: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0
    metered_bytes: int = 0
    metered_input_tokens: int = 0

    def plus(self, other: "RollupDelta") -> "RollupDelta":
        """Sum, figure by figure."""
        return RollupDelta(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "RollupDelta") -> "RollupDelta":
        """Difference, figure by figure."""
        return RollupDelta(*(a - b for a, b in zip(self, other, strict=True)))


class ClaimChange(NamedTuple):
    """A row of the idempotency table to store (``finished`` 0 or 1), or to drop (``finished`` None)."""

    principal: str
    key: str
    fingerprint: str
    request_id: str
    finished: int | None
    expires_at: int


class Statement(NamedTuple):
    """A named SQL statement of the adapter with its parameters, for rare writes such as policies and keys."""

    name: str
    parameters: tuple[str | int | None, ...]


@dataclass(slots=True)
class Write:
    """Everything that becomes durable together. ``journal`` is (kind, ref, body object)."""

    at: int
    essential: bool
    journal: tuple[str, str, object] | None = None
    postings: list[Posting] = field(default_factory=list[Posting])
    opened: Decision | None = None
    opened_state: CallState | None = None
    reservation: object | None = None
    closed: tuple[str, Settlement] | None = None
    rollup: tuple[RollupKey, RollupDelta] | None = None
    claim: ClaimChange | None = None
    statement: Statement | None = None
    done: Done | None = None


def rollup_key(decision: Decision) -> RollupKey:
    """The cell a call belongs to: the hour it was reserved in, so that reports match windows (P2)."""
    labels = decision.labels
    hour = decision.at - decision.at % HOUR_NS
    return RollupKey(hour, labels.principal, labels.agent or "", decision.model, decision.provider)


def rollup_delta(decision: Decision, settlement: Settlement) -> RollupDelta:
    """What a finished call adds; a released one used nothing and adds nothing."""
    usage = settlement.usage
    if settlement.state is CallState.RELEASED or usage is None:
        return RollupDelta()
    metered = settlement.source == "provider" and decision.estimate is not None
    return RollupDelta(
        requests=1,
        estimated=0 if settlement.source == "provider" else 1,
        unpriced=1 if settlement.cost is None else 0,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=settlement.cost or 0,
        metered_bytes=decision.estimate.input_bytes if metered and decision.estimate else 0,
        metered_input_tokens=usage.input_tokens if metered else 0,
    )
