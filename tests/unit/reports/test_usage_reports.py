"""Reports on usage: periods, changes, rows, cursors, files."""

import base64
import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.records import NOON
from fakes.till import decision
from palyra.core.errors import FieldError
from palyra.core.hours import DAY_NS, HOUR_NS, HourRun
from palyra.core.instant import Instant
from palyra.core.latency import bounds_of
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.running import RunningTotals
from palyra.lifecycle.usage import (
    UsageCell,
    UsageFigure,
    UsageFilter,
    UsagePage,
    UsageRow,
    UsageRows,
    UsageTop,
    UsageTotals,
)
from palyra.reports.stretch import Stretch, read_stretch
from palyra.reports.summary import Period, summary_document
from palyra.reports.usage_buckets import Unit, cut
from palyra.reports.usage_export import (
    FOCUS_COLUMNS,
    HOUR_COLUMNS,
    csv_lines,
    focus_row,
    hour_row,
    json_items,
)
from palyra.reports.usage_rows import Question, read_cursor, row_document, rows_document
from palyra.reports.usage_session import timeline_of
from palyra.reports.usage_timeline import timeline_document, timeline_rows

DAY = Stretch(Instant(NOON - DAY_NS), NOON)
LONG_AGO = Instant(0)
AGENTS = Question("agents", "cost", {"principal": None})


def sums(cost: int, requests: int = 1, unpriced: int = 0, denied: int = 0, **group: str) -> UsageTotals:
    return UsageTotals(group, requests, denied, 0, unpriced, 10, 5, 1, 0, 0, cost)


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, None, Stretch(Instant(NOON + 1 - 30 * DAY_NS), Instant(NOON + 1))),
        ("24h", None, Stretch(Instant(NOON + 1 - DAY_NS), Instant(NOON + 1))),
        ("7d", "1d", Stretch(Instant(NOON - 8 * DAY_NS), Instant(NOON - DAY_NS))),
        ("2w", "2026-11-23T12:00:00Z", Stretch(Instant(NOON - 14 * DAY_NS), NOON)),
        ("2026-11-22T13:00:00+01:00", "2026-11-23T12:00:00Z", DAY),
    ],
)
def test_a_period_is_two_times_or_spans(since: str | None, until: str | None, found: Stretch) -> None:
    assert read_stretch(since, until, NOON) == found


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        ("soon", None, "since"),
        ("7x", None, "since"),
        ("\N{ARABIC-INDIC DIGIT SEVEN}d", None, "since"),
        ("367d", None, "since"),
        ("99999w", None, "since"),
        ("2026-11-01", None, "since"),
        ("2026-11-24T00:00:00Z", None, "since"),
        ("0h", None, "since"),
        (None, "never", "until"),
        (None, "9999-12-31T00:00:00Z", "until"),
        (None, "0001-01-01T00:00:00Z", "until"),
        (None, "0001-01-01T00:00:00+14:00", "until"),
        ("1969-12-31T00:00:00Z", "1970-01-02T00:00:00Z", "since"),
    ],
)
def test_what_is_no_period_names_its_field(since: str | None, until: str | None, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_stretch(since, until, NOON)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("now", "before", "change", "share"), [(30, 20, 10, "50.00"), (15, 20, -5, "-25.00"), (5, 0, 5, None)]
)
def test_w40_a_rise_is_a_rise_against_the_time_before(
    now: int, before: int, change: int, share: str | None
) -> None:
    document: Any = summary_document(
        Period([sums(now)], None),
        Period([sums(before)] if before else [], None),
        RunningTotals(),
        DAY,
        (),
        LONG_AGO,
    )
    assert document["change"]["cost_nano_usd"] == change
    assert document["change"]["cost_percent"] == share
    previous = document["previous"]
    assert previous["totals"]["cost_nano_usd"] == before
    assert (previous["since"], previous["until"]) == ("2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z")
    assert previous["until"] == document["since"], "the time before is before, and as long"


def test_w41_a_call_without_a_price_takes_nothing_from_the_sum_of_the_others() -> None:
    mixed = [sums(7, agent="a"), sums(0, unpriced=1, agent="b"), sums(5, agent="c")]
    document: Any = summary_document(
        Period(mixed, None), Period([], None), RunningTotals(), DAY, ("agent",), LONG_AGO
    )
    assert (document["totals"]["cost_nano_usd"], document["totals"]["unpriced"]) == (12, 1)


