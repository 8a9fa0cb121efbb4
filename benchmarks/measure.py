"""Repeating something and keeping the median: no number here comes from one run."""

import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

REPEATS = 5
NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Result:
    """One row. ``value`` is the median of the repeats in ``unit``; ``least`` and ``most`` are its range."""

    name: str
    value: float
    unit: str
    least: float
    most: float
    about: str = ""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds per repeat of a small benchmark, and of an end-to-end run."""

    small_s: float = 0.25
    run_s: float = 2.0
    repeats: int = REPEATS


QUICK = Effort(small_s=0.02, run_s=0.3, repeats=2)


def result(name: str, samples: list[float], unit: str, about: str = "") -> Result:
    """The row of several measurements of the same thing."""
    return Result(name, median(samples), unit, min(samples), max(samples), about)


def per_call(name: str, work: Callable[[], object], effort: Effort, about: str = "") -> Result:
    """Microseconds of one ``work()``, from loops long enough for the clock not to matter."""
    loops = _loops_for(work, effort.small_s)
    samples = [_timed(work, loops) / loops / NS_PER_US for _ in range(effort.repeats)]
    return result(name, samples, "us", about)


async def per_second(
    name: str, work: Callable[[], Awaitable[int]], effort: Effort, unit: str, about: str = ""
) -> Result:
    """How many things a second ``work`` does; it returns how many it did."""
    await work()
    samples: list[float] = []
    for _ in range(effort.repeats):
        start = time.perf_counter_ns()
        done = await work()
        samples.append(done * 1_000_000_000 / (time.perf_counter_ns() - start))
    return result(name, samples, unit, about)


def _loops_for(work: Callable[[], object], seconds: float) -> int:
    loops = 1
    while (spent := _timed(work, loops)) < seconds * 100_000_000:
        loops *= 2
    return max(1, int(loops * seconds * 1_000_000_000 / spent))


def _timed(work: Callable[[], object], loops: int) -> int:
    """Nanoseconds of ``loops`` calls, with the collector off as ``timeit`` does."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter_ns()
        for _ in range(loops):
            work()
        return time.perf_counter_ns() - start
    finally:
        gc.enable()
