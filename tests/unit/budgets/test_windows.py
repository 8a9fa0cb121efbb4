"""Windows at the edges of the calendar and of the clock (W1: the interval is applied; P1)."""

from zoneinfo import ZoneInfo

import pytest

from palyra.budgets.windows import Interval, Window, Windows, window_at
from palyra.core.instant import END_OF_TIME, Instant, isoformat, parse_instant


def span(interval: str, zone: str, at: str) -> tuple[str, str]:
    window = window_at(Interval(interval), zone, parse_instant(at))
    return isoformat(window.start), isoformat(window.end)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("hourly", Interval.HOUR),
        ("daily", Interval.DAY),
        ("weekly", Interval.WEEK),
        ("monthly", Interval.MONTH),
        ("day", Interval.DAY),
    ],
)
def test_interval_accepts_both_spellings(written: str, meant: Interval) -> None:
    assert Interval(written) is meant


@pytest.mark.parametrize("wrong", ["fortnight", 7])
def test_interval_refuses_other_words(wrong: object) -> None:
    with pytest.raises(ValueError):
        Interval(wrong)  # pyright: ignore[reportArgumentType] (a wrong type is the point)


@pytest.mark.parametrize(
    ("interval", "zone", "at", "start", "end"),
    [
        ("day", "UTC", "2026-11-23T15:00:00Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
        # 23 and 25 hours
        ("day", "Europe/Prague", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("day", "Europe/Prague", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        # midnight does not exist
        ("day", "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
        # midnight comes twice (00:01 -> 23:01): the first one counts
        ("day", "America/St_Johns", "2006-10-29T02:40:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"),
        # the gap begins before midnight (23:30 -> 00:30)
        ("day", "America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z"),
        # a date that never was
        ("day", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("day", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        ("day", "Pacific/Kwajalein", "1993-08-21T12:00:00Z", "1993-08-21T12:00:00Z", "1993-08-22T12:00:00Z"),
        # a date that was nearly lived twice is one day
        ("day", "Pacific/Kwajalein", "1969-10-01T00:00:00Z", "1969-09-29T13:00:00Z", "1969-10-01T12:00:00Z"),
        ("week", "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("week", "UTC", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("month", "UTC", "2028-02-29T23:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("month", "Asia/Tokyo", "2026-12-31T15:00:00Z", "2026-12-31T15:00:00Z", "2027-01-31T15:00:00Z"),
        # the repeated hour is a window of its own
        ("hour", "Europe/Prague", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
        ("hour", "Europe/Prague", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
        ("hour", "Asia/Kolkata", "2026-11-23T15:15:00Z", "2026-11-23T14:30:00Z", "2026-11-23T15:30:00Z"),
        # half an hour back: 01:30 to 02:00 comes twice
        (
            "hour",
            "Australia/Lord_Howe",
            "2026-04-04T14:30:00Z",
            "2026-04-04T14:00:00Z",
            "2026-04-04T15:00:00Z",
        ),
        (
            "hour",
            "Australia/Lord_Howe",
            "2026-04-04T15:10:00Z",
            "2026-04-04T15:00:00Z",
            "2026-04-04T15:30:00Z",
        ),
        # half an hour forward: 02:00 to 02:30 is skipped
        (
            "hour",
            "Australia/Lord_Howe",
            "2026-10-03T15:40:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-03T16:00:00Z",
        ),
        # the grid moves in the middle of an hour
        ("hour", "Asia/Singapore", "1981-12-31T15:50:00Z", "1981-12-31T15:30:00Z", "1981-12-31T16:00:00Z"),
        ("hour", "Asia/Pyongyang", "2015-08-14T14:50:00Z", "2015-08-14T14:00:00Z", "2015-08-14T15:00:00Z"),
        ("hour", "Asia/Kathmandu", "1985-12-31T18:20:00Z", "1985-12-31T17:30:00Z", "1985-12-31T18:30:00Z"),
    ],
)
def test_the_window_of_an_instant(interval: str, zone: str, at: str, start: str, end: str) -> None:
    assert span(interval, zone, at) == (start, end)


def test_an_hour_that_the_clock_cuts_short_ends_there() -> None:
    """Singapore moved its clock by ten minutes in 1941; both sides meet at the move."""
    zone = "Asia/Singapore"
    change = parse_instant("1941-08-31T16:40:00Z")
    before = window_at(Interval.HOUR, zone, Instant(change - 1))
    after = window_at(Interval.HOUR, zone, change)
    assert before.end == change == after.start
    assert isoformat(after.end) == "1941-08-31T17:30:00Z"


def test_an_hour_cut_in_its_middle_has_two_windows() -> None:
    """Monrovia moved its clock by 44 and a half minutes in 1972."""
    change = parse_instant("1972-01-07T00:44:30Z")
    before = window_at(Interval.HOUR, "Africa/Monrovia", Instant(change - 1))
    after = window_at(Interval.HOUR, "Africa/Monrovia", change)
    assert before.end == change == after.start
    assert isoformat(after.end) == "1972-01-07T01:00:00Z"


def test_total_is_everything_since_the_epoch_and_everything_before_it() -> None:
    assert window_at(Interval.TOTAL, "UTC", Instant(0)) == Window(Instant(0), END_OF_TIME)
    before = window_at(Interval.TOTAL, "UTC", Instant(-1))
    assert before.start < -1 < before.end == 0


def test_each_request_is_its_own_window() -> None:
    assert window_at(Interval.REQUEST, "UTC", Instant(7)) == Window(Instant(7), Instant(8))


def test_the_last_window_ends_with_time() -> None:
    assert window_at(Interval.MONTH, "UTC", Instant(END_OF_TIME - 1)).end == END_OF_TIME


def test_windows_keeps_the_last_window_and_moves_on() -> None:
    windows = Windows(Interval.DAY, ZoneInfo("Europe/Prague"))
    noon = parse_instant("2026-11-23T11:00:00Z")
    first = windows.at(noon)
    assert windows.at(noon) is first
    assert windows.at(first.start) is first
    following = windows.at(first.end)
    assert following.start == first.end
    assert windows.at(noon) == first
