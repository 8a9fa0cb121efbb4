"""Sessions, tags and latencies as SQLAlchemy Core selects, each along an index and never over calls (W50)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from heapq import merge
from itertools import groupby, islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    cast,
    func,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from palyra.core.hours import DAY_NS, HALF_DAY_NS
from palyra.core.instant import END_OF_TIME, Instant
from palyra.lifecycle.activity import (
    LatencyCounts,
    SessionFilter,
    SessionOrder,
    SessionPlace,
    SessionTotals,
    TagTotals,
)
from palyra.store.schema import (
    IS_LONG,
    half_day_latencies,
    half_day_tags,
    half_days,
    latencies,
    session_parts,
    sessions,
    tag_rollups,
)
from palyra.store.usage_strips import strips_of_stretch

MANY_DAYS_NS = 2 * DAY_NS
_COLUMNS = tuple(sessions.c[each.name] for each in fields(SessionTotals))
_TAG_FIGURES = ("requests", "input_tokens", "output_tokens", "cost")


def list_sessions(connection: Connection, wanted: SessionFilter) -> Sequence[SessionTotals]:
    """See ``ActivityRecords.sessions``. Of all principals: the first ones of each, merged."""
    names = _names_of(wanted)
    if names:
        principals = _users(connection, wanted, names)
    elif wanted.principal is None:
        principals = _principals(connection)
    else:
        principals = [wanted.principal]
    lists = [found for principal in principals for found in _of_principal(connection, wanted, principal)]
    ordered = merge(*lists, key=lambda each: each.place(wanted.order), reverse=True)
    return list(islice(ordered, wanted.limit))


def one_session(connection: Connection, principal: str, session: str) -> SessionTotals | None:
    """See ``ActivityRecords.session``."""
    query = select(*_COLUMNS).where(sessions.c.principal == principal, sessions.c.session == session)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _session(row)


def sum_tags(connection: Connection, since: Instant, until: Instant, tag: str | None) -> Sequence[TagTotals]:
    """See ``ActivityRecords.tags``."""
    wanted = {} if tag is None else {"tag": tag}
    found = _within(since, until, (tag_rollups, half_day_tags), ("tag", "value", *_TAG_FIGURES), wanted)
    names = found.c.tag, found.c.value
    sums = [cast(func.sum(found.c[each]), BigInteger).label(each) for each in _TAG_FIGURES]
    query = select(*names, *sums).group_by(*names).order_by(func.sum(found.c.cost).desc(), *names)
    return [TagTotals(**row) for row in connection.execute(query).mappings()]


def count_latencies(
    connection: Connection, since: Instant, until: Instant, provider: str | None, model: str | None
) -> Sequence[LatencyCounts]:
    """See ``ActivityRecords.latencies``."""
    found = _latencies_within(since, until, ("provider", "model", "bucket", "calls"), provider, model)
    names = found.c.provider, found.c.model
    query = (
        select(*names, found.c.bucket, cast(func.sum(found.c.calls), BigInteger).label("calls"))
        .group_by(*names, found.c.bucket)
        .order_by(*names)
    )
    rows = connection.execute(query).all()
    return [
        LatencyCounts(provider, model, {row.bucket: row.calls for row in group})
        for (provider, model), group in groupby(rows, key=lambda row: (row.provider, row.model))
    ]


def count_all_latencies(
    connection: Connection, since: Instant, until: Instant, provider: str | None, model: str | None
) -> Mapping[int, int]:
    """See ``ActivityRecords.all_latencies``."""
    found = _latencies_within(since, until, ("bucket", "calls"), provider, model)
    query = select(found.c.bucket, cast(func.sum(found.c.calls), BigInteger).label("calls")).group_by(
        found.c.bucket
    )
    return {row.bucket: row.calls for row in connection.execute(query)}


def _latencies_within(
    since: Instant, until: Instant, columns: Sequence[str], provider: str | None, model: str | None
) -> FromClause:
    named = {"provider": provider, "model": model}
    wanted = {name: value for name, value in named.items() if value is not None}
    return _within(since, until, (latencies, half_day_latencies), columns, wanted)


def _within(
    since: Instant,
    until: Instant,
    tables: tuple[Table, Table],
    columns: Sequence[str],
    wanted: Mapping[str, str],
) -> FromClause:
    """The rows of a stretch, from ``tables`` of hours and of half-days: those where it has them whole."""
    read = [
        _rows(tables[each.by_half_day], each.since, each.until, columns, wanted)
        for each in strips_of_stretch(since, until)
    ]
    return union_all(*(read or [_rows(tables[0], since, since, columns, wanted)])).subquery("found")


def _rows(
    table: Table, since: Instant, until: Instant, columns: Sequence[str], wanted: Mapping[str, str]
) -> Select[*tuple[Any, ...]]:
    at = table.c[0]
    named = [table.c[name] == value for name, value in wanted.items()]
    return select(*(table.c[name] for name in columns)).where(at >= since, at < until, *named)


def _principals(connection: Connection) -> list[str]:
    """Whose sessions there are: one step along the key for each, instead of one for each session."""
    first = select(func.min(sessions.c.principal).label("principal")).cte("named", recursive=True)
    following = select(func.min(sessions.c.principal)).where(sessions.c.principal > first.c.principal)
    every = first.union_all(select(following.scalar_subquery()).where(first.c.principal.is_not(None)))
    return list(connection.execute(select(every.c.principal).where(every.c.principal.is_not(None))).scalars())


def _names_of(wanted: SessionFilter) -> Mapping[str, str]:
    names = {name: getattr(wanted, name) for name in ("agent", "model", "provider")}
    return {name: value for name, value in names.items() if value is not None}


def _users(connection: Connection, wanted: SessionFilter, names: Mapping[str, str]) -> Sequence[str]:
    """Who had calls of these names in the period: all sessions of whoever had none would be gone through."""
    query = select(half_days.c.principal).distinct()
    query = query.where(*(half_days.c[name] == value for name, value in names.items()))
    if wanted.principal is not None:
        query = query.where(half_days.c.principal == wanted.principal)
    if wanted.since is not None:
        query = query.where(half_days.c.half_day >= wanted.since - wanted.since % HALF_DAY_NS)
    if wanted.until is not None:
        query = query.where(half_days.c.half_day < wanted.until)
    return connection.execute(query).scalars().all()


def _of_principal(
    connection: Connection, wanted: SessionFilter, principal: str
) -> Iterator[Sequence[SessionTotals]]:
    """The first ones that ended soon after the period or in it; and of those that ended later.

    There can be any number of later ones, but few of them took so long that they began before its end.
    """
    ordered = sessions.c.last_at if wanted.order is SessionOrder.NEWEST else sessions.c.cost
    query, last_at = _query_of_principal(wanted, principal, ordered), _last_at(wanted)
    ended = query if wanted.since is None else query.where(last_at >= wanted.since)
    parts = [ended.order_by(ordered.desc(), sessions.c.session.desc())]
    if wanted.until is not None:
        began, soon = sessions.c.first_at < wanted.until, wanted.until + DAY_NS
        # Sorted by what no index has: PostgreSQL would go along all later sessions for these few.
        later = query.order_by((ordered + 0).desc(), sessions.c.session.desc())
        parts = [
            parts[0].where(began, last_at <= soon),
            later.where(began, sessions.c.last_at > soon, IS_LONG),
        ]
    for each in parts:
        yield [_session(row) for row in connection.execute(each.limit(wanted.limit)).mappings()]


def _query_of_principal(
    wanted: SessionFilter, principal: str, ordered: ColumnElement[int]
) -> Select[*tuple[Any, ...]]:
    query = select(*_COLUMNS).where(sessions.c.principal == principal)
    parts = [session_parts.c[name] == value for name, value in _names_of(wanted).items()]
    if parts:
        same = [session_parts.c[name] == sessions.c[name] for name in ("principal", "session")]
        # With a limit PostgreSQL looks it up for each session, and does not join all of them first.
        part = select(literal(1)).where(*same, *parts).limit(1).scalar_subquery()
        query = query.where(part.is_not(None))
    return query if wanted.after is None else _behind(query, wanted.after, principal, ordered)


def _last_at(wanted: SessionFilter) -> ColumnElement[int]:
    """In many days the dearest are found soon along their cost; by time, all would be found and sorted."""
    span = (wanted.until or END_OF_TIME) - (wanted.since or 0)
    is_along_cost = wanted.order is SessionOrder.DEAREST and span > MANY_DAYS_NS
    return sessions.c.last_at + 0 if is_along_cost else sessions.c.last_at


def _behind(
    query: Select[*tuple[Any, ...]], after: SessionPlace, principal: str, ordered: Any
) -> Select[*tuple[Any, ...]]:
    """Those that come after a place in the list of all principals."""
    if principal > after.principal:
        return query.where(ordered < after.figure)
    if principal < after.principal:
        return query.where(ordered <= after.figure)
    return query.where(tuple_(ordered, sessions.c.session) < tuple_(after.figure, after.session))


def _session(row: RowMapping) -> SessionTotals:
    return SessionTotals(**row)
