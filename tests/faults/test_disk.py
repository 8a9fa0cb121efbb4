"""C2, C3: the disk of the ledger is full, fails for good, or fails at its n-th statement."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.records import FakeClock
from fakes.till import (
    Till,
    account,
    assert_books_agree,
    balances,
    decision,
    hold,
    journal_events,
    stored_balances,
)
from palyra.core.errors import LedgerUnavailable
from palyra.ledger.account import EMPTY, Balance
from palyra.ledger.book import Book, replay
from palyra.ledger.event import LedgerEvent, kind_of
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import AuditEntry, IdempotencyClaim
from palyra.store.commit import Committer
from palyra.store.ledger import JournaledLedger
from palyra.store.reader import Reader
from palyra.store.sqlite import SqliteRecords, SqliteStore, verify
from palyra.store.writer import FATAL_CODES, Writer

CLAIM = IdempotencyClaim("alice", "key-1", b"\x01" * 32)
OTHER = account("monthly", "*")
AUDIT = AuditEntry("policy.deleted", "none", "key-1", None, None)

Fault = Callable[[str], sqlite3.Error | None]


class FaultyConnection(sqlite3.Connection):
    """Statements fail when told: ``before`` and ``after`` are asked for an error around each one."""

    before: Fault | None = None
    after: Fault | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Fail, do it, or do it and then fail."""
        self._ask(self.before, sql)
        cursor = super().execute(sql, parameters)
        self._ask(self.after, sql)
        return cursor

    @staticmethod
    def _ask(fault: Fault | None, sql: str) -> None:
        error = fault(sql) if fault is not None else None
        if error is not None:
            raise error


class FaultyStore:
    """The ledger and the records of a SQLite file, whose one writer's connection can be made to fail."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=FaultyConnection
        )
        # Statements fail here, the power does not: nothing hangs on what the disk has by then.
        self.connection.execute("PRAGMA synchronous=OFF")
        loop = asyncio.get_running_loop()
        book = Book()
        self.writer = Writer(Committer(self.connection, ()), book, loop)
        self.ledger = JournaledLedger(self.writer, book)
        self._reader = Reader(path, loop)
        self.records = SqliteRecords(self.writer, self.ledger, clock.now, self._reader)
        self.writer.start()

    def fill_the_disk(self) -> None:
        """From now on the file may not grow."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        self.connection.execute(f"PRAGMA max_page_count = {pages}")

    def make_room(self) -> None:
        """The disk is large and healthy again."""
        self.connection.before = self.connection.after = None
        self.connection.execute("PRAGMA max_page_count = 1073741823")

    def close(self) -> None:
        """Stop the writer and the readers."""
        self.writer.close()
        self._reader.close()


class FaultyTill(Till):
    """A till on a FaultyStore."""

    @property
    def disk(self) -> FaultyStore:
        """The store, as what it is."""
        return cast("FaultyStore", self.store)


