"""``python -m benchmarks``: measure, print tables, keep the numbers in benchmarks/results."""

import argparse
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks import contenders, memory, micro, native_tools, report, scale, scale_out, side_by_side, tables
from benchmarks.contenders.base import Contender
from benchmarks.measure import Result
from benchmarks.side_by_side import Outcome
from benchmarks.trials import Table, Turns

BUILD = Path(__file__).parents[1] / "build" / "bench"
MICRO = "micro"
SCENES = (*side_by_side.SCENES, scale.SCENE, scale_out.SCENE, memory.SCENE, MICRO)
QUICK_TURNS = Turns(0.3, 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scene", choices=SCENES, help="one scene instead of all")
    parser.add_argument("--only", help="contenders, separated by commas: " + ",".join(contenders.names()))
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a run (1.5)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender; medians count (3)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="without the peers, a second instead of minutes: shows that it runs",
    )
    sizes = scale.Sizes()
    parser.add_argument(
        "--journal", type=int, help=f"records of the long journal of scale ({sizes.journal:,})"
    )
    parser.add_argument("--calls", type=int, help=f"calls of memory ({memory.CALLS:,})")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="folder for the JSON file")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder for what is compiled and installed")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file, as Markdown")
    return parser.parse_args()


def _chosen(asked: argparse.Namespace) -> Sequence[Contender]:
    if asked.only:
        return contenders.named(asked.only.split(","))
    return contenders.QUICK if asked.quick else contenders.ALL


def _parts(console: Console, *, quick: bool) -> list[Result]:
    with console.status("measuring the parts of a call"):
        rows = micro.run(quick=quick)
    report.show(rows, console)
    return rows


def _side_by_side(asked: argparse.Namespace, outcome: Outcome, console: Console) -> None:
    scenes = side_by_side.QUICK_SCENES if asked.quick else side_by_side.SCENES
    if asked.scene:
        scenes = {asked.scene: scenes.get(asked.scene, side_by_side.SCENES[asked.scene])}
    with _bench(asked, console) as bench:
        measured = side_by_side.run(bench, _chosen(asked), scenes)
    tables.show_entrants(measured, console)
    outcome.entrants += measured.entrants
    outcome.tables += measured.tables


def _memory(asked: argparse.Namespace, outcome: Outcome, console: Console) -> None:
    calls = asked.calls or (memory.QUICK_CALLS if asked.quick else memory.CALLS)
    with _bench(asked, console) as bench:
        outcome.tables += memory.run(bench, calls, memory.QUICK_STREAMS if asked.quick else memory.STREAMS)


def _scale(asked: argparse.Namespace, outcome: Outcome, console: Console) -> None:
    sizes = scale.QUICK if asked.quick else scale.Sizes()
    if asked.journal:
        sizes = replace(sizes, journal=asked.journal)
    with console.status("") as status:
        bench = scale.Bench(
            asked.build.resolve(), sizes, _turns(asked).rounds, status.update, _shown(console)
        )
        outcome.tables += scale.run(bench)


def _scale_out(asked: argparse.Namespace, outcome: Outcome, console: Console) -> None:
    sizes = scale_out.QUICK if asked.quick else scale_out.Sizes()
    turns = _turns(asked)
    with console.status("") as status:
        bench = scale_out.Bench(
            asked.build.resolve(), sizes, turns.seconds, turns.rounds, status.update, _shown(console)
        )
        outcome.tables += scale_out.run(bench)


@contextmanager
def _bench(asked: argparse.Namespace, console: Console) -> Generator[side_by_side.Bench]:
    """NoCompilerError where stub and driver cannot be built."""
    build: Path = asked.build.resolve()
    with console.status("") as status:
        tools = native_tools.build(build / "native")
        yield side_by_side.Bench(build, tools, _turns(asked), status.update, _shown(console))


def _turns(asked: argparse.Namespace) -> Turns:
    return QUICK_TURNS if asked.quick else Turns(asked.seconds, asked.rounds)


def _shown(console: Console) -> Callable[[Table], None]:
    return lambda table: tables.show(table, console)


def _end(number: int, frame: FrameType | None) -> None:
    """Leave through every ``finally``: contenders must not outlive the run."""
    del frame
    sys.exit(128 + number)


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 180)
    signal.signal(signal.SIGTERM, _end)
    rows: list[Result] = []
    outcome = Outcome([])
    asked_for = _asked_for(asked)
    if MICRO in asked_for:
        rows = _parts(console, quick=asked.quick)
    if scale.SCENE in asked_for:
        _scale(asked, outcome, console)
    if scale_out.SCENE in asked_for:
        _scale_out(asked, outcome, console)
    try:
        if memory.SCENE in asked_for:
            _memory(asked, outcome, console)
        if asked_for & side_by_side.SCENES.keys():
            _side_by_side(asked, outcome, console)
    except native_tools.NoCompilerError as problem:
        console.print(f"No gateways were measured: {problem}")
    if asked.markdown:
        asked.markdown.write_text(tables.markdown(outcome))
    console.print(f"Saved as {report.save(rows, outcome, asked.results)}")
    return 0


def _asked_for(asked: argparse.Namespace) -> set[str]:
    """The scenes of this run: those that have contenders if some are named, the short ones if it is quick."""
    if asked.scene:
        return {asked.scene}
    if asked.only:
        return set(side_by_side.SCENES)
    return set(SCENES) - ({scale.SCENE, scale_out.SCENE, memory.SCENE} if asked.quick else set())


if __name__ == "__main__":
    sys.exit(main())
