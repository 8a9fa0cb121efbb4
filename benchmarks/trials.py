"""The same load on every contender, in turns (A B C A B C), and what each turn showed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.driving import Driven, Driver, Load
from benchmarks.processes import Tree, busy_s, cores, finished_children_s
from benchmarks.standing import Standing

WARM_S = 0.3
US = 1_000_000
Figures = dict[str, float]
Say = Callable[[str], None]


@dataclass(slots=True)
class Row:
    """One contender under one load: a set of figures per round, or why there is none."""

    name: str
    rounds: list[Figures] = field(default_factory=list[Figures])
    problem: str | None = None

    def median(self, figure: str) -> float | None:
        """The middle of the rounds; None where it was not measured."""
        values = [each[figure] for each in self.rounds if figure in each]
        return median(values) if values else None

    def ratio(self, figure: str, other: "Row | None") -> float | None:
        """The middle of the ratios of rounds measured one after the other, not the ratio of the middles."""
        ratios = [mine / theirs for mine, theirs in self._pairs(figure, other) if theirs]
        return median(ratios) if ratios else None

    def beyond(self, figure: str, other: "Row | None") -> float | None:
        """The middle of the differences to another's rounds."""
        differences = [mine - theirs for mine, theirs in self._pairs(figure, other)]
        return median(differences) if differences else None

    def _pairs(self, figure: str, other: "Row | None") -> list[tuple[float, float]]:
        rounds = zip(self.rounds, other.rounds if other else (), strict=False)
        return [
            (mine[figure], theirs[figure]) for mine, theirs in rounds if figure in mine and figure in theirs
        ]


@dataclass(frozen=True, slots=True)
class Table:
    """All contenders under one load; where none was driven ``load`` says in words what was done."""

    scene: str
    load: Load | str
    rows: list[Row]

    def disturbed(self) -> float:
        """The share of the cores in use that strangers took: the middle of all turns."""
        shares = [each["others"] for row in self.rows for each in row.rounds if "others" in each]
        return median(shares) if shares else 0.0

    def row(self, name: str) -> Row | None:
        """That contender's row."""
        return next((each for each in self.rows if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Turns:
    """How long and how often: seconds per run, rounds."""

    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a contender during a run, and of what ran beside it; what share strangers had."""

    own_s: float
    beside_s: float
    others: float


class Meter:
    """Reads the CPU clocks of a contender, of what serves and loads it, and of the cores, around a run."""

    def __init__(self, standing: Standing, companions: Sequence[Tree]) -> None:
        """Start counting, once the contender is at rest."""
        self._tree = standing.tree
        self._beside = standing.beside
        self._companions = companions
        self._cores = set(cores())
        self._own = self._tree.cpu_s_when_quiet() if self._tree else 0.0
        self._next_to_it = self._beside.cpu_s() if self._beside else 0.0
        self._strange = self._strangers_s()
        self._since = time.monotonic()

    def stop(self) -> Cost:
        """What was used since then, with the work that went on after the last answer."""
        others = (self._strangers_s() - self._strange) / (time.monotonic() - self._since) / len(self._cores)
        own = self._tree.cpu_s_when_quiet() - self._own if self._tree else 0.0
        beside = self._beside.cpu_s() - self._next_to_it if self._beside else 0.0
        return Cost(own, beside, max(0.0, others))

    def _strangers_s(self) -> float:
        known = [each.cpu_s() for each in (self._tree, self._beside, *self._companions) if each is not None]
        return busy_s(self._cores) - sum(known) - finished_children_s()


def compare(
    scene: str, load: Load, standing: Sequence[Standing], driver: Driver, turns: Turns, say: Say
) -> Table:
    """Load each in turn; the first one is the stub itself, whose latency is subtracted from the others'."""
    rows = [Row(each.name) for each in standing]
    for number in range(turns.rounds):
        direct: Figures | None = None
        for row, each in zip(rows, standing, strict=True):
            if row.problem is not None:
                continue
            say(f"{scene}, {titled(load)}, round {number + 1} of {turns.rounds}: {each.name}")
            figures = _turn(row, each, load, driver, turns.seconds)
            if figures is None:
                continue
            if direct is None and each.tree is None:
                direct = figures
            elif direct is not None and load.kind == "whole":
                figures["added_p50_us"] = figures["p50_us"] - direct["p50_us"]
                figures["added_p99_us"] = figures["p99_us"] - direct["p99_us"]
            row.rounds.append(figures)
    return Table(scene, load, rows)


def titled(load: Load | str) -> str:
    """The load in words."""
    if isinstance(load, str):
        return load
    if load.kind == "stream":
        return f"{load.connections} streams" + (", begun together" if load.together else "")
    size = f", {load.size // 1_000:,} KB bodies" if load.size > 2_000 else ""
    return f"{load.connections} connection{'s' * (load.connections > 1)}{size}"


def _turn(row: Row, each: Standing, load: Load, driver: Driver, seconds: float) -> Figures | None:
    with each.awake():
        try:
            driver.run(each.port, each.door, load, min(WARM_S, seconds / 2))
            meter = Meter(each, driver.companions)
            driven = driver.run(each.port, each.door, load, seconds)
            cost = meter.stop()
        except AssertionError as problem:
            row.problem = str(problem)
            return None
        row.problem = driven.complaint()
        if row.problem is not None:
            return None
        figures = _whole(driven) if load.kind == "whole" else _streamed(driven)
        done = driven.done if load.kind == "whole" else driven.events
        if each.tree is not None:
            figures["cpu_us"] = cost.own_s * US / done
            figures["memory_mb"] = each.tree.memory_mb()
        if each.beside is not None:
            figures["database_us"] = cost.beside_s * US / done
        figures["others"] = cost.others
        return figures


def _whole(driven: Driven) -> Figures:
    return {"rate": driven.rate, "p50_us": driven.latency_p50_us, "p99_us": driven.latency_p99_us}


def _streamed(driven: Driven) -> Figures:
    return {
        "rate": driven.events_rate,
        "first_p50_us": driven.first_p50_us,
        "first_p99_us": driven.first_p99_us,
        "lag_p50_us": driven.lag_p50_us,
        "lag_p99_us": driven.lag_p99_us,
    }
