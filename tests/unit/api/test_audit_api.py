"""``/api/v1/audit``: who changed which rules, and the journal as a whole."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from fakes.desk import FakeAuditDesk
from palyra.api.app import create_api
from palyra.api.deps import AuditFlaw, AuditOutcome
from palyra.api.schemas.changes import AuditPage, AuditVerified
from palyra.core.errors import LedgerUnavailable, Overloaded

AUDIT = "/api/v1/audit"
DAILY: dict[str, object] = {
    "scope": "global",
    "metric": "requests",
    "interval": "day",
    "hard_limit": 5,
}


@pytest.fixture
def desk(plane: Any) -> FakeAuditDesk:
    """What the plane asks of the whole journal."""
    made = FakeAuditDesk()
    plane.client = TestClient(create_api(replace(plane.deps, audit=made)), base_url="http://127.0.0.1:8484")
    return made


def listed(plane: Any, **params: object) -> dict[str, Any]:
    answer = plane.call("GET", AUDIT, "viewer", params=params)
    assert answer.status_code == 200, answer.text
    shown = AuditPage.model_validate(answer.json())
    assert shown.model_dump(exclude_unset=True, mode="json") == answer.json()
    return answer.json()


def put(plane: Any, policy_id: str = "daily", **changes: object) -> None:
    plane.call("PUT", f"/api/v1/budgets/{policy_id}", "admin", json={**DAILY, **changes})


def test_every_change_says_who_did_what_to_which_object(plane: Any) -> None:
    put(plane)
    put(plane, hard_limit=7)

    newest = listed(plane)["items"][0]

    admin = plane.deps.rules.snapshot.subject(plane.keys["admin"])
    assert (newest["kind"], newest["ref"], newest["version"]) == ("policy.updated", "daily", 2)
    assert (newest["by"], newest["by_principal"]) == (admin.key_id, "admin")
    assert {"field": "hard_limit", "before": 5, "after": 7} in newest["changes"]
    assert (newest["before"]["hard_limit"], newest["after"]["hard_limit"]) == (5, 7)
    assert (newest["node"], newest["note"]) == (0, None)


def test_changes_are_filtered(plane: Any) -> None:
    put(plane)
    put(plane, "other")
    put(plane, hard_limit=7)
    made = len(plane.keys)

    assert len(listed(plane, kind="key")["items"]) == made
    assert [each["ref"] for each in listed(plane, kind="policy.created")["items"]] == ["other", "daily"]
    assert [each["kind"] for each in listed(plane, ref="daily")["items"]] == [
        "policy.updated",
        "policy.created",
    ]
    assert len(listed(plane, by="first-start")["items"]) == 1
    assert listed(plane, until="2026-01-01T00:00:00Z")["items"] == []
    assert len(listed(plane, since="2026-01-01T00:00:00Z")["items"]) == made + 3


def test_changes_come_page_by_page_and_none_twice(plane: Any) -> None:
    for limit in range(1, 5):
        put(plane, hard_limit=limit)
    seen: list[int] = []
    cursor: dict[str, object] = {}
    while True:
        page = listed(plane, limit=3, **cursor)
        seen += [each["record"] for each in page["items"]]
        put(plane, "meanwhile", hard_limit=len(seen))
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == list(range(4 + len(plane.keys), 0, -1))


def test_a_change_has_the_note_of_whoever_made_it(plane: Any) -> None:
    put(plane)
    change = plane.records.changed[-1]
    for after, note in (
        ({"acknowledged": {"note": "seen"}}, "seen"),
        ({"reason": "asked", "ruling": {"reason": "no"}}, "no"),
        ({"reason": "asked", "ruling": {"reason": ""}}, "asked"),
        ({"reason": 7}, None),
    ):
        plane.records.changed[-1] = replace(change, after=after)
        assert listed(plane)["items"][0]["note"] == note


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"kind": "polcy"}, "kind"),
        ({"limit": 201}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"actor": "key"}, "actor"),
    ],
)
def test_a_wrong_parameter_is_named(plane: Any, params: dict[str, object], field: str) -> None:
    answer = plane.call("GET", AUDIT, params=params)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", AUDIT, "viewer"),
        ("POST", f"{AUDIT}/verify", "operator"),
        ("GET", f"{AUDIT}/export", "operator"),
    ],
)
def test_each_route_has_its_least_role(plane: Any, method: str, path: str, least: str) -> None:
    ranks = ["caller", "viewer", "operator", "admin"]
    for role in ranks:
        status = plane.call(method, path, role).status_code
        assert status == (200 if ranks.index(role) >= ranks.index(least) else 403), role


def test_a_journal_that_holds_is_told_with_its_head(plane: Any, desk: FakeAuditDesk) -> None:
    head = "ab" * 32
    for told, heads in (
        (head, [{"node": 0, "head": head}]),
        (f"1:{head} 12:{head}", [{"node": 1, "head": head}, {"node": 12, "head": head}]),
        ("", []),
    ):
        desk.outcome = AuditOutcome(7, 2, told, None, 12)
        document = plane.call("POST", f"{AUDIT}/verify").json()
        assert AuditVerified.model_validate(document).model_dump() == document
        assert document == {
            "ok": True,
            "records": 7,
            "accounts": 2,
            "head": told,
            "heads": heads,
            "problem": None,
            "took_ms": 12,
        }


def test_a_journal_that_does_not_hold_is_an_answer_and_says_where(plane: Any, desk: FakeAuditDesk) -> None:
    flaw = AuditFlaw("journal records 5 to 9 were changed", "G3", 0, 5)
    desk.outcome = AuditOutcome(4, 0, "", flaw, 3)
    answer = plane.call("POST", f"{AUDIT}/verify")
    assert (answer.status_code, answer.json()["ok"], answer.json()["records"]) == (200, False, 4)
    assert answer.json()["problem"] == {
        "detail": "journal records 5 to 9 were changed",
        "invariant": "G3",
        "node": 0,
        "record": 5,
    }


def test_a_second_check_is_told_when_to_come_again(plane: Any, desk: FakeAuditDesk) -> None:
    desk.outcome = Overloaded("another check runs")
    desk.lines = [Overloaded("another export runs")]
    answer = plane.call("POST", f"{AUDIT}/verify")
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) > 0


def test_an_export_is_json_lines_with_a_name(plane: Any, desk: FakeAuditDesk) -> None:
    desk.lines = [b'{"one":1}\n', b'{"two":2}\n']
    answer = plane.call("GET", f"{AUDIT}/export?since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="palyra-audit-2026-11-23.jsonl"'
    assert answer.content.splitlines() == [
        b"2026-11-23T12:00:00Z ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z']",
        b'{"one":1}',
        b'{"two":2}',
    ]


def test_an_export_that_breaks_off_does_not_end(plane: Any, desk: FakeAuditDesk) -> None:
    desk.lines = [b"{}\n", LedgerUnavailable("the journal does not hold")]
    with pytest.raises(RuntimeError, match="response already started"):
        plane.call("GET", f"{AUDIT}/export")


def test_a_span_of_an_export_must_be_one(plane: Any) -> None:
    answer = plane.call("GET", f"{AUDIT}/export?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z")
    assert (answer.status_code, answer.json()["field"]) == (422, "since")
