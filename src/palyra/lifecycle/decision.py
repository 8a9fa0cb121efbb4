"""The record of one call: what was asked, estimated, decided and used. Stored whole, explained by request id.

Nothing here holds prompt or completion text. Records are stored as JSON arrays in the order of their fields:
a new field goes to the end and has a default, and none is ever taken out.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

import msgspec

from palyra.budgets.binding import BudgetRecord
from palyra.core.instant import Instant
from palyra.pricing.sheet import UnitPrices, bill_lines
from palyra.pricing.usage import Usage
from palyra.routing.choose import Option
from palyra.routing.complexity import Features


class CallState(StrEnum):
    """Where a call stands. Only ``pending`` holds money."""

    PENDING = "pending"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in_doubt"
    DENIED = "denied"


class Labels(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who a call belongs to."""

    key_id: str
    principal: str
    agent: str | None
    session: str | None
    parent_session: str | None
    task_class: str
    tags: Mapping[str, str]


class EstimateRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class PriceRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The price entry a cost was computed with; ``known`` is False for a ceiling or a missing price."""

    provider: str
    model: str
    source: str
    entry_id: str
    book_version: str
    known: bool


class EvaluationRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One policy against this call. Amounts in the metric's unit; ``amount`` is None if it is not known."""

    budget: BudgetRecord
    status: str
    mode: str
    consumed: int
    amount: int | None
    would: str | None = None
    message: str = ""

    @property
    def projected(self) -> int | None:
        """What is consumed once this call holds its amount."""
        return None if self.amount is None else self.consumed + self.amount

    @property
    def remaining(self) -> int | None:
        """What the hard limit leaves before this call, at least 0; None without a hard limit."""
        hard = self.budget.hard_limit
        return None if hard is None else max(0, hard - self.consumed)


class ClampRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The output cap was lowered from ``requested`` to ``granted`` tokens to fit ``policy_id``."""

    requested: int
    granted: int
    policy_id: str


class Counterfactual(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What full enforcement of the dry-run policies, and the recommended model, would have done.

    ``model`` is the recommended one where the call ran on another.
    """

    would: tuple[str, ...]
    outcome: str
    cost_bound: int | None
    clamped_output_tokens: int | None = None
    model: str | None = None


class RoutingRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the recommended model was chosen: everything that ``routing.choose`` went by (G1).

    ``score`` in thousandths, by ``version`` of the weights. ``open``: the caller left the choice to Palyra.
    ``by`` is a word for programs, ``reason`` a sentence; ``degraded_by`` are the policies that moved
    the call to a cheaper model, ``would_degrade`` those that would have, had they been enforced. ``model`` at
    ``provider`` is what was chosen before that.
    """

    version: int
    features: Features
    score: int
    open: bool
    default_model: str
    sticky: str | None
    options: tuple[Option, ...]
    by: str
    reason: str
    degraded_by: tuple[str, ...] = ()
    provider: str = ""
    model: str = ""
    would_degrade: tuple[str, ...] = ()


class OverrideRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What let the call go over the hard limit of ``policy_id``: approvals that gave ``extra`` in all, in the
    metric's unit, or one that was used up by this call.
    """

    policy_id: str
    approvals: tuple[str, ...]
    extra: int
    single_use: bool


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
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
    routing: RoutingRecord | None = None
    continues: str | None = None
    """The id of the call that this one takes up elsewhere, after its provider failed."""
    overrides: tuple[OverrideRecord, ...] = ()
    """What people granted and the call needed to run."""

    @property
    def call_id(self) -> str:
        """The id that the caller was told: that of its first attempt."""
        return call_id_of(self.request_id)

    @property
    def cost_bound(self) -> int | None:
        """What was held at most, in nano-USD; None if it could not be computed."""
        return self.estimate.cost_bound if self.estimate else None

    @property
    def principal(self) -> str:
        """Who pays."""
        return self.labels.principal

    @property
    def agent(self) -> str | None:
        """The program that acts for the principal."""
        return self.labels.agent

    @property
    def session(self) -> str | None:
        """The run of the agent."""
        return self.labels.session

    @property
    def tags(self) -> Mapping[str, str]:
        """Its labels beside those that have a name."""
        return self.labels.tags

    @property
    def is_clamped(self) -> bool:
        """Whether its output cap was lowered to fit a budget."""
        return self.clamp is not None

    @property
    def input_bytes(self) -> int | None:
        """Bytes of the request's text, None if nothing was estimated."""
        return self.estimate.input_bytes if self.estimate else None

    def elapsed_ms(self, now: Instant) -> int:
        """Milliseconds since the call was decided."""
        return (now - self.at) // 1_000_000

    def whole(self) -> "Decision":
        """See ``WrittenDecision.whole``."""
        return self


