"""Usage through the control plane: periods, zones, pages, files, and who sees what."""

import csv
import io
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from fakes.records import NOON
from palyra.core.errors import LedgerUnavailable
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.standing import AccountStatus
from palyra.lifecycle.usage import UsageFilter, UsageTotals

PRINCIPALS = ("alice", "bob", "caller")
NAMES = {"agents": "agent", "principals": "principal", "models": "model", "providers": "provider"}
WIDE = "since=40d"


def use(plane: Any, hours_ago: int, cost: int, *, unpriced: int = 0, **names: str) -> None:
    group = {"principal": "alice", "agent": "nightly", "model": "small", "provider": "stub"} | names
    at = Instant(NOON - hours_ago * HOUR_NS)
    sums = UsageTotals(group, 1, 0, 0, unpriced, cost % 997, cost % 89, 1, 0, 0, cost)
    sums = replace(sums, saved=cost % 7 - 3)
    plane.records.totals.append((at, sums))


def month(plane: Any, calls: int = 300) -> None:
    """Usage of some principals over a month."""
    dice = random.Random(3)
    for _ in range(calls):
        use(
            plane,
            dice.randrange(30 * 24),
            dice.randrange(10**10),
            principal=dice.choice(PRINCIPALS),
            agent=dice.choice(("nightly", "coder", "", "chat")),
            model=dice.choice(("small", "large")),
            provider=dice.choice(("stub", "other")),
        )


def get(plane: Any, path: str, role: str = "viewer") -> Any:
    answer = plane.call("GET", f"/api/v1/usage/{path}", role)
    assert answer.status_code == 200, answer.text
    return answer.json()


def export(plane: Any, query: str, role: str = "viewer") -> list[dict[str, str]]:
    answer = plane.call("GET", f"/api/v1/usage/export?{query}", role)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_a_summary_says_what_changed_against_the_time_before(plane: Any) -> None:
    use(plane, 1, 30)
    use(plane, 25, 20)
    use(plane, 49, 99)
    summary = get(plane, "summary?since=24h")
    assert summary["totals"]["cost_nano_usd"] == 30
    assert summary["previous"]["totals"]["cost_nano_usd"] == 20
    assert (summary["change"]["cost_nano_usd"], summary["change"]["cost_percent"]) == (10, "50.00")
    assert summary["previous"]["until"] == summary["since"]


def test_a_summary_tells_no_share_of_a_time_of_which_only_a_part_is_kept(plane: Any) -> None:
    use(plane, 1, 30)
    use(plane, 25, 20)
    summary = get(plane, "summary?since=24h")
    assert (summary["change"]["cost_nano_usd"], summary["change"]["cost_percent"]) == (10, None)
    previous = summary["previous"]
    assert (previous["whole"], previous["kept_since"]) == (False, "2026-11-22T11:00:00Z")
    assert get(plane, "summary?since=12h")["previous"]["whole"]
    plane.records.totals.clear()
    previous = get(plane, "summary?since=24h")["previous"]
    assert (previous["whole"], previous["kept_since"]) == (False, None)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Prague", "Asia/Kolkata", "Pacific/Apia"])
@pytest.mark.parametrize("bucket", ["auto", "hour", "day", "month"])
def test_buckets_series_and_rows_add_up_to_the_summary(plane: Any, zone: str, bucket: str) -> None:
    month(plane)
    whole = get(plane, "summary?since=30d")["totals"]
    for by in NAMES.values():
        shown = get(plane, f"timeline?since=30d&timezone={zone}&bucket={bucket}&by={by}&top=1")
        assert shown["totals"] == whole
        for name in whole.keys() - {"cost_usd", "saved_usd", "average_latency_ms"}:
            assert sum(each[name] for each in shown["buckets"]) == whole[name]
        assert sum(each["total"] for each in shown["series"]) == whole["cost_nano_usd"]
        points = zip(*(each["points"] for each in shown["series"]), strict=True)
        assert [sum(each) for each in points] == [each["cost_nano_usd"] for each in shown["buckets"]]
    for view in NAMES:
        shown = get(plane, f"{view}?since=30d")
        assert sum(each["cost_nano_usd"] for each in shown["items"]) == whole["cost_nano_usd"]
        assert shown["all_cost_nano_usd"] == whole["cost_nano_usd"]
        for each in shown["items"]:
            assert sum(each["sparkline"]) == each["cost_nano_usd"]
            assert len(each["sparkline"]) == shown["sparkline"]["buckets"] <= 48


