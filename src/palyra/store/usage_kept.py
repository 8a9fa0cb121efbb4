"""Reports over rollups that are kept in memory: what ``usage_reads`` asks a database, in plain Python."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from palyra.core.hours import HourRun, bucket_of
from palyra.core.instant import Instant
from palyra.lifecycle.usage import (
    CELL,
    FIGURES,
    NAMES,
    UsageCell,
    UsageFigure,
    UsageFilter,
    UsagePage,
    UsageRow,
    UsageRows,
    UsageTop,
    UsageTotals,
)


class Rollup(NamedTuple):
    """A cell, or a part of one: its ``names`` are those of the rollups, the hour included."""

    hour: Instant
    names: dict[str, str]
    sums: UsageTotals


class KeptUsage:
    """The reports of the Records port."""

    def _kept_rollups(self) -> list[Rollup]:
        """Everything there is, in any order."""
        raise NotImplementedError

    async def usage_groups(self, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """See ``UsageRecords.usage_groups``."""
        sums: dict[tuple[str, ...], UsageTotals] = {}
        for each in self._wanted(wanted):
            key = tuple(each.names[name] for name in group_by)
            group = dict(zip(group_by, key, strict=True))
            sums[key] = _plus(sums.get(key, UsageTotals(group, *[0] * 10)), each.sums)
        keys = [key for key, each in sums.items() if _is_counted(each)]
        return [sums[key] for key in sorted(keys, key=lambda key: (-sums[key].cost, key))]

    async def usage_series(
        self, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None = None
    ) -> Sequence[UsageCell]:
        """See ``UsageRecords.usage_series``."""
        found = self._wanted(wanted)
        named = None if top is None else _largest(found, top)
        sums: dict[tuple[int, str | None], UsageTotals] = {}
        for each in found:
            name = each.names[top.by] if top is not None and named is not None else None
            key = bucket_of(each.hour, runs), name if named is not None and name in named else None
            sums[key] = _plus(sums.get(key), each.sums)
        return [
            UsageCell(bucket, name, total) for (bucket, name), total in sums.items() if _is_counted(total)
        ]

    async def first_hour(self) -> Instant | None:
        """See ``UsageRecords.first_hour``."""
        return min((each.hour for each in self._kept_rollups()), default=None)

    async def usage_rows(self, question: UsageRows) -> UsagePage:
        """See ``UsageRecords.usage_rows``."""
        found = self._wanted(question.wanted)
        grouped: dict[tuple[str, ...], list[Rollup]] = {}
        for each in found:
            grouped.setdefault(tuple(each.names[name] for name in question.by), []).append(each)
        made = [_row(question, names, cells) for names, cells in grouped.items()]
        made = [each for each in made if _is_counted(each.sums)]
        made.sort(key=lambda row: _rank(question, row))
        if question.after is not None:
            figure, names = question.after
            made = [row for row in made if _rank(question, row) > (-(figure or 0), names)]
        return UsagePage(made[: question.limit], sum(each.sums.cost for each in found))

    async def usage_hours(
        self, wanted: UsageFilter, after: Sequence[str] | None, limit: int
    ) -> Sequence[UsageTotals]:
        """See ``UsageRecords.usage_hours``."""
        sums: dict[tuple[str, ...], UsageTotals] = {}
        for each in self._wanted(wanted):
            key = tuple(each.names[name] for name in CELL)
            sums[key] = _plus(sums.get(key), each.sums)
        keys = sorted(sums, key=_place)
        if after is not None:
            keys = [key for key in keys if _place(key) > _place(after)]
        return [replace(sums[key], group=dict(zip(CELL, key, strict=True))) for key in keys[:limit]]

    def _wanted(self, wanted: UsageFilter) -> list[Rollup]:
        return [
            each
            for each in self._kept_rollups()
            if wanted.since <= each.hour < wanted.until
            and all(getattr(wanted, name) in (None, each.names[name]) for name in NAMES)
        ]


def _place(names: Sequence[str]) -> tuple[int, Sequence[str]]:
    return int(names[0]), tuple(names[1:])


def _largest(found: Iterable[Rollup], top: UsageTop) -> set[str]:
    sums: dict[str, int] = {}
    for each in found:
        name = each.names[top.by]
        sums[name] = sums.get(name, 0) + top.figure.of(each.sums)
    return set(sorted(sums, key=lambda name: (-sums[name], name))[: top.count])


def _row(question: UsageRows, names: tuple[str, ...], cells: Sequence[Rollup]) -> UsageRow:
    total = UsageTotals(dict(zip(question.by, names, strict=True)), *[0] * 10)
    spark: dict[int, int] = {}
    for each in cells:
        total = _plus(total, each.sums)
        if question.spark is not None:
            bucket = bucket_of(each.hour, (question.spark,))
            spark[bucket] = spark.get(bucket, 0) + (question.order or UsageFigure.COST).of(each.sums)
    return UsageRow(total, max(each.hour for each in cells), spark)


def _rank(question: UsageRows, row: UsageRow) -> tuple[int, tuple[str, ...]]:
    """Rows are in the order of this."""
    figure = 0 if question.order is None else question.order.of(row.sums)
    return -figure, tuple(row.sums.group.values())


def _is_counted(sums: UsageTotals) -> bool:
    return bool(sums.requests or sums.denied or sums.failed)


def _plus(one: UsageTotals | None, other: UsageTotals) -> UsageTotals:
    if one is None:
        return other
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in FIGURES})
