"""Cost spikes: only upwards, against the same hours, whatever the order (W40)."""

from random import Random

import pytest

from palyra.alerts.hourly import HourlyUse
from palyra.alerts.spike import SpikeRules, find_spike
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.core.money import NANO_PER_USD

NOW = Instant(20_000 * DAY_NS + 10 * HOUR_NS)
USD = NANO_PER_USD


def ago(days: int, amount: int, hours: int = 0) -> HourlyUse:
    return HourlyUse(Instant(NOW - days * DAY_NS - hours * HOUR_NS), amount)


def days_of(amount: int, count: int = 14) -> list[HourlyUse]:
    return [ago(day, amount) for day in range(1, count + 1)]


def test_an_hour_far_above_the_same_hours_is_a_spike() -> None:
    spike = find_spike(ago(0, 50 * USD), days_of(2 * USD))
    assert spike is not None
    assert spike.hour == ago(0, 50 * USD)
    assert (spike.usual, spike.threshold, spike.days) == (2 * USD, 6 * USD, 14)


def test_w40_it_fires_when_cost_rises_and_never_when_it_falls() -> None:
    dear, cheap = 50 * USD, 2 * USD
    newest_first = days_of(dear)
    for earlier in (newest_first, newest_first[::-1]):
        assert find_spike(ago(0, cheap), earlier) is None
        assert find_spike(ago(0, 0), earlier) is None
    newest_first = days_of(cheap)
    for earlier in (newest_first, newest_first[::-1]):
        assert find_spike(ago(0, dear), earlier) is not None


def test_the_order_of_the_hours_is_of_no_matter() -> None:
    random = Random(7)
    earlier = [ago(day, random.randrange(5 * USD), hour) for day in range(1, 20) for hour in range(5)]
    shuffled = random.sample(earlier, len(earlier))
    assert find_spike(ago(0, 90 * USD), shuffled) == find_spike(ago(0, 90 * USD), earlier) is not None


def test_a_busy_hour_after_a_quiet_night_is_none() -> None:
    night = [ago(day, 0, hours) for day in range(15) for hours in range(1, 9)]
    assert find_spike(ago(0, 20 * USD), days_of(20 * USD) + night) is None
    assert find_spike(ago(0, 20 * USD), [*days_of(0), *night]) is not None


@pytest.mark.parametrize(("days", "fires"), [(0, False), (6, False), (7, True)])
def test_it_needs_a_week_of_days(days: int, fires: bool) -> None:
    assert (find_spike(ago(0, 50 * USD), days_of(USD, days)) is not None) is fires


def test_days_count_from_the_first_hour_known_and_hours_left_out_cost_nothing() -> None:
    spike = find_spike(ago(0, 2 * USD), [ago(10, 9 * USD)])
    assert spike is not None
    assert (spike.usual, spike.threshold, spike.days) == (0, USD, 10)


def test_days_beyond_the_longest_are_not_looked_at() -> None:
    earlier = [ago(day, 100 * USD) for day in range(4, 30)] + days_of(USD, 3)
    spike = find_spike(ago(0, 50 * USD), earlier, SpikeRules(days_min=1, days_max=3))
    assert spike is not None
    assert (spike.usual, spike.days) == (USD, 3)


def test_hours_that_are_not_before_it_count_for_nothing() -> None:
    later = [ago(0, 500 * USD), ago(-1, 500 * USD)]
    assert find_spike(ago(0, 50 * USD), later) is None
    assert find_spike(ago(0, 50 * USD), days_of(USD) + later) is not None


@pytest.mark.parametrize(("amount", "fires"), [(USD, False), (USD + 1, True)])
def test_what_is_little_money_is_no_spike(amount: int, fires: bool) -> None:
    assert (find_spike(ago(0, amount), days_of(0)) is not None) is fires


@pytest.mark.parametrize(("amount", "fires"), [(300 * USD, False), (300 * USD + 1, True)])
def test_it_is_several_times_the_usual(amount: int, fires: bool) -> None:
    assert (find_spike(ago(0, amount), days_of(100 * USD)) is not None) is fires


def test_what_varies_widely_may_be_far_from_the_usual() -> None:
    # The median is 90, and half of the days are 80 or more from it.
    amounts = [10, 190, 110, 90] * 3 + [10, 190, 10]
    earlier = [ago(day, amount * USD) for day, amount in enumerate(amounts, 1)]
    bound = 90 * USD + 6 * 80 * USD * 14_826 // 10_000
    assert find_spike(ago(0, bound), earlier) is None
    spike = find_spike(ago(0, bound + 1), earlier)
    assert spike is not None
    assert (spike.usual, spike.threshold) == (90 * USD, bound)


def test_a_spike_of_yesterday_does_not_hide_that_of_today() -> None:
    assert find_spike(ago(0, 50 * USD), [ago(1, 50 * USD), *days_of(2 * USD)[1:]]) is not None


def test_work_that_runs_once_a_week_is_no_spike() -> None:
    weekly = [ago(7, 80 * USD), ago(14, 90 * USD), ago(21, 80 * USD)]
    assert find_spike(ago(0, 85 * USD), weekly) is None
    assert find_spike(HourlyUse(Instant(NOW + DAY_NS), 85 * USD), weekly) is not None
    spike = find_spike(ago(0, 300 * USD), weekly)
    assert spike is not None
    assert spike.usual == 80 * USD


@pytest.mark.parametrize(
    "rules",
    [{"days_min": 0}, {"days_min": 9, "days_max": 8}, {"amount_min": 0}, {"sigmas": -1}, {"times_min": 0}],
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="spike"):
        SpikeRules(**rules)
