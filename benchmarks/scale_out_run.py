"""One gateway of ``scale-out`` in a process of its own: ``python -m benchmarks.scale_out_run JOB`` (JSON).

It says ``ready`` when it is warm, begins to count when it is told to, and leaves with what it counted when it
is told again: its starter weighs the database in between.
"""

import asyncio
import gc
import os
import sys
from itertools import count
from time import perf_counter, process_time
from typing import cast

import msgspec
import uvloop
from msgspec.structs import replace

from benchmarks import scene
from benchmarks.callers import IN_FLIGHT, Next
from benchmarks.stopwatch import Stopwatch
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import BudgetExceeded, LedgerUnavailable
from palyra.core.secret import Secret
from palyra.daemon.system import SystemClock
from palyra.lifecycle import flow
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.ports import Ledger
from palyra.lifecycle.waiting import Course
from palyra.store.postgres.share import Slicing
from palyra.store.postgres.store import PostgresStore, Scale

READY = "ready"
WARM_CALLS, WARM_S = 4, 1.0
"""Calls on each account, and for how long at least: enough to prepare them and to have slices."""


class Job(msgspec.Struct, frozen=True):
    """Which database; how many accounts share the calls; whether slices are taken.

    ``limit`` is that of each account, in USD. Without ``seconds`` calls are made until all are refused.
    """

    database: str
    number: int
    accounts: int
    slices: bool
    limit: str
    seconds: float | None = None


class Count(msgspec.Struct):
    """What a gateway did: in the time that counts, and (``all_calls``, ``settled``) altogether."""

    calls: int
    seconds: float
    cpu_s: float
    commits: int
    waits_us: list[int]
    refused: int
    failed: int
    all_calls: int
    settled: int


class Gateway:
    """Keeps IN_FLIGHT calls going, until it is told to stop or all of them are refused."""

    def __init__(self, job: Job, store: PostgresStore, clock: SystemClock) -> None:
        self._job = job
        self._store = store
        self._watch = Stopwatch(store.ledger)
        ledger = cast("Ledger", self._watch)
        self._engine = scene.engine(clock, ledger, store.records, _policies(job))
        self._engine.others = store.others
        self._next_call = _on_accounts(self._engine, job)
        self._calls = self._refused = self._failed = self._running = 0
        self._stopping = False
        self._warm = asyncio.Event()
        self._over = asyncio.Event()

    async def warm(self) -> None:
        """Start calling."""
        for _ in range(IN_FLIGHT):
            self._next()
        await asyncio.sleep(WARM_S)
        await self._warm.wait()

    async def counted(self, seconds: float) -> Count:
        """Count what is done in so many seconds from now, then stop."""
        self._watch.waits.clear()
        marks = self._calls, self._store.commits, process_time(), perf_counter()
        await asyncio.sleep(seconds)
        now = self._calls, self._store.commits, process_time(), perf_counter()
        calls, commits, cpu_s, took = (after - before for after, before in zip(now, marks, strict=True))
        waits = [int(each * 1e6) for each in self._watch.waits]
        self._stopping = True
        await self._over.wait()
        return self._count(int(calls), took, cpu_s, int(commits), waits)

    async def until_refused(self) -> Count:
        """Call until every caller was refused."""
        begun = perf_counter()
        for _ in range(IN_FLIGHT):
            self._next()
        await self._over.wait()
        waits = [int(each * 1e6) for each in self._watch.waits]
        return self._count(self._calls, perf_counter() - begun, process_time(), self._store.commits, waits)

    def _count(self, calls: int, took: float, cpu_s: float, commits: int, waits: list[int]) -> Count:
        whole = self._refused, self._failed, self._calls, self._watch.settled
        return Count(calls, took, cpu_s, commits, waits, *whole)

    def _next(self) -> None:
        self._running += 1
        Course(flow.run(self._next_call(), self._engine), self._ended).start()

    def _ended(self, _answer: object, error: BaseException | None) -> None:
        self._running -= 1
        is_refused = isinstance(error, BudgetExceeded)
        if error is None:
            self._calls += 1
            if self._calls == WARM_CALLS * self._job.accounts:
                self._warm.set()
        elif is_refused:
            self._refused += 1
        elif isinstance(error, LedgerUnavailable):
            self._failed += 1
        else:
            raise error
        if not (self._stopping or is_refused):
            self._next()
        elif not self._running:
            self._over.set()


def _policies(job: Job) -> list[Policy]:
    """One budget: of the whole, or of each session, so that there are as many accounts as sessions."""
    scopes = ("global",) if job.accounts == 1 else ("session:*",)
    return [
        parse_policy(
            each | {"hard_limit": job.limit},
            defaults=PolicyDefaults(),
            version=1,
            actor="config",
            origin="file",
        )
        for each in scene.documents(1, scopes)
    ]


def _on_accounts(engine: Engine, job: Job) -> Next:
    """The same call again and again, on one account after the other; each gateway begins elsewhere."""
    template, new_id = scene.call(engine), engine.ids.request_id
    hints = [replace(template.hints, session=f"run-{number}") for number in range(job.accounts)]
    places = count(job.number * 251)
    return lambda: replace(template, request_id=new_id(), hints=hints[next(places) % job.accounts])


async def _run(job: Job) -> Count:
    clock, loop = SystemClock(), asyncio.get_running_loop()
    name = f"gateway-{job.number}"
    store = await PostgresStore.open(
        Secret(job.database), clock.now, Scale(name, name, slicing=Slicing(enabled=job.slices))
    )
    clock.not_before(store.last_instant)
    gateway = Gateway(job, store, clock)
    # As the daemon does: what start-up made is no garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    if job.seconds is not None:
        await gateway.warm()
    print(READY, flush=True)
    await _told(loop)
    if job.seconds is None:
        found = await gateway.until_refused()
    else:
        found = await gateway.counted(job.seconds)
        await _told(loop)
    await store.close()
    return found


async def _told(loop: asyncio.AbstractEventLoop) -> None:
    """Until something comes on standard input, or its end."""
    told = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), told.set)
    await told.wait()
    loop.remove_reader(sys.stdin.fileno())
    os.read(sys.stdin.fileno(), 64)


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.argv[1], type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_run(asked))).decode())
