"""One change on its way to the journal: what the ledger hands to the thread that writes.

Essential writes (settle, release, expire) are truth about money already spent: they are retried until
they are durable. Reservations are not: they fail at once and their hold is undone.

What is stored is encoded on the loop thread, so that the writing thread needs the interpreter for little.
"""

from collections.abc import Callable, Sequence
from operator import add, sub
from typing import NamedTuple

import msgspec

from palyra.core.errors import Superseded
from palyra.ledger.held import Entries
from palyra.lifecycle.decision import AnyDecision, CallState, Settlement
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
    """What one call adds to its cell. ``cost`` in nano-USD; the metered pair calibrates estimates.

    ``asked`` are those of the denied that people were asked about; ``failed`` ended with the error of a
    provider, or without reaching it; ``latency_ms`` is the sum over the ``timed``: those settled in time.
    ``saved`` in nano-USD is what routing saved, below zero where it cost more.
    """

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
    asked: int = 0
    clamped: int = 0
    failed: int = 0
    timed: int = 0
    latency_ms: int = 0
    saved: int = 0

    def plus(self, other: "RollupDelta") -> "RollupDelta":
        """Sum, figure by figure."""
        return RollupDelta(*map(add, self, other))

    def minus(self, other: "RollupDelta") -> "RollupDelta":
        """Difference, figure by figure."""
        return RollupDelta(*map(sub, self, other))


NOTHING = RollupDelta()
FAILED = RollupDelta(failed=1)
DENIED = RollupDelta(denied=1)
ASKED = RollupDelta(denied=1, asked=1)


class ClaimChange(NamedTuple):
    """A row of the idempotency table to store (``finished`` 0 or 1), or to drop (``finished`` None)."""

    principal: str
    key: str
    fingerprint: str
    request_id: str
    finished: int | None
    expires_at: int


class Statement(NamedTuple):
    """A named SQL statement of the adapter with its parameters, for rare writes such as policies and keys.

    On a shared database it is refused if the rules are not at version ``after`` any more. ``compares``: it
    changes exactly one row, or else somebody was faster and its write fails with ``Superseded``.
    """

    name: str
    parameters: tuple[str | int | None, ...]
    after: int | None = None
    compares: bool = False


class Overtaken(Exception):
    """A commit was rolled back: what these writes compare with is not there any more. The others may land."""

    def __init__(self, writes: "Sequence[Write]") -> None:
        super().__init__("overtaken")
        self.writes = writes

    def rest(self, batch: "Sequence[Write]") -> "list[Write]":
        """The writes of the batch that are not to blame."""
        overtaken = {id(write) for write in self.writes}
        return [write for write in batch if id(write) not in overtaken]


def superseded() -> Superseded:
    """What a write is told that was overtaken."""
    return Superseded("somebody else changed this since it was read; read it again")


class Filed(msgspec.Struct, gc=False):
    """A call, and where it is stored. The writing thread fills the places in as it commits.

    Its decision is line ``place`` of row ``page`` of the documents. ``seq`` is the journal page with its
    reservation, 0 unless that is pending.
    """

    id: str
    decision: AnyDecision
    page: int = 0
    place: int = 0
    seq: int = 0


class Write(msgspec.Struct):
    """Everything that becomes durable together.

    ``line`` goes to the journal. ``document`` is what this change says of ``call``: its decision where
    ``state`` is pending or denied, its settlement otherwise. ``reservation`` is kept with a call in doubt.
    ``flaw`` is why a change cannot be stored at all. ``landed``, then ``done``, are told how it went.
    """

    at: int
    essential: bool
    line: bytes | None = None
    call: Filed | None = None
    state: CallState | None = None
    document: bytes = b""
    reservation: bytes | None = None
    entries: Entries = ()
    rollup: tuple[RollupKey, RollupDelta] | None = None
    claim: ClaimChange | None = None
    statements: tuple[Statement, ...] = ()
    flaw: Exception | None = None
    landed: "Callable[[Write, Exception | None], None] | None" = None
    done: Done | None = None


def rollup_key(decision: AnyDecision) -> RollupKey:
    """The cell a call belongs to: the hour it was reserved in, so that reports match windows (P2)."""
    at = decision.at
    return RollupKey(
        at - at % HOUR_NS, decision.principal, decision.agent or "", decision.model, decision.provider
    )


def rollup_delta(decision: AnyDecision, settlement: Settlement) -> RollupDelta:
    """What a finished call adds; a released one used nothing, and counts where its provider failed."""
    usage, state = settlement.usage, settlement.state
    if state is CallState.RELEASED or usage is None:
        return FAILED if _has_failed(settlement) else NOTHING
    is_timed = state is CallState.SETTLED and not settlement.late
    cost, provided = settlement.cost, settlement.source == "provider"
    input_bytes = decision.input_bytes
    metered = provided and input_bytes is not None
    return RollupDelta(
        1,
        0,
        0 if provided else 1,
        1 if cost is None else 0,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
        cost or 0,
        input_bytes if metered and input_bytes else 0,
        usage.input_tokens if metered else 0,
        0,
        1 if decision.is_clamped else 0,
        # What is in doubt may be settled late by who knows nothing of the failure.
        1 if settlement.attempts and state is CallState.SETTLED and _has_failed(settlement) else 0,
        1 if is_timed else 0,
        settlement.total_ms if is_timed else 0,
        settlement.saved or 0,
    )


def denial_delta(decision: AnyDecision) -> RollupDelta:
    """What a refused call adds."""
    return ASKED if decision.outcome == "ask" else DENIED


def _has_failed(settlement: Settlement) -> bool:
    """Whether the provider did not do what it was asked for, as far as it was asked."""
    attempts = settlement.attempts
    if attempts:
        return attempts[-1].outcome != "ok"
    return settlement.state is CallState.RELEASED and settlement.upstream_status is not None
