"""A database of the first release is brought to journal pages with everything it knew."""

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fakes.records import NOON
from fakes.stored import approval
from fakes.till import DAY_END, DAY_START, LEASE_NS, Till, assert_books_agree, decision
from harness.postgres import new_database, rows
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.ledger.account import Balance
from palyra.ledger.event import Released, Reserved
from palyra.lifecycle.changes import ChangeFilter
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import DecisionFilter
from palyra.store import migrate
from palyra.store.codec import encode
from palyra.store.page import Audited, Packer, read_record, unpack
from palyra.store.postgres.reading import SQLALCHEMY_URL
from palyra.store.postgres.revision import (
    WrongRevision,
    connect_patiently,
    server_revision,
    upgrade_server,
)
from palyra.store.sqlite import verify

ENDS = {"req_1": "settled", "req_2": "released", "req_3": "in_doubt", "req_4": "pending", "req_5": "denied"}
KEY: dict[str, object] = {
    "id": "key-7",
    "sha256": "7" * 64,
    "prefix": "sk-palyra-AbCd",
    "principal": "alice",
    "agent": None,
    "roles": ["caller"],
    "models": [],
    "tags": {},
    "created_at": NOON,
    "created_by": "key-1",
    "revoked_at": None,
    "origin": "api",
}


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def old_decision(request_id: str) -> str:
    """As the first release wrote it: an object, with the budget's fields in its evaluation."""
    evaluation = {
        "policy_id": "daily",
        "policy_version": 1,
        "scope": "principal:*",
        "metric": "cost_usd",
        "interval": "day",
        "entity": "alice",
        "window_start": DAY_START,
        "window_end": DAY_END,
        "status": "ok",
        "mode": "enforced",
        "consumed": 0,
        "amount": 100,
        "projected": 100,
        "soft_limit": None,
        "hard_limit": 10_000,
        "remaining": 10_000,
        "would": None,
        "message": "",
    }
    return text(
        {
            "request_id": request_id,
            "at": NOON,
            "endpoint": "chat/completions",
            "stream": False,
            "labels": {
                "key_id": "key-1",
                "principal": "alice",
                "agent": "größe ☃",
                "session": None,
                "parent_session": None,
                "task_class": "primary_interactive",
                "tags": {"team": "platform"},
            },
            "requested_model": "stub-model",
            "recommended_model": "stub-model",
            "model": "stub-model",
            "provider": "stub",
            "route": "proceed",
            "route_reason": "",
            "mode": "enforced",
            "mode_origin": "config",
            "outcome": "deny" if request_id == "req_5" else "admit",
            "status": "ok",
            "estimate": {
                "input_bytes": 400,
                "input_tokens_expected": 100,
                "input_tokens_bound": 400,
                "output_tokens_bound": 1_000,
                "output_cap_requested": None,
                "choices": 1,
                "cost_expected": 600,
                "cost_bound": 1_000,
                "method": "bytes",
            },
            "price": None,
            "evaluations": [evaluation],
            "clamp": None,
            "counterfactual": None,
            "error_code": None,
            "message": "two\nlines",
            "idempotency_key": False,
        }
    )


def old_settlement(state: str, cost: int | None, tokens: tuple[int, int] | None) -> str:
    usage = {
        "input_tokens": tokens[0] if tokens else 0,
        "output_tokens": tokens[1] if tokens else 0,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "input_image_tokens": 0,
        "web_searches": 0,
    }
    return text(
        {
            "at": NOON,
            "state": state,
            "source": "provider",
            "reason": "",
            "usage": usage if tokens else None,
            "cost": cost,
            "held": 1_000,
            "total_ms": 5,
            "overrun": False,
            "late": False,
            "service_tier": None,
            "upstream_status": 200,
            "upstream_model": None,
            "client_gone": False,
            "first_byte_ms": None,
            "lines": [],
            "counterfactual_cost": None,
        }
    )


def old_reserve(request_id: str) -> dict[str, object]:
    hold = [["daily", "cost_usd", "alice", DAY_START], DAY_END, 100, 100, 10_000]
    return {"id": request_id, "at": NOON, "expires_at": NOON + LEASE_NS, "holds": [hold]}


def old_settle(request_id: str, cost: int) -> dict[str, object]:
    return {"id": request_id, "at": NOON, "amounts": {"cost_usd": cost}, "late": False}


