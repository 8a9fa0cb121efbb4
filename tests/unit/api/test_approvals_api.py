"""Approvals through the API: what a person is shown, what may be decided by whom, and what it comes to."""

from typing import Any

import pytest

from fakes.asks import stopped_call, used
from palyra.api.schemas.approvals import ApprovalPage, ApprovalShown
from palyra.approvals.approval import Approval
from palyra.core.instant import NANOSECONDS, Instant
from palyra.ledger.account import Hold
from palyra.ledger.event import Reserved

TOKENS: dict[str, object] = {
    "id": "tokens",
    "scope": "principal:*",
    "metric": "total_tokens",
    "interval": "day",
    "hard_limit": 100,
    "action": "approval_required",
}
MONEY: dict[str, object] = {
    **TOKENS,
    "id": "money",
    "scope": "global",
    "metric": "cost_usd",
    "hard_limit": "5.00",
}
EACH_CALL: dict[str, object] = {**MONEY, "id": "each-call", "interval": "request"}
AGENTS: dict[str, object] = {**TOKENS, "id": "agents", "scope": "agent:*"}
TOLD: dict[str, object] = {**TOKENS, "id": "told", "action": "alert"}


@pytest.fixture
def desk(plane: Any) -> Any:
    """The control plane with budgets that ask."""
    for policy in (TOKENS, MONEY, EACH_CALL, AGENTS, TOLD):
        assert plane.call("POST", "/api/v1/budgets", json=policy).status_code == 201
    return plane


def stopped(plane: Any, policy_id: str = "tokens", requester: str = "caller", **fields: object) -> Approval:
    """A call was stopped and asks."""
    entity = requester if policy_id == "tokens" else "*"
    draft = stopped_call(plane.deps, policy_id, requester, entity, **fields)
    return plane.client.portal.call(plane.deps.approvals.request, draft)


def get(plane: Any, ref: str, role: str = "operator") -> Any:
    answer = plane.call("GET", f"/api/v1/approvals/{ref}", role)
    assert answer.status_code == 200, answer.text
    return answer.json()


def decide(plane: Any, ref: str, role: str = "operator", **body: Any) -> Any:
    return plane.call("POST", f"/api/v1/approvals/{ref}/decision", role, json={"decision": "allow"} | body)


