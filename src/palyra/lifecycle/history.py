"""Calls of the past as the ledger recorded them, in the order in which they were decided and ended.

A million of them are gone through at once: of each record only what is looked at is decoded.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from palyra.core.instant import Instant
from palyra.lifecycle.decision import (
    ClampRecord,
    EstimateRecord,
    EvaluationRecord,
    Labels,
    OverrideRecord,
    PriceRecord,
    RoutingRecord,
    Settlement,
    read_decision,
    read_settlement,
    write_decision,
)

_NULL = msgspec.Raw(b"null")
_ADMIT = "admit"


class Line(NamedTuple):
    """A stored record of a call: its decision, or its settlement where ``ends``."""

    request_id: str
    ends: bool
    document: bytes


class Reading(Protocol):
    """A walk through the records. ``done`` and ``total`` count the same thing, for a progress bar."""

    @property
    def done(self) -> int:
        """How much was read."""
        ...

    @property
    def total(self) -> int:
        """Of how much."""
        ...

    async def next(self) -> Sequence[Line] | None:
        """The next records, a bounded number of them; None behind the last. Raises LedgerUnavailable."""
        ...


class History(Protocol):
    """The records of a ledger in the order in which it applied them, gateway by gateway."""

    async def read(self, since: Instant) -> Reading:
        """A walk through all that was recorded from ``since`` on, up to now. Raises LedgerUnavailable."""
        ...


class PastCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decision of the past: the fields of ``Decision`` in their order, those raw that few calls need."""

    request_id: str
    at: Instant
    endpoint: str
    stream: bool
    labels: Labels
    requested_model: str
    recommended_model: str
    model: str
    provider: str
    route: msgspec.Raw
    route_reason: msgspec.Raw
    mode: str
    mode_origin: str
    outcome: str
    status: str
    estimate: EstimateRecord | None
    price: PriceRecord | None
    evaluations: msgspec.Raw
    clamp: ClampRecord | None = None
    counterfactual: msgspec.Raw = _NULL
    error_code: str | None = None
    message: msgspec.Raw = _NULL
    idempotency_key: bool = False
    routing: msgspec.Raw = _NULL
    continues: str | None = None
    overrides: tuple[OverrideRecord, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether it did not run."""
        return self.outcome != _ADMIT

    @property
    def routing_record(self) -> RoutingRecord | None:
        """How its model was chosen; None where there was nothing to choose."""
        return None if bytes(self.routing) == b"null" else _routing.decode(self.routing)

    @property
    def is_degraded(self) -> bool:
        """Whether a budget moved it to a cheaper model."""
        record = self.routing_record
        return record is not None and bool(record.degraded_by)

    @property
    def evaluation_records(self) -> Sequence[EvaluationRecord]:
        """What each policy of its day said of it."""
        return _evaluations.decode(self.evaluations)


def read_call(document: bytes) -> PastCall:
    """The decision of a line, also of one that an earlier version wrote. Raises msgspec.DecodeError."""
    if document[:1] == b"{":
        return _call.decode(write_decision(read_decision(document)))
    return _call.decode(document)


def read_end(document: bytes) -> Settlement:
    """The settlement of a line. Raises msgspec.DecodeError."""
    return read_settlement(document)


_call = msgspec.json.Decoder(PastCall)
_routing = msgspec.json.Decoder(RoutingRecord)
_evaluations = msgspec.json.Decoder(tuple[EvaluationRecord, ...])