def open_faulty(path: Path) -> FaultyTill:
    """A till on a new file (or a copy of an empty one)."""
    if not path.exists():
        Till.on_disk(path).close()
    clock = FakeClock()
    return FaultyTill(cast("SqliteStore", FaultyStore(path, clock)), clock, path)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that tries again at once."""
    monkeypatch.setattr("palyra.store.writer.RETRY_S", 0.0005)


@pytest.fixture
async def till(tmp_path: Path) -> AsyncIterator[FaultyTill]:
    made = open_faulty(tmp_path / "palyra.db")
    yield made
    made.close()


async def until(condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 (the condition is another thread's)
            await asyncio.sleep(0.001)


async def fill_up(till: FaultyTill) -> int:
    """Reserve on a disk without room until a call is turned away; returns how many were not.

    Then the last gaps are filled with the smallest record, so that no settlement fits either.
    """
    await till.flush()
    till.disk.fill_the_disk()
    fitted = 0
    while not till.errors():
        till.reserve(f"fill_{fitted:03}", hold(1))
        await till.flush()
        fitted += 1
        assert fitted < 1_000, "the disk was never full"
    with suppress(LedgerUnavailable):
        for _ in range(1_000):
            await till.store.records.delete_policy("none", AUDIT)
    return fitted - 1


def disk_error(code: int = sqlite3.SQLITE_IOERR, text: str = "disk I/O error") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def failing_at(statement: str, error: Exception) -> Fault:
    return lambda sql: cast("sqlite3.Error", error) if sql.strip().startswith(statement) else None


class TestFull:
    """New calls are turned away, what was spent is kept, and all is well again when there is room."""

    async def test_a_reservation_fails_and_is_undone(self, till: FaultyTill) -> None:
        fitted = await fill_up(till)
        assert [str(error) for error in till.errors()] == [
            "the ledger cannot be written: database or disk is full"
        ]
        assert isinstance(till.errors()[0], LedgerUnavailable)
        assert till.balance() == Balance(0, fitted, 0, fitted)
        assert len(till.store.ledger.pending()) == fitted
        till.reserve("req_1", hold(5), hold(7, None, OTHER), claim=CLAIM)
        await till.flush()
        assert till.balance(OTHER) == EMPTY
        assert till.store.records.idempotency("alice", "key-1") is None, "K1: the key is free again"
        assert await till.store.records.decision("req_1") is None, "nor is there a call"
        till.disk.make_room()
        till.reserve("req_2", hold(5), claim=CLAIM)
        await assert_books_agree(till)
        assert till.told[-1].error is None

    async def test_a_settlement_is_kept_and_told_of_when_there_is_room(self, till: FaultyTill) -> None:
        till.reserve("req_1", hold(100), claim=CLAIM)
        fitted = await fill_up(till)
        told = len(till.told)
        till.settle("req_1", 60)
        await until(lambda: not till.disk.writer.accepts())
        assert len(till.told) == told, "D2: not told before it is on disk"
        assert till.balance() == Balance(60, fitted, 60, fitted), "the money is spent all the same"
        with pytest.raises(LedgerUnavailable):
            till.reserve("req_2", hold(1))
        assert till.balance().held == fitted
        till.disk.make_room()
        await till.flush()
        assert [(each.change, each.error) for each in till.told[told:]] == [("settle", None)]
        await until(till.disk.writer.accepts)
        assert till.reserve("req_3", hold(1)) is None
        await assert_books_agree(till)

    async def test_everything_essential_is_kept_in_its_order(self, till: FaultyTill) -> None:
        for number in range(30):
            till.reserve(f"req_{number}", hold(100), hold(9, None, OTHER))
        await till.flush()
        await fill_up(till)
        told = len(till.told)
        for number in range(30):
            till.expire(f"req_{number}", cost=100)
            await asyncio.sleep(0)
        for number in range(0, 30, 2):
            till.settle(f"req_{number}", 60)
        for fill in till.store.ledger.pending():
            till.release(fill.id)
        await until(lambda: not till.disk.writer.accepts())
        till.disk.make_room()
        await till.flush()
        changes = [each for each in till.told[told:] if each.request_id.startswith("req")]
        assert [each.change for each in changes] == ["expire"] * 30 + ["settle"] * 15
        assert all(each.error is None for each in changes)
        assert till.balance().held == 0, "V1"
        await assert_books_agree(till)

    async def test_what_was_kept_is_stored_with_the_next_batch_on_accounts_of_its_own(
        self, till: FaultyTill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("palyra.store.writer.RETRY_S", 3_600)
        till.reserve("req_1", hold(100, None, OTHER))
        till.reserve("req_2", hold(100))
        await till.flush()
        till.disk.connection.before = NthStatement(1, FULL, persistent=False)
        till.settle("req_1", 60)
        await until(lambda: not till.disk.writer.accepts())
        till.settle("req_2", 70)
        await till.flush()
        assert till.errors() == []
        assert (till.balance(OTHER).posted, till.balance().posted) == (60, 70)
        await assert_books_agree(till)

    async def test_a_change_of_rules_fails(self, till: FaultyTill) -> None:
        await fill_up(till)
        with pytest.raises(LedgerUnavailable, match="full"):
            await till.store.records.delete_policy("none", AUDIT)
        till.disk.make_room()
        await till.store.records.delete_policy("none", AUDIT)

    async def test_a_denial_is_not_kept_and_does_no_harm(self, till: FaultyTill) -> None:
        await fill_up(till)
        for number in range(50):
            till.store.records.record_denial(decision(f"denied_{number}", outcome="deny"))
        till.disk.make_room()
        till.reserve("req_1", hold(1))
        await assert_books_agree(till)

    async def test_closing_ends_and_leaves_the_rest_to_the_next_start(self, till: FaultyTill) -> None:
        """V2: what cannot be written is pending at the next start, and in doubt from then on."""
        till.reserve("req_1", hold(100), claim=CLAIM)
        await fill_up(till)
        till.settle("req_1", 60)
        await asyncio.wait_for(asyncio.to_thread(till.close), 60)
        await till.flush()
        assert till.told[-1].change == "settle"
        assert isinstance(till.told[-1].error, LedgerUnavailable)
        assert till.path is not None
        again = Till.on_disk(till.path)
        again.decisions = till.decisions
        assert "req_1" in {each.id for each in again.store.ledger.pending()}
        for each in again.store.ledger.pending():
            again.expire(each.id)
        await assert_books_agree(again)
        assert again.balance().held == 0
        assert again.balance().posted >= 100, "never less than what was spent"
        again.close()


class TestBroken:
    """After a failed fsync nobody knows what is stored: nothing is acknowledged any more."""

    @pytest.mark.parametrize("code", sorted(FATAL_CODES))
    @pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO journal", "INSERT INTO accounts", "COMMIT"])
    async def test_the_ledger_takes_and_acknowledges_nothing_more(
        self, till: FaultyTill, statement: str, code: int
    ) -> None:
        till.reserve("req_1", hold(100))
        till.reserve("req_2", hold(100))
        await till.flush()
        extended = code | (1 << 8)
        till.disk.connection.before = failing_at(statement, disk_error(extended))
        till.settle("req_1", 60)
        await till.flush()
        assert isinstance(till.told[-1].error, LedgerUnavailable)
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert stored.state is CallState.PENDING, "its end is on no disk"
        assert till.disk.writer.poisoned
        assert not till.disk.writer.accepts()
        till.disk.connection.before = None
        with pytest.raises(LedgerUnavailable):
            till.reserve("req_3", hold(1))
        till.settle("req_2", 60)
        till.settle("req_1", 60)
        await till.flush()
        assert len(till.errors()) == 3, "a later success must not be told of, although the disk is well again"
        await self.assert_the_next_start_is_right(till, {"req_1", "req_2"})

    async def test_a_commit_of_which_nobody_knows_is_not_acknowledged(self, till: FaultyTill) -> None:
        till.reserve("req_1", hold(100))
        await till.flush()
        till.disk.connection.after = failing_at("COMMIT", disk_error())
        till.reserve("req_2", hold(100))
        await till.flush()
        assert len(till.errors()) == 1
        assert till.balance() == Balance(0, 100, 0, 100)
        await self.assert_the_next_start_is_right(till, {"req_1", "req_2"})

    async def test_a_commit_stores_the_balances_of_its_own_batch(
        self, till: FaultyTill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More writes wait than one commit takes, and the disk breaks after the first."""
        monkeypatch.setattr("palyra.store.writer.BATCH_MAX", 4)
        commits = 0

        def fault(sql: str) -> sqlite3.Error | None:
            nonlocal commits
            commits += sql == "COMMIT"
            return disk_error() if commits > 1 else None

        till.disk.connection.before = fault
        for number in range(10):
            till.reserve(f"req_{number}", hold(1))
        await till.flush()
        assert [each.error is None for each in till.told] == [True] * 4 + [False] * 6
        await self.assert_the_next_start_is_right(till, {f"req_{number}" for number in range(4)})

    async def test_a_rollback_that_fails_is_the_end(self, till: FaultyTill) -> None:
        full = disk_error(sqlite3.SQLITE_FULL, "database or disk is full")

        def fault(sql: str) -> sqlite3.Error | None:
            return full if sql.startswith(("COMMIT", "ROLLBACK")) else None

        till.disk.connection.before = fault
        till.reserve("req_1", hold(100))
        await till.flush()
        assert till.disk.writer.poisoned
        await self.assert_the_next_start_is_right(till, set())

    @staticmethod
    async def assert_the_next_start_is_right(till: FaultyTill, pending: set[str]) -> None:
        till.disk.connection.before = till.disk.connection.after = None
        till.close()
        assert till.path is not None
        verify(till.path)
        again = Till.on_disk(till.path)
        assert {each.id for each in again.store.ledger.pending()} == pending
        await assert_books_agree(again)
        again.close()