def granted(plane: Any, ref: str, **body: Any) -> Any:
    answer = decide(plane, ref, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wish(plane: Any, policy_id: str, role: str = "caller", **body: Any) -> Any:
    given = {"reason": "month end", **body}
    return plane.call("POST", f"/api/v1/budgets/{policy_id}/override-request", role, json=given)


def ids(plane: Any, query: str = "", role: str = "viewer") -> list[str]:
    page = plane.call("GET", f"/api/v1/approvals?{query}", role).json()
    ApprovalPage.model_validate(page)
    return [each["id"] for each in page["items"]]


def test_a_stopped_call_is_shown_with_everything_that_a_person_needs(desk: Any) -> None:
    approval = stopped(desk, consumed=90)
    desk.records.account_rows.append(used(approval, 70, 25))
    desk.clock.advance(60)
    shown = get(desk, approval.id)
    ApprovalShown.model_validate(shown)
    assert shown == {
        "id": "apr_001",
        "version": 1,
        "subject": "usage-budget:tokens",
        "state": "pending",
        "standing": "pending until 2026-11-24T00:00:00Z",
        "requester": "caller",
        "requester_key": "key-of-caller",
        "principal": "caller",
        "agent": "nightly",
        "session": "run-7",
        "model": "gpt-4o-mini",
        "request_id": "req_1",
        "policy_id": "tokens",
        "policy_version": 1,
        "scope": "principal:*",
        "metric": "total_tokens",
        "interval": "day",
        "entity": "caller",
        "window_start": "2026-11-23T00:00:00Z",
        "window_end": "2026-11-24T00:00:00Z",
        "limit": 100,
        "consumed": 90,
        "amount": 20,
        "asked": 10,
        "projected": 110,
        "remaining": 10,
        "risk": "low",
        "occurrences": 1,
        "reason": "",
        "created_at": "2026-11-23T12:00:00Z",
        "asked_at": "2026-11-23T12:00:00Z",
        "expires_at": "2026-11-24T00:00:00Z",
        "grant": None,
        "decided_by": None,
        "decided_at": None,
        "decision_reason": None,
        "revocation": None,
        "used_by": None,
        "url": "http://palyra.test/console/approvals?id=apr_001",
        "budget_now": {
            "policy_version": 1,
            "entity": "caller",
            "metric": "total_tokens",
            "window_start": "2026-11-23T00:00:00Z",
            "window_end": "2026-11-24T00:00:00Z",
            "open": True,
            "posted": 70,
            "held": 25,
            "consumed": 95,
            "limit": 100,
            "soft_limit": None,
            "hard_limit": 100,
            "remaining": 5,
            "sliced": 1,
            "shadow_posted": 70,
            "shadow_held": 25,
            "extra": 0,
            "overrides": [],
        },
    }


def test_money_is_in_nano_usd_beside_decimal_strings(desk: Any) -> None:
    approval = stopped(desk, "money", consumed=4_900_000_000, amount=200_000_000, asked=100_000_000)
    shown = get(desk, approval.id)
    assert (shown["asked_nano_usd"], shown["asked_usd"]) == (100_000_000, "0.10")
    assert (shown["projected_usd"], shown["remaining_usd"]) == ("5.10", "0.10")
    assert (shown["budget_now"]["limit_usd"], shown["budget_now"]["extra_usd"]) == ("5.00", "0.00")
    grant = granted(desk, approval.id)["grant"]
    assert (grant["extra_nano_usd"], grant["extra_usd"]) == (200_000_000, "0.20")


def test_each_call_by_itself_has_no_window_and_nothing_consumed(desk: Any) -> None:
    shown = get(desk, stopped(desk, "each-call").id)
    assert (shown["window_start"], shown["window_end"]) == (None, None)
    now = shown["budget_now"]
    assert (now["window_start"], now["consumed_usd"], now["remaining_usd"]) == (None, "0.00", "5.00")


def test_asking_again_shows_at_once_before_it_is_stored(desk: Any) -> None:
    stopped(desk)
    stopped(desk)
    assert get(desk, "apr_001")["occurrences"] == 2
    stored = desk.client.portal.call(desk.records.approval, "apr_001")
    assert stored.occurrences == 1


def test_the_numbers_of_now_are_those_of_the_window_of_now(desk: Any) -> None:
    approval = stopped(desk)
    desk.records.account_rows.append(used(approval, 90))
    desk.clock.instant = Instant(approval.window_end + NANOSECONDS)
    shown = get(desk, approval.id)
    assert shown["window_start"] == "2026-11-23T00:00:00Z"
    assert shown["budget_now"]["window_start"] == "2026-11-24T00:00:00Z"
    assert shown["budget_now"]["consumed"] == 0


def test_approvals_are_paged_newest_first_without_repeats(desk: Any) -> None:
    for number in range(3):
        stopped(desk, cause=f"c{number}")
    first = desk.call("GET", "/api/v1/approvals?limit=2", "viewer").json()
    rest = desk.call("GET", f"/api/v1/approvals?limit=2&cursor={first['next_cursor']}", "viewer").json()
    assert [each["id"] for each in first["items"] + rest["items"]] == ["apr_003", "apr_002", "apr_001"]
    assert rest["next_cursor"] is None


def test_approvals_are_filtered(desk: Any) -> None:
    stopped(desk)
    stopped(desk, "money", "viewer")
    decide(desk, "apr_001", decision="deny")
    assert ids(desk) == ["apr_002", "apr_001"]
    assert ids(desk, "state=pending") == ["apr_002"]
    assert ids(desk, "state=denied&requester=caller&policy_id=tokens") == ["apr_001"]
    assert ids(desk, "policy_id=money&requester=caller") == []


@pytest.mark.parametrize("query", ["state=open", "limit=0", "limit=201", "limit=x"])
def test_a_wrong_parameter_is_named(desk: Any, query: str) -> None:
    answer = desk.call("GET", f"/api/v1/approvals?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, query.partition("=")[0])


def test_a_caller_sees_its_own_requests_and_no_trace_of_others(desk: Any) -> None:
    stopped(desk, "money", "caller")
    stopped(desk, "money", "viewer", cause="other")
    assert ids(desk, role="caller") == ["apr_001"]
    assert ids(desk, "requester=viewer", role="caller") == []
    assert ids(desk, "requester=caller", role="caller") == ["apr_001"]
    others = desk.call("GET", "/api/v1/approvals/apr_002", "caller")
    missing = desk.call("GET", "/api/v1/approvals/apr_999", "caller")
    assert (others.status_code, missing.status_code) == (404, 404)
    assert others.json() | {"detail": ""} == missing.json() | {"detail": ""}
    assert get(desk, "apr_001", "caller")["id"] == "apr_001"


def test_a_call_is_allowed_once_unless_something_else_is_said(desk: Any) -> None:
    stopped(desk)
    answer = decide(desk, "apr_001", reason=" month end ")
    shown = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert shown["grant"] == {
        "kind": "once",
        "live": True,
        "expires_at": "2026-11-24T00:00:00Z",
        "used": False,
        "extra": 20,
        "extra_used": None,
    }
    assert (shown["state"], shown["decided_by"], shown["decision_reason"]) == (
        "approved",
        "operator",
        "month end",
    )
    assert shown["decided_at"] == "2026-11-23T12:00:00Z"
    assert [each.kind for each in desk.records.audit[-2:]] == ["approval.requested", "approval.approved"]


@pytest.mark.parametrize(
    ("body", "kind", "extra", "ends"),
    [
        ({"grant": "once"}, "once", 20, "2026-11-24T00:00:00Z"),
        ({"grant": "amount"}, "amount", 10, "2026-11-24T00:00:00Z"),
        ({"amount": 30}, "amount", 30, "2026-11-24T00:00:00Z"),
        ({"amount": "3_000", "unit": "tokens"}, "amount", 3000, "2026-11-24T00:00:00Z"),
        (
            {"grant": "amount", "until": "2026-11-23T14:00:00+01:00"},
            "amount",
            10,
            "2026-11-23T13:00:00Z",
        ),
        ({"until": "2026-11-25T18:00:00Z"}, "timeboxed", 100, "2026-11-25T18:00:00Z"),
        (
            {"grant": "timeboxed", "until": "2026-11-25T18:00:00Z", "amount": 5},
            "timeboxed",
            5,
            "2026-11-25T18:00:00Z",
        ),
    ],
)
def test_what_is_granted_is_what_is_said(
    desk: Any, body: dict[str, Any], kind: str, extra: int, ends: str
) -> None:
    stopped(desk)
    grant = granted(desk, "apr_001", **body)["grant"]
    assert (grant["kind"], grant["extra"], grant["expires_at"]) == (kind, extra, ends)
    assert grant["live"]


@pytest.mark.parametrize(
    ("policy_id", "body", "field"),
    [
        ("tokens", {"decision": "maybe"}, "decision"),
        ("tokens", {"decision": None}, "decision"),
        ("tokens", {"colour": "red"}, "colour"),
        ("tokens", {"grant": "twice"}, "grant"),
        ("tokens", {"amount_usd": "5.00"}, "amount_usd"),
        ("tokens", {"amount": 5, "unit": "requests"}, "unit"),
        ("tokens", {"amount": 5, "unit": "usd"}, "unit"),
        ("tokens", {"amount": 0}, "amount"),
        ("tokens", {"amount": -1}, "amount"),
        ("tokens", {"amount": 1.5}, "amount"),
        ("tokens", {"amount": 2**61}, "amount"),
        ("tokens", {"amount": True}, "amount"),
        ("tokens", {"grant": "timeboxed"}, "until"),
        ("tokens", {"grant": "once", "until": "2026-11-25T18:00:00Z"}, "until"),
        ("tokens", {"until": "2026-11-23T12:00:00Z"}, "until"),
        ("tokens", {"until": "2027-11-23T12:00:00Z"}, "until"),
        ("tokens", {"until": "18:00"}, "until"),
        ("tokens", {"reason": "x" * 1001}, "reason"),
        ("tokens", {"reason": "two\nlines"}, "reason"),
        ("tokens", {"reason": "\x1b[2J"}, "reason"),
        ("tokens", {"reason": 5}, "reason"),
        ("tokens", {"decision": "deny", "amount": 5}, "amount"),
        ("tokens", {"decision": "deny", "until": "2026-11-25T18:00:00Z"}, "until"),
        ("money", {"amount": 5}, "amount"),
        ("money", {"amount_usd": "0.00"}, "amount_usd"),
        ("money", {"amount_usd": 0.5}, "amount_usd"),
        ("money", {"amount_usd": "NaN"}, "amount_usd"),
        ("money", {"amount_usd": "2000000000"}, "amount_usd"),
        ("each-call", {"grant": "amount"}, "grant"),
    ],
)
def test_a_decision_that_cannot_be_meant_names_its_field_and_decides_nothing(
    desk: Any, policy_id: str, body: dict[str, Any], field: str
) -> None:
    stopped(desk, policy_id)
    answer = decide(desk, "apr_001", **body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert get(desk, "apr_001")["state"] == "pending"


def test_the_first_decision_holds(desk: Any) -> None:
    stopped(desk)
    denied = decide(desk, "apr_001", decision="deny", reason="too dear").json()
    assert (denied["state"], denied["decision_reason"], denied["grant"]) == ("denied", "too dear", None)
    answer = decide(desk, "apr_001", "admin")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_closed")
    assert "denied by operator" in answer.json()["detail"]
    assert decide(desk, "apr_999").status_code == 404


def test_nobody_decides_what_is_asked_by_or_for_oneself(desk: Any) -> None:
    mine = wish(desk, "money", "operator", amount_usd="1", principal="caller").json()
    for_me = wish(desk, "money", "admin", amount_usd="1", principal="operator").json()
    for ref in (mine["id"], for_me["id"]):
        for decision in ("allow", "deny"):
            answer = decide(desk, ref, "operator", decision=decision)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "someone else must decide" in answer.json()["detail"]
        assert get(desk, ref)["state"] == "pending"
    assert decide(desk, for_me["id"], "owner").status_code == 200


def test_a_grant_is_revoked_once_with_a_reason(desk: Any) -> None:
    stopped(desk)
    path = "/api/v1/approvals/apr_001/revoke"
    assert desk.call("POST", path, "operator", json={}).json()["code"] == "approval_closed"
    granted(desk, "apr_001")
    wrong = desk.call("POST", path, "operator", json={"why": "x"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "why")
    revoked = desk.call("POST", path, "admin", json={"reason": "wrong project"}).json()
    assert (revoked["state"], revoked["grant"]["live"]) == ("revoked", False)
    assert revoked["revocation"] == {
        "by": "admin",
        "at": "2026-11-23T12:00:00Z",
        "reason": "wrong project",
    }
    assert revoked["decided_by"] == "operator"
    assert desk.call("POST", path, "admin", json={}).status_code == 409
    assert desk.call("POST", "/api/v1/approvals/apr_999/revoke", "admin", json={}).status_code == 404


def test_an_edit_of_the_budget_voids_what_was_asked_of_it(desk: Any) -> None:
    stopped(desk)
    desk.call("PUT", "/api/v1/budgets/tokens", json={**TOKENS, "hard_limit": 200})
    answer = decide(desk, "apr_001")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_closed")
    shown = get(desk, "apr_001")
    assert (shown["state"], shown["decided_by"], shown["decision_reason"]) == (
        "void",
        None,
        "the budget was changed",
    )
    assert (shown["limit"], shown["budget_now"]["limit"]) == (100, 200)
    desk.call("DELETE", "/api/v1/budgets/tokens")
    assert get(desk, "apr_001")["budget_now"] is None


def test_what_is_granted_already_is_shown_beside_the_next_request(desk: Any) -> None:
    for number in range(3):
        stopped(desk, "money", "viewer" if number == 1 else "caller", cause=f"c{number}")
    granted(desk, "apr_001", amount_usd="1.00")
    desk.clock.advance(1)
    granted(desk, "apr_002", until="2026-11-23T18:00:00Z", amount_usd="0.50")
    desk.records.account_rows.append(used(stopped(desk, "money", "caller", cause="c4"), 6_200_000_000))
    shown = get(desk, "apr_003")["budget_now"]
    assert (shown["extra_usd"], shown["remaining_usd"]) == ("1.50", "0.30")
    assert shown["overrides"] == [
        {
            "id": "apr_001",
            "kind": "amount",
            "principal": "caller",
            "expires_at": "2026-11-24T00:00:00Z",
            "extra_nano_usd": 1_000_000_000,
            "extra_usd": "1.00",
        },
        {
            "id": "apr_002",
            "kind": "timeboxed",
            "principal": "viewer",
            "expires_at": "2026-11-23T18:00:00Z",
            "extra_nano_usd": 500_000_000,
            "extra_usd": "0.50",
        },
    ]
    assert get(desk, "apr_001")["grant"]["extra_used_usd"] == "1.00"
    assert get(desk, "apr_002")["grant"]["extra_used_usd"] == "0.20"
    own = get(desk, "apr_003", "caller")["budget_now"]
    assert ([each["id"] for each in own["overrides"]], own["extra_usd"]) == (["apr_001"], "1.50")


def test_a_grant_that_is_over_raises_nothing_any_more(desk: Any) -> None:
    stopped(desk, "money")
    granted(desk, "apr_001", until="2026-11-23T12:00:30Z")
    assert get(desk, "apr_001")["budget_now"]["extra_usd"] == "5.00"
    desk.clock.advance(30)
    shown = get(desk, "apr_001")
    assert (shown["budget_now"]["overrides"], shown["grant"]["live"]) == ([], False)
    assert shown["grant"]["extra_used_usd"] is None


def test_a_time_box_raises_every_window_and_an_amount_only_its_own(desk: Any) -> None:
    first = stopped(desk, "money")
    stopped(desk, "money", cause="c2")
    granted(desk, "apr_001", until="2026-11-25T12:00:00Z", amount_usd="2.00")
    granted(desk, "apr_002", amount_usd="1.00")
    assert get(desk, "apr_001")["budget_now"]["extra_usd"] == "3.00"
    desk.clock.instant = first.window_end
    tomorrow = get(desk, "apr_001")["budget_now"]
    assert ([each["id"] for each in tomorrow["overrides"]], tomorrow["extra_usd"]) == (["apr_001"], "2.00")


def test_a_once_grant_is_used_as_soon_as_its_call_holds_it(desk: Any) -> None:
    approval = stopped(desk)
    granted(desk, "apr_001")
    hold = Hold(approval.single_use, approval.window_end, 1, 1, 1)
    desk.ledger.book.apply(Reserved("req_2", desk.clock.now(), desk.clock.now(), (hold,)))
    grant = get(desk, "apr_001")["grant"]
    assert (grant["used"], grant["live"]) == (True, False)


def test_an_override_is_asked_for_up_front(desk: Any) -> None:
    answer = wish(desk, "tokens", amount=50, unit="tokens")
    shown = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"/api/v1/approvals/{shown['id']}"
    assert (shown["state"], shown["asked"], shown["amount"], shown["reason"]) == (
        "pending",
        50,
        0,
        "month end",
    )
    assert (shown["entity"], shown["principal"], shown["requester"]) == ("caller", "caller", "caller")
    assert (shown["request_id"], shown["agent"]) == (None, None)
    grant = granted(desk, shown["id"])["grant"]
    assert (grant["kind"], grant["extra"]) == ("amount", 50)
    once = wish(desk, "tokens", amount=50).json()
    assert decide(desk, once["id"], grant="once").json()["field"] == "grant"


def test_asking_for_the_same_again_joins_and_is_200(desk: Any) -> None:
    desk.records.account_rows.append(used(stopped(desk, consumed=0), 42))
    first = wish(desk, "tokens", amount=50)
    again = wish(desk, "tokens", amount=60)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert (again.json()["occurrences"], again.json()["asked"]) == (2, 60)
    assert "location" not in again.headers
    assert again.json()["consumed"] == 42


def test_an_operator_asks_for_others_or_for_everybody(desk: Any) -> None:
    everybody = wish(desk, "money", "operator", amount_usd="2.50").json()
    assert (everybody["principal"], everybody["entity"], everybody["asked_usd"]) == (None, "*", "2.50")
    for_one = wish(desk, "tokens", "operator", amount=5, entity="caller").json()
    assert (for_one["principal"], for_one["requester"]) == ("caller", "operator")
    agent = wish(desk, "agents", "operator", amount=5, entity="nightly", principal="caller").json()
    assert (agent["entity"], agent["principal"]) == ("nightly", "caller")


@pytest.mark.parametrize(
    ("policy_id", "role", "body", "field"),
    [
        ("tokens", "caller", {}, "amount"),
        ("money", "caller", {}, "amount_usd"),
        ("money", "caller", {"amount_usd": "0"}, "amount_usd"),
        ("money", "caller", {"amount": 5}, "amount"),
        ("tokens", "caller", {"amount": 5, "reason": None}, "reason"),
        ("tokens", "caller", {"amount": 5, "reason": " "}, "reason"),
        ("tokens", "caller", {"amount": 5, "until": "2026-11-25T18:00:00Z"}, "until"),
        ("tokens", "operator", {"amount": 5, "entity": "calller"}, "entity"),
        ("tokens", "operator", {"amount": 5, "entity": "caller", "principal": "admin"}, "principal"),
        ("money", "operator", {"amount_usd": "1", "principal": "calller"}, "principal"),
        ("money", "operator", {"amount_usd": "1", "principal": ""}, "principal"),
        ("money", "caller", {"amount_usd": "1", "entity": "caller"}, "entity"),
        ("agents", "caller", {"amount": 5}, "entity"),
        ("agents", "caller", {"amount": 5, "entity": 7}, "entity"),
        ("told", "caller", {"amount": 5}, "policy"),
    ],
)
def test_a_wish_that_cannot_come_true_names_its_field(
    desk: Any, policy_id: str, role: str, body: dict[str, Any], field: str
) -> None:
    answer = wish(desk, policy_id, role, **body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert ids(desk) == []


def test_a_caller_asks_for_nobody_else(desk: Any) -> None:
    desk.call("POST", "/api/v1/budgets", json={**TOKENS, "id": "admins", "scope": "principal:admin"})
    assert wish(desk, "tokens", amount=5, entity="admin").status_code == 403
    assert wish(desk, "money", amount_usd="1", principal="admin").status_code == 403
    others = wish(desk, "admins", amount=5)
    assert (others.status_code, others.json()["code"]) == (404, "not_found")
    assert wish(desk, "none", amount=5).status_code == 404
    assert wish(desk, "money", amount_usd="1").json()["principal"] == "caller"


def test_one_principal_has_so_many_requests_open_and_no_more(desk: Any) -> None:
    for number in range(3):
        stopped(desk, cause=f"c{number}")
    answer = wish(desk, "tokens", amount=5)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_closed")
    assert "3 requests open" in answer.json()["detail"]


def test_a_write_that_is_not_durable_decides_nothing(desk: Any) -> None:
    stopped(desk)
    desk.records.fail = True
    assert decide(desk, "apr_001").status_code == 503
    assert wish(desk, "money", amount_usd="1").status_code == 503
    desk.records.fail = False
    assert get(desk, "apr_001")["state"] == "pending"


def test_accounts_of_a_budget_are_read_once_for_a_page(desk: Any) -> None:
    for number in range(3):
        stopped(desk, "money", cause=f"c{number}")
    asked: list[str] = []
    read = desk.records.accounts

    async def counting(policy_id: str) -> Any:
        asked.append(policy_id)
        return await read(policy_id)

    desk.records.accounts = counting
    ids(desk)
    assert asked == ["money"]
