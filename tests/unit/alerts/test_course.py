"""The course of an alert: one per cause, counted, acknowledged once, resolved for good (W43)."""

import pytest

from palyra.alerts.alert import Acknowledgement, AlertState, Kind, Severity
from palyra.alerts.course import Finding, acknowledged, raised, resolved, seen_again
from palyra.core.instant import Instant

ACK = Acknowledgement(Instant(50), "alice", "key_1", "on it")


def finding(
    cause: str = "cost_spike:bob", severity: Severity = Severity.WARNING, words: str = "x"
) -> Finding:
    return Finding(
        kind=Kind.COST_SPIKE,
        cause=cause,
        severity=severity,
        title=f"title {words}",
        message=f"message {words}",
        facts={"words": words},
        policy_id="p",
        principal="bob",
    )


def test_a_new_alert_fires_and_says_what_was_found() -> None:
    alert = raised("alr_1", finding(), Instant(10))
    assert (alert.id, alert.version, alert.state, alert.count) == ("alr_1", 1, AlertState.FIRING, 1)
    assert (alert.kind, alert.cause, alert.severity) == (Kind.COST_SPIKE, "cost_spike:bob", Severity.WARNING)
    assert (alert.title, alert.message, alert.facts) == ("title x", "message x", {"words": "x"})
    assert (alert.policy_id, alert.principal) == ("p", "bob")
    assert alert.first_at == alert.last_at == 10
    assert alert.acknowledged is None
    assert alert.resolved_at is None


def test_what_happened_often_before_it_was_raised_is_counted() -> None:
    assert raised("alr_1", finding(), Instant(10), times=7).count == 7


def test_a_repeat_is_counted_and_has_the_newest_words() -> None:
    alert = raised("alr_1", finding(), Instant(10))
    again = seen_again(alert, finding(severity=Severity.CRITICAL, words="y"), Instant(20), times=3)
    assert (again.id, again.version, again.state, again.count) == ("alr_1", 2, AlertState.FIRING, 4)
    assert (again.title, again.message, again.facts) == ("title y", "message y", {"words": "y"})
    assert again.severity is Severity.CRITICAL
    assert (again.first_at, again.last_at) == (10, 20)


def test_a_repeat_from_before_does_not_move_time_back() -> None:
    alert = raised("alr_1", finding(), Instant(10))
    assert seen_again(alert, finding(), Instant(5)).last_at == 10


def test_a_repeat_keeps_who_acknowledged() -> None:
    alert = acknowledged(raised("alr_1", finding(), Instant(10)), ACK)
    assert seen_again(alert, finding(), Instant(60)).acknowledged == ACK


def test_something_else_is_no_repeat() -> None:
    alert = raised("alr_1", finding(), Instant(10))
    with pytest.raises(ValueError, match="cost_spike:carol"):
        seen_again(alert, finding("cost_spike:carol"), Instant(20))


@pytest.mark.parametrize("times", [0, -1])
def test_what_never_happened_is_no_alert(times: int) -> None:
    with pytest.raises(ValueError, match="at least once"):
        raised("alr_1", finding(), Instant(10), times)
    with pytest.raises(ValueError, match="at least once"):
        seen_again(raised("alr_1", finding(), Instant(10)), finding(), Instant(20), times)


def test_the_first_acknowledgement_stays() -> None:
    alert = acknowledged(raised("alr_1", finding(), Instant(10)), ACK)
    assert (alert.version, alert.acknowledged, alert.state) == (2, ACK, AlertState.FIRING)
    assert acknowledged(alert, Acknowledgement(Instant(60), "carol", "key_2")) is alert


def test_a_resolved_alert_can_still_be_acknowledged() -> None:
    over = resolved(raised("alr_1", finding(), Instant(10)), Instant(20), "gone")
    seen = acknowledged(over, ACK)
    assert (seen.version, seen.acknowledged, seen.state) == (3, ACK, AlertState.RESOLVED)


def test_a_resolution_says_when_and_why_and_is_the_end() -> None:
    over = resolved(raised("alr_1", finding(), Instant(10)), Instant(20), "The hour was as usual.")
    assert (over.version, over.state) == (2, AlertState.RESOLVED)
    assert (over.resolved_at, over.resolution) == (20, "The hour was as usual.")
    assert resolved(over, Instant(30), "again") is over
    with pytest.raises(ValueError, match="resolved"):
        seen_again(over, finding(), Instant(30))


def test_a_resolution_is_not_before_the_last_occurrence() -> None:
    assert resolved(raised("alr_1", finding(), Instant(10)), Instant(5), "gone").resolved_at == 10