@pytest.mark.parametrize("sort", ["cost", "tokens", "calls", "denied", "name"])
def test_pages_put_together_are_the_whole_list(plane: Any, sort: str) -> None:
    month(plane)
    for number in range(20):
        use(plane, 3, number * 7, agent=f"agent-{number}")
    whole = get(plane, f"agents?{WIDE}&sort={sort}&limit=200")["items"]
    found: list[Any] = []
    cursor = ""
    while True:
        page = get(plane, f"agents?{WIDE}&sort={sort}&limit=3{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole
    assert len(found) == 24


def test_w50_rows_that_come_in_between_are_on_no_page_twice_and_push_none_out(plane: Any) -> None:
    for number in range(9):
        use(plane, 2, 1_000 - number, agent=f"agent-{number}")
    first = get(plane, "agents?limit=4")
    use(plane, 1, 5_000, agent="dearer")
    use(plane, 1, 1, agent="cheaper")
    plane.clock.advance(3_600)
    rest = get(plane, f"agents?limit=50&cursor={first['next_cursor']}")
    told = [each["agent"] for each in (*first["items"], *rest["items"])]
    assert told == [*(f"agent-{number}" for number in range(9)), "cheaper"]
    assert rest["until"] == first["until"], "the period is that of the first page"


def test_w50_a_page_reads_rollups_and_no_call(plane: Any) -> None:
    class Refusing(type(plane.records)):  # type: ignore[misc]
        async def decisions(self, wanted: Any) -> Any:
            raise AssertionError("a report went through calls")

        decision = decisions

    month(plane, 50)
    plane.records.__class__ = Refusing
    for path in ("summary", "timeline?by=agent", *NAMES, "export"):
        assert plane.call("GET", f"/api/v1/usage/{path}", "viewer").status_code == 200


def test_w38_every_view_has_costs_where_calls_have_prices(plane: Any) -> None:
    use(plane, 1, 70)
    use(plane, 1, 0, unpriced=1, agent="free")
    for view in NAMES:
        first = get(plane, view)["items"][0]
        assert (first["cost_nano_usd"], first["cost_usd"]) == (70, "0.00000007")
    free = get(plane, "agents?sort=name")["items"][0]
    assert (free["agent"], free["unpriced"], free["average_cost_nano_usd"]) == ("free", 1, None)
    for dataset in ("timeline", *NAMES, "hours"):
        assert sum(int(row["cost_nano_usd"]) for row in export(plane, f"dataset={dataset}")) == 70


def test_w39_models_are_those_that_ran(plane: Any) -> None:
    use(plane, 1, 1, model="small", provider="stub")
    use(plane, 1, 2, model="small", provider="other")
    use(plane, 1, 4, model="large", provider="other")
    rows = get(plane, "models")["items"]
    assert [(each["model"], each["provider"], each["cost_nano_usd"]) for each in rows] == [
        ("large", "other", 4),
        ("small", "other", 2),
        ("small", "stub", 1),
    ]


@pytest.mark.parametrize("path", ["summary?group_by=model", "timeline?by=principal", *NAMES])
def test_w44_a_caller_sees_its_own_usage_and_no_other(plane: Any, path: str) -> None:
    month(plane)
    use(plane, 1, 10**12, agent="secret-agent", principal="alice")
    own = UsageFilter(Instant(NOON - 30 * 24 * HOUR_NS), Instant(NOON + 1), principal="caller")
    (expected,) = plane.client.portal.call(plane.records.usage_groups, own, ())
    shown = get(plane, path, "caller")
    for hidden in ("alice", "bob", "secret-agent"):
        assert hidden not in json.dumps(shown)
    told = shown["totals"]["cost_nano_usd"] if "totals" in shown else shown["all_cost_nano_usd"]
    assert told == expected.cost > 0


@pytest.mark.parametrize("dataset", ["timeline", *NAMES, "hours"])
def test_w44_a_caller_exports_its_own_usage_and_no_other(plane: Any, dataset: str) -> None:
    month(plane)
    mine = sum(row.cost for _, row in plane.records.totals if row.group["principal"] == "caller")
    rows = export(plane, f"dataset={dataset}&{WIDE}", "caller")
    assert sum(int(row["cost_nano_usd"]) for row in rows) == mine
    assert "alice" not in json.dumps(rows)
    focus = export(plane, f"format=focus&{WIDE}", "caller")
    assert {row["SubAccountId"] for row in focus} == {"caller"}


def test_w44_a_caller_that_names_another_principal_is_told_so(plane: Any) -> None:
    for path in ("summary?", "timeline?", "agents?", "export?"):
        answer = plane.call("GET", f"/api/v1/usage/{path}principal=alice", "caller")
        assert (answer.status_code, answer.json()["field"]) == (422, "principal")
    assert get(plane, "agents?principal=caller", "caller")["items"] == []


def test_w43_reading_changes_nothing(plane: Any) -> None:
    month(plane, 20)
    before = list(plane.records.totals), list(plane.records.audit), dict(plane.records.kept.alerts)
    for path in ("summary", "timeline?by=model", *NAMES, "export"):
        plane.call("GET", f"/api/v1/usage/{path}", "viewer")
    after = list(plane.records.totals), list(plane.records.audit), dict(plane.records.kept.alerts)
    assert after == before


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("timeline?bucket=week", "bucket"),
        ("timeline?bucket=hour&since=60d", "bucket"),
        ("timeline?timezone=Europe/Prag", "timezone"),
        ("timeline?timezone=../../etc/passwd", "timezone"),
        ("timeline?metric=love", "metric"),
        ("timeline?by=session", "by"),
        ("timeline?by=model&top=0", "top"),
        ("timeline?by=model&top=21", "top"),
        ("agents?sort=age", "sort"),
        ("agents?limit=0", "limit"),
        ("agents?limit=201", "limit"),
        ("agents?cursor=x", "cursor"),
        ("agents?since=1000d", "since"),
        ("agents?agent=" + "x" * 1_025, "agent"),
        ("agents?model=%00", "model"),
        ("summary?since=367d", "since"),
        ("summary?until=9999-01-01T00:00:00Z", "until"),
        ("export?format=xlsx", "format"),
        ("export?dataset=calls", "dataset"),
        ("export?format=focus&dataset=agents", "dataset"),
        ("export?timezone=Mars", "timezone"),
        ("export?by=hour", "by"),
        ("export?bucket=hour&since=60d", "bucket"),
    ],
)
def test_a_wrong_parameter_is_named(plane: Any, path: str, field: str) -> None:
    answer = plane.call("GET", f"/api/v1/usage/{path}", "viewer")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_cursor_of_everybody_does_not_open_the_usage_of_others(plane: Any) -> None:
    for number in range(5):
        use(plane, 1, number, agent=f"a-{number}")
    cursor = get(plane, "agents?limit=2")["next_cursor"]
    answer = plane.call("GET", f"/api/v1/usage/agents?limit=2&cursor={cursor}", "caller")
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_w50_exported_names_are_no_formulas_and_no_header(plane: Any) -> None:
    for number, start in enumerate("=+-@\t\r\n"):
        use(plane, 1, number + 1, agent=f'{start}cmd|" /C calc"!A0', principal='a"\r\nx: y')
    rows = export(plane, "dataset=agents")
    assert {row["agent"][0] for row in rows} == {"'"}
    assert len(rows) == 7
    answer = plane.call("GET", "/api/v1/usage/export?dataset=agents&principal=a%22%0D%0Ax:%20y", "viewer")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="palyra-usage-agents-2026-10-24-2026-11-23.csv"'
    )
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "text/csv; charset=utf-8",
        "no-store",
    )