def test_latencies_are_of_the_timed_calls_and_change_only_where_both_are_known() -> None:
    fast = replace(sums(1), timed=4, latency_ms=10)
    slow = replace(sums(1), timed=2, latency_ms=9)
    counts = {3: 18, 40: 2}
    known: Any = summary_document(
        Period([fast, slow], counts), Period([fast], {}), RunningTotals(2, 5, 1), DAY, (), LONG_AGO
    )
    assert known["totals"]["average_latency_ms"] == 3
    assert known["previous"]["totals"]["average_latency_ms"] == 2
    assert known["change"]["average_latency_ms"] == 1
    assert known["change"]["average_latency_ms_percent"] == "50.00"
    assert known["p95_latency_ms"] == sum(bounds_of(40)) // 2
    assert known["previous"]["p95_latency_ms"] is None
    assert (known["running"], known["running_unpriced"], known["held_now_usd"]) == (2, 1, "0.000000005")
    assert known["change"]["p95_latency_ms"] is None
    slower: Any = summary_document(
        Period([slow], {24: 2}), Period([fast], {20: 9}), RunningTotals(), DAY, (), LONG_AGO
    )
    assert (slower["previous"]["p95_latency_ms"], slower["p95_latency_ms"]) == (71, 143)
    assert slower["change"]["p95_latency_ms"] == 72
    assert slower["change"]["p95_latency_ms_percent"] == "101.41"
    unknown: Any = summary_document(
        Period([fast], None), Period([], None), RunningTotals(), DAY, (), LONG_AGO
    )
    assert unknown["change"]["average_latency_ms"] is None
    assert unknown["change"]["average_latency_ms_percent"] is None
    assert unknown["p95_latency_ms"] is None
    assert unknown["change"]["p95_latency_ms_percent"] is None


@pytest.mark.parametrize(
    ("first", "share"), [(DAY.before.since, "50.00"), (DAY.before.since + 1, None), (None, None)]
)
def test_a_share_is_of_a_time_that_is_kept_from_its_start_on(
    first: Instant | None, share: str | None
) -> None:
    late = replace(sums(30), timed=1, latency_ms=3)
    early = replace(sums(20), timed=1, latency_ms=2)
    document: Any = summary_document(
        Period([late], None), Period([early], None), RunningTotals(), DAY, (), first
    )
    change = document["change"]
    assert (change["cost_nano_usd"], change["average_latency_ms"]) == (10, 1)
    assert (change["cost_percent"], change["average_latency_ms_percent"]) == (share, share)


def test_an_average_is_of_the_calls_that_have_a_price() -> None:
    row = UsageRow(sums(10, requests=4, unpriced=1, agent="a"), NOON, {})
    document = row_document(row, 40)
    assert (document["average_cost_nano_usd"], document["average_cost_usd"]) == (3, "0.000000003")
    assert document["share_percent"] == "25.00"
    unknown = row_document(UsageRow(sums(0, requests=2, unpriced=2, agent="a"), NOON, {}), 0)
    assert (unknown["average_cost_usd"], unknown["share_percent"]) == (None, None)


@pytest.mark.parametrize(
    ("hours", "bucket", "count"),
    [(0, "minute", 1), (2, "minute", 121), (3, "hour", 4), (120, "hour", 121), (121, "day", 6)],
)
def test_a_session_is_cut_by_how_long_it_is(hours: int, bucket: str, count: int) -> None:
    calls = [
        StoredDecision(decision("req", Instant(NOON + at * HOUR_NS)), CallState.DENIED, None)
        for at in (0, hours)
    ]
    document: Any = timeline_of(calls, truncated=False)
    assert (document["bucket"], len(document["buckets"])) == (bucket, count)
    assert sum(each["denied"] for each in document["buckets"]) == 2


def test_a_session_whose_calls_are_not_kept_any_more_has_no_bucket() -> None:
    assert timeline_of([], truncated=False) == {"bucket": "minute", "truncated": False, "buckets": []}


def page_of(limit: int, order: UsageFigure | None = UsageFigure.COST) -> Any:
    rows = [UsageRow(sums(9 - number, agent=f"agent-{number}"), NOON, {0: 9 - number}) for number in range(3)]
    asked = UsageRows(UsageFilter(*DAY), ("agent",), order, None, limit + 1)
    question = AGENTS if order is not None else Question("agents", "name", {"principal": None})
    spark = HourRun(DAY.since, HOUR_NS, 24, 0)
    return rows_document(UsagePage(rows[: limit + 1], 100), question, asked, DAY, spark, limit)


def test_a_cursor_keeps_the_place_and_the_period() -> None:
    cursor = page_of(2)["next_cursor"]
    assert read_cursor(cursor, AGENTS) == (DAY, 8, ("agent-1",))
    by_name = page_of(2, None)["next_cursor"]
    assert read_cursor(by_name, Question("agents", "name", {"principal": None})).figure is None
    assert page_of(3)["next_cursor"] is None


