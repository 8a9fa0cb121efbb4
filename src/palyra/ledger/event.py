"""The events of a reservation's life. The journal stores exactly these; replaying gives the balances (D3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from palyra.core.instant import Instant
from palyra.ledger.account import Hold


@dataclass(frozen=True, slots=True)
class Reserved:
    """Amounts were held on every account of a call. ``expires_at`` ends the lease."""

    id: str
    at: Instant
    expires_at: Instant
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """Real usage by metric. ``late``: it came after the lease ran out and corrects the in-doubt amount."""

    id: str
    at: Instant
    amounts: Mapping[str, int]
    late: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """The hold was voided: the provider did no billable work."""

    id: str
    at: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The lease ran out or the process died: the held amount is posted, in doubt, until corrected."""

    id: str
    at: Instant
    reason: str


LedgerEvent = Reserved | Settled | Released | Expired


class EventKind(StrEnum):
    """How an event is named in the journal."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


_KINDS: dict[type, EventKind] = {
    Reserved: EventKind.RESERVE,
    Settled: EventKind.SETTLE,
    Released: EventKind.RELEASE,
    Expired: EventKind.EXPIRE,
}
_DECODERS: dict[str, msgspec.json.Decoder[LedgerEvent]] = {
    kind: msgspec.json.Decoder(event_type) for event_type, kind in _KINDS.items()
}


def kind_of(event: LedgerEvent) -> EventKind:
    """The journal's name of this event."""
    return _KINDS[type(event)]


def decode_event(kind: str, body: bytes | str) -> LedgerEvent:
    """Read a ledger event back from the journal. Raises KeyError for a kind that is not the ledger's."""
    return _DECODERS[kind].decode(body)


def is_ledger_kind(kind: str) -> bool:
    """Whether a journal record changes balances."""
    return kind in _DECODERS
