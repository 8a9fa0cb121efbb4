"""Spikes and mixes for whatever figures come: what may never fire does not."""

from fractions import Fraction
from random import Random

import hypothesis.strategies as st
from hypothesis import given

from palyra.alerts.hourly import HourlyUse
from palyra.alerts.mix import MixRules, ModelUse, distance, find_shift, shares
from palyra.alerts.spike import find_spike
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant

NOW = 20_000 * DAY_NS
AMOUNTS = st.integers(0, 10**15)
MIXES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**12), min_size=1).map(shares)


def hours(amounts: list[int]) -> list[HourlyUse]:
    """Hours one after the other, the last one just before NOW."""
    return [HourlyUse(Instant(NOW - back * HOUR_NS), amount) for back, amount in enumerate(amounts, 1)]


@given(AMOUNTS, st.integers(0, 800))
def test_what_is_always_the_same_is_no_spike(amount: int, length: int) -> None:
    assert find_spike(HourlyUse(Instant(NOW), amount), hours([amount] * length)) is None


@given(st.lists(AMOUNTS, min_size=1, max_size=40), AMOUNTS, st.integers(1, 10**12), st.randoms())
def test_more_never_ends_a_spike_and_the_order_is_of_no_matter(
    amounts: list[int], amount: int, more: int, random: Random
) -> None:
    earlier = hours([amounts[back * back % len(amounts)] for back in range(400)])
    spike = find_spike(HourlyUse(Instant(NOW), amount), earlier)
    random.shuffle(earlier)
    assert find_spike(HourlyUse(Instant(NOW), amount), earlier) == spike
    if spike is not None:
        assert amount > spike.threshold > spike.usual
        assert find_spike(HourlyUse(Instant(NOW), amount + more), earlier) is not None


@given(MIXES, MIXES, MIXES)
def test_the_distance_of_mixes_is_a_distance(
    one: dict[str, Fraction], two: dict[str, Fraction], three: dict[str, Fraction]
) -> None:
    assert sum(one.values()) == 1
    assert distance(one, one) == 0
    assert distance(one, two) == distance(two, one)
    assert 0 <= distance(one, two) <= 1
    assert distance(one, three) <= distance(one, two) + distance(two, three)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(50, 10**6), min_size=1), st.integers(1, 1_000))
def test_a_mix_is_never_unusual_beside_itself_however_many_calls(calls: dict[str, int], times: int) -> None:
    before = {model: ModelUse(count * times, count * times) for model, count in calls.items()}
    now = {model: ModelUse(count, count) for model, count in calls.items()}
    assert find_shift(before, now, MixRules(percent=1)) is None
