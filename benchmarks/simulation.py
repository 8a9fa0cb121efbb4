"""``palyra budgets simulate`` on a long past: seconds per million calls, and whether memory stays as it is.

``python -m benchmarks.simulation --calls 1000000`` makes the past first, which takes longer:
a month of calls of 5 principals and 40 agents, in sessions of ten calls, 32 of them at a time, written by the
store's own ``Committer``. Five budgets bind each call, among them one for each session that never ends. To
measure memory, make the past with ``--database FILE`` first, and measure in a second run.
"""

import argparse
import asyncio
import resource
import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import uvloop
from msgspec.structs import replace

from benchmarks import scene
from benchmarks.callers import drive
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.instant import NANOSECONDS, Instant
from palyra.daemon.system import SystemClock
from palyra.ledger.event import Reserved, Settled
from palyra.lifecycle.decision import CallState, Decision, Settlement, read_settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.replay import begin_of, replay
from palyra.lifecycle.settle import used_amounts
from palyra.lifecycle.simulate import Simulation, Terms
from palyra.pricing.usage import Usage
from palyra.reports.simulation import Tally
from palyra.store import sql
from palyra.store.codec import encode
from palyra.store.commit import Committer
from palyra.store.history import SqliteHistory
from palyra.store.memory import MemoryStore
from palyra.store.migrate import migrate
from palyra.store.write import Filed, Write

MONTH_NS = 30 * 86_400 * NANOSECONDS
AT_ONCE = 32
PRINCIPALS, AGENTS, CALLS_PER_SESSION = 5, 40, 10
CANDIDATES = (
    ("all-monthly", "global", "month", "60000"),
    ("team-daily", "principal:*", "day", "300"),
    ("agent-daily", "agent:*", "day", "40"),
    ("run-total", "session:*", "total", "2"),
    ("model-hourly", f"model:{scene.MODEL}", "hour", "400"),
)


class Figures(NamedTuple):
    """What a simulation took: seconds of CPU, and MB at a fifth of the way and at the end."""

    calls: int
    seconds: float
    early_mb: float
    late_mb: float


def candidates() -> list[Policy]:
    """The budgets that are tried."""
    fields = {"metric": "cost_usd", "timezone": "Europe/Prague"}
    return [
        parse_policy(
            {"id": policy_id, "scope": scope, "interval": interval, "hard_limit": limit, **fields},
            defaults=PolicyDefaults(),
            version=1,
            actor="bench",
            origin="api",
        )
        for policy_id, scope, interval, limit in CANDIDATES
    ]


def write(path: Path, calls: int) -> None:
    """Make a database with so many calls in the last month before now. No balances are stored."""
    migrate(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-262144"):
        connection.execute(f"PRAGMA {pragma}")
    committer = Committer(connection, ())
    writes = _writes(*_one_call(), calls)
    while batch := list(islice(writes, 2 * AT_ONCE)):
        committer.commit(batch, [])
    committer.close()


def engine() -> Engine:
    """Models and prices of the scene."""
    loop = uvloop.new_event_loop()
    clock = SystemClock()
    store = MemoryStore(clock.now, loop)
    try:
        return scene.engine(clock, store.ledger, store.records, scene.policies(len(scene.SCOPES)))
    finally:
        loop.close()


def measure(path: Path) -> Figures:
    """Simulate the candidates on all that is in the database."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    async def rows(name: str, *parameters: int) -> Sequence[Sequence[Any]]:
        return connection.execute(sql.HISTORY[name], parameters).fetchall()

    marks: list[float] = []

    async def tell(done: int, total: int) -> None:
        if not marks and 5 * done >= total:
            marks.append(_megabytes())

    policies = candidates()
    simulation = Simulation(Terms(policies), engine())
    tally = Tally(policies, Instant(0))
    began = process_time()
    asyncio.run(replay(SqliteHistory(rows), begin_of(policies, Instant(0)), simulation, tally, tell))
    seconds = process_time() - began
    connection.close()
    return Figures(tally.calls, seconds, marks[0] if marks else _megabytes(), _megabytes())


def _one_call() -> tuple[Decision, Settlement]:
    """What a governed call leaves behind."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    clock = SystemClock()
    store = MemoryStore(clock.now, loop)
    drive(scene.engine(clock, store.ledger, store.records, scene.policies(len(scene.SCOPES))), loop, 1)
    asyncio.set_event_loop(None)
    loop.close()
    reserve, settle = store.journal.writes
    assert reserve.call is not None
    return reserve.call.decision.whole(), read_settlement(settle.document)


def _writes(decision: Decision, settlement: Settlement, calls: int) -> Iterator[Write]:
    """Reservations, each with its settlement AT_ONCE calls later."""
    start, step = SystemClock().now() - MONTH_NS, MONTH_NS // calls
    running: deque[Filed] = deque()
    for number in range(calls):
        at = Instant(start + number * step)
        call = _call(decision, number, at)
        running.append(call)
        line = encode(Reserved(call.id, at, Instant(at + 3_600 * NANOSECONDS), ()))
        document = encode(call.decision)
        yield Write(at, False, line=line, call=call, state=CallState.PENDING, document=document)
        if len(running) == AT_ONCE:
            yield _end(running.popleft(), settlement, Instant(at + 1), number)
    for call in running:
        yield _end(call, settlement, Instant(start + MONTH_NS), 0)


def _call(decision: Decision, number: int, at: Instant) -> Filed:
    """The next call of one of AT_ONCE sessions, each of one agent of one principal."""
    request_id = f"req_{number:032x}"
    session = number // (AT_ONCE * CALLS_PER_SESSION) * AT_ONCE + number % AT_ONCE
    labels = replace(
        decision.labels,
        principal=f"team-{session % PRINCIPALS}",
        agent=f"agent-{session % AGENTS}",
        session=f"run-{session}",
    )
    return Filed(request_id, replace(decision, request_id=request_id, at=at, labels=labels))


def _end(call: Filed, settlement: Settlement, at: Instant, number: int) -> Write:
    usage = settlement.usage or Usage(0, 0)
    ended = replace(settlement, at=at, usage=replace(usage, output_tokens=usage.output_tokens + number % 50))
    line = encode(Settled(call.id, at, used_amounts(usage, settlement.cost)))
    document = encode(ended)
    return Write(at, True, line=line, call=call, state=CallState.SETTLED, document=document)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--database", type=Path, help="where the past is kept, and taken from if it is there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.database or Path(folder) / "past.db"
        if not path.exists():
            write(path, asked.calls)
        found = measure(path)
    print(
        f"{found.calls:,} calls in {found.seconds:.1f} s of CPU, "
        f"{found.seconds / found.calls * 1e6:.1f} us each; "
        f"{found.early_mb:.0f} MB after a fifth of them, {found.late_mb:.0f} MB at the end"
    )


if __name__ == "__main__":
    main()
