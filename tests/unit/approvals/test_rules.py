"""What may become of a request to go over a budget."""

from collections.abc import Callable

import pytest
from msgspec import structs

from palyra.approvals.approval import Approval, Grant, GrantKind, Risk, State
from palyra.approvals.rules import (
    AMOUNT_MAX,
    GRANT_NS_MAX,
    ONCE_NS,
    Decider,
    Offer,
    approved,
    asked_again,
    cause_of,
    denied,
    expired,
    expiry_of,
    grant_of,
    revoked,
    risk_of,
    spent,
    standing,
    voided,
)
from palyra.core.errors import ApprovalClosed, FieldError, Forbidden
from palyra.core.instant import END_OF_TIME, NANOSECONDS, Instant

NOON = Instant(1_795_435_200 * NANOSECONDS)
HOUR = 3_600 * NANOSECONDS
EVENING = Instant(NOON + 6 * HOUR)
BOB = Decider("bob", "key-bob")
ONCE = Offer(GrantKind.ONCE)


def pending(**changes: object) -> Approval:
    """Alice's call of 3 on a budget of 10 that stands at 9, at noon of its day."""
    approval = Approval(
        id="apr_1",
        version=1,
        state=State.PENDING,
        cause="c",
        policy_id="daily",
        policy_version=4,
        policy_digest="d",
        scope="principal:*",
        metric="cost_usd",
        interval="day",
        entity="alice",
        window_start=Instant(NOON - 12 * HOUR),
        window_end=Instant(NOON + 12 * HOUR),
        limit=10,
        consumed=9,
        amount=3,
        asked=2,
        risk=Risk.MEDIUM,
        requester="alice",
        requester_key="key-alice",
        principal="alice",
        fingerprint="f",
        created_at=NOON,
        asked_at=NOON,
        expires_at=Instant(NOON + HOUR),
    )
    return structs.replace(approval, **changes)


def test_a_request_is_approved_by_somebody_else_who_is_remembered() -> None:
    found = approved(pending(), ONCE, BOB, "go on", NOON)
    assert found.state is State.APPROVED
    assert found.grant == Grant(GrantKind.ONCE, 3, pending().window_end)
    assert found.ruling is not None
    assert (found.ruling.principal, found.ruling.key_id, found.ruling.reason) == ("bob", "key-bob", "go on")


def test_a_request_is_denied_with_its_reason() -> None:
    found = denied(pending(), BOB, "too dear", NOON)
    assert found.state is State.DENIED
    assert standing(found) == "denied by bob at 2026-11-23T12:00:00Z: too dear"
    assert found.live_grant(NOON) is None


def _approve(approval: Approval, by: Decider) -> Approval:
    return approved(approval, ONCE, by, "", NOON)


def _deny(approval: Approval, by: Decider) -> Approval:
    return denied(approval, by, "", NOON)


@pytest.mark.parametrize("decide", [_approve, _deny])
@pytest.mark.parametrize("approval", [pending(requester="bob"), pending(requester="carol", principal="bob")])
def test_nobody_decides_what_they_asked_for_or_what_is_for_them(
    decide: Callable[[Approval, Decider], Approval], approval: Approval
) -> None:
    with pytest.raises(Forbidden, match="someone else"):
        decide(approval, BOB)


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_what_was_decided_is_decided(state: State) -> None:
    closed = pending(state=state)
    for change in (
        lambda: approved(closed, ONCE, BOB, "", NOON),
        lambda: denied(closed, BOB, "", NOON),
        lambda: expired(closed, NOON),
        lambda: voided(closed, "edited", NOON),
        lambda: asked_again(closed, pending()),
    ):
        with pytest.raises(ApprovalClosed):
            change()


def test_a_request_that_is_too_old_cannot_be_decided_any_more() -> None:
    late = pending().expires_at
    with pytest.raises(ApprovalClosed, match="expired at 2026-11-23T13:00:00Z"):
        approved(pending(), ONCE, BOB, "", late)
    closed = expired(pending(), late)
    assert closed.state is State.EXPIRED
    assert standing(closed) == "expired at 2026-11-23T13:00:00Z: nobody decided in time"
    assert not closed.is_open(late)


def test_an_edit_of_the_budget_voids_a_request() -> None:
    closed = voided(pending(), "the budget was changed", NOON)
    assert closed.state is State.VOID
    assert closed.ruling is not None
    assert closed.ruling.principal is None


def test_a_live_grant_is_revoked_once_and_one_that_is_over_never() -> None:
    granted = approved(pending(), Offer(GrantKind.AMOUNT), BOB, "", NOON)
    taken = revoked(granted, Decider("alice", "key-alice"), "not needed", NOON)
    assert taken.state is State.REVOKED
    assert taken.live_grant(NOON) is None
    assert taken.ruling == granted.ruling
    assert standing(taken) == "revoked by alice at 2026-11-23T12:00:00Z: not needed"
    for gone, at in ((taken, NOON), (granted, granted.window_end), (pending(), NOON)):
        with pytest.raises(ApprovalClosed):
            revoked(gone, BOB, "", at)


def test_asking_again_counts_and_takes_the_figures_of_now() -> None:
    later = Instant(NOON + 60 * NANOSECONDS)
    ask = pending(limit=20, consumed=19, amount=4, asked=3, risk=Risk.LOW, asked_at=later, request_id="req_2")
    found = asked_again(pending(request_id="req_1"), ask)
    assert (found.occurrences, found.asked_at, found.request_id) == (2, later, "req_2")
    assert (found.limit, found.consumed, found.amount, found.asked, found.risk) == (20, 19, 4, 3, Risk.LOW)
    assert asked_again(pending(reason="a"), pending()).reason == "a"
    assert asked_again(pending(reason="a"), pending(reason="b")).reason == "b"
    assert (found.id, found.created_at, found.expires_at) == ("apr_1", NOON, pending().expires_at)


