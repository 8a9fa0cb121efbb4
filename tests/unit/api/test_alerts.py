"""``/alerts``: what a role sees of alerts and messages, who acknowledged what; reading changes nothing."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from fakes.alarms import unpriced
from fakes.records import NOON
from palyra.alerts import words
from palyra.alerts.alert import Alert, Notice, NoticeState
from palyra.alerts.course import Finding, raised, resolved
from palyra.alerts.notices import Event, Target, notices_for
from palyra.core.instant import NANOSECONDS, Instant

MINUTE_NS = 60 * NANOSECONDS


def overrun(principal: str) -> Finding:
    return words.overrun("stub", f"model-of-{principal}", "req_1", "cost_usd", 1_000, 2_000, principal)


def store(plane: Any, alert_id: str, finding: Finding, *, over: bool = False) -> Alert:
    """An alert as the desk would have left it, with a message to ``ops``."""
    alert = raised(alert_id, finding, NOON, times=3)
    after = resolved(alert, Instant(NOON + MINUTE_NS), "It is over.")

    async def write() -> None:
        notices = notices_for(alert, Event.RAISED, (Target("ops"),), NOON, lambda: f"ntc_{alert_id}")
        await plane.records.save_alert(alert, notices, None)
        if over:
            await plane.records.save_alert(after, (), None)

    asyncio.run(write())
    return after if over else alert


def change(plane: Any, notice_id: str, state: NoticeState, error: str = "") -> Notice:
    """A message that the delivery is through with."""

    async def write() -> Notice:
        notice = await plane.records.notice(notice_id)
        after = structs.replace(
            notice,
            version=notice.version + 1,
            state=state,
            attempts=23,
            error=error,
            sent_at=NOON if state is NoticeState.SENT else None,
        )
        await plane.records.save_notice(after)
        return after

    return asyncio.run(write())


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["items"]]


@pytest.fixture
def alerts(plane: Any) -> Any:
    """Three alerts: of a model, of the principal ``caller``, and one of another principal that is over."""
    store(plane, "alr_1", unpriced())
    store(plane, "alr_2", overrun("caller"))
    store(plane, "alr_3", overrun("bob"), over=True)
    return plane


def test_a_viewer_lists_all_alerts_newest_first_page_by_page(alerts: Any) -> None:
    first = alerts.call("GET", "/api/v1/alerts?limit=2", "viewer")
    assert ids(first) == ["alr_3", "alr_2"]
    cursor = first.json()["next_cursor"]
    rest = alerts.call("GET", f"/api/v1/alerts?limit=2&cursor={cursor}", "viewer")
    assert (ids(rest), rest.json()["next_cursor"]) == (["alr_1"], None)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=firing", ["alr_2", "alr_1"]),
        ("state=resolved", ["alr_3"]),
        ("kind=unpriced_model", ["alr_1"]),
        ("principal=bob", ["alr_3"]),
        ("policy_id=daily", []),
        ("acknowledged=false", ["alr_3", "alr_2", "alr_1"]),
        ("acknowledged=true", []),
    ],
)
def test_alerts_are_filtered(alerts: Any, query: str, found: list[str]) -> None:
    assert ids(alerts.call("GET", f"/api/v1/alerts?{query}", "viewer")) == found


@pytest.mark.parametrize(
    "query", ["state=burning", "kind=gossip", "acknowledged=maybe", "limit=0", "limit=201"]
)
def test_a_filter_that_is_none_is_an_error(alerts: Any, query: str) -> None:
    answer = alerts.call("GET", f"/api/v1/alerts?{query}", "viewer")
    assert (answer.status_code, answer.json()["field"]) == (422, query.partition("=")[0])


def test_a_caller_sees_the_alerts_of_its_own_principal_and_no_others(alerts: Any) -> None:
    assert ids(alerts.call("GET", "/api/v1/alerts", "caller")) == ["alr_2"]
    assert ids(alerts.call("GET", "/api/v1/alerts?principal=bob", "caller")) == []
    assert alerts.call("GET", "/api/v1/alerts/alr_2", "caller").status_code == 200
    for hidden in ("alr_1", "alr_3", "alr_9"):
        assert alerts.call("GET", f"/api/v1/alerts/{hidden}", "caller").status_code == 404


def test_an_alert_is_shown_whole(alerts: Any) -> None:
    answer = alerts.call("GET", "/api/v1/alerts/alr_3", "viewer")
    assert answer.headers["etag"] == '"2"'
    document = answer.json()
    assert (
        document
        | {
            "state": "resolved",
            "kind": "overrun",
            "severity": "warning",
            "count": 3,
            "first_at": "2026-11-23T12:00:00Z",
            "resolved_at": "2026-11-23T12:01:00Z",
            "resolution": "It is over.",
            "principal": "bob",
            "policy_id": None,
            "acknowledged": None,
        }
        == document
    )
    assert document["facts"]["request_id"] == "req_1"


def test_reading_pages_changes_nothing_w43(alerts: Any) -> None:
    kept = alerts.records.kept
    before = (dict(kept.alerts), dict(kept.notices), list(alerts.records.audit))

    for _ in range(5):
        for path in ("", "/alr_1", "/alr_3", "/notices"):
            assert alerts.call("GET", f"/api/v1/alerts{path}").status_code == 200

    assert (kept.alerts, kept.notices, alerts.records.audit) == before
    assert [each["count"] for each in alerts.call("GET", "/api/v1/alerts").json()["items"]] == [3, 3, 3]


def test_an_operator_acknowledges_with_a_note_and_the_first_one_stays(alerts: Any) -> None:
    path = "/api/v1/alerts/alr_1/acknowledge"
    alerts.clock.advance(60)

    first = alerts.call("POST", path, "operator", json={"note": "a price comes on Monday"})
    second = alerts.call("POST", path, "owner", json={})

    seen = first.json()["acknowledged"]
    assert (seen["principal"], seen["at"], seen["note"]) == (
        "operator",
        "2026-11-23T12:01:00Z",
        "a price comes on Monday",
    )
    assert second.json()["acknowledged"] == seen
    assert first.json()["state"] == "firing"
    entries = [each for each in alerts.records.audit if each.kind == "alert.acknowledged"]
    assert [(each.ref, each.actor) for each in entries] == [("alr_1", seen["key_id"])]
    assert entries[0].after["acknowledged"]["note"] == "a price comes on Monday"


@pytest.mark.parametrize(
    ("body", "field"),
    [({"note": 5}, "note"), ({"note": "x" * 1_001}, "note"), ({"comment": "x"}, "comment")],
)
def test_a_note_that_is_none_is_refused_and_nothing_is_written(
    alerts: Any, body: dict[str, object], field: str
) -> None:
    answer = alerts.call("POST", "/api/v1/alerts/alr_1/acknowledge", "operator", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert alerts.records.kept.alerts["alr_1"].acknowledged is None


def test_what_is_not_there_cannot_be_acknowledged(alerts: Any) -> None:
    assert alerts.call("POST", "/api/v1/alerts/alr_9/acknowledge", "operator", json={}).status_code == 404


def test_messages_are_listed_with_what_became_of_them(alerts: Any) -> None:
    change(alerts, "ntc_alr_1", NoticeState.DEAD, "it answered 500")
    change(alerts, "ntc_alr_2", NoticeState.SENT)

    dead = alerts.call("GET", "/api/v1/alerts/notices?state=dead", "viewer").json()["items"]
    assert [(each["id"], each["error"], each["attempts"]) for each in dead] == [
        ("ntc_alr_1", "it answered 500", 23)
    ]
    assert (dead[0]["alert_id"], dead[0]["target"], dead[0]["event"]) == ("alr_1", "ops", "raised")
    assert ids(alerts.call("GET", "/api/v1/alerts/notices?target=ops&limit=1", "viewer")) == ["ntc_alr_3"]
    assert ids(alerts.call("GET", "/api/v1/alerts/notices?target=none", "viewer")) == []
    assert alerts.call("GET", "/api/v1/alerts/notices", "caller").status_code == 403


def test_a_dead_message_is_sent_again_and_a_sent_one_is_not(alerts: Any) -> None:
    change(alerts, "ntc_alr_1", NoticeState.DEAD, "it answered 500")
    change(alerts, "ntc_alr_2", NoticeState.SENT)

    revived = alerts.call("POST", "/api/v1/alerts/notices/ntc_alr_1/retry", "operator").json()
    sent = alerts.call("POST", "/api/v1/alerts/notices/ntc_alr_2/retry", "operator")
    waiting = alerts.call("POST", "/api/v1/alerts/notices/ntc_alr_3/retry", "operator").json()

    assert (revived["state"], revived["attempts"], revived["version"]) == ("waiting", 0, 3)
    assert (sent.status_code, sent.json()["code"]) == (409, "already_sent")
    assert (waiting["state"], waiting["version"]) == ("waiting", 1), "its claim must not be broken"
    assert alerts.call("POST", "/api/v1/alerts/notices/none/retry", "operator").status_code == 404


def test_a_test_goes_through_the_outbox_to_one_target_or_to_all(plane: Any) -> None:
    one = plane.call("POST", "/api/v1/alerts/test", "operator", json={"target": "pager"}).json()["notices"]
    both = plane.call("POST", "/api/v1/alerts/test", "operator", json={}).json()["notices"]

    assert [(each["target"], each["state"], each["event"]) for each in one] == [("pager", "waiting", "test")]
    assert [each["target"] for each in both] == ["ops", "pager"]
    assert len(plane.records.kept.notices) == 3
    assert "operator asked" in plane.records.kept.notices[one[0]["id"]].alert.message
    assert plane.records.kept.alerts == {}, "a test is no alert"


def test_a_test_of_a_target_that_is_not_there_names_those_that_are(plane: Any) -> None:
    answer = plane.call("POST", "/api/v1/alerts/test", "operator", json={"target": "nobody"})
    assert (answer.status_code, answer.json()["field"]) == (422, "target")
    assert "ops, pager" in answer.json()["detail"]
