"""A request to go over one budget, from the asking to the end of what was granted.

pending -> approved | denied | expired | void; approved -> revoked. Nothing else ever follows: a request that
was decided stays decided, by the first who did (A1).
"""

from enum import StrEnum

import msgspec

from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey

SUBJECT = "usage-budget:"
SINGLE_USE = "override:"
"""Begins the policy id of the account that a ``once`` grant is used up on; no policy's own id has a colon."""


class State(StrEnum):
    """Where a request stands. Only ``pending`` can be decided; only ``approved`` can be revoked."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    VOID = "void"
    REVOKED = "revoked"


class GrantKind(StrEnum):
    """``once``: this very call. ``amount``: more in this window. ``timeboxed``: more until a time."""

    ONCE = "once"
    AMOUNT = "amount"
    TIMEBOXED = "timeboxed"


class Risk(StrEnum):
    """How far beyond its limit the budget would go."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was allowed. ``extra`` in the unit of the policy's metric, on top of the hard limit.

    Of ``once`` it is the most that the one call may hold. Nothing of it holds from ``expires_at`` on.
    """

    kind: GrantKind
    extra: int
    expires_at: Instant


class Ruling(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who decided what, when and why. ``principal`` and ``key_id`` are None where time or an edit did."""

    at: Instant
    principal: str | None
    key_id: str | None
    reason: str


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. Amounts in the unit of ``metric``: nano-USD for cost_usd, counts otherwise.

    ``version`` counts its changes, from 1. ``cause`` is the same for asks that are one request. ``limit`` and
    ``consumed`` are the budget's at the last ask, ``amount`` is what the call would hold, ``asked`` what is
    asked for on top of the limit. ``principal`` is whose calls a grant covers, None for all that count on the
    account. ``fingerprint`` is that of the call, empty for a request without one.
    """

    id: str
    version: int
    state: State
    cause: str
    policy_id: str
    policy_version: int
    policy_digest: str
    scope: str
    metric: str
    interval: str
    entity: str
    window_start: Instant
    window_end: Instant
    limit: int
    consumed: int
    amount: int
    asked: int
    risk: Risk
    requester: str
    requester_key: str
    principal: str | None
    created_at: Instant
    asked_at: Instant
    expires_at: Instant
    occurrences: int = 1
    agent: str | None = None
    session: str | None = None
    model: str | None = None
    request_id: str | None = None
    fingerprint: str = ""
    reason: str = ""
    grant: Grant | None = None
    ruling: Ruling | None = None
    revocation: Ruling | None = None
    used_by: str | None = None
    """The request that a ``once`` grant was spent on."""

    @property
    def subject(self) -> str:
        """What is asked for, as other systems name it: ``usage-budget:<policy>``."""
        return SUBJECT + self.policy_id

    @property
    def projected(self) -> int:
        """What would be consumed with the call that asked."""
        return self.consumed + self.amount

    @property
    def single_use(self) -> AccountKey:
        """The account that has room for one request: who holds it has the ``once`` grant (L1, A1)."""
        return AccountKey(SINGLE_USE + self.id, "requests", "*", 0)

    def live_grant(self, now: Instant) -> Grant | None:
        """What is granted at ``now``; None if nothing is, or not any more."""
        grant = self.grant
        return (
            grant if self.state is State.APPROVED and grant is not None and now < grant.expires_at else None
        )

    def is_open(self, now: Instant) -> bool:
        """Whether anything can still come of it."""
        return self.state is State.PENDING or self.live_grant(now) is not None
