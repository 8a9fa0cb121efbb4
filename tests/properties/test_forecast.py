"""The forecast for whatever came before: bounds that hold for every past, window and limit."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from palyra.alerts.forecast import Forecast, forecast
from palyra.alerts.hourly import HourlyUse
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant

EPOCH = 20_458 * DAY_NS
AMOUNTS = st.integers(0, 10**13)


@dataclass(frozen=True, slots=True)
class Case:
    """A window, a moment in it, and what came before."""

    hours: list[HourlyUse]
    start: Instant
    end: Instant
    now: Instant
    consumed: int

    def told(self, limit: int, more: int = 0, times: int = 1) -> Forecast | None:
        hours = [hour._replace(amount=hour.amount * times) for hour in self.hours]
        return forecast(hours, self.start, self.end, self.now, self.consumed * times + more, limit)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    length = draw(st.sampled_from([HOUR_NS, DAY_NS, 7 * DAY_NS, 30 * DAY_NS, 3_000 * DAY_NS]))
    elapsed = draw(st.integers(0, min(length, 40 * DAY_NS)))
    start = EPOCH + draw(st.integers(0, 48)) * (HOUR_NS // 2)
    now = start + elapsed
    known = draw(st.sampled_from([0, 1, 30, 72, 100, 14 * 24, 15 * 24 + 5, 28 * 24, 700]))
    pattern = draw(st.lists(AMOUNTS, min_size=1, max_size=30))
    this = now // HOUR_NS
    hours = [
        HourlyUse(Instant((this - back) * HOUR_NS), pattern[back * back % len(pattern)])
        for back in range(1, known + 1)
    ]
    return Case(hours, Instant(start), Instant(start + length), Instant(now), draw(AMOUNTS))


@given(cases(), AMOUNTS)
def test_it_is_never_below_what_is_used_and_never_exhausted_before_now(case: Case, limit: int) -> None:
    found = case.told(limit)
    if found is None:
        return
    assert 0 <= case.consumed <= found.low <= found.expected <= found.high
    assert case.now <= found.until <= case.end
    assert (found.exhausted_at is not None) is (found.expected >= limit)
    if found.exhausted_at is not None:
        assert case.now <= found.exhausted_at <= found.until
    assert not found.threatens(firing=False) or found.threatens(firing=True)


@given(cases(), st.integers(0, 10**13))
def test_more_use_is_never_less_expected_and_never_lasts_longer(case: Case, more: int) -> None:
    limit = case.consumed + more + 10**12
    one, other = case.told(limit), case.told(limit, more)
    assert (one is None) is (other is None)
    if one is None or other is None:
        return
    assert other.expected >= one.expected
    assert other.low >= one.low
    assert other.high >= one.high
    if one.exhausted_at is not None:
        assert other.exhausted_at is not None
        assert other.exhausted_at <= one.exhausted_at


@given(cases(), AMOUNTS, AMOUNTS)
def test_a_higher_limit_never_lasts_shorter(case: Case, limit: int, more: int) -> None:
    one, other = case.told(limit), case.told(limit + more)
    if one is None or other is None:
        return
    assert one.expected == other.expected
    if other.exhausted_at is not None:
        assert one.exhausted_at is not None
        assert one.exhausted_at <= other.exhausted_at


@given(cases(), st.integers(2, 1_000))
def test_the_unit_is_of_no_matter(case: Case, times: int) -> None:
    one, other = case.told(10**15), case.told(10**15, times=times)
    if one is None or other is None:
        return
    for small, large in zip(one[4:7], other[4:7], strict=True):
        assert large == pytest.approx(small * times, rel=1e-9, abs=times)


@given(cases(), AMOUNTS)
def test_at_the_end_of_the_window_it_is_exact(case: Case, limit: int) -> None:
    found = forecast(case.hours, case.start, case.end, case.end, case.consumed, limit)
    assert found is not None
    assert found.low == found.expected == found.high == case.consumed
