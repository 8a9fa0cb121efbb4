"""What only the SQLite store promises: restarts, one owner, the chain, the schema, the clock's floor."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from fakes.records import NOON, FakeClock
from fakes.stored import approval, decided, is_superseded
from fakes.till import Till, account, assert_books_agree, balances, decision, hold, journal_events
from palyra.core.instant import NANOSECONDS
from palyra.core.invariant import InvariantViolation
from palyra.ledger.account import EMPTY, Balance
from palyra.ledger.book import replay
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import AuditEntry, DecisionFilter, IdempotencyClaim
from palyra.store import migrate, sql
from palyra.store.codec import encode
from palyra.store.lock import DatabaseLocked, OwnerLock
from palyra.store.migrate import upgrade
from palyra.store.page import Packer, unpack
from palyra.store.records import newest
from palyra.store.sqlite import SqliteStore, verify
from palyra.store.writer import BATCH_MAX

AGENT = account("per-agent", "nightly", "total_tokens")
CLAIM = IdempotencyClaim("alice", "key-1", b"\x01" * 32)
DAY_S = 24 * 3600
OTHER_CHAIN = bytes(32)
FORGED = b'["release","req_0",0,"a favour"]'


@contextmanager
def edited(path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


async def worked(path: Path) -> Till:
    """A till whose store has a call in every state."""
    till = Till.on_disk(path)
    for number in range(2):
        till.reserve(f"req_{number}", hold(100, 10_000), hold(30, None, AGENT))
        till.settle(f"req_{number}", 60 + number)
    await till.flush()
    till.reserve("req_2", hold(100, 10_000))
    till.reserve("req_3", hold(100, 10_000), hold(30, None, AGENT))
    await till.flush()
    till.release("req_2")
    await till.flush()
    till.expire("req_3", cost=100)
    till.reserve("req_4", hold(100, 10_000), hold(30, 400, AGENT), claim=CLAIM)
    await till.flush()
    await till.store.records.delete_policy("none", AuditEntry("policy.deleted", "none", "key-1", None, None))
    till.reserve("req_5", hold(0))
    till.release("req_5")
    await till.flush()
    return till


def pages_of(path: Path) -> list[tuple[int, int]]:
    """Number of the first record, and number of records, of each page of the journal."""
    with edited(path) as connection:
        return connection.execute("SELECT seq, records FROM journal ORDER BY seq").fetchall()


class TestRestart:
    async def test_balances_and_unresolved_calls_are_back(self, tmp_path: Path) -> None:
        """D3."""
        till = await worked(tmp_path / "palyra.db")
        before = balances(till.store.ledger.book)
        till.restart()
        assert balances(till.store.ledger.book) == before == balances(replay(till.events()))
        assert [each.id for each in till.store.ledger.pending()] == ["req_4"]
        assert set(till.store.ledger.book.in_doubt) == {"req_3"}
        await assert_books_agree(till)
        till.close()

    async def test_what_was_pending_can_be_resolved_after_it(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.restart()
        till.settle("req_4", 70)
        await assert_books_agree(till)
        assert till.balance().held == 0
        till.restart()
        await assert_books_agree(till)
        till.close()

    @pytest.mark.parametrize("restarts", [0, 1, 2])
    async def test_a_late_settle_corrects_the_rollups_once(self, tmp_path: Path, restarts: int) -> None:
        """L7: what a call in doubt counted for must be known after a restart, too."""
        till = await worked(tmp_path / "palyra.db")
        for _ in range(restarts):
            till.restart()
        till.settle("req_3", 1, tokens=(2, 3))
        await assert_books_agree(till)
        till.restart()
        assert till.store.ledger.book.in_doubt == {}
        till.settle("req_3", 1, tokens=(2, 3))
        await assert_books_agree(till)
        till.close()

    async def test_a_late_settle_of_an_ended_window_leaves_no_wrong_balance_behind(
        self, tmp_path: Path
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.settle("req_4", 1)
        till.clock.advance(2 * DAY_S)
        till.restart()
        assert till.store.ledger.book.accounts == {}
        till.settle("req_3", 1, tokens=(2, 3))
        await till.flush()
        assert till.balance() == EMPTY, "the account of an ended window is not in memory"
        till.close()
        assert verify(tmp_path / "palyra.db").accounts == 2

    async def test_idempotency_keys_survive_it(self, tmp_path: Path) -> None:
        """K1."""
        till = await worked(tmp_path / "palyra.db")
        before = till.store.records.idempotency("alice", "key-1")
        till.restart()
        assert till.store.records.idempotency("alice", "key-1") == before
        till.settle("req_4", 70)
        till.restart()
        entry = till.store.records.idempotency("alice", "key-1")
        assert entry is not None
        assert (entry.request_id, entry.fingerprint, entry.finished) == ("req_4", CLAIM.fingerprint, True)
        till.clock.advance(DAY_S)
        till.restart()
        assert till.store.ledger.claims_kept == 0
        till.close()

    async def test_a_released_key_is_free_after_it(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.release("req_4")
        till.restart()
        assert till.store.records.idempotency("alice", "key-1") is None
        till.close()

    async def test_old_keys_leave_the_file_while_the_daemon_runs(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.settle("req_4", 70)
        till.clock.advance(DAY_S)
        till.reserve("req_5", hold(1), claim=IdempotencyClaim("alice", "key-2", b"\x02" * 32))
        till.reserve("req_6", hold(1))
        await till.flush()
        till.close()
        with edited(tmp_path / "palyra.db") as connection:
            assert connection.execute("SELECT key FROM idempotency").fetchall() == [("key-2",)]

    async def test_the_calibration_of_estimates_survives_it(self, tmp_path: Path) -> None:
        till = Till.on_disk(tmp_path / "palyra.db")
        till.reserve("req_1", hold(1), told_of=decision("req_1", input_bytes=4_000))
        till.settle("req_1", 1, tokens=(1_000, 1))
        till.restart()
        assert till.store.records.input_ratio("stub", "stub-model") == 0.25
        till.close()

    async def test_the_last_instant_floors_the_clock(self, tmp_path: Path) -> None:
        """P3."""
        till = await worked(tmp_path / "palyra.db")
        till.clock.advance(100)
        till.settle("req_4", 1)
        till.clock.advance(-90_000)
        till.restart()
        assert isinstance(till.store, SqliteStore)
        assert till.store.last_instant == NOON + 100 * NANOSECONDS
        till.close()

    async def test_a_journal_that_is_too_long_to_replay_is_restored_from_its_balances(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        before = balances(till.store.ledger.book)
        monkeypatch.setattr("palyra.store.restore.REPLAY_AT_START_MAX", 3)
        till.restart()
        assert balances(till.store.ledger.book) == before
        till.settle("req_4", 7)
        till.settle("req_3", 7)
        await assert_books_agree(till)
        till.close()
        with edited(tmp_path / "palyra.db") as connection:
            connection.execute("UPDATE accounts SET held = 1 WHERE policy_id = 'daily'")
        with pytest.raises(InvariantViolation, match=r"D3.*holds what no reservation explains"):
            Till.on_disk(tmp_path / "palyra.db")

    async def test_a_call_that_runs_for_long_is_found_far_back_in_the_journal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its page is where the start begins to read; what lies before is not read."""
        path = tmp_path / "palyra.db"
        first = Till.on_disk(path)
        for number in range(20):
            first.reserve(f"req_{number:02}", hold(1))
            await first.flush()
            if number != 7:
                first.settle(f"req_{number:02}", 1)
        await first.flush()
        first.close()
        with edited(path) as connection:
            (seq,) = connection.execute("SELECT open_from FROM journal ORDER BY seq DESC").fetchone()
            connection.execute("UPDATE journal SET body = x'00' WHERE seq < ?", (seq,))
        monkeypatch.setattr("palyra.store.restore.REPLAY_AT_START_MAX", 1)
        till = Till.on_disk(path)
        till.decisions = first.decisions
        assert [each.id for each in till.store.ledger.pending()] == ["req_07"]
        stored = await till.store.records.decision("req_07")
        assert stored is not None
        assert stored.state is CallState.PENDING
        till.settle("req_07", 1)
        await till.flush()
        assert till.balance() == Balance(20, 0, 20, 0)
        till.close()

    async def test_what_ended_is_not_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "palyra.db"
        till = Till.on_disk(path)
        for number in range(6):
            till.reserve(f"req_{number}", hold(1))
            await till.flush()
            till.settle(f"req_{number}", 1)
            await till.flush()
        till.close()
        with edited(path) as connection:
            rows = connection.execute("SELECT seq, open_from FROM journal ORDER BY seq").fetchall()
        assert rows == [(seq, seq if seq % 2 else seq - 1) for seq in range(1, 13)]

    async def test_a_new_file_has_no_last_instant(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "new" / "palyra.db", FakeClock().now, asyncio.get_running_loop())
        assert store.last_instant == 0
        store.close()

    async def test_a_clock_that_was_put_back_does_not_bring_ended_windows_back(self, tmp_path: Path) -> None:
        """P3: the accounts restored are those of the last instant on record."""
        till = await worked(tmp_path / "palyra.db")
        till.settle("req_4", 1)
        till.clock.advance(2 * DAY_S)
        tomorrow = account()._replace(window_start=account().window_start + 2 * DAY_S * NANOSECONDS)
        till.reserve("req_5", hold(1, 5, tomorrow, window_end=tomorrow.window_start + DAY_S * NANOSECONDS))
        till.clock.advance(-3 * DAY_S)
        till.restart()
        assert set(till.store.ledger.book.accounts) == {tomorrow}
        till.close()


