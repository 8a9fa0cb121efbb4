"""The forecast of a budget: what it goes by, when it says nothing, and when it warns."""

from collections.abc import Callable

import pytest

from palyra.alerts.forecast import AHEAD_NS, Basis, Forecast, forecast
from palyra.alerts.hourly import HourlyUse
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import END_OF_TIME, Instant
from palyra.core.money import INT64_MAX

MONDAY = 20_458 * DAY_NS
MONTH = Instant(MONDAY + 30 * DAY_NS)
"""Where the window begins; it is 30 days long."""
END = Instant(MONTH + 30 * DAY_NS)


def after(days: float, since: int = MONTH) -> Instant:
    return Instant(since + round(days * DAY_NS))


def past(now: int, days: float, use: Callable[[int], int]) -> list[HourlyUse]:
    """What ``use`` gives for each of the hours before ``now``, by the number of the hour since a Monday."""
    hours = round(days * 24)
    this = now // HOUR_NS
    numbers = range(this - hours, this)
    return [HourlyUse(Instant(number * HOUR_NS), use(number - MONDAY // HOUR_NS)) for number in numbers]


def evenly(_hour: int) -> int:
    return 10


def office(hour: int) -> int:
    """24 on each working day, all of it between 8 and 16 o'clock."""
    return 3 if hour // 24 % 7 < 5 and 8 <= hour % 24 < 16 else 0


def told(
    hours: list[HourlyUse], now: Instant, consumed: int, limit: int = 10**9, end: Instant = END
) -> Forecast:
    """A forecast that there is."""
    found = forecast(hours, MONTH, end, now, consumed, limit)
    assert found is not None
    return found


def test_an_even_use_goes_on_evenly() -> None:
    now = after(10)
    found = told(past(now, 28, evenly), now, 2_400, limit=6_000)
    assert (found.basis, found.until) == (Basis.HOUR_OF_WEEK, END)
    assert (found.expected, found.low, found.high) == (7_200, 7_200, 7_200)
    assert found.exhausted_at == after(25)
    assert (found.consumed, found.limit) == (2_400, 6_000)


@pytest.mark.parametrize(
    ("days", "basis"),
    [
        (14, Basis.HOUR_OF_WEEK),
        (14 - 1 / 24, Basis.HOUR_OF_DAY),
        (3, Basis.HOUR_OF_DAY),
        (3 - 1 / 24, Basis.RATE),
    ],
)
def test_the_basis_is_the_best_that_the_past_allows(days: float, basis: Basis) -> None:
    now = after(20)
    assert told(past(now, days, evenly), now, 4_800).basis is basis


def test_weekends_are_known_after_two_weeks() -> None:
    friday = after(4 + 17 / 24, MONDAY + 28 * DAY_NS)
    found = told(past(friday, 28, office), friday, 0, end=after(7, MONDAY + 28 * DAY_NS))
    assert found.expected == 0
    sunday_night = after(7, MONDAY + 28 * DAY_NS)
    assert told(past(sunday_night, 28, office), sunday_night, 0, end=after(5, sunday_night)).expected == 120


def test_nights_are_known_after_three_days() -> None:
    evening = after(3 + 16 / 24)
    workdays = [
        hour._replace(amount=3 if 8 <= hour.start // HOUR_NS % 24 < 16 else 0)
        for hour in past(evening, 3.5, evenly)
    ]
    morning = after(4 + 8 / 24)
    assert told(workdays, evening, 0, end=morning).expected == 0
    assert told(workdays, evening, 0, end=Instant(morning + 4 * HOUR_NS)).expected == pytest.approx(12, abs=2)


def test_without_weekdays_the_last_week_tells() -> None:
    evening = after(10 + 17 / 24)
    week = past(evening, 7, lambda hour: 3 if 8 <= hour % 24 < 16 else 0)
    before = [HourlyUse(Instant(hour.start - 7 * DAY_NS), 500) for hour in week][-85:]
    found = told(before + week, evening, 0, end=after(1, evening))
    assert (found.basis, found.expected) == (Basis.HOUR_OF_DAY, 24)
    assert told(before + week, evening, 0, end=after(15 / 24, evening)).expected == 0


def test_a_team_that_doubled_is_followed_within_days() -> None:
    change = after(7)

    def expected(days: float) -> int:
        now = after(7 + days)
        hours = past(now, 28, evenly)
        hours = [hour._replace(amount=20) if hour.start >= change else hour for hour in hours]
        found = forecast(hours, now, after(1, now), now, 0, 1)
        assert found is not None
        return found.expected

    assert expected(0) == 240
    assert 270 < expected(1) < 330
    assert 330 < expected(6) < expected(14) < 480
    assert 470 < expected(28) < 490
    assert expected(0) < expected(1) < expected(3) < expected(6)


def test_hours_left_out_used_nothing() -> None:
    now = after(10)
    hours = past(now, 28, office)
    assert told([hour for hour in hours if hour.amount], now, 5) == told(hours, now, 5)


def test_order_and_halves_and_the_running_hour_are_of_no_matter() -> None:
    now = Instant(after(10) + HOUR_NS // 2)
    hours = past(now, 28, office)
    halves = [
        HourlyUse(hour.start, amount) for hour in hours for amount in (1, hour.amount - 1) if hour.amount
    ]
    running = [HourlyUse(Instant(after(10)), 9_999), HourlyUse(Instant(after(11)), 9_999)]
    assert told(halves[::-1] + running, now, 5) == told(hours, now, 5)


def test_what_is_older_than_four_weeks_is_not_looked_at() -> None:
    now = after(10)
    old = [HourlyUse(Instant(now - 29 * DAY_NS), 10**9)]
    assert told(old + past(now, 28, evenly), now, 5) == told(past(now, 28, evenly), now, 5)


def test_a_correction_below_nothing_counts_as_nothing() -> None:
    now = after(10)
    hours = past(now, 28, evenly)
    corrected, empty = (
        [*hours[:600], hours[600]._replace(amount=amount), *hours[601:]] for amount in (-1_000, 0)
    )
    assert told(corrected, now, 7) == told(empty, now, 7)


def test_without_a_past_the_rate_so_far_goes_on() -> None:
    found = told([], after(10), 100, limit=200)
    assert found.basis is Basis.RATE
    assert (found.expected, found.low, found.high) == (300, 100, 500)
    assert found.exhausted_at == after(20)


def test_the_rate_counts_from_the_first_use_where_that_was_later() -> None:
    now = after(12)
    assert told(past(now, 2, evenly), now, 480).expected == 480 + 18 * 240


@pytest.mark.parametrize(
    ("length", "elapsed", "known"),
    [
        (30 * DAY_NS, DAY_NS - 1, False),
        (30 * DAY_NS, DAY_NS, True),
        (DAY_NS, 2 * HOUR_NS, False),
        (DAY_NS, 3 * HOUR_NS, True),
        (HOUR_NS, HOUR_NS // 10 - 1, False),
        (HOUR_NS, HOUR_NS // 10, True),
    ],
)
def test_the_first_calls_of_a_window_are_no_rate(length: int, elapsed: int, known: bool) -> None:
    found = forecast([], MONTH, Instant(MONTH + length), Instant(MONTH + elapsed), 10**9, 10)
    assert (found is not None) is known


def test_a_first_use_an_hour_ago_is_no_rate() -> None:
    now = after(12)
    assert forecast(past(now, 1 / 24, evenly), MONTH, END, now, 10, 10**9) is None


def test_a_window_of_an_hour_tells_by_itself() -> None:
    now = Instant(MONTH + HOUR_NS // 2)
    found = told(past(now, 28, evenly), now, 40, end=Instant(MONTH + HOUR_NS))
    assert (found.basis, found.expected) == (Basis.RATE, 80)


def test_a_window_without_end_is_looked_into_for_a_month() -> None:
    now = after(10)
    found = told(past(now, 28, evenly), now, 0, end=END_OF_TIME)
    assert found.until == now + AHEAD_NS
    assert found.expected == 31 * 240


def test_the_band_is_wider_the_further_it_reaches_and_the_less_even_the_past_is() -> None:
    now = after(10)

    def width(step: int, days: int) -> int:
        hours = past(now, 28, lambda hour: 10 + (step if hour // 24 % 3 == 0 else 0))
        found = told(hours, now, 0, end=after(days, now))
        assert 0 <= found.low <= found.expected <= found.high
        return found.high - found.low

    assert 0 < width(2, 5) < width(6, 5) < width(6, 10)
    assert width(6, 10) > 1.8 * width(6, 5)


def test_where_few_days_are_known_anything_may_come() -> None:
    now = after(10)
    days = past(now, 5, evenly)
    assert told(days, now, 100).low == 100
    assert told(days, now, 100).high == 100 + 2 * 20 * 240
    assert told(past(now, 6, evenly), now, 100).low == 100 + 20 * 240


def test_what_was_never_used_will_not_be() -> None:
    now = after(10)
    for days in (3, 28):
        found = told(past(now, days, lambda _hour: 0), now, 5, limit=6)
        assert (found.low, found.expected, found.high, found.exhausted_at) == (5, 5, 5, None)


def test_at_the_end_it_is_what_it_is() -> None:
    for hours in ([], past(END, 1 / 24, evenly), past(END, 28, office)):
        found = told(hours, END, 77, limit=78)
        assert (found.low, found.expected, found.high, found.exhausted_at) == (77, 77, 77, None)


def test_a_balance_never_leaves_the_range_of_an_account() -> None:
    found = told([], after(10), INT64_MAX - 1)
    assert (found.expected, found.high) == (INT64_MAX, INT64_MAX)
    assert told([], after(10), INT64_MAX + 5).expected == INT64_MAX + 5


@pytest.mark.parametrize("now", [Instant(MONTH - 1), Instant(END + 1)])
def test_it_is_made_within_its_window(now: Instant) -> None:
    with pytest.raises(ValueError, match="within its window"):
        forecast([], MONTH, END, now, 0, 10)


def test_it_runs_out_in_working_hours() -> None:
    now = after(0, MONDAY + 35 * DAY_NS)
    found = told(past(now, 28, office), now, 0, limit=3 * 24 + 12, end=after(30, now))
    assert found.exhausted_at == now + 3 * DAY_NS + 12 * HOUR_NS


def test_what_is_exhausted_is_so_now() -> None:
    now = after(10)
    for hours in ([], past(now, 28, evenly)):
        assert told(hours, now, 50, limit=50).exhausted_at == now
    night = after(20 / 24, MONDAY + 35 * DAY_NS)
    assert told(past(night, 28, office), night, 50, limit=50).exhausted_at == night


def test_what_only_rounding_reaches_is_reached_at_the_end() -> None:
    # By the rate 1.5 more by the end, which is rounded to 2.
    assert told([], after(20), 3, limit=5).exhausted_at == END
    assert told([], after(10), 100, limit=300).exhausted_at == END


def test_a_warning_begins_when_it_is_likely_and_ends_when_it_is_not_expected() -> None:
    found = told([], after(10), 100)
    assert (found.low, found.expected) == (100, 300)
    assert found._replace(limit=200).threatens(firing=False)
    for limit, goes_on in ((201, True), (300, True), (301, False)):
        assert not found._replace(limit=limit).threatens(firing=False)
        assert found._replace(limit=limit).threatens(firing=True) is goes_on


def test_what_is_exhausted_already_is_no_forecast() -> None:
    found = told([], after(10), 100, limit=100)
    assert not found.threatens(firing=False)
    assert not found.threatens(firing=True)


@pytest.mark.parametrize(("limit", "hours"), [(8_640, 4), (10_800, 10), (14_400, 21)])
def test_an_agent_that_runs_away_is_warned_of_within_a_day(limit: int, hours: int) -> None:
    def warns(after_hours: int) -> bool:
        now = Instant(after(7) + after_hours * HOUR_NS)
        known = [
            each._replace(amount=200) if each.start >= after(7) else each for each in past(now, 28, evenly)
        ]
        return told(known, now, 7 * 240 + 200 * after_hours, limit).threatens(firing=False)

    assert next(each for each in range(30) if warns(each)) == hours
