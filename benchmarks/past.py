"""Databases with a past: millions of journal records, written as the store writes them, only faster.

One call goes through the whole path. What it has the store write is then committed again and again, under new
ids, by the store's own ``Committer``. So pages, chain and documents are real, and ``verify`` accepts them.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import uvloop
from msgspec.structs import replace

from benchmarks import scene
from benchmarks.callers import drive
from palyra.budgets.policy import Policy
from palyra.daemon.system import SystemClock, TimeSortedIds
from palyra.store.chain import Row
from palyra.store.commit import Committer
from palyra.store.memory import MemoryStore
from palyra.store.migrate import migrate
from palyra.store.write import Filed, Write

CALLS_PER_COMMIT = 32
RECORDS_PER_CALL = 2


@dataclass(frozen=True, slots=True)
class Past:
    """What has happened: ``calls`` calls, each of which left two records, in ``sessions`` sessions."""

    calls: int
    sessions: int = 1


def write(path: Path, past: Past, in_force: Sequence[Policy]) -> None:
    """Make a database in which those calls ran under these budgets. It is not durable before it is closed."""
    migrate(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-262144"):
        connection.execute(f"PRAGMA {pragma}")
    committer = Committer(connection, ())
    reserve, settle = _one_call(in_force)
    writes = _repeated(reserve, settle, past)
    while batch := list(islice(writes, CALLS_PER_COMMIT * RECORDS_PER_CALL)):
        committer.commit(batch, [])
    committer.commit([], _balances((reserve, settle), past))
    committer.close()


def _one_call(in_force: Sequence[Policy]) -> tuple[Write, Write]:
    """What a governed call stores: its reservation and its settlement."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    clock = SystemClock()
    store = MemoryStore(clock.now, loop)
    drive(scene.engine(clock, store.ledger, store.records, in_force), loop, 1)
    asyncio.set_event_loop(None)
    loop.close()
    reserve, settle = store.journal.writes
    return reserve, settle


def _repeated(reserve: Write, settle: Write, past: Past) -> Iterator[Write]:
    """The two writes of each call."""
    assert reserve.call is not None
    decision, new_id = reserve.call.decision.whole(), TimeSortedIds().request_id
    old_id, old_session = reserve.call.id.encode(), _quoted(scene.SESSION)
    for number in range(past.calls):
        request_id, session = new_id(), _session(number % past.sessions)
        labels = replace(decision.labels, session=session)
        call = Filed(request_id, replace(decision, request_id=request_id, labels=labels))
        own_id, own_session = request_id.encode(), _quoted(session)
        for each in (reserve, settle):
            assert each.line is not None
            yield Write(
                each.at,
                each.essential,
                line=each.line.replace(old_id, own_id).replace(old_session, own_session),
                call=call,
                state=each.state,
                document=each.document.replace(old_id, own_id).replace(old_session, own_session),
                rollup=each.rollup,
            )


def _balances(writes: Sequence[Write], past: Past) -> list[Row]:
    """A row for each account after all calls: what one call posts to it, as often as it was called upon."""
    rows: list[Row] = []
    reserved, settled = (write.entries for write in writes)
    for held, used in zip(reserved, settled, strict=True):
        assert held.account == used.account
        policy_id, metric, entity, start = held.account
        assert held.held + used.held == held.shadow_held + used.shadow_held == 0
        for share, own in _shares(entity, past):
            posted = (used.posted * share, 0, used.shadow_posted * share, 0)
            rows.append((policy_id, metric, own, start, held.window_end, *posted))
    return rows


def _shares(entity: str, past: Past) -> Iterator[tuple[int, str]]:
    """How many calls went to which entity: sessions have accounts of their own, the others are shared."""
    if entity != scene.SESSION:
        yield past.calls, entity
        return
    least, more = divmod(past.calls, past.sessions)
    for number in range(past.sessions):
        yield least + (number < more), _session(number)


def _session(number: int) -> str:
    """The first one is that of ``scene.call``."""
    return f"run-{number + 1}"


def _quoted(text: str) -> bytes:
    return f'"{text}"'.encode()
