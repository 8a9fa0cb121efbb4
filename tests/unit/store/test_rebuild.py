"""Sums are derived: made anew from the calls they are what they were, whatever had become of them."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.gateways import join
from fakes.records import FakeClock
from fakes.sums import assert_sums_agree, stored_cells, stored_sums
from fakes.till import Till, decision, hold
from harness.postgres import new_database, rows
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.lifecycle.activity import SessionFilter
from palyra.lifecycle.decision import AttemptRecord
from palyra.store import rebuild
from palyra.store.postgres.rebuild import rebuild_shared
from palyra.store.postgres.revision import WrongRevision
from palyra.store.rebuild import Rebuilt, rebuild_file
from unit.store.test_migration import first_release

DAY_S = 24 * 3600
BROKE = AttemptRecord("stub", "stub-model", 0, 5, 200, "network", "cut off")


async def work(till: Till) -> None:
    """Calls of every kind, over three hours; two of them run on."""
    for number in range(40):
        request_id = f"req_{number:02}"
        tags = {"team": str(number % 3)} if number % 4 else {}
        session = None if number % 5 == 4 else f"run-{number % 3}"
        made = decision(
            request_id,
            till.clock.now(),
            principal=("alice", "bob")[number % 2],
            session=session,
            model=("one", "two")[number % 2],
            tags=tags,
        )
        till.reserve(request_id, hold(10), told_of=made)
        till.clock.advance(300)
        match number % 8:
            case 0:
                till.release(request_id, upstream_status=503)
            case 1:
                till.expire(request_id)
            case 2:
                till.store.records.record_denial(
                    decision(f"{request_id}d", till.clock.now(), outcome=("deny", "ask")[number % 3 == 0])
                )
                till.release(request_id)
            case 3 if number > 30:
                continue
            case _:
                attempts = (BROKE,) if number % 7 == 0 else ()
                till.settle(request_id, number, tokens=(number, 1), total_ms=number**2, attempts=attempts)
    till.settle("req_09", 3)
    await till.flush()


@pytest.mark.parametrize("at_once", [1, 7, 2_000])
async def test_a_file_has_the_sums_that_were_written_with_the_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Also where few pages fit in memory, and where nothing, or nonsense, was there before."""
    monkeypatch.setattr(rebuild, "CALLS_AT_ONCE", at_once)
    monkeypatch.setattr(rebuild, "PAGES_KEPT", at_once)
    path = tmp_path / "palyra.db"
    till = Till.on_disk(path)
    await work(till)
    till.close()
    before = stored_sums(path)
    assert all(before.values())
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE rollups SET cost = cost + 1, failed = 0, latency_ms = 7")
        connection.execute("DELETE FROM sessions WHERE session = 'run-1'")
        connection.execute("UPDATE latencies SET calls = calls * 2")
        connection.execute("DELETE FROM tag_rollups")
        connection.execute("UPDATE half_days SET cost = cost + 1, last_hour = half_day")
    connection.close()
    assert stored_sums(path) != before
    told: list[tuple[int, int]] = []
    rebuilt = rebuild_file(path, lambda done, total: told.append((done, total)))
    assert stored_sums(path) == before
    assert rebuilt.calls == told[-1][0] == told[-1][1] > 40
    assert rebuilt.since == before["rollups"][0][0]
    till = Till.on_disk(path)
    till.decisions["req_01"] = decision("req_01")
    await assert_sums_agree(till.store)
    till.close()


async def test_a_file_of_the_first_release_gets_the_sums_of_its_past(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    first_release(path, 300)
    till = Till.on_disk(path)
    assert await till.store.records.tags(Instant(0), Instant(2**62)) == []
    till.close()
    rebuild_file(path)
    till = Till.on_disk(path)
    await assert_sums_agree(till.store)
    (team,) = await till.store.records.tags(Instant(0), Instant(2**62))
    assert (team.tag, team.value, team.requests) == ("team", "platform", 302)
    till.close()


async def test_a_ledger_without_calls_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    Till.on_disk(path).close()
    assert rebuild_file(path) == Rebuilt(0, 0)
    assert await rebuild_shared(Secret(new_database())) == Rebuilt(0, 0)


async def test_a_shared_ledger_has_the_sums_of_all_gateways() -> None:
    url = new_database()
    till = await Till.on_server(url)
    await work(till)
    second = await join(url, till.clock)
    assert await second.admit("req_90", hold(1))
    second.till.settle("req_90", 1)
    await second.till.flush()
    cells = await stored_cells(till.store)
    sessions = await till.store.records.sessions(SessionFilter())
    await rows(url, "UPDATE rollups SET cost = cost + 1")
    await rows(url, "DELETE FROM latencies")
    await rows(url, "UPDATE half_days SET requests = requests + 1")
    await rows(url, "UPDATE sessions SET last_call = 'z', model = 'x', cost = 0")
    await rebuild_shared(Secret(url))
    assert await stored_cells(till.store) == cells
    assert await till.store.records.sessions(SessionFilter()) == sessions
    await assert_sums_agree(till.store)
    await second.store.close()
    await till.leave()


async def test_sums_of_calls_that_retention_dropped_stay() -> None:
    url = new_database()
    clock = FakeClock(Instant(int(datetime(2026, 1, 30, tzinfo=UTC).timestamp()) * NANOSECONDS))
    gateway = await join(url, clock)
    for number, days in enumerate((0, 40, 1)):
        clock.advance(days * DAY_S)
        session = ("old", "both", "both")[number]
        made = decision(f"req_{number}", clock.now(), session=session)
        gateway.till.reserve(f"req_{number}", hold(5), told_of=made)
        gateway.till.settle(f"req_{number}", 5)
        await gateway.till.flush()
    late = decision("req_3", clock.now(), session="old")
    gateway.till.reserve("req_3", hold(5), told_of=late)
    gateway.till.settle("req_3", 5)
    await gateway.till.flush()
    before = await stored_cells(gateway.store)
    sessions = await gateway.store.records.sessions(SessionFilter())
    assert await gateway.store.drop_old_months(1) == ["2026_01"]
    await rows(url, "UPDATE rollups SET cost = 0 WHERE hour > (SELECT min(hour) FROM rollups)")
    rebuilt = await rebuild_shared(Secret(url))
    assert rebuilt.calls == 3
    assert await stored_cells(gateway.store) == before
    assert await gateway.store.records.sessions(SessionFilter()) == sessions
    await gateway.store.close()


async def test_a_session_is_dropped_with_its_last_call() -> None:
    url = new_database()
    clock = FakeClock(Instant(int(datetime(2026, 1, 30, tzinfo=UTC).timestamp()) * NANOSECONDS))
    gateway = await join(url, clock)
    for number, session in enumerate(("gone", "goes on", "goes on")):
        clock.advance(number * 3 * DAY_S)
        gateway.till.reserve(
            f"req_{number}", hold(5), told_of=decision(f"req_{number}", clock.now(), session=session)
        )
        gateway.till.settle(f"req_{number}", 5)
        await gateway.till.flush()
    clock.advance(25 * DAY_S)
    assert await gateway.store.drop_old_months(1) == ["2026_01"]
    left = {each.session: each.requests for each in await gateway.store.records.sessions(SessionFilter())}
    assert left == {"goes on": 2}
    await gateway.store.close()


async def test_another_revision_is_refused() -> None:
    url = new_database()
    await rows(url, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(WrongRevision, match="0999"):
        await rebuild_shared(Secret(url))
