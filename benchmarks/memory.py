"""The scene ``memory``: the daemon from outside, over very many calls, and with very many streams open."""

import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import marks
from benchmarks.contenders import palyra
from benchmarks.contenders.base import Site, UnavailableError, Upstream
from benchmarks.driving import Driver, Load
from benchmarks.processes import Tree, cores, own_folder
from benchmarks.side_by_side import Bench, stub
from benchmarks.standing import Standing, start
from benchmarks.trials import US, Figures, Row, Table

SCENE = "memory"
MARKS = (50_000, 250_000, 500_000, 1_000_000)
CALLS, QUICK_CALLS = 300_000, 2_000
STREAMS, QUICK_STREAMS = 2_000, 50
WHOLE = Load("whole", 64)
TURN_S, SHORTEST_S = 5.0, 0.1
INTERVAL_US, CHUNKS = 1_000_000, 10
LASTS_S = INTERVAL_US * CHUNKS / US
BEFORE_THE_END_S = 0.5
"""The driver begins no second round of streams when the first one is over."""
LOOK_S = 0.25
FILES_PER_STREAM, FILES = 2, 256
"""Descriptors that a stream takes in the gateway, and that everything else may take."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The daemon under load."""

    standing: Standing
    tree: Tree
    driver: Driver
    say: Callable[[str], None]


def run(bench: Bench, calls: int, streams: int) -> list[Table]:
    """One daemon: ``calls`` calls, then ``streams`` streams at once."""
    over_calls = Table(SCENE, f"{WHOLE.connections} connections, {calls:,} calls", [])
    with_streams = Table(SCENE, f"{streams:,} streams at once, on the same daemon", [])
    tables = [over_calls, with_streams]
    contender = palyra.VARIANTS[0]
    with own_folder(bench.build) as folder, ExitStack() as stack:
        try:
            subject = _started(bench, folder, streams, stack)
            with subject.standing.awake():
                over_calls.rows.extend(_over_calls(subject, calls))
                with_streams.rows.extend(_with_streams(subject, streams))
        except (UnavailableError, AssertionError) as problem:
            unfinished = next((table for table in tables if not table.rows), with_streams)
            unfinished.rows.append(Row(contender.name, problem=str(problem)))
    for table in tables:
        bench.done(table)
    return tables


def _started(bench: Bench, folder: Path, streams: int, stack: ExitStack) -> Subject:
    contender = palyra.VARIANTS[0]
    bench.say(f"starting {contender.name}")
    _allow_files(streams * FILES_PER_STREAM + FILES)
    provider = stub(bench.tools, folder, INTERVAL_US, CHUNKS)
    assert provider.tree is not None
    stack.callback(provider.tree.end)
    own = folder / contender.name
    own.mkdir()
    standing = start(contender, Site(own, own, Upstream(provider.port)), cores()[0])
    assert standing.tree is not None
    stack.callback(standing.tree.end)
    driver = Driver(bench.tools, cores()[1], folder, (provider.tree,))
    return Subject(standing, standing.tree, driver, bench.say)


def _allow_files(wanted: int) -> None:
    """For this process and those it starts. UnavailableError where the system allows fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UnavailableError(f"needs {wanted:,} open files, and may have {hard:,}: raise `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _over_calls(subject: Subject, calls: int) -> list[Row]:
    """Memory at the start and at each mark, and what a call cost in CPU since the mark before."""
    tree = subject.tree
    done, used = 0, tree.cpu_s_when_quiet()
    found = [_memory(tree, done)]
    for mark in [*(each for each in MARKS if each < calls), calls]:
        subject.say(f"memory: on the way to {mark:,} calls")
        before, rate = done, 0.0
        while done < mark:
            seconds = min(TURN_S, max(SHORTEST_S, (mark - done) / rate)) if rate else SHORTEST_S
            driven = subject.driver.run(subject.standing.port, subject.standing.door, WHOLE, seconds)
            problem = driven.complaint()
            if problem is not None:
                raise AssertionError(f"after {done:,} calls: {problem}")
            done, rate = done + driven.done, driven.rate
        now = tree.cpu_s_when_quiet()
        found.append(_memory(tree, done) | {"cpu_us": (now - used) * US / (done - before)})
        used = now
    return marks.rows(found, "memory_mb")


def _with_streams(subject: Subject, streams: int) -> list[Row]:
    """Memory before, while all are open, and after."""
    subject.say(f"memory: {streams:,} streams at once")
    tree, standing = subject.tree, subject.standing
    load = Load("stream", streams, together=True, interval_us=INTERVAL_US, chunks=CHUNKS)
    before, most = _memory(tree), _memory(tree)
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(
            subject.driver.run, standing.port, standing.door, load, LASTS_S - BEFORE_THE_END_S
        )
        while not running.done():
            wait([running], timeout=LOOK_S)
            most = max(most, _memory(tree), key=lambda each: each["memory_mb"])
    driven = running.result()
    if driven.first_max_us > LASTS_S * US:
        raise AssertionError("the first streams were over before the last ones began")
    most["complete"] = driven.done
    most["stream_kb"] = (most["memory_mb"] - before["memory_mb"]) * 1_000 / streams
    after = Row("after their end", [_memory(tree)])
    problem = driven.complaint() or (f"{driven.unfinished} did not end" if driven.unfinished else None)
    return [Row("before", [before]), Row(f"{streams:,} streams open", [most], problem), after]


def _memory(tree: Tree, calls: int | None = None) -> Figures:
    figures = {"memory_mb": tree.memory_mb(), "resident_mb": tree.memory_mb("Rss")}
    return figures if calls is None else figures | {"calls": calls}
