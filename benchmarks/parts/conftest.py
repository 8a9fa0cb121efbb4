"""What the parts share: an engine without sockets, on a ledger in memory or on SQLite."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from benchmarks import scene
from palyra.daemon.system import SystemClock
from palyra.ledger.book import Book
from palyra.lifecycle.engine import Engine
from palyra.store.ledger import JournaledLedger
from palyra.store.memory import MemoryStore
from palyra.store.sqlite import SqliteStore

ROUNDS, ITERATIONS = 40, 250
LONG_ROUNDS = 7

T = TypeVar("T")


class Timed:
    """pytest-benchmark's fixture, with types."""

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark

    def repeat(self, part: Callable[..., T], *arguments: object) -> T:
        """Time ``part`` in loops long enough for the clock not to matter; what it returned last."""
        return self._benchmark.pedantic(
            part, arguments, rounds=ROUNDS, iterations=ITERATIONS, warmup_rounds=2
        )

    def many(self, run: Callable[[], None], calls: int) -> None:
        """Time ``run``, which does something ``calls`` times."""
        self.note("calls", calls)
        self._benchmark.pedantic(run, rounds=LONG_ROUNDS, warmup_rounds=1)

    def note(self, name: str, value: float) -> None:
        """Keep a figure beside the time."""
        self._benchmark.extra_info[name] = value


@pytest.fixture
def timed(benchmark: Any) -> Timed:
    """What times the part."""
    return Timed(benchmark)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop as the daemon has it."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def engine(loop: asyncio.AbstractEventLoop) -> Engine:
    """The path of a call on a ledger that forgets: five of 10,000 budgets bind it."""
    clock = SystemClock()
    ledger = JournaledLedger(scene.Forgetful(loop), Book())
    return scene.engine(clock, ledger, MemoryStore(clock.now, loop).records)


@pytest.fixture
def durable(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[Engine]:
    """The same on SQLite: every reserve and every settle is on the disk before the call goes on."""
    clock = SystemClock()
    store = SqliteStore(tmp_path / "bench.db", clock.now, loop)
    yield scene.engine(clock, store.ledger, store.records)
    store.close()