class TestOneBadWrite:
    """What cannot be stored for its own sake must not take the other calls down."""

    async def test_only_the_bad_reservation_fails(self, till: FaultyTill) -> None:
        till.reserve("req_1", hold(1))
        till.reserve("bad", hold(1), told_of=decision("bad", session="\ud800"))
        till.reserve("req_2", hold(1))
        await till.flush()
        assert [(each.request_id, each.error is None) for each in till.told] == [
            ("req_1", True),
            ("bad", False),
            ("req_2", True),
        ]
        assert till.disk.writer.accepts()
        till.settle("req_1", 1)
        await assert_books_agree(till)

    async def test_an_id_that_is_used_again_stops_nobody(self, till: FaultyTill) -> None:
        """Ids are unique; if one is not, the money of both calls is in the journal and in the balances."""
        till.reserve("req_1", hold(1))
        till.settle("req_1", 1)
        await till.flush()
        till.reserve("req_2", hold(1))
        till.reserve("req_1", hold(7))
        till.settle("req_2", 1)
        till.settle("req_1", 5)
        await till.flush()
        assert till.errors() == []
        assert till.path is not None
        assert (
            balances(replay(till.events())) == stored_balances(till.path) == {account(): Balance(7, 0, 7, 0)}
        )

    @pytest.mark.parametrize("amount", [2**62, 2**70])
    async def test_an_amount_that_cannot_be_stored_exactly_stops_the_ledger(
        self, till: FaultyTill, amount: int
    ) -> None:
        """It would become a float or be lost; its call is in doubt at the next start instead."""
        till.reserve("req_1", hold(1))
        till.reserve("req_2", hold(1))
        await till.flush()
        till.settle("req_1", amount)
        till.settle("req_2", amount)
        await till.flush()
        assert till.told[-1].error is not None
        assert till.disk.writer.poisoned
        till.close()
        assert till.path is not None
        verify(till.path)
        again = Till.on_disk(till.path)
        unresolved = {each.id for each in again.store.ledger.pending()}
        assert unresolved == {each.request_id for each in till.told if each.error}
        again.close()

    async def test_a_full_disk_in_the_middle_keeps_the_order(self, till: FaultyTill) -> None:
        till.reserve("req_1", hold(1))
        till.reserve("req_2", hold(1))
        await till.flush()
        commits = 0

        def fault(sql: str) -> sqlite3.Error | None:
            nonlocal commits
            commits += sql == "COMMIT"
            return FULL if sql == "COMMIT" and commits == 1 else None

        till.disk.connection.before = fault
        till.reserve("bad", hold(1), told_of=decision("bad", session="\ud800"))
        till.expire("req_1")
        till.settle("req_1", 5)
        till.settle("req_2", 5)
        await till.flush()
        assert [each.request_id for each in till.told if each.error] == ["bad"]
        await assert_books_agree(till)