def test_a_grant_for_one_call_covers_its_amount_and_ends_with_the_window_or_a_day() -> None:
    assert grant_of(pending(), ONCE, NOON) == Grant(GrantKind.ONCE, 3, pending().window_end)
    assert grant_of(pending(), Offer(GrantKind.ONCE, 5), NOON).extra == 5
    assert grant_of(pending(), Offer(GrantKind.ONCE, 1), NOON).extra == 3
    monthly = pending(window_end=Instant(NOON + 20 * 24 * HOUR))
    assert grant_of(monthly, ONCE, NOON).expires_at == NOON + ONCE_NS
    each = pending(interval="request", window_end=END_OF_TIME)
    assert grant_of(each, ONCE, NOON).expires_at == NOON + ONCE_NS


def test_an_amount_is_what_was_asked_for_unless_the_approver_says_another() -> None:
    assert grant_of(pending(), Offer(GrantKind.AMOUNT), NOON) == Grant(
        GrantKind.AMOUNT, 2, pending().window_end
    )
    assert grant_of(pending(), Offer(GrantKind.AMOUNT, 7, EVENING), NOON) == Grant(
        GrantKind.AMOUNT, 7, EVENING
    )
    total = pending(interval="total", window_end=END_OF_TIME)
    assert grant_of(total, Offer(GrantKind.AMOUNT), NOON).expires_at == NOON + GRANT_NS_MAX


def test_a_time_gives_at_most_the_limit_once_more_unless_the_approver_says_another_amount() -> None:
    assert grant_of(pending(), Offer(GrantKind.TIMEBOXED, None, EVENING), NOON) == Grant(
        GrantKind.TIMEBOXED, 10, EVENING
    )
    assert grant_of(pending(asked=12), Offer(GrantKind.TIMEBOXED, None, EVENING), NOON).extra == 12
    assert grant_of(pending(), Offer(GrantKind.TIMEBOXED, 4, EVENING), NOON).extra == 4


@pytest.mark.parametrize(
    ("offer", "changes", "field"),
    [
        (ONCE, {"fingerprint": ""}, "grant"),
        (Offer(GrantKind.ONCE, None, EVENING), {}, "until"),
        (Offer(GrantKind.AMOUNT), {"interval": "request"}, "grant"),
        (Offer(GrantKind.AMOUNT, 0), {}, "amount"),
        (Offer(GrantKind.AMOUNT, -1), {}, "amount"),
        (Offer(GrantKind.AMOUNT, AMOUNT_MAX + 1), {}, "amount"),
        (Offer(GrantKind.AMOUNT, 1, NOON), {}, "until"),
        (Offer(GrantKind.TIMEBOXED), {}, "until"),
        (Offer(GrantKind.TIMEBOXED, None, NOON), {}, "until"),
        (Offer(GrantKind.TIMEBOXED, None, Instant(NOON + GRANT_NS_MAX + 1)), {}, "until"),
    ],
)
def test_an_offer_that_makes_no_sense_is_refused_with_its_field(
    offer: Offer, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(FieldError) as raised:
        grant_of(pending(**changes), offer, NOON)
    assert raised.value.field == field


def test_a_grant_is_live_until_it_ends_and_only_if_it_was_given() -> None:
    granted = approved(pending(), Offer(GrantKind.AMOUNT, 1, EVENING), BOB, "", NOON)
    assert granted.live_grant(Instant(EVENING - 1)) == granted.grant
    assert granted.is_open(Instant(EVENING - 1))
    assert granted.live_grant(EVENING) is None
    assert not granted.is_open(EVENING)
    assert pending().is_open(NOON)
    assert pending().live_grant(NOON) is None


def test_the_use_of_a_single_grant_is_noted() -> None:
    assert spent(pending(state=State.APPROVED), "req_9").used_by == "req_9"


def test_an_approval_says_what_it_is_about() -> None:
    approval = pending()
    assert approval.subject == "usage-budget:daily"
    assert approval.projected == 12
    assert approval.single_use == ("override:apr_1", "requests", "*", 0)
    assert standing(approval) == "pending until 2026-11-23T13:00:00Z"


def test_the_cause_is_the_same_for_the_same_call_on_the_same_budget_and_window_only() -> None:
    first = cause_of("p", "d", "alice", 1, "alice", "f")
    assert cause_of("p", "d", "alice", 1, "alice", "f") == first
    others = [
        cause_of("q", "d", "alice", 1, "alice", "f"),
        cause_of("p", "e", "alice", 1, "alice", "f"),
        cause_of("p", "d", "bob", 1, "alice", "f"),
        cause_of("p", "d", "alice", 2, "alice", "f"),
        cause_of("p", "d", "alice", 1, "bob", "f"),
        cause_of("p", "d", "alice", 1, "alice", "g"),
    ]
    assert len({first, *others}) == 7


@pytest.mark.parametrize(
    ("limit", "projected", "risk"),
    [
        (100, 110, Risk.LOW),
        (100, 111, Risk.MEDIUM),
        (100, 150, Risk.MEDIUM),
        (100, 151, Risk.HIGH),
        (0, 1, Risk.HIGH),
    ],
)
def test_the_risk_is_how_far_beyond_the_limit_it_goes(limit: int, projected: int, risk: Risk) -> None:
    assert risk_of(limit, projected) is risk


def test_a_request_is_open_no_longer_than_its_window() -> None:
    assert expiry_of(NOON, HOUR, "day", EVENING) == NOON + HOUR
    assert expiry_of(NOON, 24 * HOUR, "day", EVENING) == EVENING
    assert expiry_of(NOON, HOUR, "request", Instant(NOON + 1)) == NOON + HOUR
