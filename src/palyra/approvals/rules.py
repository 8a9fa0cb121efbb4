"""What may become of a request: pure transitions (A1). Whoever stores the result counts its version."""

import hashlib
from typing import NamedTuple

from msgspec import structs

from palyra.approvals.approval import Approval, Grant, GrantKind, Risk, Ruling, State
from palyra.core.errors import ApprovalClosed, FieldError, Forbidden
from palyra.core.hours import DAY_NS
from palyra.core.instant import Instant, isoformat

EACH_CALL = "request"
"""The interval that has no window to grant more in: each call is counted by itself."""
ONCE_NS = DAY_NS
"""A call that was let through and is not made within a day is asked for anew."""
GRANT_NS_MAX = 31 * DAY_NS
"""Nothing is granted for longer: what is to stay belongs into the budget."""
AMOUNT_MAX = 2**60

_LOW, _MEDIUM = 110, 150
"""Per cent of the limit: up to the first the risk is low, up to the second it is medium."""


class Offer(NamedTuple):
    """What an approver gives: an amount in the metric's unit and a time, each None for what is usual."""

    kind: GrantKind
    amount: int | None = None
    until: Instant | None = None


class Decider(NamedTuple):
    """Who decides, as their key says."""

    principal: str
    key_id: str


def cause_of(
    policy_id: str, policy_digest: str, entity: str, window_start: int, requester: str, fingerprint: str
) -> str:
    """What asks of one request have in common, as 64 hex digits."""
    parts = (policy_id, policy_digest, entity, str(window_start), requester, fingerprint)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def risk_of(limit: int, projected: int) -> Risk:
    """How far beyond the limit the budget would be, by shares of it."""
    if projected * 100 <= limit * _LOW:
        return Risk.LOW
    return Risk.MEDIUM if projected * 100 <= limit * _MEDIUM else Risk.HIGH


def asked_again(approval: Approval, ask: Approval) -> Approval:
    """The pending request, asked for once more by ``ask``, with the figures of now."""
    _check_pending(approval, ask.asked_at)
    return structs.replace(
        approval,
        limit=ask.limit,
        consumed=ask.consumed,
        amount=ask.amount,
        asked=ask.asked,
        risk=ask.risk,
        asked_at=ask.asked_at,
        request_id=ask.request_id,
        reason=ask.reason or approval.reason,
        occurrences=approval.occurrences + 1,
    )


def approved(approval: Approval, offer: Offer, by: Decider, reason: str, now: Instant) -> Approval:
    """The request, granted. Raises ApprovalClosed, Forbidden for one's own, FieldError for the offer."""
    _check_decidable(approval, by, now)
    return structs.replace(
        approval,
        state=State.APPROVED,
        grant=grant_of(approval, offer, now),
        ruling=Ruling(now, by.principal, by.key_id, reason),
    )


def denied(approval: Approval, by: Decider, reason: str, now: Instant) -> Approval:
    """The request, refused. Raises ApprovalClosed, Forbidden for one's own."""
    _check_decidable(approval, by, now)
    return structs.replace(
        approval,
        state=State.DENIED,
        ruling=Ruling(now, by.principal, by.key_id, reason),
    )


def expired(approval: Approval, now: Instant) -> Approval:
    """The request that nobody decided in time. Raises ApprovalClosed."""
    return _closed(approval, State.EXPIRED, "nobody decided in time", now)


def voided(approval: Approval, reason: str, now: Instant) -> Approval:
    """The request whose budget is not the one any more that it was made for. Raises ApprovalClosed."""
    return _closed(approval, State.VOID, reason, now)


def revoked(approval: Approval, by: Decider, reason: str, now: Instant) -> Approval:
    """The grant, taken back: what was spent of it stays spent. Raises ApprovalClosed."""
    if approval.live_grant(now) is None:
        raise ApprovalClosed(
            f"Approval {approval.id} has no grant that could be revoked: {standing(approval)}."
        )
    return structs.replace(
        approval,
        state=State.REVOKED,
        revocation=Ruling(now, by.principal, by.key_id, reason),
    )


