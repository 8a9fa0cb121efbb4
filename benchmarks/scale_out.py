"""The scene ``scale-out``: several gateways on one PostgreSQL, all of them on this machine, without HTTP.

Every turn has a database of its own, and at its end the books are audited: what is posted is what was
settled, nothing is held, and no account is above its limit.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from typing import IO

import asyncpg
import msgspec
from msgspec.structs import replace

from benchmarks.database import Database, rows
from benchmarks.processes import busy_s, own_folder
from benchmarks.scale_out_run import READY, Count, Job
from benchmarks.trials import US, Figures, Row, Table
from palyra.cli.database_server import ServerMissing
from palyra.core.secret import Secret
from palyra.store.postgres.verify import verify_shared

SCENE = "scale-out"
WITHOUT = ", no slices"
ROOT = Path(__file__).parents[1]
NO_LIMIT = "1000000"
COST = Decimal("0.00049")
"""What a call costs, in USD; it holds about three times as much."""
NANO = 1_000_000_000
LOOK_S = 0.02
END_S = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many gateways, on how many accounts, with slices and without; ``room`` counts calls."""

    gateways: tuple[int, ...] = (1, 2, 4)
    accounts: tuple[int, ...] = (1, 1_000)
    slices: tuple[bool, ...] = (True, False)
    room: int = 20_000