class DecisionKind(msgspec.Struct, frozen=True, gc=False):
    """What the decisions of calls alike have in common, as far as the path asks for it."""

    principal: str
    agent: str | None
    model: str
    provider: str
    outcome: str
    mode: str
    tags: Mapping[str, str]
    is_clamped: bool


class WrittenDecision(msgspec.Struct, frozen=True, gc=False):
    """A decision written without being spelled out: its ``document``, and what the path asks of it."""

    request_id: str
    at: Instant
    input_bytes: int | None
    cost_bound: int | None
    document: bytes
    session: str | None
    kind: DecisionKind

    @property
    def principal(self) -> str:
        """Who pays."""
        return self.kind.principal

    @property
    def agent(self) -> str | None:
        """The program that acts for the principal."""
        return self.kind.agent

    @property
    def model(self) -> str:
        """The model that serves the call."""
        return self.kind.model

    @property
    def provider(self) -> str:
        """Its provider."""
        return self.kind.provider

    @property
    def outcome(self) -> str:
        """What became of the call."""
        return self.kind.outcome

    @property
    def tags(self) -> Mapping[str, str]:
        """Its labels beside those that have a name."""
        return self.kind.tags

    @property
    def is_clamped(self) -> bool:
        """Whether its output cap was lowered to fit a budget."""
        return self.kind.is_clamped

    @property
    def counterfactual(self) -> None:
        """No policy runs dry."""
        return

    def elapsed_ms(self, now: Instant) -> int:
        """Milliseconds since the call was decided."""
        return (now - self.at) // 1_000_000

    def whole(self) -> Decision:
        """The decision with all that it says."""
        return read_decision(self.document)


AnyDecision = Decision | WrittenDecision
"""A decision, spelled out or only written."""


ATTEMPT_MARK = "."


def least_id_at(at: Instant) -> str:
    """An id that no call before ``at`` has, where ids are UUIDs that begin with their time (version 7)."""
    return f"req_{at // 1_000_000:012x}"


def call_id_of(request_id: str) -> str:
    """The id that the caller was told of a call that was taken up elsewhere: ``req_1`` of ``req_1.2``."""
    return request_id.partition(ATTEMPT_MARK)[0]


def next_request_id(request_id: str) -> str:
    """The id of the reservation that takes a call up elsewhere: ``req_1.2``, then ``req_1.3``."""
    call_id, _, number = request_id.partition(ATTEMPT_MARK)
    return f"{call_id}{ATTEMPT_MARK}{int(number or 1) + 1}"


class AttemptRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One try at a provider. Milliseconds since the call was decided.

    ``outcome`` is ``ok`` or why it failed; ``then`` is what came of that: ``retry``, ``failover`` or "".
    """

    provider: str
    model: str
    began_ms: int
    ended_ms: int
    status: int | None
    outcome: str
    message: str = ""
    then: str = ""


class CostLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a bill: ``quantity`` of ``unit`` at ``usd_per_million`` (per each for fees)."""

    unit: str
    quantity: int
    usd_per_million: str
    cost_usd: str