def old_journal(more: int) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Kind, subject and body of its records, in order; ``more`` calls that cost nothing in the middle."""
    yield "reserve", "req_1", old_reserve("req_1")
    yield "settle", "req_1", old_settle("req_1", 60)
    yield "reserve", "req_4", old_reserve("req_4")
    for number in range(more):
        yield "reserve", f"more_{number}", old_reserve(f"more_{number}")
        yield "settle", f"more_{number}", old_settle(f"more_{number}", 0)
    audit: dict[str, object] = {
        "kind": "key.created",
        "ref": "key-7",
        "actor": "key-1",
        "before": None,
        "after": {"id": "key-7"},
    }
    yield "key.created", "key-7", audit
    yield "reserve", "req_2", old_reserve("req_2")
    yield "release", "req_2", {"id": "req_2", "at": NOON, "reason": "refused"}
    yield "reserve", "req_3", old_reserve("req_3")
    yield "expire", "req_3", {"id": "req_3", "at": NOON + 1, "reason": "lost"}


def old_rows(more: int) -> Iterator[tuple[object, ...]]:
    ends = {
        "req_1": old_settlement("settled", 60, (10, 5)),
        "req_2": old_settlement("released", None, None),
        "req_3": old_settlement("in_doubt", 100, (400, 1_000)),
    }
    free = {f"more_{number}": "settled" for number in range(more)}
    for request_id, state in (ENDS | free).items():
        kept = text(old_reserve(request_id)) if state in ("pending", "in_doubt") else None
        outcome = "deny" if state == "denied" else "admit"
        labels = ("alice", "größe ☃", None, "stub-model")
        end = old_settlement("settled", 0, (0, 0)) if request_id in free else ends.get(request_id)
        yield request_id, NOON, state, outcome, *labels, old_decision(request_id), kept, end


@contextmanager
def edited(path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def first_release(path: Path, more: int = 0) -> str:
    """A database of revision 0001 with a call in every state; returns the head of its journal."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    head = ""
    with edited(path) as connection:
        for seq, (kind, ref, body) in enumerate(old_journal(more), 1):
            head = hashlib.sha256(f"{head}{seq}".encode()).hexdigest()
            connection.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (seq, NOON, kind, ref, text(body), head)
            )
        connection.executemany(
            "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", old_rows(more)
        )
        connection.execute(
            "INSERT INTO accounts VALUES ('daily', 'cost_usd', 'alice', ?, ?, 160, 100, 160, 100)",
            (DAY_START, DAY_END),
        )
        connection.execute(
            "INSERT INTO rollups VALUES (?, 'alice', 'größe ☃', 'stub-model', 'stub', "
            "?, 1, 0, 0, 410, 1005, 0, 0, 0, 160, 800, 410)",
            (NOON, 2 + more),
        )
        connection.execute(
            "INSERT INTO idempotency VALUES ('alice', 'key-1', ?, 'req_4', 0, ?)", ("01" * 32, NOON + 1)
        )
        connection.execute("INSERT INTO keys VALUES ('key-7', ?, ?)", ("7" * 64, text(KEY)))
    return head


