"""The parts of a call, each by itself: in one process, without sockets."""

import asyncio
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import scene
from benchmarks.measure import Effort, Result, per_call, per_second
from palyra.budgets.evaluate import verdict
from palyra.daemon import SystemClock
from palyra.gateway.asks import parse
from palyra.ledger.book import Book
from palyra.ledger.event import Settled
from palyra.lifecycle import flow
from palyra.lifecycle.authenticate import labels_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import bound_of
from palyra.lifecycle.plan import make_plan
from palyra.lifecycle.route import route_call
from palyra.lifecycle.weigh import CallCost, evaluate_all, read_balances
from palyra.lifecycle.wire import Endpoint
from palyra.store.memory import MemoryStore
from palyra.store.sqlite import SqliteStore
from palyra.upstream.meters import make_meter

WAITERS = 256
CALLS_PER_WAITER = 8
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795431004,'
    b'"model":"bench-model","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,'
    b'"finish_reason":null}],"usage":null}\n\n'
)


async def run(effort: Effort) -> list[Result]:
    """All of them, cheapest first."""
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    store = MemoryStore(clock.now, loop)
    engine = scene.engine(clock, store.ledger, store.records)
    rows = [_parsing(effort), _evaluating(engine, effort), _planning(engine, effort)]
    rows += [_booking(engine, effort), _metering(effort, hide=False), _metering(effort, hide=True)]
    rows.append(await _whole_call(engine, store, effort))
    with tempfile.TemporaryDirectory(prefix="palyra-bench-") as directory:
        rows.append(await _committing(engine, clock, Path(directory) / "bench.db", effort))
    return rows


def _parsing(effort: Effort) -> Result:
    raw = scene.body()
    return per_call("parse a request", lambda: parse(Endpoint.chat_completions, raw), effort, "1 KB body")


def _evaluating(engine: Engine, effort: Effort) -> Result:
    call, subject, now = scene.call(engine), scene.subject(), engine.clock.now()
    labels = labels_of(subject, call.hints)
    route = route_call(call.ask.model, call.endpoint, subject, engine.registry, engine.prices, now)
    bound = bound_of(call.ask, call.endpoint, route.model, 1_024)
    index, mode = engine.rules.snapshot.index, engine.governance.mode

    def evaluate() -> None:
        readings = read_balances(index, labels, route, engine.ledger, now)
        cost = CallCost(call.ask, route, engine.governance.unknown_price)
        verdict(evaluate_all(readings, cost, bound, mode))

    return per_call("evaluate budgets", evaluate, effort, f"5 of {scene.POLICIES:,} bind the call")


def _planning(engine: Engine, effort: Effort) -> Result:
    call, subject, index = scene.call(engine), scene.subject(), engine.rules.snapshot.index

    def plan() -> None:
        make_plan(call, subject, index, engine, engine.clock.now())

    return per_call("plan a call", plan, effort, "estimate, route, evaluate, decision; 5 budgets")


def _booking(engine: Engine, effort: Effort) -> Result:
    plan = make_plan(
        scene.call(engine), scene.subject(), engine.rules.snapshot.index, engine, engine.clock.now()
    )
    book, numbers = Book(), itertools.count()
    amounts = {"cost_usd": 490_000, "requests": 1, "input_tokens": 250, "output_tokens": 120}

    def book_one() -> None:
        reserved = replace(plan.reservation, id=f"req_{next(numbers)}")
        book.apply(reserved)
        book.apply(Settled(reserved.id, reserved.at, amounts))

    return per_call("reserve and settle", book_one, effort, "5 accounts, in memory")


def _metering(effort: Effort, *, hide: bool) -> Result:
    meter = make_meter(Endpoint.chat_completions, True, hide)
    name = "meter a streamed chunk" + (", usage hidden" if hide else "")
    return per_call(name, lambda: meter.feed(CHUNK), effort, f"{len(CHUNK)} bytes")


async def _whole_call(engine: Engine, store: MemoryStore, effort: Effort) -> Result:
    """One call after the other from parsing to settlement: the reciprocal is CPU time per call."""
    count = max(20, int(effort.small_s * 2_000))

    async def serve() -> int:
        for _ in range(count):
            answer = await flow.run(scene.call(engine), engine)
            if not isinstance(answer, flow.Answered) or await answer.exchange.read() != scene.ANSWER:
                raise AssertionError("the benchmark's call was not answered")
        store.journal.writes.clear()
        return count

    return await per_second(
        "whole call, no sockets",
        serve,
        effort,
        "calls/s",
        "5 budgets, ledger in memory, provider answers at once",
    )


async def _committing(engine: Engine, clock: SystemClock, path: Path, effort: Effort) -> Result:
    """Reserve, wait for the disk, settle, wait for the disk: what the gateway does around a call."""
    store = SqliteStore(path, clock.now, asyncio.get_running_loop())
    durable = replace(engine, ledger=store.ledger, records=store.records)
    per_waiter = CALLS_PER_WAITER if effort.small_s > 0.1 else 1

    async def one_by_one() -> None:
        for _ in range(per_waiter):
            await flow.run(scene.call(durable), durable)

    async def together() -> int:
        await asyncio.gather(*(one_by_one() for _ in range(WAITERS)))
        return WAITERS * per_waiter

    try:
        return await per_second(
            "whole call, group commit",
            together,
            effort,
            "calls/s",
            f"as above on SQLite, synchronous=FULL, 2 commits a call, {WAITERS} callers",
        )
    finally:
        await asyncio.get_running_loop().run_in_executor(None, store.close)