class TestOwner:
    """S5."""

    async def test_a_second_owner_is_refused_and_told_who_the_first_is(self, tmp_path: Path) -> None:
        till = Till.on_disk(tmp_path / "palyra.db")
        for _ in range(3):
            with pytest.raises(DatabaseLocked, match=r"owned by another palyra process \(pid \d+\).*stop"):
                SqliteStore(tmp_path / "palyra.db", till.clock.now, asyncio.get_running_loop())
        till.reserve("req_1", hold(1))
        await till.flush()
        assert till.errors() == []
        till.close()
        Till.on_disk(tmp_path / "palyra.db").close()

    def test_an_owner_that_was_killed_leaves_no_lock_behind(self, tmp_path: Path) -> None:
        database = tmp_path / "palyra.db"
        hold_it = (
            "import sys, time; from pathlib import Path; from palyra.store.lock import OwnerLock\n"
            "lock = OwnerLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
        )
        for _ in range(3):
            with subprocess.Popen(
                [sys.executable, "-c", hold_it, str(database)], stdout=subprocess.PIPE, text=True
            ) as owner:
                assert owner.stdout is not None
                assert owner.stdout.readline() == "held\n"
                with pytest.raises(DatabaseLocked, match=f"pid {owner.pid}"):
                    OwnerLock(database)
                owner.send_signal(signal.SIGKILL)
            OwnerLock(database).release()

    async def test_a_start_that_fails_gives_the_file_up(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        with edited(tmp_path / "palyra.db") as connection:
            connection.execute("UPDATE accounts SET posted = posted + 1")
        for _ in range(2):
            with pytest.raises(InvariantViolation, match="D3"):
                Till.on_disk(tmp_path / "palyra.db")

    async def test_a_file_that_is_no_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "palyra.db").write_bytes(b"dear diary " * 1_000)
        with pytest.raises(Exception, match="not a database"):
            Till.on_disk(tmp_path / "palyra.db")
        assert (tmp_path / "palyra.db").read_bytes().startswith(b"dear diary")