def test_a_long_export_is_read_page_by_page_and_whole(plane: Any) -> None:
    for number in range(1_203):
        use(plane, number % 700, number + 1, agent=f"agent-{number:05}")
    whole = sum(range(1, 1_204))
    for query in ("dataset=agents", "dataset=hours"):
        rows = export(plane, f"{query}&{WIDE}")
        assert (len(rows), sum(int(row["cost_nano_usd"]) for row in rows)) == (1_203, whole)
        document = get(plane, f"export?format=json&{query}&{WIDE}")
        assert [str(item["cost_nano_usd"]) for item in document["items"]] == [
            row["cost_nano_usd"] for row in rows
        ]
    focus = export(plane, f"format=focus&{WIDE}")
    assert len(focus) == 1_203
    assert sum(round(float(row["BilledCost"]) * 10**9) for row in focus) == whole


def test_an_export_of_nothing_is_a_head_and_an_empty_list(plane: Any) -> None:
    assert export(plane, "dataset=agents") == []
    assert get(plane, "export?dataset=hours&format=json")["items"] == []


def test_an_export_that_cannot_begin_is_a_problem_and_no_file(plane: Any) -> None:
    async def gone(*_: Any) -> Any:
        raise LedgerUnavailable("the database of the ledger cannot be read; retry shortly")

    plane.records.usage_rows = gone
    answer = plane.call("GET", "/api/v1/usage/export?dataset=agents", "viewer")
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")


