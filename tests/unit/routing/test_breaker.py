"""The breaker: what opens it, what closes it, and that it never stays stuck."""

import pytest

from palyra.core.instant import NANOSECONDS, Instant
from palyra.routing.breaker import Breaker, BreakerSettings, BreakerState

SETTINGS = BreakerSettings(failures=3, open_ns=30 * NANOSECONDS, open_max_ns=100 * NANOSECONDS)
START = 1_800_000_000


def at(seconds: float) -> Instant:
    return Instant((START * 10 + round(seconds * 10)) * NANOSECONDS // 10)


def opened(seconds: float = 0) -> Breaker:
    """A breaker that opened at ``seconds``."""
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(breaker.begin(at(seconds)), at(seconds))
    assert breaker.state(at(seconds)) is BreakerState.OPEN
    return breaker


def test_a_new_breaker_is_closed_and_lets_everything_through() -> None:
    breaker = Breaker(SETTINGS)
    assert breaker.state(at(0)) is BreakerState.CLOSED
    assert breaker.allows(at(0))
    assert breaker.begin(at(0)) > 0
    assert breaker.begin(at(0)) > 0
    assert breaker.retry_at is None
    assert breaker.faults == 0


def test_faults_in_a_row_open_it() -> None:
    breaker = Breaker(SETTINGS)
    tickets = [breaker.begin(at(0)) for _ in range(3)]
    breaker.failed(tickets[0], at(1))
    breaker.failed(tickets[1], at(2))
    assert breaker.allows(at(2))
    breaker.failed(tickets[2], at(3))
    assert breaker.state(at(3)) is BreakerState.OPEN
    assert not breaker.allows(at(32.9))
    assert breaker.begin(at(32.9)) == 0
    assert breaker.retry_at == at(33)


def test_a_success_starts_the_count_anew() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(5):
        for _ in range(2):
            breaker.failed(breaker.begin(at(0)), at(0))
        breaker.succeeded(breaker.begin(at(0)))
        assert breaker.faults == 0
    assert breaker.state(at(0)) is BreakerState.CLOSED


def test_one_probe_at_a_time_goes_through_when_the_time_is_over() -> None:
    breaker = opened()
    assert breaker.state(at(30)) is BreakerState.HALF_OPEN
    assert breaker.allows(at(30))
    assert breaker.allows(at(30)), "looking takes no slot"
    assert breaker.begin(at(30)) > 0
    assert breaker.state(at(31)) is BreakerState.HALF_OPEN
    assert not breaker.allows(at(31))
    assert breaker.begin(at(31)) == 0
    assert breaker.retry_at == at(130)


def test_a_successful_probe_closes_it_and_resets_the_time() -> None:
    breaker = opened()
    breaker.failed(breaker.begin(at(30)), at(31))
    breaker.succeeded(breaker.begin(at(91)))
    assert breaker.state(at(91)) is BreakerState.CLOSED
    assert breaker.faults == 0
    for _ in range(3):
        breaker.failed(breaker.begin(at(100)), at(100))
    assert breaker.retry_at == at(130)


def test_a_failed_probe_opens_it_for_twice_the_time_up_to_the_longest() -> None:
    breaker = opened()
    now = 30.0
    for length in (60, 100, 100):
        breaker.failed(breaker.begin(at(now)), at(now + 1))
        assert breaker.state(at(now + 1)) is BreakerState.OPEN
        assert breaker.retry_at == at(now + 1 + length)
        now += 1 + length
        assert breaker.state(at(now)) is BreakerState.HALF_OPEN


def test_an_abandoned_probe_makes_room_for_the_next() -> None:
    breaker = opened()
    probe = breaker.begin(at(30))
    breaker.abandoned(probe)
    assert breaker.state(at(31)) is BreakerState.HALF_OPEN
    second = breaker.begin(at(31))
    assert second > 0
    breaker.abandoned(probe)
    breaker.succeeded(probe)
    assert breaker.begin(at(31)) == 0, "the first probe has no say in the slot of the second"
    breaker.succeeded(second)
    assert breaker.state(at(31)) is BreakerState.CLOSED


def test_an_abandoned_call_of_a_closed_breaker_changes_nothing() -> None:
    breaker = Breaker(SETTINGS)
    ticket = breaker.begin(at(0))
    breaker.failed(ticket, at(0))
    breaker.abandoned(ticket)
    assert breaker.faults == 1
    assert breaker.begin(at(0)) == ticket


@pytest.mark.parametrize("seconds", [1, 31])
def test_late_verdicts_of_calls_from_before_it_opened_neither_close_nor_prolong_it(seconds: float) -> None:
    breaker = Breaker(SETTINGS)
    old = breaker.begin(at(-5))
    for _ in range(3):
        breaker.failed(breaker.begin(at(0)), at(0))
    breaker.succeeded(old)
    breaker.failed(old, at(seconds))
    breaker.abandoned(old)
    assert breaker.retry_at == at(30)
    assert breaker.state(at(29.9)) is BreakerState.OPEN


def test_late_verdicts_do_not_stand_for_the_probe() -> None:
    breaker = Breaker(SETTINGS)
    old = breaker.begin(at(-5))
    for _ in range(3):
        breaker.failed(old, at(0))
    probe = breaker.begin(at(30))
    breaker.succeeded(old)
    breaker.failed(old, at(31))
    breaker.abandoned(old)
    assert breaker.state(at(31)) is BreakerState.HALF_OPEN
    assert not breaker.allows(at(31))
    breaker.succeeded(probe)
    assert breaker.state(at(31)) is BreakerState.CLOSED
    for _ in range(3):
        breaker.failed(old, at(32))
    assert breaker.state(at(32)) is BreakerState.CLOSED, "old failures do not open it again"
    assert breaker.faults == 0


def test_a_probe_that_never_reports_is_forgotten() -> None:
    breaker = opened()
    lost = breaker.begin(at(30))
    assert not breaker.allows(at(129.9))
    assert breaker.allows(at(130))
    found = breaker.begin(at(130))
    assert found > 0
    breaker.failed(lost, at(131))
    assert breaker.state(at(131)) is BreakerState.HALF_OPEN
    breaker.succeeded(found)
    assert breaker.state(at(131)) is BreakerState.CLOSED


def test_a_look_at_the_clock_from_just_before_it_opened_finds_it_open() -> None:
    assert not opened(10).allows(at(9.9))


def test_a_clock_that_jumps_back_does_not_keep_it_open() -> None:
    breaker = opened()
    assert breaker.allows(at(-3_600))
    assert breaker.begin(at(0) if breaker.allows(at(0)) else at(-3_600)) > 0
    assert breaker.allows(at(-7_200)), "nor does its probe"


@pytest.mark.parametrize(
    ("failures", "open_ns", "open_max_ns"), [(0, 1, 1), (1, 0, 1), (1, -1, 1), (1, 2, 1)]
)
def test_settings_that_make_no_sense_are_refused(failures: int, open_ns: int, open_max_ns: int) -> None:
    with pytest.raises(ValueError, match="breaker"):
        BreakerSettings(failures, open_ns, open_max_ns)


def test_one_failure_may_be_enough() -> None:
    breaker = Breaker(BreakerSettings(failures=1))
    breaker.failed(breaker.begin(at(0)), at(0))
    assert breaker.state(at(0)) is BreakerState.OPEN
