"""The scenes: which contenders stand side by side, and which loads they get."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders.base import Contender, Launch, Site, UnavailableError, Upstream
from benchmarks.driving import CHUNKS, INTERVAL_US, Door, Driver, Load
from benchmarks.native_tools import Tools
from benchmarks.processes import Tree, cores, own_folder
from benchmarks.standing import Standing, launched, start
from benchmarks.tls import terminated
from benchmarks.trials import Row, Table, Turns, compare

Say = Callable[[str], None]
DIRECT = "direct to the stub"
SCENES: dict[str, tuple[Load, ...]] = {
    "whole": (Load("whole", 1), Load("whole", 32), Load("whole", 128)),
    "streams": (Load("stream", 32), Load("stream", 256), Load("stream", 256, together=True)),
    "long": (Load("whole", 32, 33_000), Load("whole", 8, 1_048_576)),
    "tls": (Load("whole", 32), Load("stream", 32)),
}
QUICK_SCENES: dict[str, tuple[Load, ...]] = {
    "whole": (Load("whole", 32),),
    "streams": (Load("stream", 32),),
}


@dataclass(slots=True)
class Entrant:
    """A contender of this run: its version, or why it takes no part."""

    contender: Contender
    version: str = ""
    problem: str | None = None


@dataclass(slots=True)
class Outcome:
    """All that was measured."""

    entrants: list[Entrant]
    tables: list[Table] = field(default_factory=list[Table])


@dataclass(frozen=True, slots=True)
class Bench:
    """Where things are built and run, and how long turns take.

    ``say`` shows progress, ``done`` gets each table as soon as it is complete.
    """

    build: Path
    tools: Tools
    turns: Turns
    say: Say
    done: Callable[[Table], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """The provider's side of some scenes, and the folder in which the contenders run."""

    folder: Path
    stub: Standing
    upstream: Upstream
    companions: tuple[Tree, ...]


def run(bench: Bench, contenders: Sequence[Contender], scenes: dict[str, tuple[Load, ...]]) -> Outcome:
    """Install, start and load the contenders, scene after scene."""
    outcome = Outcome([_installed(each, bench) for each in contenders])
    with own_folder(bench.build) as folder, ExitStack() as stack:
        provider = stub(bench.tools, folder)
        assert provider.tree is not None
        stack.callback(provider.tree.end)
        plain = {name: loads for name, loads in scenes.items() if name != "tls"}
        if plain:
            setting = Setting(folder / "plain", provider, Upstream(provider.port), _companions(provider))
            _run_scenes(bench, setting, plain, outcome, outcome.entrants)
        if "tls" in scenes:
            _run_tls(bench, folder, provider, scenes["tls"], outcome)
    return outcome


def _run_tls(bench: Bench, folder: Path, stub: Standing, loads: tuple[Load, ...], outcome: Outcome) -> None:
    able = [each for each in outcome.entrants if each.contender.tls]
    try:
        with terminated(folder, stub.port, cores()[1]) as end:
            setting = Setting(folder / "tls", stub, end.upstream, (*_companions(stub), end.tree))
            _run_scenes(bench, setting, {"tls": loads}, outcome, able)
    except UnavailableError as problem:
        reason = f"needs nginx as the provider's TLS end, which is {problem}"
        for load in loads:
            rows = [Row(each.contender.name, problem=reason) for each in able]
            _add(Table("tls", load, rows), outcome, bench)


def _run_scenes(
    bench: Bench,
    setting: Setting,
    scenes: dict[str, tuple[Load, ...]],
    outcome: Outcome,
    entrants: Sequence[Entrant],
) -> None:
    core, driver_core = cores()
    driver = Driver(bench.tools, driver_core, setting.folder, setting.companions)
    setting.folder.mkdir()
    with ExitStack() as stack:
        standing = [Standing(DIRECT, setting.stub.port, Door())]
        problems: list[Row] = []
        for each in entrants:
            problem = each.problem
            if problem is None:
                try:
                    standing.append(_started(each.contender, bench, setting, core, stack))
                except UnavailableError as found:
                    problem = str(found)
                    if setting.upstream.ca is None:
                        each.problem = problem
            if problem is not None:
                problems.append(Row(each.contender.name, problem=problem))
        for scene, loads in scenes.items():
            for load in loads:
                table = compare(scene, load, standing, driver, bench.turns, bench.say)
                table.rows.extend(problems)
                _add(table, outcome, bench)


def _companions(stub: Standing) -> tuple[Tree, ...]:
    assert stub.tree is not None
    return (stub.tree,)


def _add(table: Table, outcome: Outcome, bench: Bench) -> None:
    outcome.tables.append(table)
    bench.done(table)


def _started(contender: Contender, bench: Bench, setting: Setting, core: int, stack: ExitStack) -> Standing:
    bench.say(f"starting {contender.name}")
    own = setting.folder / contender.name
    own.mkdir()
    site = Site(own, _installation(bench, contender), setting.upstream)
    standing = start(contender, site, core)
    stack.callback(standing.end)
    return standing


def _installed(contender: Contender, bench: Bench) -> Entrant:
    entrant = Entrant(contender)
    into = _installation(bench, contender)
    bench.say(f"installing {contender.name}")
    try:
        contender.install(into, bench.say)
        entrant.version = contender.version(into)
    except UnavailableError as problem:
        entrant.problem = str(problem)
    return entrant


def _installation(bench: Bench, contender: Contender) -> Path:
    return bench.build / contender.name


def stub(tools: Tools, folder: Path, interval_us: int = INTERVAL_US, chunks: int = CHUNKS) -> Standing:
    """Start the provider. Its streams are of so many chunks."""
    own = folder / "stub"
    own.mkdir()
    words = [str(tools.upstream), "0", str(interval_us), str(chunks)]
    return launched("stub", Launch(words, None), own, cores()[1])
