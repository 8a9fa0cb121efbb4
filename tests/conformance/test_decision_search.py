"""Looking for calls, on every store: what is found, and that no page looks at more than it may."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import Connection

from fakes.records import NOON
from fakes.till import Till, decision, hold
from palyra.core.hours import HOUR_NS
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.decision import CallState, Decision, least_id_at
from palyra.lifecycle.decision_search import DecisionsFound, Inside, Scanned
from palyra.lifecycle.ports import DecisionFilter
from palyra.store import decision_search
from palyra.store.memory import MemoryStore

ANY = DecisionFilter(limit=100)


def call(till: Till, made: Decision, cost: int | None = 5, upstream_status: int | None = None) -> None:
    """A call that is over, at a cost or released."""
    till.reserve(made.request_id, hold(1), told_of=made)
    if cost is None:
        till.release(made.request_id, upstream_status)
    else:
        till.settle(made.request_id, cost)


def ids(found: DecisionsFound) -> list[str]:
    return [each.decision.request_id for each in found.items]


async def fill(till: Till) -> None:
    call(till, decision("req_1", tags={"team": "a", "env": "x:y"}), 5_000)
    call(till, decision("req_2", provider="other", principal="bob"), None, 503)
    moved = structs.replace(decision("req_3"), route="failover", requested_model="auto")
    call(till, moved, 9_000)
    till.store.records.record_denial(decision("req_4", outcome="deny", tags={"team": "b"}))
    till.reserve("req_5", hold(1), told_of=structs.replace(decision("req_5"), endpoint="messages"))
    await till.flush()


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        (Inside(), "req_5 req_4 req_3 req_2 req_1"),
        (Inside(provider="other"), "req_2"),
        (Inside(status="blocked"), "req_4"),
        (Inside(status="503"), "req_2"),
        (Inside(status="None"), ""),
        (Inside(endpoint="messages"), "req_5"),
        (Inside(route="failover"), "req_3"),
        (Inside(rerouted=True), "req_3"),
        (Inside(rerouted=False), "req_5 req_4 req_2 req_1"),
        (Inside(min_cost=5_000), "req_3 req_1"),
        (Inside(min_cost=5_001), "req_3"),
        (Inside(min_cost=0), "req_3 req_1"),
        (Inside(tag=("team", "a")), "req_1"),
        (Inside(tag=("env", "x:y")), "req_1"),
        (Inside(tag=("team", "")), ""),
        (Inside(provider="stub", rerouted=False, status="ok"), "req_5 req_1"),
    ],
)
async def test_calls_are_found_by_what_their_records_say(till: Till, inside: Inside, found: str) -> None:
    await fill(till)
    told = await till.store.records.search_decisions(ANY, inside)
    assert (ids(told), told.scanned) == (found.split(), None)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DecisionFilter(principal="bob"), "req_2"),
        (DecisionFilter(agent="nightly", state=CallState.PENDING), "req_5"),
        (DecisionFilter(outcome="deny", model="stub-model"), "req_4"),
        (DecisionFilter(session="run-7", limit=2), "req_5 req_4"),
        (DecisionFilter(first="req_2", before="req_4"), "req_3 req_2"),
        (DecisionFilter(since=Instant(NOON + 1)), ""),
        (DecisionFilter(until=NOON), ""),
        (DecisionFilter(agent=""), ""),
    ],
)
async def test_calls_are_found_by_their_rows(till: Till, wanted: DecisionFilter, found: str) -> None:
    await fill(till)
    assert ids(await till.store.records.search_decisions(wanted, Inside())) == found.split()


async def test_calls_without_an_agent_or_a_session_are_found(till: Till) -> None:
    call(till, decision("req_1", agent=None, session=None))
    call(till, decision("req_2"))
    till.reserve("req_3", hold(1), told_of=decision("req_3", agent=None))
    await till.flush()
    search = till.store.records.search_decisions
    assert ids(await search(DecisionFilter(agent=""), Inside())) == ["req_3", "req_1"]
    assert ids(await search(DecisionFilter(agent="", session=""), Inside())) == ["req_1"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that look at few calls."""
    monkeypatch.setattr(decision_search, "ROWS_MAX", 10)
    monkeypatch.setattr(decision_search, "DOCUMENTS_MAX", 4)
    monkeypatch.setattr(decision_search, "_AT_ONCE", 3)


