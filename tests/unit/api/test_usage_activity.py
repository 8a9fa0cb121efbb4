"""Sessions, tags and latencies through the control plane."""

from typing import Any

import pytest

from fakes.records import NOON
from fakes.till import decision, settlement
from harness.typed import misfits
from palyra.api import usage_activity
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.pricing.usage import Usage

BASE = "/api/v1/usage"


def call(
    plane: Any,
    number: int,
    cost: int,
    *,
    principal: str = "alice",
    session: str | None = "run-7",
    team: str = "a",
    total_ms: int = 100,
) -> None:
    at = Instant(NOON - 3_600 * NANOSECONDS + number * NANOSECONDS)
    made = decision(
        f"req_{number:02}", at, principal=principal, session=session, tags={"team": team, "env": "prod"}
    )
    end = settlement(CallState.SETTLED, at, cost=cost, usage=Usage(10, 5), total_ms=total_ms)
    plane.records.stored[made.request_id] = StoredDecision(made, CallState.SETTLED, end)


def items(plane: Any, path: str, key: str = "owner") -> list[dict[str, Any]]:
    response = plane.call("GET", BASE + path, key)
    assert response.status_code == 200, response.text
    return response.json()["items"]


@pytest.fixture
def filled(plane: Any) -> Any:
    for number, (principal, session, cost) in enumerate(
        (
            ("alice", "run/1 ☃", 3_000_000_000),
            ("caller", "mine", 1_000),
            ("bob", "<script>", 2_000),
            ("alice", "run/1 ☃", 500),
            ("alice", None, 7),
        )
    ):
        call(plane, number, cost, principal=principal, session=session, team="ab"[number % 2])
    return plane


class TestSessions:
    def test_the_newest_or_the_dearest_come_first(self, filled: Any) -> None:
        assert [each["session"] for each in items(filled, "/sessions")] == ["run/1 ☃", "<script>", "mine"]
        dearest = items(filled, "/sessions?sort=dearest")
        assert [each["cost_usd"] for each in dearest] == ["3.0000005", "0.000002", "0.000001"]
        assert dearest[0] == {
            "principal": "alice",
            "session": "run/1 ☃",
            "agent": "nightly",
            "model": "stub-model",
            "first_at": "2026-11-23T11:00:00Z",
            "last_at": "2026-11-23T11:00:03Z",
            "first_call": "req_00",
            "last_call": "req_03",
            "requests": 2,
            "denied": 0,
            "failed": 0,
            "input_tokens": 20,
            "output_tokens": 10,
            "cost_nano_usd": 3_000_000_500,
            "cost_usd": "3.0000005",
        }

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("provider=stub&principal=alice", ["run/1 ☃"]),
            ("agent=nightly&model=stub-model&provider=stub", ["run/1 ☃", "<script>", "mine"]),
            ("provider=other", []),
            ("agent=", []),
        ],
    )
    def test_they_are_found_by_what_they_had_calls_of(
        self, filled: Any, query: str, found: list[str]
    ) -> None:
        assert [each["session"] for each in items(filled, f"/sessions?{query}")] == found

    def test_a_caller_sees_its_own(self, filled: Any) -> None:
        assert [each["session"] for each in items(filled, "/sessions", "caller")] == ["mine"]
        refused = filled.call("GET", f"{BASE}/sessions?principal=alice", "caller")
        assert refused.status_code == 422
        assert filled.call("GET", f"{BASE}/sessions/mine", "caller").status_code == 200
        assert filled.call("GET", f"{BASE}/sessions/%3Cscript%3E", "caller").status_code == 404

    @pytest.mark.parametrize("sort", ["newest", "dearest"])
    def test_pages_show_every_session_once(self, plane: Any, sort: str) -> None:
        for number in range(23):
            call(plane, number, number % 4, session=f"s{number}", principal=("alice", "bob")[number % 2])
        seen: list[str] = []
        cursor = ""
        while cursor is not None:
            page = plane.call("GET", f"{BASE}/sessions?sort={sort}&limit=5{cursor}").json()
            seen += [each["session"] for each in page["items"]]
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        assert len(seen) == 23
        assert set(seen) == {f"s{number}" for number in range(23)}

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("sort=cheapest", "sort"),
            ("cursor=x", "cursor"),
            ("cursor=WyJkZWFyZXN0IiwxLDIsMywiYSIsImIiXQ", "cursor"),
            ("cursor=WyJuZXdlc3QiLDEsMiwzLCJhIl0", "cursor"),
            ("since=tomorrow", "since"),
            ("principal=%00", "principal"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, plane: Any, query: str, field: str) -> None:
        refused = plane.call("GET", f"{BASE}/sessions?{query}")
        assert refused.status_code == 422
        assert field in refused.text