def forged(*fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "bm8",
        forged(),
        forged(AGENTS.mark, 0, 1, 5),
        forged(AGENTS.mark, 0, 1, 5, ["a", "b"]),
        forged(AGENTS.mark, 0, 1, 5, [7]),
        forged(AGENTS.mark, 0, 1, 5, ["x" * 1_025]),
        forged(AGENTS.mark, 0, 1, None, ["a"]),
        forged(AGENTS.mark, 0, 1, 2**70, ["a"]),
        forged(AGENTS.mark, 1, 0, 5, ["a"]),
        forged(AGENTS.mark, -5, 1, 5, ["a"]),
        forged(AGENTS.mark, 0, 2**70, 5, ["a"]),
        forged(AGENTS.mark, True, 2, 5, ["a"]),
        forged("other", 0, 1, 5, ["a"]),
        base64.urlsafe_b64encode(b"[" * 50_000).decode(),
    ],
)
def test_a_cursor_that_was_never_given_is_refused(cursor: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_cursor(cursor, AGENTS)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize(
    "other",
    [
        Question("principals", "cost", {"principal": None}),
        Question("agents", "calls", {"principal": None}),
        Question("agents", "cost", {"principal": "bob"}),
    ],
)
def test_a_cursor_of_another_question_is_refused(other: Question) -> None:
    with pytest.raises(FieldError):
        read_cursor(page_of(1)["next_cursor"], other)


def read_back(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_w50_a_name_that_spreadsheets_would_run_is_text(start: str) -> None:
    name = f'{start}HYPERLINK("http://x","y")'
    data = csv_lines(
        HOUR_COLUMNS,
        [hour_row(sums(5, hour=str(NOON), principal=name, agent="", model="m", provider="p"))],
        head=True,
    )
    head, row = read_back(data)
    assert row[head.index("principal")] == f"'{name}"
    assert row[head.index("cost_nano_usd")] == "5"


@pytest.mark.parametrize("name", ['a,"b"', "two\r\nlines", "größe ☃", " =1", "'", ";|"])
def test_every_other_name_comes_back_as_it_was(name: str) -> None:
    (row,) = read_back(csv_lines(("name", "n"), [{"name": name, "n": -5}], head=False))
    assert row == [name, "-5"], "a number below zero is a number"


def test_cells_of_no_value_are_empty_and_truth_is_a_word() -> None:
    (row,) = read_back(csv_lines(("a", "b", "c"), [{"a": None, "b": True, "c": False}], head=False))
    assert row == ["", "true", "false"]


def test_json_pages_put_together_are_one_array() -> None:
    pages = (
        json_items([{"a": 1}, {"a": 2}], first=True),
        json_items([], first=False),
        json_items([{"a": 3}], first=False),
    )
    assert json.loads(b"[" + b"".join(pages) + b"]") == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_an_hour_is_a_charge_of_focus() -> None:
    """The columns that FOCUS 1.2 requires of every row are there, and none of those is empty."""
    hour = str(Instant(NOON - 12 * HOUR_NS))
    row = focus_row(
        sums(
            1_500_000_000,
            requests=3,
            unpriced=1,
            hour=hour,
            principal="alice",
            agent="a",
            model="m",
            provider="openai",
        )
    )
    assert tuple(row) == FOCUS_COLUMNS
    assert {
        key: row[key] for key in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
    } == dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), "1.50")
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-11-23T00:00:00Z",
        "2026-11-23T01:00:00Z",
    )
    assert (row["ChargeCategory"], row["ServiceCategory"]) == ("Usage", "AI and Machine Learning")
    assert json.loads(str(row["Tags"])) == {"agent": "a", "principal": "alice"}
    assert (row["PricingQuantity"], row["x_UnpricedCalls"]) == (15, 1)
    assert [name for name, value in row.items() if value in (None, "")] == ["ChargeClass"]


def test_the_month_of_a_charge_in_december_ends_with_the_year() -> None:
    december = str(Instant(NOON + 30 * DAY_NS))
    row = focus_row(sums(1, hour=december, principal="a", agent="", model="m", provider="p"))
    assert row["BillingPeriodEnd"] == "2027-01-01T00:00:00Z"


def timeline(top: UsageTop | None, figure: UsageFigure = UsageFigure.COST) -> Any:
    from zoneinfo import ZoneInfo

    made = cut(Stretch(Instant(NOON - 2 * HOUR_NS), NOON), Unit.HOUR, ZoneInfo("UTC"))
    cells = [
        UsageCell(0, "big", sums(70)),
        UsageCell(1, "", sums(20)),
        UsageCell(1, None, sums(7, requests=3)),
    ]
    document = timeline_document(cells, made, DAY, "UTC", top, figure)
    return document, list(timeline_rows(cells, made, None if top is None else top.by))


def test_series_add_up_to_the_buckets_and_the_rest_is_last() -> None:
    document, rows = timeline(UsageTop("agent", UsageFigure.COST, 2))
    assert [each["cost_nano_usd"] for each in document["buckets"]] == [70, 27]
    assert document["totals"]["cost_nano_usd"] == 97
    assert [(each["name"], each["other"], each["points"]) for each in document["series"]] == [
        ("big", False, [70, 0]),
        ("", False, [0, 20]),
        ("", True, [0, 7]),
    ]
    assert [(row["agent"], row["other"], row["cost_nano_usd"]) for row in rows] == [
        ("big", False, 70),
        ("", False, 20),
        ("", True, 7),
    ]


def test_a_timeline_of_all_has_no_series() -> None:
    document, rows = timeline(None, UsageFigure.CALLS)
    assert (document["series"], document["by"], document["unit"]) == ([], None, "calls")
    assert [row["requests"] for row in rows] == [1, 4]
