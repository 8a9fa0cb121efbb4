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
from fakes.till import Till, account, assert_books_agree, balances, decision, hold, journal_events
from palyra.core.instant import NANOSECONDS
from palyra.core.invariant import InvariantViolation
from palyra.ledger.account import EMPTY, Balance
from palyra.ledger.book import replay
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import AuditEntry, IdempotencyClaim
from palyra.store import migrate, sql
from palyra.store.codec import encode
from palyra.store.lock import DatabaseLocked, OwnerLock
from palyra.store.migrate import upgrade
from palyra.store.sqlite import SqliteStore, verify

AGENT = account("per-agent", "nightly", "total_tokens")
CLAIM = IdempotencyClaim("alice", "key-1", b"\x01" * 32)
DAY_S = 24 * 3600
OTHER_CHAIN = "0" * 64


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
    for number, change in enumerate((till.settle, till.settle)):
        till.reserve(f"req_{number}", hold(100, 10_000), hold(30, None, AGENT), claim=None)
        change(f"req_{number}", 60 + number)
    till.reserve("req_2", hold(100, 10_000))
    till.release("req_2")
    till.reserve("req_3", hold(100, 10_000), hold(30, None, AGENT))
    till.expire("req_3", cost=100)
    till.reserve("req_4", hold(100, 10_000), hold(30, 400, AGENT), claim=CLAIM)
    await till.store.records.delete_policy("none", AuditEntry("policy.deleted", "none", "key-1", None, None))
    await till.flush()
    return till


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
        monkeypatch.setattr("palyra.store.sqlite.REPLAY_AT_START_MAX", 3)
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

    async def test_a_new_file_has_no_last_instant(self, tmp_path: Path) -> None:
        till = Till.on_disk(tmp_path / "new" / "palyra.db")
        assert isinstance(till.store, SqliteStore)
        assert till.store.last_instant == 0
        till.close()

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
    changed = body[:-2] + ("0" if body[-2] != "0" else "1") + body[-1]
    connection.execute("UPDATE journal SET body = ? WHERE seq = ?", (changed, seq))


