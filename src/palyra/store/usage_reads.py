"""Reports over the rollups as SQLAlchemy Core selects: one statement each, so that its figures agree.

Each reads half-days, and hours at the edges, once, by their primary key; never calls (W50).
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
    cast,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
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
from palyra.store.schema import half_days, rollups
from palyra.store.usage_strips import Strip, strips_of_buckets, strips_of_stretch

_COUNTED = ("requests", "denied", "failed")
"""Whatever is counted is one of these."""
_SIGNS = 9
"""How many pairs of signs (-1, 0, 1) there are."""


def usage(
    connection: Connection, since: Instant, until: Instant, group_by: Sequence[str]
) -> Sequence[UsageTotals]:
    """Rollup sums of the hours in [since, until), dearest group first.

    Raises ValueError for a group that the rollups do not have.
    """
    check_groups(group_by)
    found = groups(connection, UsageFilter(since, until), group_by)
    nothing = UsageTotals({}, *[0] * len(FIGURES))
    return found if found or group_by else [nothing]


def groups(connection: Connection, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
    """See ``UsageRecords.usage_groups``."""
    if "hour" in group_by:
        names = [rollups.c[name] for name in group_by]
        query = select(*names, *_sums(rollups)).where(_matches(wanted)).group_by(*names)
        query = query.having(_is_counted(rollups)).order_by(func.sum(rollups.c.cost).desc(), *names)
    else:
        cells = _cells(wanted, group_by, strips_of_stretch(wanted.since, wanted.until)).subquery("cells")
        query = select(cells).order_by(cells.c.cost.desc(), *(cells.c[name] for name in group_by))
    return [_totals(row, group_by) for row in connection.execute(query).mappings()]


def series(
    connection: Connection, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None
) -> Sequence[UsageCell]:
    """See ``UsageRecords.usage_series``."""
    by = () if top is None else (top.by,)
    cells = _cells(wanted, by, strips_of_buckets(wanted.since, wanted.until, runs)).cte("cells")
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
    wanted, spark = question.wanted, question.spark
    found = _found(wanted, question.by, strips_of_stretch(wanted.since, wanted.until, spark))
    cells = _by_bucket(found, question.by, found.c.mark // _SIGNS).add_columns(_last_hour(found)).cte("cells")
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
    answer = connection.execute(query).mappings().all()
    page = [
        UsageRow(
            _totals(row, question.by),
            Instant(row["last_hour"]),
            {} if spark is None else _points(row["spark"]),
        )
        for row in answer
    ]
    return UsagePage(page, answer[0]["all_cost"] if answer else 0)


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


def _cells(wanted: UsageFilter, by: Sequence[str], strips: Sequence[Strip]) -> Select[*tuple[Any, ...]]:
    """Sums per group and bucket, of those in which anything was counted."""
    found = _found(wanted, by, strips)
    if all((strip.left, strip.right) == (0, 1) for strip in strips):
        return _by_bucket(found, by, found.c.mark // _SIGNS)
    names = [found.c[name] for name in by]
    # Once for both sides: all rows are sorted for it.
    parts = select(found.c.mark, *names, *_sums(found)).group_by(found.c.mark, *names).cte("parts")
    place, signs = parts.c.mark // _SIGNS, parts.c.mark % _SIGNS
    sides = union_all(_side(parts, by, place, signs % 3 - 1), _side(parts, by, place - 1, signs // 3 - 1))
    both = sides.subquery("sides")
    return _by_bucket(both, by, both.c.place)


def _found(wanted: UsageFilter, by: Sequence[str], strips: Sequence[Strip]) -> FromClause:
    """The rows of all strips."""
    read = [_read(wanted, by, strip) for strip in strips]
    return union_all(*(read or [_nothing(by)])).subquery("found")


def _by_bucket(source: FromClause, by: Sequence[str], place: ColumnElement[int]) -> Select[*tuple[Any, ...]]:
    names = [source.c[name] for name in by]
    # By its name: PostgreSQL takes no expression with parameters for the same one twice.
    query = select(place.label("bucket"), *names, *_sums(source))
    return query.group_by("bucket", *names).having(_is_counted(source))


def _side(
    parts: FromClause, by: Sequence[str], place: ColumnElement[int], sign: ColumnElement[int]
) -> Select[*tuple[Any, ...]]:
    """What strips count for one of their two buckets."""
    names = [parts.c[name] for name in by]
    figures = [(parts.c[name] * sign).label(name) for name in FIGURES]
    return select(place.label("place"), *names, *figures).where(sign != 0)


def _read(wanted: UsageFilter, by: Sequence[str], strip: Strip) -> Select[*tuple[Any, ...]]:
    """The rows of a strip, each with a mark: its place and both signs as one number, to sort by."""
    source = _by_key(wanted, by, strip)
    place = literal(strip.first, BigInteger) + (source.c.at - strip.start) // strip.step
    signs = (strip.left + 1) * 3 + strip.right + 1
    names = [source.c[name] for name in by]
    figures = [source.c[name] for name in FIGURES]
    return select((place * _SIGNS + signs).label("mark"), *names, *figures, source.c.last_hour)


def _nothing(by: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """No rows, of the columns that ``_read`` has."""
    columns = [rollups.c[name] for name in (*by, *FIGURES)]
    return select(rollups.c.hour.label("mark"), *columns, rollups.c.hour.label("last_hour")).where(false())


def _by_key(wanted: UsageFilter, by: Sequence[str], strip: Strip) -> FromClause:
    """The sums that are wanted, put together as far as the order in which they are stored allows it at once.

    SQLite sorts what it groups by anything but the beginning of the primary key: so it has less to sort. With
    the agent in it there is nothing to gain, and PostgreSQL would lose.
    """
    table = half_days if strip.by_half_day else rollups
    at = table.c.half_day if strip.by_half_day else table.c.hour
    last_hour = table.c.last_hour if strip.by_half_day else table.c.hour
    when = at.in_(strip.instants) if strip.has_gaps else and_(at >= strip.since, at < strip.until)
    matching = and_(when, *_named(table, wanted))
    last = max((CELL.index(name) for name in by), default=0)
    names = [table.c[name] for name in by]
    if last > CELL.index("principal"):
        figures = [table.c[name] for name in FIGURES]
        query = select(at.label("at"), *names, *figures, last_hour.label("last_hour")).where(matching)
    else:
        sums = [*_sums(table), func.max(last_hour).label("last_hour")]
        query = select(at.label("at"), *names, *sums).where(matching).group_by(at, *names)
    return query.subquery("wanted")


def _matches(wanted: UsageFilter) -> ColumnElement[bool]:
    hour = rollups.c.hour
    return and_(hour >= wanted.since, hour < wanted.until, *_named(rollups, wanted))


def _named(table: FromClause, wanted: UsageFilter) -> list[ColumnElement[bool]]:
    values = {name: getattr(wanted, name) for name in NAMES}
    return [table.c[name] == value for name, value in values.items() if value is not None]


def _is_counted(source: FromClause) -> ColumnElement[bool]:
    """Whether anything is left of a group: of hours that were added and subtracted again, there is not."""
    return or_(*(func.sum(source.c[name]) != 0 for name in _COUNTED))


def _last_hour(source: FromClause) -> ColumnElement[int]:
    return func.max(source.c.last_hour).label("last_hour")


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