class Settlement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a call ended. ``cost`` in nano-USD, None if it cannot be computed (never 0 in its place).

    ``prices`` are those that the usage was billed at, so that the bill stays what it was when the price book
    changes; earlier versions stored the ``lines`` of the bill themselves. Read ``bill``.
    """

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
    lines: tuple[CostLine, ...] = ()
    counterfactual_cost: int | None = None
    prices: UnitPrices = ()
    attempts: tuple[AttemptRecord, ...] = ()
    """The tries, where there was more to them than one that went well."""
    saved: int | None = None
    """What the default model would have cost more, in nano-USD: below zero where it would have cost less.

    None where the call ran on the default, nothing was routed, or a price is not known.
    """

    @property
    def bill(self) -> tuple[CostLine, ...]:
        """The cost line by line; empty where nothing was used or nothing has a price."""
        if self.usage is None or not self.prices:
            return self.lines
        return tuple(
            CostLine(line.unit, line.quantity, line.price or "", line.cost or "")
            for line in bill_lines(self.usage, self.prices)
        )


class StoredDecision(msgspec.Struct, frozen=True, gc=False):
    """A decision as read back, with its settlement if the call is over."""

    decision: Decision
    state: CallState
    settlement: Settlement | None


def write_decision(decision: AnyDecision) -> bytes:
    """The decision as it is stored: JSON."""
    return decision.document if isinstance(decision, WrittenDecision) else _encoder.encode(decision)


def write_part(part: object) -> bytes:
    """A part of a record as it stands in the whole."""
    return _encoder.encode(part)


def read_decision(stored: bytes | str) -> Decision:
    """The reverse of ``write_decision``, also of what earlier versions wrote. Raises msgspec.DecodeError."""
    if stored[:1] in _OBJECTS:
        return _decision_of(_object.decode(stored))
    return _decision.decode(stored)


def write_settlement(settlement: Settlement) -> bytes:
    """The settlement as it is stored: JSON."""
    return _encoder.encode(settlement)


def read_settlement(stored: bytes | str) -> Settlement:
    """The reverse of ``write_settlement``, as ``read_decision`` is. Raises msgspec.DecodeError."""
    if stored[:1] in _OBJECTS:
        return _settlement_of(_object.decode(stored))
    return _settlement.decode(stored)


def _plain(value: object) -> object:
    """What JSON has no word for: the tags of a key, which nobody may change."""
    if isinstance(value, MappingProxyType):
        return dict(cast("MappingProxyType[str, str]", value))
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decision = msgspec.json.Decoder(Decision)
_settlement = msgspec.json.Decoder(Settlement)
_object = msgspec.json.Decoder(dict[str, Any])
_OBJECTS = (b"{", "{")
"""How the records of earlier versions begin: they were JSON objects, with the budget's fields among those of
its evaluation."""


def _decision_of(stored: dict[str, Any]) -> Decision:
    parts = {
        "labels": _in_order(Labels, stored["labels"]),
        "estimate": _in_order(EstimateRecord, stored["estimate"]),
        "price": _in_order(PriceRecord, stored["price"]),
        "evaluations": [
            _in_order(EvaluationRecord, each | {"budget": _in_order(BudgetRecord, each)})
            for each in stored["evaluations"]
        ],
        "clamp": _in_order(ClampRecord, stored["clamp"]),
        "counterfactual": _in_order(Counterfactual, stored["counterfactual"]),
    }
    return msgspec.convert(_in_order(Decision, stored | parts), Decision)


def _settlement_of(stored: dict[str, Any]) -> Settlement:
    parts = {
        "usage": _in_order(Usage, stored["usage"]),
        "lines": [_in_order(CostLine, line) for line in stored["lines"]],
        "prices": (),
    }
    return msgspec.convert(_in_order(Settlement, stored | parts), Settlement)


def _in_order(record: type[msgspec.Struct], stored: dict[str, Any] | None) -> list[Any] | None:
    """The fields of a record that was stored as an object: all but the last ones, which came later."""
    if stored is None:
        return None
    return [stored[name] for name in record.__struct_fields__ if name in stored]
