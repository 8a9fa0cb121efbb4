"""Reports over the rollups as SQLAlchemy Core selects: one statement each, so that its figures agree.

Each reads half-days, and hours at the edges, once, by their primary key; never calls (W50). A statement is
put together once for each shape of a question, with parameters for the rest: that takes as long as to run it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
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
_SHAPES_KEPT = 512


class _Shape(NamedTuple):
    """What the statement of a question depends on; all else are its parameters.

    ``strips`` says of each whether it is of half-days, and whether it has gaps. ``is_corrected``: some rows
    count for other buckets than those that they are in.
    """

    by: tuple[str, ...]
    strips: tuple[tuple[bool, bool], ...]
    named: tuple[str, ...]
    is_corrected: bool


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


def first_hour(connection: Connection) -> Instant | None:
    """See ``UsageRecords.first_hour``."""
    return connection.execute(select(func.min(rollups.c.hour))).scalar()


def groups(connection: Connection, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
    """See ``UsageRecords.usage_groups``."""
    if "hour" in group_by:
        names = [rollups.c[name] for name in group_by]
        query = select(*names, *_sums(rollups)).where(_matches(wanted)).group_by(*names)
        query = query.having(_is_counted(rollups)).order_by(func.sum(rollups.c.cost).desc(), *names)
        found = connection.execute(query)
    else:
        strips = strips_of_stretch(wanted.since, wanted.until)
        shape = _shape(wanted, group_by, strips)
        found = connection.execute(_groups_query(shape), _parameters(wanted, strips))
    return [_totals(row, group_by) for row in found.mappings()]


@lru_cache(_SHAPES_KEPT)
def _groups_query(shape: _Shape) -> Select[*tuple[Any, ...]]:
    cells = _cells(shape).subquery("cells")
    return select(cells).order_by(cells.c.cost.desc(), *(cells.c[name] for name in shape.by))


def series(
    connection: Connection, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None
) -> Sequence[UsageCell]:
    """See ``UsageRecords.usage_series``."""
    strips = strips_of_buckets(wanted.since, wanted.until, runs)
    values = _parameters(wanted, strips)
    if top is None:
        found = connection.execute(_buckets_query(_shape(wanted, (), strips)), values).mappings()
        return [UsageCell(row["bucket"], None, _totals(row, ())) for row in found]
    query = _series_query(_shape(wanted, (top.by,), strips), top.figure)
    found = connection.execute(query, values | {"top": top.count}).mappings()
    return [UsageCell(row["bucket"], row["name"], _totals(row, ())) for row in found]


@lru_cache(_SHAPES_KEPT)
def _buckets_query(shape: _Shape) -> Select[*tuple[Any, ...]]:
    return select(_cells(shape).cte("cells"))


@lru_cache(_SHAPES_KEPT)
def _series_query(shape: _Shape, figure: UsageFigure) -> Select[*tuple[Any, ...]]:
    cells = _cells(shape).cte("cells")
    name = cells.c[shape.by[0]]
    largest = (
        select(name.label("name"))
        .group_by(name)
        .order_by(func.sum(_figure(cells, figure)).desc(), name)
        .limit(_number("top"))
        .cte("largest")
    )
    return (
        select(cells.c.bucket, largest.c.name, *_sums(cells))
        .select_from(cells.outerjoin(largest, largest.c.name == name))
        .group_by(cells.c.bucket, largest.c.name)
    )


def rows(connection: Connection, question: UsageRows) -> UsagePage:
    """See ``UsageRecords.usage_rows``."""
    wanted, spark = question.wanted, question.spark
    strips = strips_of_stretch(wanted.since, wanted.until, spark)
    values = _parameters(wanted, strips) | {"limit": question.limit}
    figure, texts = (None, ()) if question.after is None else question.after
    values |= {"after_figure": figure} if figure is not None else {}
    values |= {f"after_{name}": text for name, text in zip(question.by, texts, strict=False)}
    shape = _shape(wanted, question.by, strips)
    query = _rows_query(shape, question.order, question.after is not None, figure is not None)
    answer = connection.execute(query, values).mappings().all()
    page = [
        UsageRow(
            _totals(row, question.by),
            Instant(row["last_hour"]),
            {} if spark is None else _points(row["spark"]),
        )
        for row in answer
    ]
    return UsagePage(page, answer[0]["all_cost"] if answer else 0)


@lru_cache(_SHAPES_KEPT)
def _rows_query(
    shape: _Shape, order: UsageFigure | None, has_after: bool, has_figure: bool
) -> Select[*tuple[Any, ...]]:
    """``has_after``: the rows behind a place, by its values and not by its number.

    So rows that come in between move none.
    """
    found = _found(shape)
    cells = _by_bucket(found, shape.by, found.c.mark // _SIGNS).add_columns(_last_hour(found)).cte("cells")
    names = [cells.c[name] for name in shape.by]
    point = cast(cells.c.bucket, Text) + ":" + cast(_figure(cells, order or UsageFigure.COST), Text)
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
    query = select(listed, cost.label("all_cost"))
    told = [listed.c[name] for name in shape.by]
    figure = None if order is None else _figure(listed, order)
    if has_after:
        behind: ColumnElement[bool] = tuple_(*told) > tuple_(*(_text(f"after_{name}") for name in shape.by))
        if figure is not None and has_figure:
            value = _number("after_figure")
            behind = or_(figure < value, and_(figure == value, behind))
        query = query.where(behind)
    ordered = told if figure is None else [figure.desc(), *told]
    return query.order_by(*ordered).limit(_number("limit"))


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


def _shape(wanted: UsageFilter, by: Sequence[str], strips: Sequence[Strip]) -> _Shape:
    return _Shape(
        tuple(by),
        tuple((strip.by_half_day, strip.has_gaps) for strip in strips),
        tuple(_named(wanted)),
        any((strip.left, strip.right) != (0, 1) for strip in strips),
    )


def _parameters(wanted: UsageFilter, strips: Sequence[Strip]) -> dict[str, object]:
    """The values of a statement: of the filter, and of each strip by its number."""
    values: dict[str, object] = {
        name: getattr(wanted, name) for name in NAMES if getattr(wanted, name) is not None
    }
    for number, strip in enumerate(strips):
        if strip.has_gaps:
            values[f"instants_{number}"] = strip.instants
        else:
            values |= {f"since_{number}": strip.since, f"until_{number}": strip.until}
        values |= {
            f"first_{number}": strip.first,
            f"start_{number}": strip.start,
            f"step_{number}": strip.step,
            f"signs_{number}": (strip.left + 1) * 3 + strip.right + 1,
        }
    return values


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger)


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text)


def _cells(shape: _Shape) -> Select[*tuple[Any, ...]]:
    """Sums per group and bucket, of those in which anything was counted."""
    found = _found(shape)
    if not shape.is_corrected:
        return _by_bucket(found, shape.by, found.c.mark // _SIGNS)
    names = [found.c[name] for name in shape.by]
    # Once for both sides: all rows are sorted for it.
    parts = select(found.c.mark, *names, *_sums(found)).group_by(found.c.mark, *names).cte("parts")
    place, signs = parts.c.mark // _SIGNS, parts.c.mark % _SIGNS
    right, left = (place, signs % 3 - 1), (place - 1, signs // 3 - 1)
    both = union_all(*(_side(parts, shape.by, *side) for side in (right, left))).subquery("sides")
    return _by_bucket(both, shape.by, both.c.place)


def _found(shape: _Shape) -> FromClause:
    """The rows of all strips."""
    read = [_read(shape, number) for number in range(len(shape.strips))]
    return union_all(*(read or [_nothing(shape.by)])).subquery("found")


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


def _read(shape: _Shape, number: int) -> Select[*tuple[Any, ...]]:
    """The rows of a strip, each with a mark: its place and both signs as one number, to sort by."""
    source = _by_key(shape, number)
    steps = (source.c.at - _number(f"start_{number}")) // _number(f"step_{number}")
    mark = (_number(f"first_{number}") + steps) * _SIGNS + _number(f"signs_{number}")
    names = [source.c[name] for name in shape.by]
    figures = [source.c[name] for name in FIGURES]
    return select(mark.label("mark"), *names, *figures, source.c.last_hour)


def _nothing(by: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """No rows, of the columns that ``_read`` has."""
    columns = [rollups.c[name] for name in (*by, *FIGURES)]
    return select(rollups.c.hour.label("mark"), *columns, rollups.c.hour.label("last_hour")).where(false())


def _by_key(shape: _Shape, number: int) -> FromClause:
    """The sums that are wanted, put together as far as the order in which they are stored allows it at once.

    SQLite sorts what it groups by anything but the beginning of the primary key: so it has less to sort. With
    the agent in it there is nothing to gain, and PostgreSQL would lose.
    """
    by_half_day, has_gaps = shape.strips[number]
    table = half_days if by_half_day else rollups
    at = table.c.half_day if by_half_day else table.c.hour
    last_hour = table.c.last_hour if by_half_day else table.c.hour
    if has_gaps:
        when: ColumnElement[bool] = at.in_(bindparam(f"instants_{number}", type_=BigInteger, expanding=True))
    else:
        when = and_(at >= _number(f"since_{number}"), at < _number(f"until_{number}"))
    matching = and_(when, *(table.c[name] == _text(name) for name in shape.named))
    last = max((CELL.index(name) for name in shape.by), default=0)
    names = [table.c[name] for name in shape.by]
    if last > CELL.index("principal"):
        figures = [table.c[name] for name in FIGURES]
        query = select(at.label("at"), *names, *figures, last_hour.label("last_hour")).where(matching)
    else:
        sums = [*_sums(table), func.max(last_hour).label("last_hour")]
        query = select(at.label("at"), *names, *sums).where(matching).group_by(at, *names)
    return query.subquery("wanted")


def _matches(wanted: UsageFilter) -> ColumnElement[bool]:
    named = [rollups.c[name] == value for name, value in _named(wanted).items()]
    return and_(rollups.c.hour >= wanted.since, rollups.c.hour < wanted.until, *named)


def _named(wanted: UsageFilter) -> Mapping[str, str]:
    values = {name: getattr(wanted, name) for name in NAMES}
    return {name: value for name, value in values.items() if value is not None}


def _is_counted(source: FromClause) -> ColumnElement[bool]:
    """Whether anything is left of a group: of hours that were added and subtracted again, there is not."""
    return or_(*(func.sum(source.c[name]) != 0 for name in _COUNTED))


def _last_hour(source: FromClause) -> ColumnElement[int]:
    return func.max(source.c.last_hour).label("last_hour")


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
