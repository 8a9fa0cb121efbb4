"""Delays before a retry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.routing.backoff import Retries, delay_ns

MILLISECOND = 1_000_000
SETTINGS = Retries(retries=10)
UNIT = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempt", "ceiling_ms"),
    [(0, 250), (1, 500), (2, 1_000), (3, 2_000), (4, 4_000), (5, 4_000), (9, 4_000)],
)
def test_the_delay_is_spread_from_nothing_to_a_doubling_ceiling(attempt: int, ceiling_ms: int) -> None:
    assert delay_ns(attempt, 0.0, None, SETTINGS) == 0
    assert delay_ns(attempt, 0.5, None, SETTINGS) == ceiling_ms * MILLISECOND // 2


def test_it_gives_up_after_the_retries() -> None:
    assert delay_ns(1, 0.5, None, Retries()) is not None
    assert delay_ns(2, 0.5, None, Retries()) is None
    assert delay_ns(0, 0.5, 0, Retries(retries=0)) is None


def test_it_gives_up_if_the_provider_asks_for_too_much() -> None:
    settings = Retries(retry_after_max_ns=1_000)
    assert delay_ns(0, 0.0, 1_000, settings) == 1_000
    assert delay_ns(0, 0.0, 1_001, settings) is None


@given(st.integers(0, 9), UNIT, st.integers(0, SETTINGS.retry_after_max_ns))
def test_what_the_provider_asks_for_is_kept_and_spread_by_a_tenth(
    attempt: int, random: float, asked: int
) -> None:
    delay = delay_ns(attempt, random, asked, SETTINGS)
    plain = delay_ns(attempt, random, None, SETTINGS)
    assert delay is not None
    assert plain is not None
    assert asked <= delay <= max(plain, asked + asked // 10)
    assert delay >= plain


def test_calls_that_were_told_the_same_time_come_back_apart() -> None:
    asked = 5_000 * MILLISECOND
    assert delay_ns(0, 0.0, asked, SETTINGS) == asked
    assert delay_ns(0, 0.5, asked, SETTINGS) == 5_250 * MILLISECOND


@pytest.mark.parametrize(
    "wrong", [{"retries": -1}, {"retries": 11}, {"base_ns": -1}, {"cap_ns": -1}, {"retry_after_max_ns": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Retries(**wrong)
