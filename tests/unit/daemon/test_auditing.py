"""The journal is checked and exported while it is written, and nothing of that has to wait."""

import asyncio
import io
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.records import NOON
from fakes.till import Till, account, hold
from harness.daemon import eventually
from harness.postgres import new_database, rows
from palyra.config.settings import SharedDatabase
from palyra.core.errors import LedgerUnavailable, Overloaded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.daemon import auditing
from palyra.daemon.auditing import Auditor
from palyra.lifecycle.ports import AuditEntry
from palyra.store import auditing as parts
from palyra.store.export import Request as ExportRequest
from palyra.store.export import check_export, export_file


@pytest.fixture
async def till(tmp_path: Path) -> AsyncIterator[Till]:
    made = Till.on_disk(tmp_path / "palyra.db")
    yield made
    await made.leave()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "palyra.db"


async def spend(till: Till, first: int, calls: int, entities: int = 5) -> None:
    for number in range(first, first + calls):
        till.reserve(f"req_{number:05}", hold(10, key=account("daily", f"p{number % entities}")))
        till.settle(f"req_{number:05}", 7)
        if number % 20 == 0:
            await till.flush()
            till.clock.advance(1)
    await till.flush()


async def all_of(auditor: Auditor, since: Instant | None = None, until: Instant | None = None) -> bytes:
    return b"".join([chunk async for chunk in auditor.export(NOON, since, until)])


async def free(auditor: Auditor) -> None:
    """Wait until nothing runs."""

    def is_free() -> bool:
        return not (auditor._verifying or auditor._exporting)  # pyright: ignore[reportPrivateUsage]

    await eventually(is_free, "an auditor that is free", 30.0)


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], threading.Event]:
    """The sizes of the lines that an export writes, and whether it waits for its client."""
    written, waits = list[int](), threading.Event()
    outlet = auditing._Outlet  # pyright: ignore[reportPrivateUsage]
    write, flush = outlet.write, outlet.flush

    def noted(self: Any, line: bytes) -> None:
        written.append(len(line))
        write(self, line)

    def noticed(self: Any) -> None:
        if self._room._value == 0:
            waits.set()
        flush(self)

    monkeypatch.setattr(outlet, "write", noted)
    monkeypatch.setattr(outlet, "flush", noticed)
    return written, waits


async def to_its_end(reading: AsyncGenerator[bytes]) -> None:
    async for _ in reading:
        pass


async def test_a_journal_holds_while_it_is_written(till: Till, path: Path) -> None:
    await spend(till, 0, 100)
    till.reserve("open", hold(5))
    await till.flush()
    auditor = Auditor(path)

    checking = asyncio.create_task(auditor.verify())
    await spend(till, 100, 50)
    during = await checking
    after = await auditor.verify()

    assert during.flaw is None
    assert 201 <= during.records <= after.records == 301
    assert (after.accounts, len(after.head), after.flaw) == (6, 64, None)
    till.release("open")
    auditor.stop()


async def test_a_changed_page_is_found_at_its_record(till: Till, path: Path) -> None:
    await spend(till, 0, 60)
    connection = sqlite3.connect(path)
    seqs = [seq for (seq,) in connection.execute("SELECT seq FROM journal ORDER BY seq")]
    with connection:
        connection.execute("UPDATE journal SET at = at + 1 WHERE seq = ?", (seqs[2],))
    connection.close()
    auditor = Auditor(path)

    found = await auditor.verify()

    assert found.flaw is not None
    assert (found.flaw.invariant, found.flaw.node, found.flaw.record) == ("G3", 0, seqs[2])
    assert (found.records, found.head) == (seqs[2] - 1, "")
    with pytest.raises(LedgerUnavailable, match="does not hold"):
        await all_of(auditor)
    auditor.stop()


async def test_a_changed_balance_is_found(till: Till, path: Path) -> None:
    await spend(till, 0, 10)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE accounts SET posted = posted - 1 WHERE entity = 'p3'")
    connection.close()
    auditor = Auditor(path)

    found = await auditor.verify()

    assert found.flaw is not None
    assert (found.flaw.invariant, found.flaw.record) == ("D3", None)
    assert "p3" in found.flaw.detail
    auditor.stop()