async def pages(till: Till, wanted: DecisionFilter, inside: Inside) -> list[DecisionsFound]:
    """All of them, with calls that come in between: each is behind nobody's cursor."""
    found: list[DecisionsFound] = []
    while True:
        page = await till.store.records.search_decisions(wanted, inside)
        found.append(page)
        if len(page.items) == wanted.limit:
            wanted = replace(wanted, before=page.items[-1].decision.request_id)
        elif page.scanned is not None:
            wanted = replace(wanted, before=page.scanned.request_id)
        else:
            return found
        call(till, decision(f"req_9{len(found):02}", agent="rare", tags={"team": "rare"}))
        await till.flush()


RARE = (
    (DecisionFilter(agent="rare", limit=2), Inside()),
    (DecisionFilter(limit=2), Inside(tag=("team", "rare"))),
    (DecisionFilter(principal="alice", limit=2), Inside(tag=("team", "rare"))),
    (DecisionFilter(agent="rare", limit=2), Inside(tag=("team", "rare"))),
    (DecisionFilter(state=CallState.PENDING, limit=2), Inside()),
)


@pytest.mark.parametrize(("wanted", "inside"), RARE)
@pytest.mark.usefixtures("small")
async def test_w50_pages_in_bounded_steps_have_every_call_once(
    till: Till, wanted: DecisionFilter, inside: Inside
) -> None:
    rare = [3, 17, 18, 19, 40, 55]
    for number in range(60):
        made = decision(f"req_{number:02}")
        if number in rare:
            made = decision(made.request_id, agent="rare", tags={"team": "rare"})
        if number in rare and wanted.state is not None:
            till.reserve(made.request_id, hold(1), told_of=made)
        else:
            call(till, made)
    await till.flush()
    told = await pages(till, wanted, inside)
    assert [each for page in told for each in ids(page)] == [f"req_{number:02}" for number in rare[::-1]]
    if not isinstance(till.store, MemoryStore):
        stopped = [page.scanned for page in told if page.scanned is not None]
        assert stopped, "no page stopped"
        assert stopped == sorted(stopped, reverse=True)
        assert all(len(page.items) < wanted.limit for page in told if page.scanned is not None)


@pytest.mark.usefixtures("small")
async def test_w50_no_page_reads_more_calls_than_it_may(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    stored_decisions = decision_search.stored_decisions

    def counting(connection: Connection, rows: Sequence[Any]) -> Any:
        read.append(len(rows))
        return stored_decisions(connection, rows)

    monkeypatch.setattr(decision_search, "stored_decisions", counting)
    for number in range(30):
        call(till, decision(f"req_{number:02}"))
    await till.flush()
    found = await till.store.records.search_decisions(ANY, Inside(tag=("no", "such")))
    assert found.items == []
    if not isinstance(till.store, MemoryStore):
        assert sum(read) == 4
        assert found.scanned == Scanned("req_26", NOON)


def timed(hours: int) -> Decision:
    """A call as the daemon names it: its id begins with its time."""
    at = Instant(NOON + hours * HOUR_NS)
    return decision(f"{least_id_at(at)}7abcdef", at)


@pytest.mark.usefixtures("small")
async def test_w50_an_old_day_is_found_in_one_page(till: Till) -> None:
    """What is newer than ``until`` is skipped by id, and the search ends where ``since`` is passed."""
    calls = [timed(number) for number in range(80)]
    for each in calls:
        call(till, each)
    await till.flush()
    wanted = DecisionFilter(since=Instant(NOON + 10 * HOUR_NS), until=Instant(NOON + 14 * HOUR_NS), limit=100)
    found = await till.store.records.search_decisions(wanted, Inside())
    assert ids(found) == [each.request_id for each in calls[13:9:-1]]
    assert found.scanned is None


@pytest.mark.usefixtures("small")
async def test_ids_that_do_not_begin_with_their_time_are_found_step_by_step(till: Till) -> None:
    for number in range(30):
        call(till, decision(f"req_{number:02}", Instant(NOON + number * NANOSECONDS)))
    await till.flush()
    wanted = DecisionFilter(until=Instant(NOON + 2 * NANOSECONDS), limit=5)
    told = await pages(till, wanted, Inside())
    assert [each for page in told for each in ids(page)] == ["req_01", "req_00"]