class TestOneSession:
    def test_its_calls_come_page_by_page(self, plane: Any) -> None:
        for number in range(12):
            call(plane, number, 1, session=("one", "two")[number % 2])
        path = f"{BASE}/sessions/one?principal=alice&limit=4"
        first = plane.call("GET", path).json()
        assert first["session"]["requests"] == 6
        assert [each["request_id"] for each in first["items"]] == ["req_10", "req_08", "req_06", "req_04"]
        second = plane.call("GET", f"{path}&cursor={first['next_cursor']}").json()
        assert [each["request_id"] for each in second["items"]] == ["req_02", "req_00"]
        assert second["next_cursor"] is None

    def test_w50_its_timeline_and_models_add_up_to_its_sums(self, plane: Any) -> None:
        for number in range(12):
            call(plane, number, 10 + number, session="one")
        denied = decision("req_50", NOON, session="one", outcome="deny", model="other")
        plane.records.record_denial(denied)
        running = decision("req_40", NOON, session="one")
        plane.records.stored["req_40"] = StoredDecision(running, CallState.PENDING, None)
        shown = plane.call("GET", f"{BASE}/sessions/one?principal=alice&limit=4").json()
        later = plane.call("GET", f"{BASE}/sessions/one?principal=alice&cursor={shown['next_cursor']}").json()
        assert later["timeline"] == shown["timeline"]
        assert (len(shown["items"]), len(later["items"])) == (4, 10)
        for part in (shown["timeline"]["buckets"], shown["models"]):
            for name in ("requests", "denied", "input_tokens", "output_tokens", "cost_nano_usd"):
                assert sum(each[name] for each in part) == shown["session"][name], name
        assert (shown["timeline"]["bucket"], shown["timeline"]["truncated"]) == ("minute", False)
        assert len(shown["timeline"]["buckets"]) == 61, "empty ones too"
        assert shown["timeline"]["buckets"][0]["start"] == "2026-11-23T11:00:00Z"
        assert [(each["model"], each["denied"]) for each in shown["models"]] == [
            ("stub-model", 0),
            ("other", 1),
        ]
        schemas = plane.client.get("/api/v1/openapi.json").json()["components"]["schemas"]
        assert misfits(shown, schemas["UsageSession"], schemas) == []

    def test_a_long_session_shows_its_newest_calls(self, plane: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(usage_activity, "TIMELINE_CALLS", 5)
        for number in range(12):
            call(plane, number, 1, session="one")
        shown = plane.call("GET", f"{BASE}/sessions/one?principal=alice&limit=2").json()
        assert shown["timeline"]["truncated"] is True
        assert sum(each["requests"] for each in shown["timeline"]["buckets"]) == 5
        assert shown["session"]["requests"] == 12

    def test_any_text_is_a_name(self, filled: Any) -> None:
        found = filled.call("GET", f"{BASE}/sessions/run%2F1%20%E2%98%83?principal=alice")
        assert found.json()["session"]["session"] == "run/1 ☃"

    @pytest.mark.parametrize("name", ["nothing", "x" * 300])
    def test_one_that_is_not_there_is_told(self, filled: Any, name: str) -> None:
        assert filled.call("GET", f"{BASE}/sessions/{name}?principal=alice").status_code == 404


class TestTags:
    def test_values_have_their_share_of_the_tag(self, filled: Any) -> None:
        found = items(filled, "/tags?tag=team")
        assert [(each["value"], each["requests"], each["cost_nano_usd"]) for each in found] == [
            ("a", 3, 3_000_002_007),
            ("b", 2, 1_500),
        ]
        assert len(items(filled, "/tags")) == 3
        assert filled.call("GET", f"{BASE}/tags?tag=%00").status_code == 422


class TestLatencies:
    def test_quantiles_are_told_by_model_and_of_all(self, plane: Any) -> None:
        for number in range(20):
            call(plane, number, 1, total_ms=100 if number < 18 else 9_000)
        document = plane.call("GET", f"{BASE}/latencies").json()
        (only,) = document["items"]
        assert document["totals"]["timed"] == only["timed"] == 20
        assert (only["provider"], only["model"]) == ("stub", "stub-model")
        assert abs(only["p50_ms"] - 100) <= 12
        assert abs(only["p95_ms"] - 9_000) <= 1_125

    def test_without_calls_there_is_none(self, plane: Any) -> None:
        document = plane.call("GET", f"{BASE}/latencies").json()
        assert document["totals"] == {"timed": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


class TestSummary:
    def test_it_has_latencies_and_what_is_held_now(self, plane: Any) -> None:
        for number in range(20):
            call(plane, number, 1, total_ms=100 if number < 18 else 9_000)
        for number, principal in ((21, "alice"), (22, "caller")):
            made = decision(f"req_{number}", NOON, principal=principal)
            plane.records.stored[made.request_id] = StoredDecision(made, CallState.PENDING, None)
        shown = plane.call("GET", f"{BASE}/summary").json()
        assert abs(shown["p95_latency_ms"] - 9_000) <= 1_125
        assert (shown["running"], shown["held_now_nano_usd"]) == (2, 2_000)
        assert shown["held_now_usd"] == "0.000002"
        filtered = plane.call("GET", f"{BASE}/summary?model=stub-model&provider=stub").json()
        assert filtered["p95_latency_ms"] == shown["p95_latency_ms"]
        assert plane.call("GET", f"{BASE}/summary?model=other").json()["p95_latency_ms"] is None
        assert plane.call("GET", f"{BASE}/summary?agent=nightly").json()["p95_latency_ms"] is None

    def test_w44_a_caller_is_told_of_its_own_calls_alone(self, plane: Any) -> None:
        call(plane, 1, 1)
        for number, principal in ((21, "alice"), (22, "caller")):
            made = decision(f"req_{number}", NOON, principal=principal)
            plane.records.stored[made.request_id] = StoredDecision(made, CallState.PENDING, None)
        shown = plane.call("GET", f"{BASE}/summary", "caller").json()
        assert (shown["running"], shown["held_now_nano_usd"], shown["p95_latency_ms"]) == (1, 1_000, None)