@pytest.mark.parametrize("at_once", [1, 3, 100])
async def test_accounts_are_checked_in_parts_that_have_room(
    till: Till, path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    await spend(till, 0, 60, entities=8)
    auditor = Auditor(path)
    whole = await auditor.verify()
    monkeypatch.setattr(parts, "ACCOUNTS_AT_ONCE", at_once)

    found = await auditor.verify()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE accounts SET held = held + 1 WHERE entity = 'p7'")
    connection.close()
    spoilt = await auditor.verify()

    assert (found.records, found.accounts, found.head) == (whole.records, 8, whole.head)
    assert spoilt.flaw is not None
    assert spoilt.flaw.invariant == "D3"
    auditor.stop()


async def test_one_check_runs_at_a_time_and_goes_on_when_its_client_leaves(
    till: Till, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spend(till, 0, 20)
    auditor, go_on = Auditor(path), threading.Event()
    replay = auditor._replay  # pyright: ignore[reportPrivateUsage]

    def slowly() -> object:
        go_on.wait(30)
        return replay()

    monkeypatch.setattr(auditor, "_replay", slowly)
    first = asyncio.create_task(auditor.verify())
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await auditor.verify()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(Overloaded):
        await auditor.verify()
    go_on.set()
    await free(auditor)
    assert (await auditor.verify()).flaw is None
    auditor.stop()


async def test_an_export_is_the_one_of_the_command(till: Till, path: Path) -> None:
    await spend(till, 0, 200)
    auditor = Auditor(path)

    exported = await all_of(auditor)

    lines: list[bytes] = []
    contents = export_file(path, ExportRequest(str(path), NOON), lines.append)
    assert exported == b"".join(lines)
    assert check_export(io.BytesIO(exported)).head == contents.head == (await auditor.verify()).head
    auditor.stop()


async def test_an_export_has_the_pages_of_its_span(till: Till, path: Path) -> None:
    await spend(till, 0, 100)
    auditor = Auditor(path)
    whole = check_export(io.BytesIO(await all_of(auditor)))
    second, end = Instant(NOON + NANOSECONDS), Instant(NOON + 3 * NANOSECONDS)

    some = check_export(io.BytesIO(await all_of(auditor, second, end)))
    none = check_export(io.BytesIO(await all_of(auditor, end, Instant(end + 1))))
    before = check_export(io.BytesIO(await all_of(auditor, None, NOON)))

    assert 0 < some.header.records < whole.header.records
    assert some.header.journals[0].first > 1
    assert some.header.journals[0].last < whole.header.records
    assert some.head != whole.head
    assert none.header.records in (0, *range(2, 42))
    assert (before.header.records, before.head) == (0, "")
    auditor.stop()


async def test_an_export_is_not_read_further_than_its_client_takes_it(
    till: Till, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spend(till, 0, 400)
    monkeypatch.setattr(auditing, "CHUNK_BYTES", 200)
    auditor = Auditor(path)
    whole = await all_of(auditor)
    written, waits = watched(monkeypatch)
    reading = auditor.export(NOON, None, None)
    await anext(reading)
    await eventually(waits.is_set, "a writer that waits")
    assert sum(written) < len(whole) / 2

    with pytest.raises(Overloaded):
        await anext(auditor.export(NOON, None, None))
    await reading.aclose()
    await free(auditor)
    assert len(await all_of(auditor)) == len(whole)
    auditor.stop()


async def test_an_export_whose_client_stalls_is_given_up(
    till: Till, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spend(till, 0, 200)
    monkeypatch.setattr(auditing, "CHUNK_BYTES", 200)
    monkeypatch.setattr(auditing, "STALLED_S", 0.0)
    auditor = Auditor(path)

    reading = auditor.export(NOON, None, None)
    await anext(reading)
    await free(auditor)
    with pytest.raises(LedgerUnavailable):
        await to_its_end(reading)
    auditor.stop()


async def test_a_stop_ends_what_runs(till: Till, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await spend(till, 0, 200)
    monkeypatch.setattr(auditing, "CHUNK_BYTES", 200)
    auditor = Auditor(path)
    reading = auditor.export(NOON, None, None)
    await anext(reading)

    await asyncio.get_running_loop().run_in_executor(None, auditor.stop)

    with pytest.raises(LedgerUnavailable, match="about to stop"):
        await to_its_end(reading)


async def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "palyra.db").write_bytes(b"no database at all, but long enough to look like a file" * 100)
    auditor = Auditor(tmp_path / "palyra.db")
    with pytest.raises(LedgerUnavailable):
        await auditor.verify()
    with pytest.raises(LedgerUnavailable):
        await all_of(auditor)
    auditor.stop()


async def test_a_shared_ledger_is_checked_and_exported_while_it_is_written() -> None:
    url = new_database()
    till = await Till.on_server(url)
    await spend(till, 0, 60)
    audit = AuditEntry("policy.updated", "daily", "key-1", None, {"id": "daily"})
    await till.store.records.record_configured("policy/daily", None, "{}", audit)
    auditor = Auditor(SharedDatabase(Secret(url), "shared"))

    checking = asyncio.create_task(auditor.verify())
    await spend(till, 60, 40)
    during, after = await checking, await auditor.verify()
    exported = await all_of(auditor)
    some = check_export(
        io.BytesIO(await all_of(auditor, Instant(NOON + NANOSECONDS), Instant(NOON + 3 * NANOSECONDS)))
    )
    none = check_export(io.BytesIO(await all_of(auditor, None, NOON)))

    assert (during.flaw, after.flaw) == (None, None)
    assert during.records <= after.records == 201
    assert after.accounts == 5
    assert check_export(io.BytesIO(exported)).head == after.head
    assert 0 < some.header.records < after.records
    assert none.header.records == 0
    auditor.stop()
    await till.leave()


async def test_a_shared_ledger_that_was_changed_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_database()
    till = await Till.on_server(url)
    await spend(till, 0, 60)
    auditor = Auditor(SharedDatabase(Secret(url), "shared"))
    monkeypatch.setattr(parts, "ACCOUNTS_AT_ONCE", 2)
    assert (await auditor.verify()).flaw is None
    ((seq,),) = await rows(url, "SELECT seq FROM journal WHERE node = 1 ORDER BY seq OFFSET 2 LIMIT 1")
    await rows(url, "UPDATE journal SET open_from = open_from + 1 WHERE seq = $1", seq)

    found = await auditor.verify()

    assert found.flaw is not None
    assert (found.flaw.invariant, found.flaw.node, found.flaw.record) == ("G3", 1, seq)
    with pytest.raises(LedgerUnavailable, match="does not hold"):
        await all_of(auditor)
    auditor.stop()
    await till.leave()