def flip(connection: sqlite3.Connection, seq: int) -> None:
    (body,) = connection.execute("SELECT body FROM journal WHERE seq = ?", (seq,)).fetchone()
    lines = unpack(body)
    lines[-1] = lines[-1][:-2] + (b"0" if lines[-1][-2:-1] != b"0" else b"1") + lines[-1][-1:]
    connection.execute("UPDATE journal SET body = ? WHERE seq = ?", (Packer().pack(lines), seq))


def split(connection: sqlite3.Connection, seq: int) -> None:
    """One record more in the same bytes, and the page says so."""
    (body,) = connection.execute("SELECT body FROM journal WHERE seq = ?", (seq,)).fetchone()
    lines = unpack(body)
    body = Packer().pack([*lines, lines[0]])
    connection.execute("UPDATE journal SET body = ?, records = records + 1 WHERE seq = ?", (body, seq))


def postdate(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET at = at + 1 WHERE seq = ?", (seq,))


def recount(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET records = records + 1 WHERE seq = ?", (seq,))


def reopen(connection: sqlite3.Connection, seq: int) -> None:
    """Hide from the next start what was pending."""
    connection.execute("UPDATE journal SET open_from = open_from + 1 WHERE seq = ?", (seq,))


def misfile(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET documents = documents + 1 WHERE seq = ?", (seq,))


def shift(connection: sqlite3.Connection, seq: int) -> None:
    """Move a digit from one number to the next: the same digits in a row, another page."""
    connection.execute(
        "UPDATE journal SET records = records * 10 + 1, at = at - 1000000000000000000 WHERE seq = ?", (seq,)
    )


def delete(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("DELETE FROM journal WHERE seq = ?", (seq,))


def close_the_gap(connection: sqlite3.Connection, seq: int) -> None:
    (count,) = connection.execute("SELECT records FROM journal WHERE seq = ?", (seq,)).fetchone()
    delete(connection, seq)
    connection.execute("UPDATE journal SET seq = -seq WHERE seq > ?", (seq,))
    connection.execute("UPDATE journal SET seq = -seq - ? WHERE seq < 0", (count,))


def swap(connection: sqlite3.Connection, seq: int) -> None:
    (after,) = connection.execute("SELECT min(seq) FROM journal WHERE seq > ?", (seq,)).fetchone()
    for old, new in ((seq, -1), (after, seq), (-1, after)):
        connection.execute("UPDATE journal SET seq = ? WHERE seq = ?", (new, old))


def insert(connection: sqlite3.Connection, seq: int) -> None:
    """A page of one record before this one, with everything behind it moved on."""
    connection.execute("UPDATE journal SET seq = -seq - 1 WHERE seq >= ?", (seq,))
    connection.execute("UPDATE journal SET seq = -seq WHERE seq < 0")
    connection.execute(
        "INSERT INTO journal SELECT ?, 1, at, open_from, documents, ?, ? FROM journal WHERE seq = ?",
        (seq, Packer().pack([FORGED]), OTHER_CHAIN, seq + 1),
    )


EDITS = (
    flip,
    split,
    postdate,
    recount,
    reopen,
    misfile,
    shift,
    delete,
    close_the_gap,
    swap,
    insert,
)


class TestAudit:
    """G3."""

    async def test_an_untouched_file_holds_and_tells_its_head(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        audit = verify(tmp_path / "palyra.db")
        with edited(tmp_path / "palyra.db") as connection:
            (head,) = connection.execute("SELECT chain FROM journal ORDER BY seq DESC").fetchone()
        assert (audit.records, audit.head, audit.accounts) == (12, head.hex(), 2)
        assert len(pages_of(tmp_path / "palyra.db")) > 4, "what was told of together was written together"

    @pytest.mark.parametrize("most", [1, 2, 3, 12, 13])
    async def test_it_says_how_far_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        monkeypatch.setattr("palyra.store.restore.RECORDS_PER_WORD", most)
        seen: list[tuple[int, int]] = []
        verify(tmp_path / "palyra.db", lambda done, total: seen.append((done, total)))
        ends = [seq + count - 1 for seq, count in pages_of(tmp_path / "palyra.db")]
        told = [0]
        for end in ends:
            if end >= told[-1] + most:
                told.append(end)
        assert seen == [(done, 12) for done in told[1:]]

    async def test_an_empty_file_holds(self, tmp_path: Path) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        assert tuple(verify(tmp_path / "palyra.db")) == (0, 0, "")

    @pytest.mark.parametrize("edit", EDITS)
    async def test_every_edit_of_any_record_is_found(
        self, tmp_path: Path, edit: Callable[[sqlite3.Connection, int], None]
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        pages = [seq for seq, _ in pages_of(tmp_path / "palyra.db")]
        inside = pages[:-1] if edit in (delete, close_the_gap, swap) else pages
        for seq in inside:
            tampered = tmp_path / f"tampered-{seq}.db"
            shutil.copy(tmp_path / "palyra.db", tampered)
            with edited(tampered) as connection:
                edit(connection, seq)
            with pytest.raises(InvariantViolation, match=f"G3: journal records? {seq} "):
                verify(tampered)

    async def test_a_cut_tail_is_found_by_the_balances_or_by_the_head(self, tmp_path: Path) -> None:
        """A chain cannot see that its end is gone: the stored balances do, and the head kept elsewhere."""
        till = await worked(tmp_path / "palyra.db")
        till.close()
        whole = verify(tmp_path / "palyra.db")
        *_, money, audit, nothing = [seq for seq, _ in pages_of(tmp_path / "palyra.db")]
        with edited(tmp_path / "palyra.db") as connection:
            delete(connection, nothing)
        assert verify(tmp_path / "palyra.db").head != whole.head
        with edited(tmp_path / "palyra.db") as connection:
            delete(connection, audit)
            delete(connection, money)
        with pytest.raises(InvariantViolation, match="D3"):
            verify(tmp_path / "palyra.db")

    @pytest.mark.parametrize("figure", ["posted", "held", "shadow_posted", "shadow_held"])
    async def test_a_changed_balance_is_found_by_the_audit_and_at_the_start(
        self, tmp_path: Path, figure: str
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        with edited(tmp_path / "palyra.db") as connection:
            connection.execute(f"UPDATE accounts SET {figure} = {figure} - 1 WHERE policy_id = 'daily'")
        with pytest.raises(InvariantViolation, match=r"D3.*daily"):
            verify(tmp_path / "palyra.db")
        with pytest.raises(InvariantViolation, match=r"D3.*daily"):
            Till.on_disk(tmp_path / "palyra.db")

    @pytest.mark.parametrize(
        "edit",
        [
            "DELETE FROM accounts WHERE policy_id = 'daily'",
            "DELETE FROM journal WHERE seq >= (SELECT max(open_from) FROM journal)",
        ],
    )
    async def test_a_missing_row_stops_the_start(self, tmp_path: Path, edit: str) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        with edited(tmp_path / "palyra.db") as connection:
            connection.execute(edit)
        with pytest.raises(InvariantViolation, match="D3"):
            Till.on_disk(tmp_path / "palyra.db")


class TestSchema:
    async def test_a_new_and_an_existing_file_are_brought_to_the_same_schema(self, tmp_path: Path) -> None:
        path = tmp_path / "palyra.db"
        SqliteStore(path, FakeClock().now, asyncio.get_running_loop()).close()
        with edited(path) as connection:
            schema = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        till = await worked(path)
        till.close()
        with edited(path) as connection:
            assert (
                connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == schema
            )
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0010",)]

    async def test_a_file_that_another_tool_began_is_completed(self, tmp_path: Path) -> None:
        with edited(tmp_path / "palyra.db") as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
        till = await worked(tmp_path / "palyra.db")
        await assert_books_agree(till)
        till.close()

    async def test_a_first_start_that_breaks_off_leaves_nothing_half_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The schema is made in one transaction: the next start finds all of it or nothing."""
        path = tmp_path / "palyra.db"

        def broken(connection: Connection) -> None:
            upgrade(connection)
            raise OSError("the process died here")

        monkeypatch.setattr("palyra.store.migrate.upgrade", broken)
        with pytest.raises(OSError, match="died here"):
            SqliteStore(path, FakeClock().now, asyncio.get_running_loop())
        monkeypatch.undo()
        with edited(path) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        till = await worked(path)
        await assert_books_agree(till)
        till.close()

    @pytest.mark.parametrize(
        ("question", "index"),
        [
            ("open_approvals", "approvals_open"),
            ("open_alerts", "alerts_firing"),
            ("due_notices", "notices_due"),
        ],
    )
    async def test_what_is_asked_again_and_again_is_found_by_an_index(
        self, tmp_path: Path, question: str, index: str
    ) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        with edited(tmp_path / "palyra.db") as connection:
            asked = sql.READ[question]
            plan = connection.execute(f"EXPLAIN QUERY PLAN {asked}", (1,) * asked.count("?")).fetchall()
            assert index in plan[0][3]

    async def test_the_calls_to_resolve_at_the_start_are_found_by_an_index(self, tmp_path: Path) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        with edited(tmp_path / "palyra.db") as connection:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql.IN_DOUBT}").fetchall()
            assert "decisions_in_doubt" in plan[0][3]


def test_what_has_no_json_form_is_never_stored_as_something_else() -> None:
    with pytest.raises(NotImplementedError, match="object has no JSON form"):
        encode(object())


async def test_many_changes_share_few_transactions(tmp_path: Path) -> None:
    """Group commit: what waits together is written together."""
    till = Till.on_disk(tmp_path / "palyra.db")
    with edited(tmp_path / "palyra.db") as connection:
        connection.execute("CREATE TABLE commits (seq INTEGER)")
        connection.execute(
            "CREATE TRIGGER counted AFTER INSERT ON journal BEGIN INSERT INTO commits VALUES (new.seq); END"
        )
    for number in range(2_000):
        till.reserve(f"req_{number:04}", hold(1))
    await till.flush()
    await assert_books_agree(till)
    till.close()
    with edited(tmp_path / "palyra.db") as connection:
        (commits,) = connection.execute("SELECT count(*) FROM commits").fetchone()
    assert commits < 50
    assert len(journal_events(tmp_path / "palyra.db")) == 2_000


async def test_what_one_turn_of_the_loop_brings_is_one_page(tmp_path: Path) -> None:
    till = Till.on_disk(tmp_path / "palyra.db")
    for number in range(64):
        till.reserve(f"req_{number:02}", hold(1))
    await till.flush()
    for number in range(64):
        till.settle(f"req_{number:02}", 1)
    await till.flush()
    till.close()
    assert pages_of(tmp_path / "palyra.db") == [(1, 64), (65, 64)]


async def test_a_change_that_comes_too_late_does_not_split_the_commit_it_is_in(tmp_path: Path) -> None:
    till = Till.on_disk(tmp_path / "palyra.db")
    records = till.store.records
    await records.save_approval(first := approval(), None)
    await records.save_approval(decided(first), None)
    saving = [asyncio.create_task(records.save_approval(decided(first), None)) for _ in range(20)]
    await asyncio.sleep(0)
    for number in range(30):
        till.reserve(f"req_{number}", hold(1))
    outcomes = await asyncio.gather(*saving, return_exceptions=True)
    assert all(map(is_superseded, outcomes))
    await till.flush()
    till.close()
    assert [records for _, records in pages_of(tmp_path / "palyra.db")] == [30]


async def test_a_write_does_not_wait_for_ever_for_others(tmp_path: Path) -> None:
    """V2: although every turn of the loop brings one more."""
    till = Till.on_disk(tmp_path / "palyra.db")
    made = 0
    while not till.told:
        till.reserve(f"req_{made}", hold(1))
        made += 1
        await asyncio.sleep(0)
    await till.flush()
    await assert_books_agree(till)
    till.close()
    assert pages_of(tmp_path / "palyra.db")[0][1] < BATCH_MAX, "it was not the size that ended the wait"


async def test_a_call_that_ends_while_it_is_looked_for_is_listed_once(tmp_path: Path) -> None:
    till = Till.on_disk(tmp_path / "palyra.db")
    till.reserve("req_1", hold(1))
    await till.flush()
    (running,) = await till.store.records.decisions(DecisionFilter())
    till.settle("req_1", 1)
    await till.flush()
    (ended,) = await till.store.records.decisions(DecisionFilter())
    till.close()
    assert newest(DecisionFilter(), [running], [ended]) == [ended]


async def test_a_reader_sees_a_call_as_soon_as_it_is_told_of(tmp_path: Path) -> None:
    """D1: what was told is on disk."""
    till = Till.on_disk(tmp_path / "palyra.db", FakeClock())
    for number in range(20):
        till.reserve(f"req_{number}", hold(1))
        await till.flush()
        stored = await till.store.records.decision(f"req_{number}")
        assert stored is not None
        assert stored.state is CallState.PENDING
        assert len(journal_events(tmp_path / "palyra.db")) == number + 1
    assert till.balance() == Balance(0, 20, 0, 20)
    till.close()


def test_the_revision_that_needs_no_migration_is_the_newest_one() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD
