"""A SQLite ledger that was copied to PostgreSQL is the same ledger, however often the copy broke off."""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from fakes.records import NOON, FakeClock
from fakes.stored import LATER, alert, approval, decided, notice, resolved, sent
from fakes.sums import assert_sums_agree
from fakes.till import (
    Till,
    account,
    all_decisions,
    decision,
    hold,
    replayed_balances,
    server_balances,
    stored_balances,
)
from harness.postgres import new_database, rows
from palyra.alerts.alert import NoticeState
from palyra.approvals.approval import Grant, GrantKind, State
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import PalyraError
from palyra.core.instant import Instant
from palyra.core.invariant import InvariantViolation
from palyra.core.secret import Secret
from palyra.identity.keys import ApiKey, Role
from palyra.ledger.account import Balance
from palyra.lifecycle.activity import SessionFilter
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.ports import AlertFilter, ApprovalFilter, AuditEntry, IdempotencyClaim, NoticeFilter
from palyra.lifecycle.signed_in import SignIn
from palyra.store import copy
from palyra.store.copy import Copied, CopyError, copy_to_server
from palyra.store.copy_sql import REST
from palyra.store.lock import DatabaseLocked
from palyra.store.migrate import HEAD
from palyra.store.page import link
from palyra.store.postgres.link import NotDurable
from palyra.store.postgres.revision import UNFINISHED, WrongRevision
from palyra.store.postgres.store import PostgresStore
from palyra.store.postgres.verify import verify_shared
from palyra.store.sqlite import verify
from unit.store.test_migration import first_release

AGENT = account("per-agent", "nightly", "total_tokens")
DONE = IdempotencyClaim("alice", "key-done", b"\x01" * 32)
OPEN = IdempotencyClaim("alice", "key-open", b"\x02" * 32)
AUDIT = AuditEntry("policy.saved", "daily", "key-1", None, {"hard_limit": "5.00"})
GROUPS = ("hour", "principal", "agent", "model", "provider")
GRANT = Grant(GrantKind.AMOUNT, 10, LATER)
EVER = Instant(0), Instant(2**62)
DAY_S = 24 * 3600
TABLES: Mapping[str, str] = {
    "nodes": "SELECT id, name, holder, is_open, term, next_seq, next_page, last_at FROM nodes",
    "journal": "SELECT * FROM journal ORDER BY node, seq",
    "documents": "SELECT * FROM documents ORDER BY node, page",
    "decisions": "SELECT * FROM decisions ORDER BY request_id",
    "accounts": "SELECT * FROM accounts ORDER BY policy_id, metric, entity, window_start",
    "slices": "SELECT * FROM slices ORDER BY node, policy_id, metric, entity, window_start",
    "idempotency": "SELECT * FROM idempotency ORDER BY principal, key",
    "rollups": "SELECT * FROM rollups ORDER BY hour, principal, agent, model, provider, node",
    "half_days": "SELECT * FROM half_days ORDER BY half_day, principal, agent, model, provider, node",
    "half_day_latencies": "SELECT * FROM half_day_latencies ORDER BY half_day, provider, model, bucket",
    "half_day_tags": "SELECT * FROM half_day_tags ORDER BY half_day, tag, value",
    "latencies": "SELECT * FROM latencies ORDER BY hour, provider, model, bucket, node",
    "tag_rollups": "SELECT * FROM tag_rollups ORDER BY hour, tag, value, node",
    "sessions": "SELECT * FROM sessions ORDER BY principal, session",
    "policies": "SELECT * FROM policies ORDER BY id, version",
    "keys": "SELECT * FROM keys ORDER BY id",
    "approvals": "SELECT * FROM approvals ORDER BY id",
    "alerts": "SELECT * FROM alerts ORDER BY id",
    "notices": "SELECT * FROM notices ORDER BY id",
    "configured": "SELECT * FROM configured ORDER BY name",
    "rules": "SELECT version FROM rules",
    "alembic_version": "SELECT * FROM alembic_version",
}


class Killed(Exception):
    """The copy ends here."""


def killer(step: int, seen: list[str]) -> copy.Tell:
    """Ends a copy the ``step``-th time that it says how far it is."""

    def tell(name: str, done: int, total: int) -> None:
        assert done <= total
        seen.append(name)
        if len(seen) == step:
            raise Killed

    return tell


