"""Instants are integer nanoseconds since the epoch, in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.core.instant import (
    END_OF_TIME,
    Instant,
    from_datetime,
    isoformat,
    parse_instant,
    to_datetime,
    to_the_second,
)


def test_a_time_with_another_zone_is_the_same_instant() -> None:
    prague = timezone(timedelta(hours=1))
    assert from_datetime(datetime(1970, 1, 1, 1, 0, 1, tzinfo=prague)) == 1_000_000_000


@given(st.integers(-270 * 365 * 86_400 * 10**6, 290 * 365 * 86_400 * 10**6))
def test_a_datetime_survives_the_way_there_and_back(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    assert to_datetime(from_datetime(moment)) == moment
    assert parse_instant(isoformat(from_datetime(moment))) == from_datetime(moment)


def test_nanoseconds_are_cut_to_the_microsecond() -> None:
    assert to_datetime(1_999).microsecond == 1
    assert isoformat(Instant(1_795_446_000 * 10**9)) == "2026-11-23T15:00:00Z"


@pytest.mark.parametrize(("at", "second"), [(0, 0), (1_999_999_999, 10**9), (2 * 10**9, 2 * 10**9)])
def test_what_is_foreseen_is_told_to_the_second(at: int, second: int) -> None:
    assert to_the_second(at) == second


def test_the_end_of_time_can_be_shown() -> None:
    assert isoformat(END_OF_TIME).startswith("2262-04-11T")


@pytest.mark.parametrize("text", ["2026-11-23T15:00:00", "2026-11-23"])
def test_a_time_without_a_zone_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["", "noon", "2026-13-01T00:00:00Z", "1795446000"])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339 such as 2026-12-31T00:00:00Z"):
        parse_instant(text)


def test_offsets_are_read() -> None:
    assert parse_instant("2026-11-23T16:00:00+01:00") == parse_instant("2026-11-23T15:00:00Z")