def spent(approval: Approval, request_id: str) -> Approval:
    """The approval with the request that its ``once`` grant let through."""
    return structs.replace(approval, used_by=request_id)


def expiry_of(now: Instant, expire_after_ns: int, interval: str, window_end: Instant) -> Instant:
    """When a request made now is too old to be decided: at the latest when its window is over."""
    ends = Instant(now + expire_after_ns)
    return ends if interval == EACH_CALL else min(ends, window_end)


def grant_of(approval: Approval, offer: Offer, now: Instant) -> Grant:
    """What an offer comes to for a request. Raises FieldError naming ``grant``, ``amount`` or ``until``."""
    _check_offer(approval, offer, now)
    last = Instant(now + GRANT_NS_MAX)
    match offer.kind:
        case GrantKind.ONCE:
            ends = min(now + ONCE_NS, last if _is_each_call(approval) else approval.window_end)
            return Grant(offer.kind, max(approval.amount, offer.amount or 0), Instant(ends))
        case GrantKind.AMOUNT:
            amount = approval.asked if offer.amount is None else offer.amount
            return Grant(offer.kind, amount, min(offer.until or last, approval.window_end, last))
        case _:
            amount = max(approval.limit, approval.asked) if offer.amount is None else offer.amount
            return Grant(offer.kind, amount, offer.until or last)


def standing(approval: Approval) -> str:
    """Where a request stands, for people: ``denied by bob at 2026-11-26T10:00:00Z: too dear``."""
    ruling = approval.revocation or approval.ruling
    if ruling is None:
        return f"{approval.state.value} until {isoformat(approval.expires_at)}"
    by = f" by {ruling.principal}" if ruling.principal is not None else ""
    why = f": {ruling.reason}" if ruling.reason else ""
    return f"{approval.state.value}{by} at {isoformat(ruling.at)}{why}"


def _check_decidable(approval: Approval, by: Decider, now: Instant) -> None:
    _check_pending(approval, now)
    if by.principal in (approval.requester, approval.principal):
        raise Forbidden(
            f"Approval {approval.id} is asked for by or for {by.principal!r}; someone else must decide it."
        )


def _check_pending(approval: Approval, now: Instant) -> None:
    if approval.state is not State.PENDING:
        raise ApprovalClosed(f"Approval {approval.id} cannot be decided: it is {standing(approval)}.")
    if now >= approval.expires_at:
        raise ApprovalClosed(f"Approval {approval.id} expired at {isoformat(approval.expires_at)}.")


def _closed(approval: Approval, state: State, reason: str, now: Instant) -> Approval:
    if approval.state is not State.PENDING:
        raise ApprovalClosed(f"Approval {approval.id} is {standing(approval)}.")
    return structs.replace(approval, state=state, ruling=Ruling(now, None, None, reason))


def _check_offer(approval: Approval, offer: Offer, now: Instant) -> None:
    kind, amount, until = offer
    if kind is GrantKind.ONCE and not approval.fingerprint:
        raise FieldError(
            "grant", "'once' lets one call through, and no call asked; grant an amount or a time."
        )
    if kind is GrantKind.AMOUNT and _is_each_call(approval):
        raise FieldError("grant", "each call is counted by itself; grant 'once', or a time.")
    if kind is GrantKind.TIMEBOXED and until is None:
        raise FieldError("until", "is required with 'timeboxed'; write when it ends.")
    if kind is GrantKind.ONCE and until is not None:
        raise FieldError("until", "means nothing with 'once'; leave it out.")
    if amount is not None and not 0 < amount <= AMOUNT_MAX:
        raise FieldError("amount", "must be more than nothing, and within reason.")
    if until is not None and not now < until <= now + GRANT_NS_MAX:
        raise FieldError("until", "must be in the future, and at most 31 days from now.")


def _is_each_call(approval: Approval) -> bool:
    return approval.interval == EACH_CALL
