"""A whole call without HTTP: plan, reserve, settle and every record, with a provider that answers at once.

CPU time counts every thread of the process: the one that writes to the disk, too.
"""

import asyncio
from statistics import quantiles
from typing import cast

from benchmarks import callers
from benchmarks.parts.conftest import Timed
from benchmarks.stopwatch import Stopwatch
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.ports import Ledger

CALLS = 4_096


def test_a_governed_call_in_memory(timed: Timed, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
    drive(timed, engine, loop)


def test_a_governed_call_on_disk(timed: Timed, durable: Engine, loop: asyncio.AbstractEventLoop) -> None:
    drive(timed, durable, loop)


def test_the_wait_for_the_group_commit(
    timed: Timed, durable: Engine, loop: asyncio.AbstractEventLoop
) -> None:
    """Beside the CPU time: how long a reserve waits for its commit, with 64 calls in flight."""
    ledger = Stopwatch(durable.ledger)
    durable.ledger = cast("Ledger", ledger)
    drive(timed, durable, loop)
    cut = quantiles(ledger.waits, n=100)
    timed.note("p50_us", cut[49] * 1e6)
    timed.note("p99_us", cut[98] * 1e6)


def drive(timed: Timed, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
    """Time CALLS calls, 64 at a time."""
    timed.many(lambda: callers.drive(engine, loop, CALLS), CALLS)