QUICK = Sizes((1, 2), (1,), (True,), 500)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the database is kept, how much, how long, how often; ``say`` and ``done`` as in ``scale``."""

    build: Path
    sizes: Sizes
    seconds: float
    rounds: int
    say: Callable[[str], None]
    done: Callable[[Table], None]


@dataclass(frozen=True, slots=True)
class Fleet:
    """A row: so many gateways, with slices or without."""

    gateways: int
    slices: bool

    @property
    def name(self) -> str:
        """How the row is called."""
        plural = "s" * (self.gateways > 1)
        return f"{self.gateways} gateway{plural}{'' if self.slices else WITHOUT}"


def run(bench: Bench) -> list[Table]:
    """Load the fleets in turns on few and on many accounts, then let them use up a budget together."""
    bench.build.mkdir(parents=True, exist_ok=True)
    tables: list[Table] = []
    with own_folder(bench.build) as folder:
        usable = os.sched_getaffinity(0)
        try:
            server = Database.start(folder, usable)
        except ServerMissing as problem:
            return [Table(SCENE, f"{len(usable)} cores", [Row("palyra-postgres", problem=str(problem))])]
        try:
            for accounts in bench.sizes.accounts:
                tables.append(_compared(bench, server, accounts))
                bench.done(tables[-1])
            tables.append(_used_up(bench, server))
            bench.done(tables[-1])
        finally:
            server.end()
    return tables


def _compared(bench: Bench, server: Database, accounts: int) -> Table:
    sizes = bench.sizes
    fleets = [Fleet(gateways, slices) for slices in sizes.slices for gateways in sizes.gateways]
    found = [Row(each.name) for each in fleets]
    what = "one hot account" if accounts == 1 else f"{accounts:,} accounts"
    for number in range(bench.rounds):
        for row, fleet in zip(found, fleets, strict=True):
            bench.say(f"{SCENE}, {what}, round {number + 1} of {bench.rounds}: {fleet.name}")
            job = Job("", 0, accounts, fleet.slices, NO_LIMIT, bench.seconds)
            row.rounds.append(_turn(server, job, fleet.gateways))
    cores = len(os.sched_getaffinity(0))
    return Table(SCENE, f"{what}; gateways and PostgreSQL share {cores} cores", found)


def _used_up(bench: Bench, server: Database) -> Table:
    """What becomes of a budget that ends while all gateways spend it."""
    room = bench.sizes.room
    limit = room * COST
    found: list[Row] = []
    for gateways in bench.sizes.gateways:
        fleet = Fleet(gateways, slices=True)
        bench.say(f"{SCENE}, until the limit: {fleet.name}")
        found.append(Row(fleet.name, [_turn(server, Job("", 0, 1, True, str(limit)), gateways)]))
    return Table(SCENE, f"one account with room for {room:,} calls, until all are refused", found)


def _turn(server: Database, job: Job, gateways: int) -> Figures:
    """One fleet on a database of its own. AssertionError if a gateway fails, or if the books are wrong."""
    url = server.new()
    with _started(replace(job, database=url), gateways) as fleet:
        for each in fleet:
            _expect(each, READY)
        busy, own = busy_s(os.sched_getaffinity(0)), server.cpu_s()
        for each in fleet:
            _pipe(each.stdin).write("go\n")
            _pipe(each.stdin).flush()
        if job.seconds is not None:
            time.sleep(job.seconds)
        database_s, busy = server.cpu_s() - own, busy_s(os.sched_getaffinity(0)) - busy
        with ThreadPoolExecutor(gateways) as aside:
            counting = [aside.submit(_counted, each) for each in fleet]
            most = asyncio.run(_most_taken(url, counting)) if job.seconds is None else 0
            counts = [each.result() for each in counting]
    limit = int(Decimal(job.limit) * NANO)
    posted = _audit(url, counts, limit)
    server.drop(url)
    if job.seconds is None:
        return _share_figures(counts, posted / limit, most / limit)
    return _figures(counts, database_s, busy)


@contextmanager
def _started(job: Job, gateways: int) -> Generator[list[subprocess.Popen[str]]]:
    fleet: list[subprocess.Popen[str]] = []
    try:
        for number in range(gateways):
            words = msgspec.json.encode(replace(job, number=number)).decode()
            fleet.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.scale_out_run", words],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield fleet
    finally:
        for each in fleet:
            each.kill()
            each.communicate()


def _expect(gateway: "subprocess.Popen[str]", word: str) -> None:
    line = _pipe(gateway.stdout).readline()
    if line.strip() != word:
        gateway.kill()
        raise AssertionError(f"{SCENE}: a gateway failed: {gateway.communicate()[1].strip()[-2_000:]}")


def _counted(gateway: "subprocess.Popen[str]") -> Count:
    """What it counted. That its standard input ends is the word to leave."""
    out, errors = gateway.communicate(timeout=END_S)
    if gateway.returncode != 0:
        raise AssertionError(f"{SCENE}: a gateway failed: {errors.strip()[-2_000:]}")
    return msgspec.json.decode(out, type=Count)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


async def _most_taken(url: str, counting: Sequence[Future[Count]]) -> int:
    """The most that was ever posted, held and sliced on an account, seen while the fleet runs."""
    most, over = 0, False
    connection = await asyncpg.connect(url)
    try:
        while not over:
            over = all(each.done() for each in counting)
            taken = await connection.fetchval("SELECT max(posted + held + sliced)::bigint FROM balances")
            most = max(most, taken or 0)
            await asyncio.sleep(LOOK_S)
    finally:
        await connection.close()
    return most


def _audit(url: str, counts: Sequence[Count], limit: int) -> int:
    """What is posted. AssertionError or InvariantViolation if the books are not right."""
    asyncio.run(verify_shared(Secret(url)))
    ((posted, held, most),) = rows(
        url, "SELECT sum(posted)::bigint, sum(held)::bigint, max(posted) FROM balances"
    )
    settled = sum(each.settled for each in counts)
    assert posted == settled == sum(each.all_calls for each in counts) * COST * NANO, (
        f"{posted} is posted, {settled} was settled"
    )
    assert held == 0, f"{held} is held by nobody"
    assert most <= limit, f"{most} is posted on an account with a limit of {limit}"
    return posted


def _figures(counts: Sequence[Count], database_s: float, busy: float) -> Figures:
    calls = sum(each.calls for each in counts)
    seconds = max(each.seconds for each in counts)
    cpu_s = sum(each.cpu_s for each in counts)
    cores = len(os.sched_getaffinity(0))
    return {
        "rate": sum(each.calls / each.seconds for each in counts),
        "commits": sum(each.commits for each in counts) / calls,
        "cpu_us": cpu_s * US / calls,
        "database_us": database_s * US / calls,
        "failed": sum(each.failed for each in counts),
        "others": max(0.0, busy - cpu_s - database_s) / seconds / cores,
    } | _waits(counts)


def _share_figures(counts: Sequence[Count], spent: float, most: float) -> Figures:
    calls = sum(each.calls for each in counts)
    return {
        "calls": calls,
        "refused": sum(each.refused for each in counts),
        "failed": sum(each.failed for each in counts),
        "commits": sum(each.commits for each in counts) / calls,
        "spent": spent * 100,
        "most": most * 100,
    } | _waits(counts)


def _waits(counts: Sequence[Count]) -> Figures:
    cut = quantiles([wait for each in counts for wait in each.waits_us], n=100)
    return {"wait_p50_us": cut[49], "wait_p99_us": cut[98]}
