"""What people ask about usage, and the port that answers from the rollups. Never consulted for admission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Protocol

from palyra.core.hours import HourRun
from palyra.core.instant import Instant


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums of one group of calls. ``cost`` in nano-USD where it is known; ``unpriced`` counts the rest.

    ``asked`` are those of the denied that people were asked about. ``failed`` ended with the error of a
    provider, or without reaching it. ``latency_ms`` is the sum over the ``timed``: calls settled in time.
    ``saved`` is what routing saved against the default models, in nano-USD; below zero where it cost more.
    """

    group: Mapping[str, str]
    requests: int
    denied: int
    estimated: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost: int
    asked: int = 0
    clamped: int = 0
    failed: int = 0
    timed: int = 0
    latency_ms: int = 0
    saved: int = 0


FIGURES = tuple(each.name for each in fields(UsageTotals) if each.name != "group")
NAMES = ("principal", "agent", "model", "provider")
CELL = ("hour", *NAMES)
"""What tells one cell of the rollups from the others: usage can be summed by any of it."""


def check_groups(names: Sequence[str]) -> None:
    """Raises ValueError for a name that usage cannot be grouped by."""
    for name in names:
        if name not in CELL:
            raise ValueError(f"usage cannot be grouped by {name!r}; use one of {', '.join(CELL)}")


class UsageFigure(StrEnum):
    """What usage is ranked by and drawn of. ``tokens`` are input and output, ``calls`` the finished ones."""

    COST = "cost"
    TOKENS = "tokens"
    CALLS = "calls"
    DENIED = "denied"

    def of(self, sums: UsageTotals) -> int:
        """The figure, in nano-USD for ``cost``."""
        match self:
            case UsageFigure.COST:
                return sums.cost
            case UsageFigure.TOKENS:
                return sums.input_tokens + sums.output_tokens
            case UsageFigure.CALLS:
                return sums.requests
            case UsageFigure.DENIED:
                return sums.denied


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Rollups of the hours that start in [since, until); of the names, None means any, and "" none given."""

    since: Instant
    until: Instant
    principal: str | None = None
    agent: str | None = None
    model: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class UsageTop:
    """The ``count`` largest groups of ``by`` (a name of the rollups) are told apart, the rest is one."""

    by: str
    figure: UsageFigure
    count: int


@dataclass(frozen=True, slots=True)
class UsageCell:
    """Sums of one bucket. ``name`` is the group of a ``UsageTop``; None is all others."""

    bucket: int
    name: str | None
    sums: UsageTotals


@dataclass(frozen=True, slots=True)
class UsageRows:
    """Which groups of ``by`` to list: the largest by ``order`` first, or by name if that is None.

    ``after`` is the last row of the page before: its figure (none if by name), then its names. ``spark`` is
    cut in buckets of one figure, ``order`` or the cost.
    """

    wanted: UsageFilter
    by: tuple[str, ...]
    order: UsageFigure | None
    after: tuple[int | None, tuple[str, ...]] | None
    limit: int
    spark: HourRun | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group. ``spark`` has the buckets in which there was anything, by number."""

    sums: UsageTotals
    last_hour: Instant
    spark: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Rows, and the cost of all groups of the question (nano-USD), those of other pages included."""

    rows: Sequence[UsageRow]
    cost: int


class UsageRecords(Protocol):
    """Sums of calls by the hour in which they were reserved (P2): reading costs cells, not calls."""

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """Rollup sums per group (hour, principal, agent, model, provider) in [since, until)."""
        ...

    async def first_hour(self) -> Instant | None:
        """The first hour that anybody used anything in; None before that."""
        ...

    async def usage_groups(self, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """Rollup sums per group as ``usage`` has them, the dearest first; nothing where nothing was used."""
        ...

    async def usage_series(
        self, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None = None
    ) -> Sequence[UsageCell]:
        """Rollup sums per bucket of ``runs``, which must have every hour of ``wanted``; no empty ones."""
        ...

    async def usage_rows(self, question: UsageRows) -> UsagePage:
        """Rollup sums per group, a page of them. ``UsageTotals.group`` has the names of ``by``."""
        ...

    async def usage_hours(
        self, wanted: UsageFilter, after: Sequence[str] | None, limit: int
    ) -> Sequence[UsageTotals]:
        """The rollups themselves, by hour, principal, agent, model and provider, behind ``after``."""
        ...
