"""The events of a reservation's life. The journal stores exactly these; replaying gives the balances (D3).

In the journal an event is one JSON array: its kind, then its fields in order. New fields go to the end.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from palyra.core.instant import Instant
from palyra.ledger.account import Hold


class EventKind(StrEnum):
    """How an event is named in the journal."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


class Reserved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=EventKind.RESERVE.value):
    """Amounts were held on every account of a call. ``expires_at`` ends the lease."""

    id: str
    at: Instant
    expires_at: Instant
    holds: tuple[Hold, ...]


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=EventKind.SETTLE.value):
    """Real usage by metric. ``late``: it came after the lease ran out and corrects the in-doubt amount.

    ``shadow`` is what full enforcement would have used, by metric, where it is something else.
    """

    id: str
    at: Instant
    amounts: Mapping[str, int]
    late: bool = False
    shadow: Mapping[str, int] | None = None


class Released(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=EventKind.RELEASE.value):
    """The hold was voided: the provider did no billable work."""

    id: str
    at: Instant
    reason: str


class Expired(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=EventKind.EXPIRE.value):
    """The lease ran out or the process died: the held amount is posted, in doubt, until corrected."""

    id: str
    at: Instant
    reason: str


LedgerEvent = Reserved | Settled | Released | Expired

_KINDS: dict[type, EventKind] = {
    Reserved: EventKind.RESERVE,
    Settled: EventKind.SETTLE,
    Released: EventKind.RELEASE,
    Expired: EventKind.EXPIRE,
}


def kind_of(event: LedgerEvent) -> EventKind:
    """The journal's name of this event."""
    return _KINDS[type(event)]