def postdate(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET at = at + 1 WHERE seq = ?", (seq,))


def rename(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET ref = ref || 'x' WHERE seq = ?", (seq,))


def reword(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET kind = kind || 'x' WHERE seq = ?", (seq,))


def shift(connection: sqlite3.Connection, seq: int) -> None:
    """Move a character from one field to the next: the same bytes in a row, another record."""
    connection.execute(
        "UPDATE journal SET kind = kind || substr(ref, 1, 1), ref = substr(ref, 2) WHERE seq = ?", (seq,)
    )


def delete(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("DELETE FROM journal WHERE seq = ?", (seq,))


def close_the_gap(connection: sqlite3.Connection, seq: int) -> None:
    delete(connection, seq)
    connection.execute("UPDATE journal SET seq = -seq WHERE seq > ?", (seq,))
    connection.execute("UPDATE journal SET seq = -seq - 1 WHERE seq < 0")


def swap(connection: sqlite3.Connection, seq: int) -> None:
    for before, after in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
        connection.execute("UPDATE journal SET seq = ? WHERE seq = ?", (after, before))


def insert(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE journal SET seq = -seq - 1 WHERE seq >= ?", (seq,))
    connection.execute("UPDATE journal SET seq = -seq WHERE seq < 0")
    connection.execute(
        "INSERT INTO journal SELECT ?, at, kind, ref, body, ? FROM journal WHERE seq = ?",
        (seq, OTHER_CHAIN, seq + 1),
    )


EDITS = (flip, postdate, rename, reword, shift, delete, close_the_gap, swap, insert)


class TestAudit:
    """G3."""

    async def test_an_untouched_file_holds_and_tells_its_head(self, tmp_path: Path) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        audit = verify(tmp_path / "palyra.db")
        with edited(tmp_path / "palyra.db") as connection:
            records, head = connection.execute("SELECT seq, chain FROM journal ORDER BY seq DESC").fetchone()
        assert (audit.records, audit.head, audit.accounts) == (records, head, 2)

    @pytest.mark.parametrize("page", [1, 2, 3, 10, 11])
    async def test_a_long_journal_is_read_in_pages(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        whole = verify(tmp_path / "palyra.db")
        monkeypatch.setattr("palyra.store.sqlite._PAGE", page)
        seen: list[tuple[int, int]] = []
        assert verify(tmp_path / "palyra.db", lambda done, total: seen.append((done, total))) == whole
        expected = [(done, whole.records) for done in range(page, whole.records + 1, page)]
        assert seen == expected
        again = Till.on_disk(tmp_path / "palyra.db")
        await assert_books_agree(again)
        again.close()

    async def test_an_empty_file_holds(self, tmp_path: Path) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        assert tuple(verify(tmp_path / "palyra.db")) == (0, 0, "")

    @pytest.mark.parametrize("edit", EDITS)
    async def test_every_edit_of_any_record_is_found(
        self, tmp_path: Path, edit: Callable[[sqlite3.Connection, int], None]
    ) -> None:
        till = await worked(tmp_path / "palyra.db")
        till.close()
        last = verify(tmp_path / "palyra.db").records
        inside = range(1, last) if edit in (delete, close_the_gap, swap) else range(1, last + 1)
        for seq in inside:
            tampered = tmp_path / f"tampered-{seq}.db"
            shutil.copy(tmp_path / "palyra.db", tampered)
            with edited(tampered) as connection:
                edit(connection, seq)
            with pytest.raises(InvariantViolation, match=f"G3: journal record {seq} "):
                verify(tampered)

    async def test_a_cut_tail_is_found_by_the_balances_or_by_the_head(self, tmp_path: Path) -> None:
        """A chain cannot see that its end is gone: the stored balances do, and the head kept elsewhere."""
        till = await worked(tmp_path / "palyra.db")
        till.close()
        whole = verify(tmp_path / "palyra.db")
        with edited(tmp_path / "palyra.db") as connection:
            delete(connection, whole.records)
        assert verify(tmp_path / "palyra.db").head != whole.head
        with edited(tmp_path / "palyra.db") as connection:
            delete(connection, whole.records - 1)
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
            "UPDATE decisions SET state = 'settled', reservation = NULL WHERE request_id = 'req_4'",
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
        Till.on_disk(path).close()
        with edited(path) as connection:
            schema = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        till = await worked(path)
        till.close()
        with edited(path) as connection:
            assert (
                connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == schema
            )
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]

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
            Till.on_disk(path)
        monkeypatch.undo()
        with edited(path) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        till = await worked(path)
        await assert_books_agree(till)
        till.close()

    async def test_the_calls_to_resolve_at_the_start_are_found_by_an_index(self, tmp_path: Path) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        with edited(tmp_path / "palyra.db") as connection:
            for query in (sql.UNRESOLVED, sql.IN_DOUBT):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
                assert "decisions_unresolved" in plan[0][3]


def test_what_has_no_json_form_is_never_stored_as_something_else() -> None:
    with pytest.raises(NotImplementedError, match="object has no JSON form"):
        encode(object())


async def test_many_changes_share_few_transactions(tmp_path: Path) -> None:
    """Group commit: what waits together is written together."""
    till = Till.on_disk(tmp_path / "palyra.db")
    with edited(tmp_path / "palyra.db") as connection:
        connection.execute("CREATE TABLE commits (seq INTEGER)")
        connection.execute(
            "CREATE TRIGGER counted AFTER UPDATE ON accounts WHEN new.policy_id = 'daily' "
            "BEGIN INSERT INTO commits VALUES (new.posted); END"
        )
    for number in range(2_000):
        till.reserve(f"req_{number:04}", hold(1))
    await till.flush()
    await assert_books_agree(till)
    till.close()
    with edited(tmp_path / "palyra.db") as connection:
        (commits,) = connection.execute("SELECT count(*) FROM commits").fetchone()
    assert commits < 200, "a hot account is one row in each commit"
    assert len(journal_events(tmp_path / "palyra.db")) == 2_000


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