def policy(version: int = 1, policy_id: str = "daily") -> Policy:
    document = {"id": policy_id, "scope": "global", "metric": "cost_usd", "interval": "day"}
    return parse_policy(
        {**document, "hard_limit": "5.00"},
        defaults=PolicyDefaults(),
        version=version,
        actor="key-1",
        origin="api",
    )


def key(key_id: str = "key-7") -> ApiKey:
    return ApiKey(
        id=key_id,
        sha256=key_id.encode().hex().ljust(64, "0"),
        prefix="sk-palyra-AbCd",
        principal="alice",
        agent="größe ☃",
        roles=frozenset({Role.CALLER}),
        models=("stub-*",),
        tags=MappingProxyType({"team": "platform"}),
        created_at=NOON,
        created_by="key-1",
        revoked_at=None,
        origin="api",
    )


@contextmanager
def edited(path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def deny(till: Till, request_id: str) -> None:
    refused = decision(request_id, till.clock.now(), principal="bob", agent=None, outcome="deny")
    till.store.records.record_denial(refused)


async def worked(path: Path, *, pending: bool = True) -> Till:
    """A till with calls in every state over two months, a key, and policies; to be closed."""
    till = Till.on_disk(path, FakeClock())
    records = till.store.records
    await records.save_policy(policy(), AUDIT)
    await records.save_policy(policy(2), AUDIT)
    await records.save_policy(policy(policy_id="gone"), AUDIT)
    await records.delete_policy("gone", AUDIT)
    await records.save_key(key(), AUDIT)
    await file_approvals_and_alerts(till)
    till.reserve("req_00", hold(100, 10_000))
    await till.flush()
    till.settle("req_00", 60)
    for number in range(1, 6):
        till.reserve(f"req_0{number}", hold(100, 10_000), hold(30, None, AGENT, shadow=20))
        till.settle(f"req_0{number}", 60 + number)
        await till.flush()
    till.clock.advance(20 * DAY_S)
    deny(till, "req_10")
    await till.flush()
    till.reserve("req_11", hold(100, 10_000))
    till.reserve("req_12", hold(100, 10_000), hold(30, None, AGENT))
    await till.flush()
    till.release("req_11")
    till.expire("req_12", cost=100)
    await till.flush()
    if pending:
        till.reserve("req_13", hold(100, 10_000), hold(30, 400, AGENT, shadow=10), claim=OPEN)
        till.reserve("req_14", hold(0))
        await till.flush()
        till.reserve("req_15", hold(50, None, account(entity="bob")))
    till.reserve("req_16", hold(7, None, account(entity="bob")), claim=DONE)
    till.settle("req_16", 5)
    deny(till, "req_17")
    await till.flush()
    return till


async def file_approvals_and_alerts(till: Till) -> None:
    """Some in every state that a table tells from the others."""
    records = till.store.records
    for number, state in enumerate(State):
        made = approval(f"apr_{number}", reason="größe ☃")
        await records.save_approval(made, AUDIT)
        if state is not State.PENDING:
            await records.save_approval(decided(made, state, grant=GRANT), AUDIT)
    first, second = alert("alr_1"), alert("alr_2", policy_id=None, principal=None)
    parts = notice("ntc_1", first), notice("ntc_2", first), notice("ntc_3", first, state=NoticeState.DEAD)
    await records.save_alert(first, parts, None)
    await records.save_alert(second, (), None)
    await records.save_alert(resolved(second), (), AUDIT)
    await records.save_notice(sent(parts[1]))
    await records.record_configured("policy/☃", None, '{"hard_limit":"5.00"}', AUDIT)


async def filled(path: Path, *, pending: bool = True) -> Path:
    """The file of a till that has ``worked`` and is closed."""
    (await worked(path, pending=pending)).close()
    return path


async def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything in a database but its clock times."""
    return {name: await rows(url, query) for name, query in TABLES.items()}


async def execute(url: str, statement: str) -> None:
    await rows(url, statement)


async def revision(url: str) -> str:
    ((found,),) = await rows(url, "SELECT version_num FROM alembic_version")
    return found


async def copied(path: Path, url: str, tell: copy.Tell | None = None, chunk: int = 2) -> Copied:
    return await copy_to_server(path, Secret(url), tell or killer(0, []), chunk)


async def broken_off(path: Path, url: str, step: int) -> None:
    """A copy that ends at one of its steps."""
    with pytest.raises(Killed):
        await copied(path, url, killer(step, []))
    assert await revision(url) == UNFINISHED


def store_of(till: Till) -> PostgresStore:
    assert isinstance(till.store, PostgresStore)
    return till.store


def by_id(stored: list[StoredDecision]) -> dict[str, StoredDecision]:
    return {each.decision.request_id: each for each in stored}


async def everything_filed(till: Till) -> list[object]:
    """Approvals, alerts, notices and recorded configuration, as they are read."""
    records = till.store.records
    return [
        await records.approvals(ApprovalFilter()),
        await records.open_approvals(NOON),
        await records.alerts(AlertFilter()),
        await records.open_alerts(),
        await records.notices(NoticeFilter()),
        await records.due_notices(NOON, 10),
        await records.configured(),
    ]


class TestTheCopy:
    @pytest.mark.parametrize("empty", [True, False], ids=["no schema", "a new schema"])
    async def test_is_the_ledger(self, tmp_path: Path, empty: bool) -> None:
        """Everything that people and gateways ask is answered as before."""
        till = await worked(tmp_path / "palyra.db")
        path, before = tmp_path / "palyra.db", till.store.records
        calls = by_id(list(await all_decisions(till.store)))
        usage = await before.usage(*EVER, GROUPS)
        policies, keys = await before.policies(), await before.keys()
        accounts = await before.accounts("daily")
        filed = await everything_filed(till)
        till.close()
        url = new_database(empty=empty)

        told = await copied(path, url)

        assert await server_balances(url) == stored_balances(path) != {}
        after = await Till.on_server(url)
        records = after.store.records
        found = by_id(list(await all_decisions(after.store)))
        assert found == calls
        assert {each.state for each in found.values()} == set(CallState)
        for request_id, stored in calls.items():
            assert await records.decision(request_id) == stored
        assert await records.usage(*EVER, GROUPS) == usage
        assert (await records.policies(), await records.keys()) == (policies, keys)
        assert (await records.policy_version("daily"), await records.policy_version("gone")) == (2, 1)
        assert await records.accounts("daily") == accounts
        assert await everything_filed(after) == filed
        for table in ("approvals", "alerts", "notices", "configured"):
            with edited(path) as source:
                stored = source.execute(TABLES[table]).fetchall()
            assert await rows(url, TABLES[table]) == stored != []
        assert await rows(url, "SELECT last_at FROM nodes WHERE id = 0") == [(till.clock.now(),)]
        await after.leave()
        audit, source = await verify_shared(Secret(url)), verify(path)
        assert (audit.records, audit.head) == (source.records, f"0:{source.head}")
        assert (told.records, told.head, told.pending, told.was_done) == (
            source.records,
            source.head,
            3,
            False,
        )
        assert told.rows["decisions"] == len(calls) - 3
        assert (told.requests, told.cost) == (8, sum(each.cost for each in usage))

    async def test_leaves_sign_ins_out(self, tmp_path: Path) -> None:
        """People sign in again, at the gateway that they open."""
        till = await worked(tmp_path / "palyra.db")
        made = SignIn("a" * 64, "key-7", "5" * 64, NOON, LATER)
        await till.store.records.save_sign_in(made, 100)
        till.close()
        url = new_database(empty=True)
        await copied(tmp_path / "palyra.db", url)
        assert await rows(url, "SELECT count(*) FROM sign_ins") == [(0,)]

    async def test_leaves_nothing_in_the_partitions_of_no_month(self, tmp_path: Path) -> None:
        """A row that lay there would keep the partition of its month from ever being made."""
        url = new_database()
        await copied(await filled(tmp_path / "palyra.db"), url)
        for query in (
            "SELECT count(*) FROM journal_other",
            "SELECT count(*) FROM documents_other",
            "SELECT count(*) FROM decisions_other",
        ):
            assert await rows(url, query) == [(0,)]
        assert await rows(url, "SELECT DISTINCT tableoid::regclass::text FROM documents ORDER BY 1") == [
            ("documents_2026_11",),
            ("documents_2026_12",),
        ]

    async def test_has_the_slices_and_keys_of_calls_under_way(self, tmp_path: Path) -> None:
        """L1: what the accounts have claimed is posted there or in the slice of gateway 0."""
        url = new_database()
        await copied(await filled(tmp_path / "palyra.db"), url)
        slices = await rows(
            url,
            "SELECT policy_id, entity, granted, posted, held, shadow_posted, shadow_held FROM slices "
            "WHERE node = 0 ORDER BY policy_id, entity",
        )
        assert slices == [
            ("daily", "alice", 100, 0, 100, 0, 100),
            ("daily", "bob", 50, 0, 50, 0, 50),
            ("per-agent", "nightly", 30, 0, 30, 0, 10),
        ]
        assert await rows(url, "SELECT key, request_id, finished FROM idempotency ORDER BY key") == [
            ("key-done", "req_16", 1),
            ("key-open", "req_13", 0),
        ]
        assert await rows(url, "SELECT a.claimed - a.posted FROM accounts a WHERE entity = 'bob'") == [(50,)]

    async def test_ends_calls_that_were_under_way_in_doubt_when_a_gateway_joins(self, tmp_path: Path) -> None:
        url = new_database()
        path = await filled(tmp_path / "palyra.db")
        await copied(path, url)
        till = await Till.on_server(url)
        assert await store_of(till).end_the_dead() == 1
        found = {each.decision.request_id: each.state for each in await all_decisions(till.store)}
        assert {request_id for request_id, state in found.items() if state is CallState.IN_DOUBT} == {
            "req_12",
            "req_13",
            "req_14",
            "req_15",
        }
        held = {each: balance.held for each, balance in (await server_balances(url)).items()}
        assert set(held.values()) == {0}
        before = stored_balances(path)[account(entity="bob")]
        assert before == Balance(5, 50, 5, 50)
        assert (await server_balances(url))[account(entity="bob")].posted == 55
        assert await server_balances(url) == await replayed_balances(till)
        assert await rows(url, "SELECT is_open FROM nodes WHERE id = 0") == [(False,)]
        assert await rows(url, "SELECT finished FROM idempotency ORDER BY key") == [(1,), (1,)]
        await verify_shared(Secret(url))
        await till.leave()

    async def test_is_closed_where_no_call_was_under_way_and_goes_on(self, tmp_path: Path) -> None:
        url = new_database()
        path = await filled(tmp_path / "palyra.db", pending=False)
        assert (await copied(path, url)).pending == 0
        assert await rows(url, "SELECT id, is_open, term FROM nodes") == [(0, False, 1)]
        till = await Till.on_server(url)
        key_of = account()
        posted = (await server_balances(url))[key_of].posted
        till.reserve("req_90", hold(100, 10_000))
        till.settle("req_90", 77)
        await till.flush()
        await till.leave()
        assert (await server_balances(url))[key_of] == Balance(posted + 77, 0, posted + 77, 0)
        assert await rows(url, "SELECT id FROM nodes ORDER BY id") == [(0,), (1,)]
        await verify_shared(Secret(url))

    async def test_of_a_file_of_the_first_release_keeps_the_head_of_its_old_journal(
        self, tmp_path: Path
    ) -> None:
        """Row 0 of the journal, and documents that no page of the journal refers to."""
        path, url = tmp_path / "palyra.db", new_database()
        head = first_release(path, 150)
        await copied(path, url)
        assert await rows(url, "SELECT records, chain FROM journal WHERE seq = 0") == [
            (0, bytes.fromhex(head))
        ]
        assert (await verify_shared(Secret(url))).head == f"0:{verify(path).head}"
        for query in ("SELECT count(*) FROM journal_other", "SELECT count(*) FROM documents_other"):
            assert await rows(url, query) == [(0,)]
        assert await server_balances(url) == stored_balances(path)
        await execute(url, "UPDATE journal SET chain = '\\x00' WHERE seq = 0")
        with pytest.raises(InvariantViolation, match="G3"):
            await verify_shared(Secret(url))

    async def test_a_head_of_an_old_journal_belongs_to_a_copy_only(self, tmp_path: Path) -> None:
        url = new_database()
        till = await Till.on_server(url)
        till.reserve("req_1", hold(1))
        await till.flush()
        forged, ((seq, records, at, open_from, documents, body),) = (
            bytes(32),
            await rows(url, "SELECT seq, records, at, open_from, documents, body FROM journal"),
        )
        chain = link(forged, seq, records, at, open_from, documents, body)
        await rows(url, "UPDATE journal SET chain = $1", chain)
        await rows(url, "INSERT INTO journal SELECT node, 0, 0, 0, 0, 0, '', $1 FROM journal", forged)
        with pytest.raises(InvariantViolation, match="G3: journal record 1 is missing"):
            await verify_shared(Secret(url))
        await till.leave()

    async def test_a_page_without_records_hides_no_change(self, tmp_path: Path) -> None:
        """G3: the page before it is another one, and all hashes after it are as they were."""
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await copied(path, url)
        pages = await rows(
            url, "SELECT seq, records, at, open_from, documents, body, chain FROM journal ORDER BY seq"
        )
        place = next(n for n, page in enumerate(pages) if n and page[1] > 1)
        seq, records, at, open_from, documents, body, chain = pages[place]
        other = link(pages[place - 1][6], seq, records, at + 1, open_from, documents, body)
        await rows(url, "UPDATE journal SET at = at + 1, chain = $2 WHERE seq = $1", seq, other)
        await rows(url, "INSERT INTO journal VALUES (0, $1, 0, $2, 0, 0, '', $3)", seq + 1, at, chain)
        with pytest.raises(InvariantViolation, match="G3"):
            await verify_shared(Secret(url))

    @pytest.mark.parametrize("format_of", ["this release", "the first release"])
    async def test_goes_on_when_its_first_months_are_dropped(self, tmp_path: Path, format_of: str) -> None:
        """The head of an older format goes with them: left behind, it would break the chain."""
        path, url = tmp_path / "palyra.db", new_database()
        if format_of == "this release":
            await filled(path)
        else:
            first_release(path, 150)
        await copied(path, url)
        till = await Till.on_server(url, clock=FakeClock(Instant(NOON + 200 * DAY_S * 10**9)))
        assert await store_of(till).end_the_dead() == 1
        before, posted = await verify_shared(Secret(url)), await server_balances(url)
        for _ in range(2):
            await store_of(till).drop_old_months(2)
            assert await rows(url, "SELECT count(*) FROM journal WHERE node = 0") == [(1,)]
            assert (await verify_shared(Secret(url))).head == before.head
        assert await server_balances(url) == posted
        assert not any(each.held for each in posted.values())
        await till.leave()

    async def test_of_an_empty_ledger_is_one(self, tmp_path: Path) -> None:
        path, url = tmp_path / "palyra.db", new_database()
        Till.on_disk(path).close()
        told = await copied(path, url)
        assert (told.records, told.head, sum(told.rows.values())) == (0, "", 0)
        assert (await copied(path, url)).was_done
        till = await Till.on_server(url)
        assert await all_decisions(till.store) == []
        await till.leave()


class TestACopyThatBrokeOff:
    async def test_goes_on_and_comes_out_the_same(self, tmp_path: Path) -> None:
        """Killed at every step it says: no gateway starts on it, and nothing of it is there twice."""
        path, whole = await filled(tmp_path / "palyra.db"), new_database()
        seen: list[str] = []
        await copied(path, whole, killer(0, seen))
        expected = await contents(whole)
        assert seen.count("journal") > 3
        assert {"documents", "decisions", "rollups", "accounts", "keys"} <= set(seen)
        for step in range(1, len(seen) + 1):
            url = new_database()
            await broken_off(path, url, step)
            assert await rows(url, "SELECT term, is_open FROM nodes") == [(0, False)]
            told = await copied(path, url)
            assert not told.was_done
            assert await contents(url) == expected, f"killed at step {step}"

    async def test_goes_on_however_often_it_is_killed(self, tmp_path: Path) -> None:
        path, url, whole = await filled(tmp_path / "palyra.db"), new_database(empty=True), new_database()
        for step in (2, 3, 2, 3, 3, 2):
            await broken_off(path, url, step)
        await copied(path, url)
        await copied(path, whole)
        assert await contents(url) == await contents(whole)

    async def test_keeps_gateways_and_audits_out(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await broken_off(path, url, 20)
        with pytest.raises(WrongRevision, match="run palyra db copy again"):
            await Till.on_server(url)
        with pytest.raises(WrongRevision, match=f"at revision {UNFINISHED}"):
            await verify_shared(Secret(url))
        assert await rows(url, "SELECT id FROM nodes") == [(0,)]

    @pytest.mark.parametrize("step", [3, 15, 30])
    @pytest.mark.parametrize("only_denied", [True, False])
    async def test_goes_on_with_what_the_source_did_meanwhile(
        self, tmp_path: Path, step: int, only_denied: bool
    ) -> None:
        """Also of rows that were copied already: ends of calls, sums of an hour."""
        path, url, whole = await filled(tmp_path / "palyra.db"), new_database(), new_database()
        await broken_off(path, url, step)
        till = Till.on_disk(path, FakeClock(Instant(NOON + 40 * DAY_S * 10**9)))
        till.decisions |= {each: decision(each) for each in ("req_12", "req_13")}
        if not only_denied:
            till.settle("req_13", 70)
            till.settle("req_12", 1, tokens=(2, 3))
            till.reserve("req_20", hold(100, 10_000))
        till.store.records.record_denial(decision("req_005", outcome="deny"))
        await till.flush()
        till.close()
        await copied(path, url)
        await copied(path, whole)
        assert await contents(url) == await contents(whole)
        assert await server_balances(url) == stored_balances(path)

    async def test_is_whole_if_it_was_killed_after_the_switch(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()

        async def killed(*_: object) -> None:
            raise Killed

        monkeypatch.setattr(copy, "verify_shared", killed)
        with pytest.raises(Killed):
            await copied(path, url)
        assert await revision(url) == HEAD
        assert (await copied(path, url)).was_done
        await verify_shared(Secret(url))

    @pytest.mark.parametrize(
        ("damage", "told"),
        [
            ("UPDATE rollups SET cost = cost + 1 WHERE requests > 0", "rollups"),
            ("UPDATE rollups SET metered_input_tokens = 0", "rollups"),
            ("DELETE FROM decisions WHERE request_id = 'req_01'", "decisions"),
            ("UPDATE decisions SET state = 'released' WHERE request_id = 'req_01'", "decisions"),
            ("DELETE FROM documents WHERE page = 2", "documents"),
            ("UPDATE documents SET body = body || '\\x00' WHERE page = 2", "documents"),
            ("DELETE FROM journal WHERE seq = 3", "journal"),
            ("INSERT INTO keys VALUES ('key-8', '8', '{}')", "keys"),
            ("INSERT INTO approvals VALUES ('apr_9', 1, 'void', 'c', 'p', 'r', 0, '{}')", "approvals"),
            ("INSERT INTO alerts VALUES ('alr_9', 1, 'firing', 'c', 'k', NULL, NULL, NULL, '')", "alerts"),
            ("INSERT INTO notices VALUES ('ntc_9', 1, 'dead', 't', 0, NULL, '{}')", "notices"),
            ("INSERT INTO configured VALUES ('key/x', '{}')", "configured"),
            ("INSERT INTO policies VALUES ('other', 1, 0, '{}')", "policies"),
            ("INSERT INTO idempotency VALUES ('bob', 'k', '', 'req_1', 0, 1)", "idempotency"),
            ("INSERT INTO accounts VALUES ('other', 'requests', 'x', 0, 1, 1, 1, 1)", "accounts"),
        ],
    )
    async def test_that_is_not_equal_stays_unfinished(self, tmp_path: Path, damage: str, told: str) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()

        def tell(step: str, _done: int, _total: int) -> None:
            if step == "accounts":
                raise Killed

        with pytest.raises(Killed):
            await copied(path, url, tell)
        await execute(url, damage)
        with pytest.raises(CopyError, match=f"the copy differs in {told}"):
            await copied(path, url)
        assert await revision(url) == UNFINISHED
        with pytest.raises(WrongRevision):
            await Till.on_server(url)

    @pytest.mark.parametrize("figure", ["posted", "held"])
    async def test_compares_each_account(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: str
    ) -> None:
        """Amounts that are right in sum and on the wrong accounts are wrong."""
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        swapped = {
            "posted": """
SELECT policy_id, metric, CASE entity WHEN 'bob' THEN 'alice' WHEN 'alice' THEN 'bob' ELSE entity END,
  window_start, window_end, posted, shadow_posted, posted + held
FROM accounts
""",
            "held": """
SELECT 0, policy_id, metric, CASE entity WHEN 'bob' THEN 'alice' WHEN 'alice' THEN 'bob' ELSE entity END,
  window_start, window_end, held, 0, held, 0, shadow_held
FROM accounts WHERE held <> 0
""",
        }
        table = {"posted": "accounts", "held": "slices"}[figure]
        rest = [each._replace(rows=swapped[figure]) if each.name == table else each for each in REST]
        with monkeypatch.context() as patched:
            patched.setattr(copy, "REST", rest)
            with pytest.raises(CopyError, match=r"differs in accounts: \('daily'"):
                await copied(path, url)
        assert await revision(url) == UNFINISHED
        assert not (await copied(path, url)).was_done


class TestSums:
    @pytest.mark.parametrize("chunk", [1, 1_000])
    async def test_every_sum_of_the_source_is_in_the_target(self, tmp_path: Path, chunk: int) -> None:
        """L2, and a copy that broke off has each row once."""
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await broken_off(path, url, 30)
        await copy_to_server(path, Secret(url), chunk=chunk)
        till = await Till.on_server(url)
        await assert_sums_agree(till.store)
        assert await till.store.records.sessions(SessionFilter())
        await till.leave()


class TestRefusals:
    async def test_a_daemon_has_the_source(self, tmp_path: Path) -> None:
        url = new_database(empty=True)
        till = await worked(tmp_path / "palyra.db")
        with pytest.raises(DatabaseLocked):
            await copied(tmp_path / "palyra.db", url)
        till.close()
        assert await rows(url, "SELECT to_regclass('nodes')") == [(None,)]

    @pytest.mark.parametrize("content", ["nonsense", None])
    async def test_the_source_is_no_ledger(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "other.db"
        if content is None:
            with edited(path) as connection:
                connection.execute("CREATE TABLE mine (id INTEGER)")
        else:
            path.write_text(content * 1_000)
        with pytest.raises(CopyError, match=r"other\.db"):
            await copied(path, new_database())
        if content is None:
            with edited(path) as connection:
                assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]

    @pytest.mark.parametrize(
        ("damage", "told"),
        [
            ("UPDATE journal SET chain = zeroblob(32) WHERE seq = 3", "G3"),
            ("UPDATE accounts SET posted = posted + 1", "D3"),
        ],
    )
    async def test_the_books_of_the_source_do_not_hold(self, tmp_path: Path, damage: str, told: str) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database(empty=True)
        with edited(path) as connection:
            connection.execute(damage)
        with pytest.raises(CopyError, match=f"does not hold: {told}"):
            await copied(path, url)
        assert await rows(url, "SELECT to_regclass('nodes')") == [(None,)]

    async def test_a_gateway_ever_joined_the_target(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await (await Till.on_server(url)).leave()
        before = await contents(url)
        with pytest.raises(CopyError, match="the target is in use"):
            await copied(path, url)
        assert await contents(url) == before

    @pytest.mark.parametrize(
        "data",
        [
            "INSERT INTO keys VALUES ('key-1', '1', '{}')",
            "INSERT INTO approvals VALUES ('apr_9', 1, 'void', 'c', 'p', 'r', 0, '{}')",
            "INSERT INTO alerts VALUES ('alr_9', 1, 'firing', 'c', 'k', NULL, NULL, NULL, '')",
            "INSERT INTO notices VALUES ('ntc_9', 1, 'dead', 't', 0, NULL, '{}')",
            "INSERT INTO configured VALUES ('key/x', '{}')",
            "INSERT INTO accounts VALUES ('daily', 'requests', 'x', 0, 1, 1, 1, 1)",
            "INSERT INTO decisions VALUES ('req_1', 1, 'denied', 'deny', 'a', NULL, NULL, 'm', 0, 1, 0)",
        ],
    )
    async def test_the_target_has_data(self, tmp_path: Path, data: str) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await execute(url, data)
        with pytest.raises(CopyError, match="the target is in use"):
            await copied(path, url)
        assert await revision(url) == HEAD

    async def test_the_target_has_tables_of_another_program(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database(empty=True)
        await execute(url, "CREATE TABLE accounts (id integer)")
        with pytest.raises(CopyError, match=r"the schema cannot be made in the target: .*accounts"):
            await copied(path, url)
        assert await rows(url, "SELECT to_regclass('alembic_version')") == [(None,)]

    async def test_the_target_is_of_another_version(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await execute(url, "UPDATE alembic_version SET version_num = '0999'")
        with pytest.raises(CopyError, match="at revision 0999"):
            await copied(path, url)

    async def test_the_target_holds_another_ledger_unfinished(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await broken_off(path, url, 10)
        other = Till.on_disk(tmp_path / "other.db")
        other.reserve("req_1", hold(1))
        await other.flush()
        other.close()
        before = await contents(url)
        with pytest.raises(CopyError, match="an unfinished copy of another ledger"):
            await copied(tmp_path / "other.db", url)
        assert await contents(url) == before
        assert not (await copied(path, url)).was_done

    async def test_the_source_is_older_than_its_unfinished_copy(self, tmp_path: Path) -> None:
        """A backup that was put back, and went on from there in another way."""
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await broken_off(path, url, 30)
        with edited(path) as connection:
            previous = b""
            for row in connection.execute("SELECT * FROM journal ORDER BY seq").fetchall():
                seq, records, at, open_from, documents, body, _ = row
                changed = at + (seq > 5)
                previous = link(previous, seq, records, changed, open_from, documents, body)
                connection.execute(
                    "UPDATE journal SET at = ?, chain = ? WHERE seq = ?", (changed, previous, seq)
                )
        assert verify(path).records > 5
        with pytest.raises(CopyError, match="an unfinished copy of another ledger"):
            await copied(path, url)

    async def test_a_gateway_joined_before_the_copy_was_whole(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await broken_off(path, url, 10)
        await execute(
            url,
            "INSERT INTO nodes (name, holder, is_open, term, next_seq, next_page, last_at, lease_until, "
            "joined_at) VALUES ('early', 'h', true, 1, 1, 1, 0, now(), now())",
        )
        with pytest.raises(CopyError, match="the gateway early joined the target"):
            await copied(path, url)
        assert await revision(url) == UNFINISHED

    async def test_the_target_is_not_durable(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await execute(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
        with pytest.raises(NotDurable):
            await copied(path, url)

    async def test_the_target_is_not_there(self, tmp_path: Path) -> None:
        path = await filled(tmp_path / "palyra.db")
        with pytest.raises(PalyraError, match=r"cannot be reached: .*does not exist"):
            await copied(path, new_database().rpartition("/")[0] + "/nowhere")


class TestAFinishedCopy:
    async def test_is_done_also_after_gateways_worked_on_it(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        first = await copied(path, url)
        again = await copied(path, url)
        assert (again.was_done, again.head, again.rows) == (True, first.head, first.rows)
        till = await Till.on_server(url)
        till.reserve("req_90", hold(1))
        await till.flush()
        await till.leave()
        before = await contents(url)
        assert (await copied(path, url)).was_done
        assert await contents(url) == before

    @pytest.mark.parametrize("change", ["a call", "a denial"])
    async def test_refuses_a_source_that_went_on(self, tmp_path: Path, change: str) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await copied(path, url)
        before = await contents(url)
        till = Till.on_disk(path)
        if change == "a call":
            till.reserve("req_90", hold(1))
        else:
            deny(till, "req_91")
        await till.flush()
        till.close()
        with pytest.raises(CopyError, match="the source has changed since it was copied"):
            await copied(path, url)
        assert await contents(url) == before

    async def test_refuses_another_source(self, tmp_path: Path) -> None:
        path, url = await filled(tmp_path / "palyra.db"), new_database()
        await copied(path, url)
        other = Till.on_disk(tmp_path / "other.db")
        other.reserve("req_1", hold(1))
        await other.flush()
        other.close()
        with pytest.raises(CopyError, match="the target is in use"):
            await copied(tmp_path / "other.db", url)
