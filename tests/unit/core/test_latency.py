"""Classes of latency: every figure is in one, and a quantile is never far from the true one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.core.latency import BUCKETS, bounds_of, bucket_of, quantile_ms

LAST_MS = bounds_of(BUCKETS - 1)[0]


@pytest.mark.parametrize(
    ("milliseconds", "bucket"),
    [(-1, 0), (0, 0), (3, 3), (4, 4), (7, 7), (8, 8), (9, 8), (10, 9), (16, 12), (19, 12), (1_000, 35)],
)
def test_a_latency_has_a_class(milliseconds: int, bucket: int) -> None:
    assert bucket_of(milliseconds) == bucket


def test_classes_follow_each_other_without_a_gap() -> None:
    ends = [bounds_of(bucket) for bucket in range(BUCKETS)]
    assert ends[0][0] == 0
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ends))


def test_what_takes_longer_than_every_class_is_in_the_last() -> None:
    assert bucket_of(LAST_MS) == bucket_of(LAST_MS * 100) == BUCKETS - 1
    assert LAST_MS > 30 * 60_000 - 400_000


@given(st.integers(0, LAST_MS - 1))
def test_a_class_has_what_is_within_its_bounds(milliseconds: int) -> None:
    least, most = bounds_of(bucket_of(milliseconds))
    assert least <= milliseconds <= most


def test_without_calls_there_is_no_quantile() -> None:
    assert quantile_ms({}, 500) is None
    assert quantile_ms({3: 0}, 500) is None


@given(st.lists(st.integers(0, LAST_MS), min_size=1), st.sampled_from([1, 500, 950, 990, 1_000]))
def test_a_quantile_is_within_an_eighth_of_the_true_one(times: list[int], permille: int) -> None:
    calls: dict[int, int] = {}
    for each in times:
        calls[bucket_of(each)] = calls.get(bucket_of(each), 0) + 1
    true = sorted(times)[-(-len(times) * permille // 1_000) - 1]
    told = quantile_ms(calls, permille)
    assert told is not None
    assert abs(told - true) * 8 <= true