def test_an_export_that_breaks_off_does_not_end_as_if_it_were_whole(plane: Any) -> None:
    for number in range(700):
        use(plane, 1, number, agent=f"agent-{number:05}")
    real = plane.records.usage_rows

    async def once(question: Any) -> Any:
        if question.after is not None:
            raise LedgerUnavailable("gone")
        return await real(question)

    plane.records.usage_rows = once
    with pytest.raises(RuntimeError, match="already started"):
        plane.call("GET", "/api/v1/usage/export?dataset=agents&format=json", "viewer")


def test_a_timeline_by_group_is_exported_with_the_rest_as_other(plane: Any) -> None:
    for number in range(25):
        use(plane, 1, 100 + number, agent=f"agent-{number:02}")
    rows = export(plane, "by=agent&since=24h&bucket=day")
    assert [row["other"] for row in rows].count("true") == 1
    assert sum(int(row["cost_nano_usd"]) for row in rows) == sum(range(100, 125))


def test_names_filter_every_view(plane: Any) -> None:
    month(plane)
    for name, value in (("principal", "bob"), ("agent", ""), ("model", "large"), ("provider", "other")):
        expected = sum(row.cost for _, row in plane.records.totals if row.group[name] == value)
        query = f"{WIDE}&{name}={value}"
        assert get(plane, f"summary?{query}")["totals"]["cost_nano_usd"] == expected
        assert get(plane, f"timeline?{query}")["totals"]["cost_nano_usd"] == expected
        assert get(plane, f"agents?{query}")["all_cost_nano_usd"] == expected
        assert sum(int(row["cost_nano_usd"]) for row in export(plane, f"dataset=hours&{query}")) == expected


def test_what_is_answered_has_the_shape_of_the_openapi_document(plane: Any) -> None:
    """A snapshot of the members, so that a client that was made from the document finds them."""
    month(plane, 30)
    schemas = plane.client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    for path, name in (
        ("summary?group_by=model", "UsageSummary"),
        ("timeline?by=model", "UsageTimeline"),
        ("agents", "UsageList"),
    ):
        shown = get(plane, path)
        assert list(shown) == list(schemas[name]["properties"])
    item = get(plane, "models")["items"][0]
    assert set(item) == set(schemas["UsageItem"]["properties"]) - {"agent", "principal"}
    bucket = get(plane, "timeline")["buckets"][0]
    assert set(bucket) == set(schemas["UsageBucket"]["properties"])


def test_a_denied_call_is_counted_and_costs_nothing(plane: Any) -> None:
    use(plane, 1, 5)
    at, sums = plane.records.totals[0]
    plane.records.totals.append((at, replace(sums, requests=0, denied=3, cost=0)))
    (item,) = get(plane, "agents?sort=denied")["items"]
    assert (item["denied"], item["requests"], item["average_cost_nano_usd"]) == (3, 1, 5)
    assert item["sparkline"][-2:] == [3, 0]


def test_w45_the_status_of_a_budget_is_that_of_its_window_whatever_period_is_looked_at(plane: Any) -> None:
    start, end = Instant(NOON - 12 * HOUR_NS), Instant(NOON + 12 * HOUR_NS)
    key = AccountKey("from-file", "requests", "*", start)
    plane.records.account_rows.append(AccountStatus(key, end, Balance(7, 1, 0, 0)))
    month(plane, 20)
    path = "/api/v1/budgets/from-file/status"
    refused = plane.call("GET", f"{path}?since=1h", "viewer")
    assert (refused.status_code, refused.json()["field"]) == (422, "since")
    (account,) = plane.call("GET", path, "viewer").json()["accounts"]
    assert (account["posted"], account["held"]) == (7, 1)
    assert (account["window_start"], account["window_end"]) == (
        "2026-11-23T00:00:00Z",
        "2026-11-24T00:00:00Z",
    )
