"""A whole call without HTTP: plan, reserve, settle and every record, with a provider that answers at once.

CPU time counts every thread of the process: the one that writes to the disk, too.
"""

import asyncio
import time
from statistics import quantiles
from typing import Any, cast

from benchmarks import callers
from benchmarks.parts.conftest import Timed
from palyra.ledger.account import Shortfall
from palyra.ledger.event import Reserved
from palyra.lifecycle.decision import Decision
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.ports import Done, IdempotencyClaim, Ledger

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


class Stopwatch:
    """A ledger that notes, in seconds, how long each reserve took to become durable."""

    def __init__(self, ledger: Ledger) -> None:
        self.waits: list[float] = []
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def reserve(
        self, event: Reserved, decision: Decision, claim: IdempotencyClaim | None, done: Done
    ) -> Shortfall | None:
        """See ``Ledger.reserve``."""
        begun = time.perf_counter()

        def durable(error: Exception | None) -> None:
            self.waits.append(time.perf_counter() - begun)
            done(error)

        return self._ledger.reserve(event, decision, claim, durable)


def drive(timed: Timed, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
    """Time CALLS calls, 64 at a time."""
    timed.many(lambda: callers.drive(engine, loop, CALLS), CALLS)