async def test_what_comes_after_the_close_fails_at_once(till: FaultyTill) -> None:
    till.reserve("req_1", hold(1))
    await till.flush()
    till.close()
    till.settle("req_1", 1)
    await till.flush()
    assert isinstance(till.told[-1].error, LedgerUnavailable)
    with pytest.raises(LedgerUnavailable):
        till.reserve("req_2", hold(1))


class NthStatement:
    """Fails the n-th statement; ``persistent``: and all later ones, the rollback excepted."""

    def __init__(self, nth: int, error: sqlite3.Error, *, persistent: bool) -> None:
        self.left = nth
        self.struck = False
        self._error = error
        self._persistent = persistent

    def __call__(self, sql: str) -> sqlite3.Error | None:
        """Count one statement."""
        self.left -= 1
        strikes = self.left == 0 or (self._persistent and self.left < 0 and sql != "ROLLBACK")
        self.struck |= strikes
        return self._error if strikes else None


FULL = disk_error(sqlite3.SQLITE_FULL, "database or disk is full")
BUSY = disk_error(sqlite3.SQLITE_BUSY, "database is locked")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
@pytest.mark.parametrize("error", [FULL, BUSY, disk_error()], ids=["full", "busy", "ioerr"])
async def test_a_fault_at_any_statement_leaves_no_wrong_balance(
    tmp_path: Path, error: sqlite3.Error, persistent: bool, moment: str
) -> None:
    """C2: fail the n-th statement, n = 1, 2, ... until a run has no fault."""
    Till.on_disk(tmp_path / "empty.db").close()
    for nth in range(1, 200):
        path = tmp_path / f"{nth}.db"
        shutil.copy(tmp_path / "empty.db", path)
        fault = NthStatement(nth, error, persistent=persistent)
        till = open_faulty(path)
        setattr(till.disk.connection, moment, fault)
        await story(till)
        await asyncio.to_thread(till.close)
        await till.flush()
        await assert_nothing_is_wrong(till, path)
        if not fault.struck:
            break
    else:
        raise AssertionError("the story never ran without a fault")
    assert nth > 20, "the story has too few statements to fail"