@pytest.mark.parametrize("more", [0, 125, 126, 127, 600])
async def test_everything_is_there_and_goes_on(tmp_path: Path, more: int) -> None:
    """Of one page and of many, with the pending call in the first."""
    path = tmp_path / "palyra.db"
    first_release(path, more)
    till = Till.on_disk(path)
    assert [each.id for each in till.store.ledger.pending()] == ["req_4"]
    assert set(till.store.ledger.book.in_doubt) == {"req_3"}
    assert till.balance() == Balance(160, 100, 160, 100)
    till.decisions |= {request_id: decision(request_id, agent="größe ☃") for request_id in ENDS}
    await assert_books_agree(till)
    till.restart()
    till.settle("req_4", 70)
    till.settle("req_3", 1, tokens=(2, 3))
    await assert_books_agree(till)
    assert till.balance() == Balance(131, 0, 131, 0)
    till.close()
    assert verify(path).records == 10 + 2 * more
    with edited(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0010",)]


async def test_every_decision_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    first_release(path)
    till = Till.on_disk(path)
    listed = await till.store.records.decisions(DecisionFilter())
    assert {each.decision.request_id: each.state.value for each in listed} == ENDS
    for request_id, state in ENDS.items():
        stored = await till.store.records.decision(request_id)
        assert stored is not None
        assert stored.state is CallState(state)
        assert stored.decision.labels.agent == "größe ☃"
        assert stored.decision.message == "two\nlines"
        assert stored.decision.evaluations[0].projected == 100
        assert (stored.settlement is None) == (state in ("pending", "denied"))
    settled = await till.store.records.decision("req_1")
    assert settled is not None
    assert settled.settlement is not None
    assert (settled.settlement.cost, settled.settlement.upstream_status) == (60, 200)
    till.close()


async def test_keys_claims_and_sums_stay(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    first_release(path)
    till = Till.on_disk(path)
    assert [each.id for each in await till.store.records.keys()] == ["key-7"]
    claim = till.store.records.idempotency("alice", "key-1")
    assert claim is not None
    assert (claim.request_id, claim.finished) == ("req_4", False)
    (total,) = await till.store.records.usage(Instant(0), Instant(2**62), ())
    assert (total.requests, total.denied, total.cost) == (2, 1, 160)
    till.close()


async def test_the_new_journal_says_what_the_old_one_said_and_is_chained_to_it(tmp_path: Path) -> None:
    """G3: who kept the old head elsewhere finds it in front of the new journal."""
    path = tmp_path / "palyra.db"
    head = first_release(path)
    Till.on_disk(path).close()
    with edited(path) as connection:
        pages = connection.execute("SELECT seq, records, body, chain FROM journal ORDER BY seq").fetchall()
    assert (pages[0][:2], pages[0][3].hex()) == ((0, 0), head)
    records = [read_record(line) for _, count, body, _ in pages if count for line in unpack(body)]
    assert len(records) == 8
    assert records[0] == Reserved(
        "req_1",
        NOON,
        Instant(NOON + LEASE_NS),
        records[0].holds if isinstance(records[0], Reserved) else (),
    )
    assert records[3] == Audited("key.created", "key-7", NOON, "key-1", None, {"id": "key-7"})
    with edited(path) as connection:
        connection.execute("UPDATE journal SET chain = zeroblob(32) WHERE seq = 0")
    with pytest.raises(Exception, match="G3: journal records 1 to 8 were changed"):
        verify(path)


async def test_a_shared_ledger_of_the_revision_before_goes_on() -> None:
    url = new_database(empty=True)
    await upgraded(url, "0004")
    await rows(url, "UPDATE rules SET version = 7")
    assert (await server_revision(Secret(url)), migrate.HEAD) == ("0004", "0010")
    with pytest.raises(WrongRevision, match="0004"):
        await Till.on_server(url)
    await upgrade_server(Secret(url))
    till = await Till.on_server(url)
    await till.store.records.save_approval(approval(), None)
    assert await till.store.records.open_approvals(NOON) == [approval()]
    await till.leave()
    assert await rows(url, "SELECT version, approvals FROM rules") == [(7, 1)]


async def test_changes_that_were_journaled_before_are_found(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    first_release(path)
    till = Till.on_disk(path)

    (found,) = await till.store.records.changes(ChangeFilter())

    assert (found.kind, found.ref, found.actor, found.after) == (
        "key.created",
        "key-7",
        "key-1",
        {"id": "key-7"},
    )
    assert found.place == (NOON, 0, 4)
    till.close()


async def test_changes_of_a_shared_journal_are_found_however_many() -> None:
    """Also while more are being read than are stored at once."""
    url = new_database(empty=True)
    await upgraded(url, "0006")
    packer, pages = Packer(), 700
    for seq in range(1, 2 * pages, 2):
        change = Audited("policy.updated", f"p{seq}", NOON + seq, "key-1", None, {"id": f"p{seq}"})
        body = packer.pack([encode(Released(f"req_{seq}", NOON, "-")), encode(change)])
        await rows(
            url,
            "INSERT INTO journal (node, seq, records, at, open_from, documents, body, chain) "
            "VALUES ($1, $2, 2, $3, 1, 0, $4, $4)",
            seq % 3 + 1,
            seq,
            NOON,
            body,
        )
    await upgrade_server(Secret(url))
    till = await Till.on_server(url)

    found = await till.store.records.changes(ChangeFilter(limit=2 * pages))

    assert [each.ref for each in found] == [f"p{seq}" for seq in range(2 * pages - 1, 0, -2)]
    assert found[0].place == (NOON + 2 * pages - 1, (2 * pages - 1) % 3 + 1, 2 * pages)
    await till.leave()


async def upgraded(url: str, revision: str) -> None:
    """Bring an empty PostgreSQL database up to a revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(
        SQLALCHEMY_URL, poolclass=NullPool, async_creator=lambda: connect_patiently(Secret(url), "test")
    )
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


async def test_an_empty_database_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    first_release(path)
    with edited(path) as connection:
        for table in ("journal", "decisions", "accounts", "rollups", "idempotency"):
            connection.execute(f"DELETE FROM {table}")
    Till.on_disk(path).close()
    assert tuple(verify(path)) == (0, 0, "")
