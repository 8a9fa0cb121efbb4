"""Hours and runs of them."""

import pytest

from palyra.core.hours import HOUR_NS, HourRun, bucket_of, next_hour
from palyra.core.instant import Instant

RUNS = (HourRun(Instant(0), 2 * HOUR_NS, 3, 0), HourRun(Instant(6 * HOUR_NS), HOUR_NS, 2, 3))


@pytest.mark.parametrize(("at", "hour"), [(0, 0), (1, 1), (HOUR_NS, 1), (HOUR_NS + 1, 2), (-1, 0)])
def test_the_next_hour_is_the_first_at_or_after(at: int, hour: int) -> None:
    assert next_hour(at) == hour * HOUR_NS


def test_each_hour_of_the_runs_has_one_bucket() -> None:
    assert [bucket_of(hour * HOUR_NS, RUNS) for hour in range(8)] == [0, 0, 1, 1, 2, 2, 3, 4]
    assert [run.end for run in RUNS] == [6 * HOUR_NS, 8 * HOUR_NS]


@pytest.mark.parametrize("hour", [-1, 8])
def test_an_hour_outside_has_none(hour: int) -> None:
    with pytest.raises(ValueError, match="no run has the hour"):
        bucket_of(hour * HOUR_NS, RUNS)