async def story(till: FaultyTill) -> None:
    """Calls of every kind, in three groups, on two accounts."""
    for number in range(4):
        attempt(till, f"req_{number}", claim=CLAIM if number == 0 else None)
    await till.flush()
    alive = {each.id for each in till.store.ledger.pending()}
    for number, change in enumerate((till.settle, till.settle)):
        if f"req_{number}" in alive:
            change(f"req_{number}", 60 + number)
    if "req_2" in alive:
        till.release("req_2")
    if "req_3" in alive:
        till.expire("req_3", cost=100)
    attempt(till, "req_4")
    await asyncio.sleep(0.01)
    if "req_3" in alive:
        till.settle("req_3", 70)
    attempt(till, "req_5")
    await asyncio.sleep(0.01)


def attempt(till: FaultyTill, request_id: str, claim: IdempotencyClaim | None = None) -> None:
    try:
        till.reserve(request_id, hold(100, 1_000), hold(30, None, OTHER), claim=claim)
    except LedgerUnavailable:
        till.decisions.pop(request_id)


async def assert_nothing_is_wrong(till: FaultyTill, path: Path) -> None:
    """After any fault: the file holds, every acknowledgement is in it, and nothing stays held."""
    verify(path)
    journal = [(kind_of(event).value, event.id) for event in journal_events(path)]
    assert len(set(journal)) == len(journal), "no change is stored twice"
    acknowledged = [(each.change, each.request_id) for each in till.told if each.error is None]
    assert set(acknowledged) <= set(journal), "D1, D2: what was acknowledged is on disk"
    again = Till.on_disk(path)
    again.decisions = till.decisions
    assert balances(again.store.ledger.book) == stored_balances(path)
    for each in again.store.ledger.pending():
        again.expire(each.id, cost=100)
    await assert_books_agree(again)
    assert again.balance().held == again.balance(OTHER).held == 0, "V1"
    spent = {each.id: each for each in journal_events(path)}
    assert again.balance().posted == sum(posted_for(event) for event in spent.values())
    again.close()


def posted_for(last: LedgerEvent) -> int:
    """What the last event of a call leaves posted on the usual account."""
    match kind_of(last).value:
        case "settle":
            return {"req_0": 60, "req_1": 61, "req_3": 70}[last.id]
        case "expire":
            return 100
        case _:
            return 0
