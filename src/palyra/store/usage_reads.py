"""Reports over the rollups as SQLAlchemy Core selects: one statement each, so that its figures agree.

Each reads the rollups of its hours, once, by their primary key; never calls (W50).
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql.selectable import FromClause

from palyra.core.hours import HourRun
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
    check_groups,
)
from palyra.store.schema import rollups

_COUNTED = ("requests", "denied", "failed")


def usage(
    connection: Connection, since: Instant, until: Instant, group_by: Sequence[str]
) -> Sequence[UsageTotals]:
    """Rollup sums of the hours in [since, until), dearest group first.

    Raises ValueError for a group that the rollups do not have.
    """
    check_groups(group_by)
    names = [rollups.c[name] for name in group_by]
    hours = and_(rollups.c.hour >= since, rollups.c.hour < until)
    query = select(*names, *_sums(rollups)).where(hours).group_by(*names)
    query = query.order_by(func.sum(rollups.c.cost).desc(), *names)
    return [_totals(row, group_by) for row in connection.execute(query).mappings()]


def groups(connection: Connection, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
    """See ``UsageRecords.usage_groups``."""
    names = [rollups.c[name] for name in group_by]
    query = select(*names, *_sums(rollups)).where(_matches(wanted)).group_by(*names)
    query = query.order_by(func.sum(rollups.c.cost).desc(), *names)
    found = connection.execute(query).mappings().all()
    # Without a group SQL has a row of nothing where nothing was found.
    return [_totals(row, group_by) for row in found if group_by or any(row[name] for name in _COUNTED)]


def series(
    connection: Connection, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None
) -> Sequence[UsageCell]:
    """See ``UsageRecords.usage_series``."""
    if not runs:
        return []
    by = () if top is None else (top.by,)
    cells = _cells(wanted, by, runs).cte("cells")
    if top is None:
        found = connection.execute(select(cells)).mappings()
        return [UsageCell(row["bucket"], None, _totals(row, ())) for row in found]
    name = cells.c[top.by]
    largest = (
        select(name.label("name"))
        .group_by(name)
        .order_by(func.sum(_figure(cells, top.figure)).desc(), name)
        .limit(top.count)
        .cte("largest")
    )
    query = (
        select(cells.c.bucket, largest.c.name, *_sums(cells))
        .select_from(cells.outerjoin(largest, largest.c.name == name))
        .group_by(cells.c.bucket, largest.c.name)
    )
    found = connection.execute(query).mappings()
    return [UsageCell(row["bucket"], row["name"], _totals(row, ())) for row in found]


def rows(connection: Connection, question: UsageRows) -> UsagePage:
    """See ``UsageRecords.usage_rows``."""
    runs = () if question.spark is None else (question.spark,)
    cells = _cells(question.wanted, question.by, runs).cte("cells")
    names = [cells.c[name] for name in question.by]
    drawn = _figure(cells, question.order or UsageFigure.COST)
    point = cast(cells.c.bucket, Text) + ":" + cast(drawn, Text)
    listed = (
        select(
            *names,
            *_sums(cells),
            func.max(cells.c.last_hour).label("last_hour"),
            func.aggregate_strings(point, ",").label("spark"),
        )
        .group_by(*names)
        .cte("listed")
    )
    cost = select(cast(func.coalesce(func.sum(cells.c.cost), 0), BigInteger)).scalar_subquery()
    query = _page(select(listed, cost.label("all_cost")), listed, question)
    found = connection.execute(query).mappings().all()
    page = [
        UsageRow(_totals(row, question.by), Instant(row["last_hour"]), _points(row["spark"]) if runs else {})
        for row in found
    ]
    return UsagePage(page, found[0]["all_cost"] if found else 0)


def hours(
    connection: Connection, wanted: UsageFilter, after: Sequence[str] | None, limit: int
) -> Sequence[UsageTotals]:
    """See ``UsageRecords.usage_hours``."""
    names = [rollups.c[name] for name in CELL]
    query = select(*names, *_sums(rollups)).where(_matches(wanted)).group_by(*names)
    query = query.order_by(*names).limit(limit)
    if after is not None:
        hour, *rest = after
        # The first condition lets SQLite seek; PostgreSQL would do with the second.
        query = query.where(rollups.c.hour >= int(hour), tuple_(*names) > tuple_(int(hour), *rest))
    return [_totals(row, CELL) for row in connection.execute(query).mappings()]


def _cells(wanted: UsageFilter, by: Sequence[str], runs: Sequence[HourRun]) -> Select[*tuple[Any, ...]]:
    """Sums per group and bucket; without ``runs`` all is one bucket."""
    source = _by_key(wanted, by)
    hour, names = source.c.hour, [source.c[name] for name in by]
    # A subquery: PostgreSQL takes no expression with parameters for the same one twice.
    read = select(_bucket(hour, runs).label("bucket"), hour, *names, *(source.c[name] for name in FIGURES))
    found = read.subquery("found")
    keys = [found.c.bucket, *(found.c[name] for name in by)]
    return select(*keys, *_sums(found), func.max(found.c.hour).label("last_hour")).group_by(*keys)


def _by_key(wanted: UsageFilter, by: Sequence[str]) -> FromClause:
    """The rollups that are wanted, summed as far as the order in which they are stored allows it at once.

    SQLite sorts what it groups by anything but the beginning of the primary key: so it has less to sort. With
    the agent in it there is nothing to gain, and PostgreSQL would lose.
    """
    last = max((CELL.index(name) for name in by), default=0)
    if last > CELL.index("principal"):
        columns = [rollups.c[name] for name in (*CELL, *FIGURES)]
        return select(*columns).where(_matches(wanted)).subquery("wanted")
    names = [rollups.c[name] for name in CELL[: last + 1]]
    return select(*names, *_sums(rollups)).where(_matches(wanted)).group_by(*names).subquery("wanted")


def _bucket(hour: ColumnElement[int], runs: Sequence[HourRun]) -> ColumnElement[int]:
    """The number of a row's bucket. The runs are few: one for each change of the clock, or month."""
    if not runs:
        return literal(0, BigInteger)
    numbers = [literal(run.first, BigInteger) + (hour - run.start) // run.step for run in runs]
    if len(runs) == 1:
        return numbers[0]
    whens = [(hour < run.end, number) for run, number in zip(runs[:-1], numbers, strict=False)]
    return case(*whens, else_=numbers[-1])


def _matches(wanted: UsageFilter) -> ColumnElement[bool]:
    conditions = [rollups.c.hour >= wanted.since, rollups.c.hour < wanted.until]
    for name in NAMES:
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(rollups.c[name] == value)
    return and_(*conditions)


def _page(
    query: Select[*tuple[Any, ...]], listed: FromClause, question: UsageRows
) -> Select[*tuple[Any, ...]]:
    """The rows behind ``after``, by its values and not by its place: rows that come in between move none."""
    names = [listed.c[name] for name in question.by]
    figure = None if question.order is None else _figure(listed, question.order)
    if question.after is not None:
        value, texts = question.after
        behind: ColumnElement[bool] = tuple_(*names) > tuple_(*texts)
        if figure is not None and value is not None:
            behind = or_(figure < value, and_(figure == value, behind))
        query = query.where(behind)
    order = names if figure is None else [figure.desc(), *names]
    return query.order_by(*order).limit(question.limit)


def _sums(source: FromClause) -> list[ColumnElement[int]]:
    return [cast(func.coalesce(func.sum(source.c[name]), 0), BigInteger).label(name) for name in FIGURES]


def _figure(source: FromClause, figure: UsageFigure) -> ColumnElement[int]:
    match figure:
        case UsageFigure.COST:
            return source.c.cost
        case UsageFigure.TOKENS:
            return source.c.input_tokens + source.c.output_tokens
        case UsageFigure.CALLS:
            return source.c.requests
        case UsageFigure.DENIED:
            return source.c.denied


def _totals(row: RowMapping, by: Sequence[str]) -> UsageTotals:
    return UsageTotals({name: str(row[name]) for name in by}, *(row[name] for name in FIGURES))


def _points(text: str) -> dict[int, int]:
    """``1:500,2:7`` as numbers of buckets and their figures."""
    pairs = (point.partition(":") for point in text.split(","))
    return {int(bucket): int(figure) for bucket, _, figure in pairs}
