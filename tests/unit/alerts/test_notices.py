"""Which messages an alert makes, and the way of each from waiting to sent or dead."""

from collections.abc import Callable
from itertools import count

import msgspec
import pytest

from palyra.alerts.alert import Alert, AlertState, Kind, Notice, NoticeState, Severity
from palyra.alerts.notices import (
    ATTEMPTS_MAX,
    ERROR_CHARS_MAX,
    Event,
    Target,
    claimed,
    failed,
    notices_for,
    revived,
    sent,
    wait_ns,
)
from palyra.core.instant import NANOSECONDS, Instant

NOW = Instant(1_795_435_200 * NANOSECONDS)
DAY_S = 86_400


def alert(kind: Kind = Kind.OVERRUN, severity: Severity = Severity.WARNING) -> Alert:
    return Alert(
        id="alr_1",
        version=1,
        state=AlertState.FIRING,
        kind=kind,
        cause="overrun/each",
        severity=severity,
        title="A call used more than was held",
        message="2.00 USD more.",
        first_at=NOW,
        last_at=NOW,
    )


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"ntc_{next(numbers)}"


def waiting(attempts: int = 0) -> Notice:
    (made,) = notices_for(alert(), Event.RAISED, [Target("ops")], NOW, ids())
    return msgspec.structs.replace(made, attempts=attempts)


def told(target: Target, about: Alert, event: Event = Event.RAISED) -> bool:
    return bool(notices_for(about, event, [target], NOW, ids()))


def test_each_target_gets_one_notice_that_is_due_at_once() -> None:
    about = alert()
    made = notices_for(about, Event.RAISED, [Target("ops"), Target("finance")], NOW, ids())
    assert made == [
        Notice(
            id=each_id,
            version=1,
            state=NoticeState.WAITING,
            target=target,
            event="raised",
            alert=about,
            created_at=NOW,
            due_at=NOW,
        )
        for each_id, target in (("ntc_1", "ops"), ("ntc_2", "finance"))
    ]


def test_a_target_is_told_of_every_kind_unless_it_names_some() -> None:
    assert all(told(Target("ops"), alert(kind)) for kind in Kind)
    some = Target("ops", kinds=frozenset({Kind.OVERRUN}))
    assert [kind for kind in Kind if told(some, alert(kind))] == [Kind.OVERRUN]


@pytest.mark.parametrize(
    ("least", "severities"),
    [
        (Severity.INFO, [Severity.INFO, Severity.WARNING, Severity.CRITICAL]),
        (Severity.WARNING, [Severity.WARNING, Severity.CRITICAL]),
        (Severity.CRITICAL, [Severity.CRITICAL]),
    ],
)
def test_a_target_is_told_of_what_is_severe_enough(least: Severity, severities: list[Severity]) -> None:
    target = Target("ops", min_severity=least)
    assert [each for each in Severity if told(target, alert(severity=each))] == severities


def test_the_end_of_an_alert_is_told_to_those_who_want_it_and_were_told_of_the_alert() -> None:
    assert told(Target("ops"), alert(), Event.RESOLVED)
    assert not told(Target("ops", resolved=False), alert(), Event.RESOLVED)
    assert told(Target("ops", resolved=False), alert(), Event.RAISED)
    assert not told(Target("ops", min_severity=Severity.CRITICAL), alert(), Event.RESOLVED)


def test_a_claim_is_an_attempt_and_moves_the_notice_out_of_reach() -> None:
    until = Instant(NOW + 30 * NANOSECONDS)
    held = claimed(waiting(), until)
    assert (held.version, held.attempts, held.due_at, held.state) == (2, 1, until, NoticeState.WAITING)


def test_what_was_sent_says_when_and_has_no_error_any_more() -> None:
    before = msgspec.structs.replace(waiting(2), error="HTTP status 503")
    after = sent(before, NOW)
    assert (after.version, after.state, after.sent_at, after.error) == (2, NoticeState.SENT, NOW, "")


def test_a_failure_is_tried_again_later() -> None:
    after = failed(waiting(1), NOW, "HTTP status 503", 0.5)
    assert (after.version, after.state, after.error) == (2, NoticeState.WAITING, "HTTP status 503")
    assert after.due_at == NOW + 5 * NANOSECONDS


def test_the_last_failure_is_the_end() -> None:
    assert failed(waiting(ATTEMPTS_MAX - 1), NOW, "no", 0.5).state is NoticeState.WAITING
    assert failed(waiting(ATTEMPTS_MAX), NOW, "no", 0.5).state is NoticeState.DEAD


def test_an_error_has_a_bound() -> None:
    assert failed(waiting(1), NOW, "x" * 10_000, 0.5).error == "x" * ERROR_CHARS_MAX


def test_a_dead_notice_can_be_sent_after_all() -> None:
    dead = failed(waiting(ATTEMPTS_MAX), NOW, "no", 0.5)
    later = Instant(NOW + 1)
    again = revived(dead, later)
    assert (again.version, again.state, again.attempts, again.due_at) == (3, NoticeState.WAITING, 0, later)


@pytest.mark.parametrize("notice", [waiting(), sent(waiting(), NOW)])
def test_only_a_dead_notice_is_revived(notice: Notice) -> None:
    with pytest.raises(ValueError, match=f"is {notice.state.value}"):
        revived(notice, NOW)


def test_the_waits_double_up_to_two_hours_and_make_about_a_day() -> None:
    waits = [wait_ns(attempts, 0.5) / NANOSECONDS for attempts in range(1, ATTEMPTS_MAX)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert waits[-1] == 7_200
    assert DAY_S < sum(waits) < 1.1 * DAY_S


def test_chance_spreads_a_wait_by_a_quarter() -> None:
    assert wait_ns(3, 0.0) == 15 * NANOSECONDS
    assert wait_ns(3, 0.999_999) < 25 * NANOSECONDS
    assert wait_ns(3, 0.999) > 24.9 * NANOSECONDS
