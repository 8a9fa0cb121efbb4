"""What people and programs read of a notice."""

import json

import msgspec
import pytest

from fakes.stored import alert, notice, seen
from palyra.alerts.alert import AlertState, Severity
from palyra.core.instant import NANOSECONDS, Instant
from palyra.notify.message import payload_of, text_of, title_of


def later(seconds: float) -> Instant:
    return Instant(alert().first_at + round(seconds * NANOSECONDS))


@pytest.mark.parametrize(
    ("severity", "title"),
    [
        (Severity.INFO, "Info: daily is at 80 %"),
        (Severity.WARNING, "Warning: daily is at 80 %"),
        (Severity.CRITICAL, "Critical: daily is at 80 %"),
    ],
)
def test_the_title_says_how_severe_it_is(severity: Severity, title: str) -> None:
    assert title_of(notice(about=alert(severity=severity))) == title


def test_the_title_says_that_it_is_over() -> None:
    assert title_of(notice(event="resolved")) == "Resolved: daily is at 80 %"


def test_the_text_says_what_it_is_about() -> None:
    about = alert(policy_id="daily", principal="alice")
    assert text_of(notice(about=about)) == (
        "größe ☃\nbudget_threshold · budget daily · principal alice · alr_1"
    )
    assert (
        text_of(notice(about=alert(policy_id=None, principal=None, message=""))) == "budget_threshold · alr_1"
    )


def test_the_text_says_how_often_it_was_seen() -> None:
    text = text_of(notice(about=alert(count=3)))
    assert "Seen 3 times since 2026-11-23T12:00:00Z." in text
    assert "Seen" not in text_of(notice(about=alert(count=1)))


@pytest.mark.parametrize(
    ("seconds", "lasted"),
    [
        (0.5, "less than a second"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (7_500, "2 h 5 min"),
        (7_201, "2 h 1 s"),
        (2 * 86_400 + 3_600 + 60, "2 d 1 h"),
        (-5, "less than a second"),
    ],
)
def test_the_text_says_how_long_it_lasted(seconds: float, lasted: str) -> None:
    over = alert(state=AlertState.RESOLVED, resolved_at=later(seconds), resolution="The window ended.")
    assert f", after {lasted}. The window ended." in text_of(notice(about=over, event="resolved"))


def test_the_payload_is_the_whole_alert_with_times_that_programs_read() -> None:
    about = seen(alert(policy_id="daily", principal="alice", count=2))
    over = msgspec.structs.replace(
        about, state=AlertState.RESOLVED, resolved_at=later(60), resolution="Done."
    )
    assert json.loads(payload_of(notice(about=over, event="resolved"))) == {
        "type": "alert.resolved",
        "timestamp": "2026-11-23T12:00:00Z",
        "data": {
            "id": "alr_1",
            "version": 2,
            "state": "resolved",
            "kind": "budget_threshold",
            "cause": "daily alr_1",
            "severity": "warning",
            "title": "daily is at 80 %",
            "message": "größe ☃",
            "first_at": "2026-11-23T12:00:00Z",
            "last_at": "2026-11-23T12:00:00Z",
            "count": 2,
            "facts": {"share": 0.8, "names": ["a", "b"]},
            "policy_id": "daily",
            "principal": "alice",
            "acknowledged": {"at": "2026-11-23T12:00:00Z", "principal": "bob", "note": "looking"},
            "resolved_at": "2026-11-23T12:01:00Z",
            "resolution": "Done.",
        },
    }


def test_the_payload_of_a_new_alert_has_every_key_too() -> None:
    told = json.loads(payload_of(notice()))
    assert told["type"] == "alert.raised"
    assert (told["data"]["acknowledged"], told["data"]["resolved_at"]) == (None, None)
