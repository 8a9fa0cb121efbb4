"""Sessions, tags and latencies as SQLAlchemy Core selects, each along an index and never over calls (W50)."""

from collections.abc import Sequence
from dataclasses import fields
from heapq import merge
from itertools import groupby, islice
from typing import Any

from sqlalchemy import BigInteger, Connection, RowMapping, Select, cast, func, select, tuple_

from palyra.core.instant import Instant
from palyra.lifecycle.activity import (
    LatencyCounts,
    SessionFilter,
    SessionOrder,
    SessionPlace,
    SessionTotals,
    TagTotals,
)
from palyra.store.schema import latencies, sessions, tag_rollups

_COLUMNS = tuple(sessions.c[each.name] for each in fields(SessionTotals))
_TAG_FIGURES = ("requests", "input_tokens", "output_tokens", "cost")


def list_sessions(connection: Connection, wanted: SessionFilter) -> Sequence[SessionTotals]:
    """See ``ActivityRecords.sessions``. Of all principals: the first ones of each, merged."""
    principals = _principals(connection) if wanted.principal is None else [wanted.principal]
    lists = [_of_principal(connection, wanted, principal) for principal in principals]
    ordered = merge(*lists, key=lambda each: each.place(wanted.order), reverse=True)
    return list(islice(ordered, wanted.limit))


def one_session(connection: Connection, principal: str, session: str) -> SessionTotals | None:
    """See ``ActivityRecords.session``."""
    query = select(*_COLUMNS).where(sessions.c.principal == principal, sessions.c.session == session)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _session(row)


def sum_tags(connection: Connection, since: Instant, until: Instant, tag: str | None) -> Sequence[TagTotals]:
    """See ``ActivityRecords.tags``."""
    names = tag_rollups.c.tag, tag_rollups.c.value
    sums = [cast(func.sum(tag_rollups.c[each]), BigInteger).label(each) for each in _TAG_FIGURES]
    query = select(*names, *sums).where(tag_rollups.c.hour >= since, tag_rollups.c.hour < until)
    if tag is not None:
        query = query.where(tag_rollups.c.tag == tag)
    query = query.group_by(*names).order_by(func.sum(tag_rollups.c.cost).desc(), *names)
    return [TagTotals(**row) for row in connection.execute(query).mappings()]


def count_latencies(
    connection: Connection, since: Instant, until: Instant, provider: str | None, model: str | None
) -> Sequence[LatencyCounts]:
    """See ``ActivityRecords.latencies``."""
    names = latencies.c.provider, latencies.c.model
    query = (
        select(*names, latencies.c.bucket, cast(func.sum(latencies.c.calls), BigInteger).label("calls"))
        .where(latencies.c.hour >= since, latencies.c.hour < until)
        .group_by(*names, latencies.c.bucket)
        .order_by(*names)
    )
    for column, value in zip(names, (provider, model), strict=True):
        if value is not None:
            query = query.where(column == value)
    rows = connection.execute(query).all()
    return [
        LatencyCounts(provider, model, {row.bucket: row.calls for row in group})
        for (provider, model), group in groupby(rows, key=lambda row: (row.provider, row.model))
    ]


def _principals(connection: Connection) -> list[str]:
    """Whose sessions there are: one step along the key for each, instead of one for each session."""
    first = select(func.min(sessions.c.principal).label("principal")).cte("named", recursive=True)
    following = select(func.min(sessions.c.principal)).where(sessions.c.principal > first.c.principal)
    every = first.union_all(select(following.scalar_subquery()).where(first.c.principal.is_not(None)))
    return list(connection.execute(select(every.c.principal).where(every.c.principal.is_not(None))).scalars())


def _of_principal(connection: Connection, wanted: SessionFilter, principal: str) -> list[SessionTotals]:
    ordered = sessions.c.last_at if wanted.order is SessionOrder.NEWEST else sessions.c.cost
    query = select(*_COLUMNS).where(sessions.c.principal == principal)
    for column in ("agent", "model"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(sessions.c[column] == value)
    if wanted.since is not None:
        query = query.where(sessions.c.last_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(sessions.c.first_at < wanted.until)
    if wanted.after is not None:
        query = _behind(query, wanted.after, principal, ordered)
    query = query.order_by(ordered.desc(), sessions.c.session.desc()).limit(wanted.limit)
    return [_session(row) for row in connection.execute(query).mappings()]


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
