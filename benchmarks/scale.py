"""The scene ``scale``: what a call costs under many policies, on many accounts, on a long journal."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from benchmarks import marks
from benchmarks.past import RECORDS_PER_CALL
from benchmarks.processes import cores, on_core, own_folder
from benchmarks.scale_run import DAYS, Job
from benchmarks.trials import Figures, Row, Table

SCENE = "scale"
BASELINE = "baseline"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is much. ``journal`` counts records; ``calls`` are those of one figure."""

    journal: int = 1_000_000
    accounts: int = 1_000_000
    policies: tuple[int, ...] = (1_000, 100_000)
    sessions: int = 100_000
    past: int = 1_000
    calls: int = 4_096


QUICK = Sizes(60_000, 2_000, (1_000,), 1_000, 100, 256)
BASELINE_POLICIES = 10


@dataclass(frozen=True, slots=True)
class Bench:
    """Where databases are made, how much, how often; ``say`` and ``done`` as in ``side_by_side``."""

    build: Path
    sizes: Sizes
    rounds: int
    say: Callable[[str], None]
    done: Callable[[Table], None]


@dataclass(frozen=True, slots=True)
class Variation:
    """A row: one thing is larger than at the baseline. On ``copies`` no turn sees the calls of another."""

    name: str
    job: Job
    copies: bool = True


def run(bench: Bench) -> list[Table]:
    """Make the databases, measure on them, check the large ones."""
    bench.build.mkdir(parents=True, exist_ok=True)
    tables: list[Table] = []
    with own_folder(bench.build) as folder:
        variations = _variations(bench, folder)
        for table in (_cost, _growth):
            tables.append(table(bench, variations))
            bench.done(tables[-1])
    return tables


def _variations(bench: Bench, folder: Path) -> list[Variation]:
    """What is measured. The databases are made here."""
    sizes = bench.sizes
    few = _made(bench, folder / "few.db", sizes.past)
    wide = _made(bench, folder / "wide.db", sizes.accounts, sessions=sizes.accounts)
    long = _made(bench, folder / "long.db", sizes.journal // RECORDS_PER_CALL)
    baseline = Job("calls", few, BASELINE_POLICIES, sizes.calls)
    return [
        Variation(BASELINE, baseline),
        *(Variation(f"{count:,} policies", replace(baseline, policies=count)) for count in sizes.policies),
        Variation(f"{sizes.accounts:,} live accounts", replace(baseline, database=wide), copies=False),
        Variation(f"{sizes.journal:,} journal records", replace(baseline, database=long), copies=False),
        Variation("a new session each call", replace(baseline, new_sessions=True)),
    ]


def _made(bench: Bench, database: Path, calls: int, sessions: int = 1) -> str:
    bench.say(f"scale: making a database of {calls:,} calls")
    _child(Job("write", str(database), calls=calls, sessions=sessions))
    return str(database)


def _cost(bench: Bench, variations: Sequence[Variation]) -> Table:
    rows = [Row(each.name) for each in variations]
    for number in range(bench.rounds):
        for row, each in zip(rows, variations, strict=True):
            bench.say(f"scale, round {number + 1} of {bench.rounds}: {each.name}")
            row.rounds += _child(_copied(each.job) if each.copies else each.job)
    for row, each in zip(rows, variations, strict=True):
        if not each.copies:
            bench.say(f"scale: verifying the database with {each.name}")
            row.rounds[0] |= _child(replace(each.job, task="verify"))[0]
    return Table(
        SCENE, f"{BASELINE_POLICIES} policies of which 5 bind, {bench.sizes.past:,} calls before", rows
    )


def _growth(bench: Bench, variations: Sequence[Variation]) -> Table:
    bench.say("scale: memory while every call is in a session of its own")
    job = replace(variations[-1].job, task="growth", calls=bench.sizes.sessions)
    rows = marks.rows(_child(_copied(job)), "resident_mb")
    return Table(SCENE, f"every call in a session of its own, on {DAYS} days", rows)


def _copied(job: Job) -> Job:
    """The same on a fresh copy of its database."""
    copy = Path(job.database).with_name("copy.db")
    for left in copy.parent.glob("copy.db*"):
        left.unlink()
    shutil.copyfile(job.database, copy)
    return replace(job, database=str(copy))


def _child(job: Job) -> list[Figures]:
    """Do it in a fresh process, on the core of what is measured. Raises AssertionError with its complaint."""
    words = [sys.executable, "-m", "benchmarks.scale_run", msgspec.json.encode(job).decode()]
    with on_core(cores()[0]):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"scale, {job.task}: {done.stderr.strip()[-2_000:]}")
    return msgspec.json.decode(done.stdout, type=list[Figures])
