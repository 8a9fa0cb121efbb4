"""The document of an approval: whose part of the extra is used, and how each end is told."""

from typing import Any

import pytest
from msgspec import structs

from fakes.records import NOON
from palyra.approvals.approval import Approval, Grant, GrantKind, Risk, Ruling, State
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.instant import NANOSECONDS, Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.reports.approvals import BudgetNow, Figures, approval_document, extra_used

END = Instant(NOON + 3_600 * NANOSECONDS)
BOB = Ruling(NOON, "bob", "key-bob", "fine")
NOBODY = Figures()


def asked(ref: str = "apr_1", **fields: object) -> Approval:
    made = Approval(
        id=ref,
        version=1,
        state=State.PENDING,
        cause=ref,
        policy_id="daily",
        policy_version=1,
        policy_digest="d",
        scope="global",
        metric="requests",
        interval="day",
        entity="*",
        window_start=NOON,
        window_end=END,
        limit=10,
        consumed=12,
        amount=1,
        asked=3,
        risk=Risk.MEDIUM,
        requester="alice",
        requester_key="key-alice",
        principal="alice",
        created_at=NOON,
        asked_at=NOON,
        expires_at=END,
    )
    return structs.replace(made, **fields)


def granted(
    ref: str = "apr_1", extra: int = 5, kind: GrantKind = GrantKind.AMOUNT, **fields: object
) -> Approval:
    grant = Grant(kind, extra, END)
    return asked(ref, state=State.APPROVED, ruling=BOB, grant=grant, **fields)


def policy(**fields: object) -> Policy:
    data = {"id": "daily", "scope": "global", "metric": "requests", "interval": "day", "hard_limit": 10}
    return parse_policy(data | fields, defaults=PolicyDefaults(), version=2, actor="x", origin="api")


def budget(consumed: int, *overrides: Approval, **fields: object) -> BudgetNow:
    key = AccountKey("daily", "requests", "*", NOON)
    balance = Balance(consumed - 1, 1, consumed - 1, 1)
    return BudgetNow(policy(**fields), key, END, balance, 0, overrides)


def document(approval: Approval, figures: Figures = NOBODY, now: Instant = NOON) -> dict[str, Any]:
    return approval_document(approval, "u", figures, now)


@pytest.mark.parametrize(
    ("consumed", "first", "second"), [(9, 0, 0), (10, 0, 0), (12, 2, 0), (15, 5, 0), (17, 5, 2), (30, 5, 4)]
)
def test_what_is_beyond_the_limit_uses_the_grants_in_their_order(
    consumed: int, first: int, second: int
) -> None:
    one, two = granted("apr_1", 5), granted("apr_2", 4)
    now = budget(consumed, one, two)
    assert (extra_used(one, now, NOON), extra_used(two, now, NOON)) == (first, second)


@pytest.mark.parametrize(
    "approval",
    [
        asked(),
        granted(kind=GrantKind.ONCE),
        granted(interval="request"),
        structs.replace(granted(), state=State.REVOKED),
        granted("apr_9"),
    ],
)
def test_what_cannot_be_told_is_not_called_nothing(approval: Approval) -> None:
    assert extra_used(approval, budget(20, granted()), NOON) is None


def test_a_grant_that_ended_and_a_budget_without_a_limit_tell_nothing() -> None:
    one = granted()
    assert extra_used(one, budget(20, one), END) is None
    assert extra_used(one, budget(20, one, hard_limit=None, soft_limit=5), NOON) is None


def test_a_budget_that_is_gone_is_null_and_the_rest_is_told() -> None:
    shown = document(granted())
    assert shown["budget_now"] is None
    assert shown["grant"] == {
        "kind": "amount",
        "live": True,
        "expires_at": "2026-11-23T13:00:00Z",
        "used": None,
        "extra": 5,
        "extra_used": None,
    }
    assert (shown["remaining"], shown["projected"]) == (-2, 13)


@pytest.mark.parametrize(
    ("figures", "used_by", "used"),
    [(NOBODY, None, False), (Figures(used=True), None, True), (Figures(used=True), "r", True)],
)
def test_a_once_grant_is_used_by_what_the_ledger_says(
    figures: Figures, used_by: str | None, used: bool
) -> None:
    grant = document(granted(kind=GrantKind.ONCE, used_by=used_by), figures)["grant"]
    assert (grant["used"], grant["live"]) == (used, not used)


def test_a_once_grant_whose_call_was_released_is_live_again() -> None:
    grant = document(granted(kind=GrantKind.ONCE, used_by="r"))["grant"]
    assert (grant["used"], grant["live"]) == (False, True)


@pytest.mark.parametrize("used_by", [None, "r"])
def test_a_once_grant_that_is_over_was_used_by_what_the_record_says(used_by: str | None) -> None:
    approval = granted(kind=GrantKind.ONCE, used_by=used_by)
    grant = approval_document(approval, "u", NOBODY, END)["grant"]
    assert isinstance(grant, dict)
    assert (grant["used"], grant["live"]) == (used_by is not None, False)


def test_the_end_of_a_request_that_nobody_decided_has_no_decider() -> None:
    shown = document(asked(state=State.EXPIRED, ruling=Ruling(END, None, None, "nobody decided in time")))
    assert (shown["decided_by"], shown["decision_reason"]) == (None, "nobody decided in time")
    assert shown["decided_at"] == "2026-11-23T13:00:00Z"
