"""One measurement of ``scale`` in a process of its own: ``python -m benchmarks.scale_run JOB`` (JSON)."""

import asyncio
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Literal

import msgspec
import uvloop

from benchmarks import past, scene
from benchmarks.callers import Next, alike, drive, in_new_sessions
from benchmarks.processes import memory_mb
from benchmarks.trials import US, Figures
from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.daemon.system import SystemClock
from palyra.lifecycle.plan import LEASE_NS
from palyra.store.sqlite import SqliteStore, verify

SCOPES = ("global", f"principal:{scene.PRINCIPAL}", "principal:*", f"model:{scene.MODEL}", "session:*")
"""What binds every call: the last one gives each session an account."""
DAYS, MARKS_PER_DAY = 2, 3
SLICES = 5
"""A figure of CPU time is the middle of so many runs in a row, after one that does not count."""


class Job(msgspec.Struct, frozen=True):
    """What to do on which database, under how many policies, and with how many calls."""

    task: Literal["write", "calls", "growth", "verify"]
    database: str
    policies: int = len(SCOPES)
    calls: int = 0
    sessions: int = 1
    new_sessions: bool = False


class Opened:
    """The path of a call on a database, and what it took to get there: seconds, megabytes (RSS)."""

    def __init__(self, job: Job) -> None:
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.clock = SystemClock()
        begun = perf_counter()
        self.store = SqliteStore(Path(job.database), self.clock.now, self.loop)
        self.clock.not_before(self.store.last_instant)
        opened = perf_counter()
        rules = _policies(job)
        self.engine = scene.engine(self.clock, self.store.ledger, self.store.records, rules)
        self.start: Figures = {"store_s": opened - begun, "rules_s": perf_counter() - opened}
        # As the daemon does: what start-up made is no garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self.start["resident_mb"] = memory_mb("self", "Rss")
        self.next_call: Next = (in_new_sessions if job.new_sessions else alike)(self.engine)

    def cpu_us(self, calls: int) -> float:
        """Microseconds of all threads for each of so many calls."""
        before = process_time()
        drive(self.engine, self.loop, calls, self.next_call)
        return (process_time() - before) * US / calls

    def next_day(self) -> None:
        """Let today's windows and the leases in them end, and do what the daemon then does each minute."""
        book = self.store.ledger.book
        ends = max(account.window_end for account in book.accounts.values())
        self.clock.not_before(Instant(ends + LEASE_NS))
        book.forget_ended(Instant(self.clock.now() - LEASE_NS))

    def close(self) -> None:
        """Give the database up."""
        self.store.close()
        self.loop.close()


def write(job: Job) -> list[Figures]:
    """Make the database."""
    begun = perf_counter()
    past.write(Path(job.database), past.Past(job.calls, job.sessions), _policies(job))
    return [{"written_s": perf_counter() - begun}]


def calls(job: Job) -> list[Figures]:
    """What a call costs, and what the start took."""
    opened = Opened(job)
    opened.cpu_us(job.calls)
    cost = median(opened.cpu_us(job.calls) for _ in range(SLICES))
    opened.close()
    return [opened.start | {"cpu_us": cost}]


def growth(job: Job) -> list[Figures]:
    """Memory at the start and after each of MARKS_PER_DAY times so many calls, on DAYS days."""
    opened = Opened(job)
    done, marks = 0, [_mark(opened, 0)]
    for day in range(DAYS):
        if day:
            opened.next_day()
        for _ in range(MARKS_PER_DAY):
            cost = opened.cpu_us(job.calls)
            done += job.calls
            marks.append(_mark(opened, done) | {"cpu_us": cost})
    opened.close()
    return marks


def replay(job: Job) -> list[Figures]:
    """How long the audit of the database takes; it raises where the books are wrong."""
    begun = perf_counter()
    audit = verify(Path(job.database))
    took = perf_counter() - begun
    return [{"records": audit.records, "verify_s": took, "verify_us": took * US / audit.records}]


def _mark(opened: Opened, done: int) -> Figures:
    accounts = len(opened.store.ledger.book.accounts)
    return {"calls": done, "resident_mb": memory_mb("self", "Rss"), "accounts": accounts}


def _policies(job: Job) -> list[Policy]:
    return scene.policies(job.policies, SCOPES)


TASKS: dict[str, Callable[[Job], list[Figures]]] = {
    "write": write,
    "calls": calls,
    "growth": growth,
    "verify": replay,
}

if __name__ == "__main__":
    asked = msgspec.json.decode(sys.argv[1], type=Job)
    print(msgspec.json.encode(TASKS[asked.task](asked)).decode())
