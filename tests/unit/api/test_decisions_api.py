"""The list of decisions through the control plane: filters, pages, and documents as they are described."""

from typing import Any

import pytest
from msgspec import structs

from fakes.calls import evaluation, refused, served
from fakes.records import NOON
from fakes.till import decision
from harness.typed import misfits
from palyra.lifecycle.decision import (
    AttemptRecord,
    CallState,
    OverrideRecord,
    RoutingRecord,
    StoredDecision,
)
from palyra.lifecycle.decision_search import DecisionsFound, Scanned
from palyra.routing.choose import Option
from palyra.routing.complexity import Features

PATH = "/api/v1/decisions"


def ids(plane: Any, query: str) -> list[str]:
    answer = plane.call("GET", f"{PATH}?{query}")
    assert answer.status_code == 200, answer.text
    return [each["request_id"] for each in answer.json()["items"]]


def keep(plane: Any, *calls: StoredDecision) -> None:
    plane.records.stored |= {each.decision.request_id: each for each in calls}


def changed(stored: StoredDecision, **changes: Any) -> StoredDecision:
    return structs.replace(stored, decision=structs.replace(stored.decision, **changes))


@pytest.fixture
def filled(plane: Any) -> Any:
    moved = changed(served("req_a2"), route="degrade", endpoint="messages", provider="other")
    dear = served("req_b1")
    assert dear.settlement is not None
    dear = structs.replace(dear, settlement=structs.replace(dear.settlement, cost=2_000_000_000))
    keep(plane, served("req_a1"), moved, dear, refused("req_b2"))
    return plane


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("provider=other", "req_a2"),
        ("endpoint=messages&outcome=admit", "req_a2"),
        ("route=degrade", "req_a2"),
        ("rerouted=true", "req_a2"),
        ("rerouted=false&state=settled", "req_b1 req_a1"),
        ("min_cost=2.00", "req_b1"),
        ("min_cost=2.000000001", ""),
        ("status=200&provider=other", "req_a2"),
        ("tag=team:platform&state=denied", "req_b2"),
        ("tag=team:other", ""),
        ("request_id=req_a", "req_a2 req_a1"),
        ("request_id=req_b1", "req_b1"),
        ("request_id=req_a&cursor=req_a2", "req_a1"),
        ("request_id=req_a&cursor=req_b2", "req_a2 req_a1"),
        ("request_id=zzz", ""),
        ("since=1h", "req_b2 req_b1 req_a2 req_a1"),
        ("until=1h", ""),
        ("since=1h&until=2026-11-23T12:00:01Z", "req_b2 req_b1 req_a2 req_a1"),
    ],
)
def test_calls_are_found(filled: Any, query: str, found: str) -> None:
    assert ids(filled, query) == found.split()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("min_cost=-1", "min_cost"),
        ("min_cost=much", "min_cost"),
        ("min_cost=1e400", "min_cost"),
        ("tag=team", "tag"),
        ("tag=:x", "tag"),
        ("rerouted=maybe", "rerouted"),
        ("since=3y", "since"),
        ("until=soon", "until"),
        ("colour=red", "colour"),
    ],
)
def test_what_cannot_be_looked_for_is_named(plane: Any, query: str, field: str) -> None:
    refused_ = plane.call("GET", f"{PATH}?{query}")
    assert (refused_.status_code, refused_.json()["field"]) == (422, field)


def test_a_page_that_stopped_says_how_far_it_looked_and_how_to_go_on(plane: Any) -> None:
    keep(plane, served("req_5"))
    search = plane.records.search_decisions

    async def stopping(wanted: Any, inside: Any) -> DecisionsFound:
        if wanted.before is None:
            return DecisionsFound([], Scanned("req_7", NOON))
        return await search(wanted, inside)

    plane.records.search_decisions = stopping
    page = plane.call("GET", f"{PATH}?tag=team:platform").json()
    assert page == {"items": [], "next_cursor": "req_7", "scanned_until": "2026-11-23T12:00:00Z"}
    last = plane.call("GET", f"{PATH}?tag=team:platform&cursor={page['next_cursor']}").json()
    assert [each["request_id"] for each in last["items"]] == ["req_5"]
    assert (last["next_cursor"], last["scanned_until"]) == (None, None)


def test_w44_the_list_of_all_calls_needs_a_viewer(filled: Any) -> None:
    assert filled.call("GET", PATH, "viewer").status_code == 200
    assert filled.call("GET", PATH, "caller").status_code == 403


def test_decisions_have_every_member_that_is_described_and_no_other(plane: Any) -> None:
    """With everything that a decision can say."""
    whole = served("req_1", clamp=True)
    end = whole.settlement
    assert end is not None
    options = (Option("a", "x", 5, 0, 1), Option("b", "x", None, 2, 1, lost="no price"))
    features = Features(1, 2, 3, 4, 5, wants_json=True)
    routing = RoutingRecord(
        1, features, 250, True, "a", None, options, "cost", "the cheapest", ("p",), "x", "a"
    )
    whole = changed(
        whole,
        routing=routing,
        evaluations=(evaluation(), evaluation(metric="requests")),
        overrides=(OverrideRecord("each-daily", ("apr_1",), 5, single_use=True),),
    )
    attempt = AttemptRecord("x", "a", 0, 5, 503, "refused", "busy", "retry")
    whole = structs.replace(whole, settlement=structs.replace(end, attempts=(attempt,)))
    keep(plane, whole, refused("req_2"))
    keep(plane, StoredDecision(decision("req_3"), CallState.PENDING, None))
    schemas = plane.client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    for request_id in ("req_1", "req_2", "req_3"):
        shown = plane.call("GET", f"{PATH}/{request_id}").json()
        assert misfits(shown, schemas["DecisionShown"], schemas) == []
    page = plane.call("GET", PATH).json()
    assert misfits(page, schemas["DecisionPage"], schemas) == []
    assert misfits(page | {"more": 1}, schemas["DecisionPage"], schemas) == ["$.more is not in the shape"]
    first = plane.call("GET", f"{PATH}/req_1").json()
    del first["settlement"]["attempts"][0]["then"]
    assert misfits(first, schemas["DecisionShown"], schemas) == ["$.settlement.attempts[0].then is missing"]
