"""Searching calls in a database: a stretch of them at a time, so that no page takes long (W50)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.sql.selectable import Subquery

from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.lifecycle.decision import StoredDecision, least_id_at
from palyra.lifecycle.decision_search import DecisionsFound, Inside, Scanned
from palyra.lifecycle.ports import DecisionFilter
from palyra.store.reads import stored_decisions
from palyra.store.schema import decisions

ROWS_MAX = 20_000
"""So many calls are gone through by their rows for a page (V2)."""
DOCUMENTS_MAX = 2_000
"""And so many of them are read whole."""
_AT_ONCE = 200
_DISORDER_NS = HOUR_NS
"""Calls are in the order of their ids, and so in that of time, but for a failover or a clock that was set."""


def search(connection: Connection, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
    """See ``DecisionSearch.search_decisions``; calls that run are not among them."""
    wanted = _begun_at_until(connection, wanted)
    stretch = _stretch(wanted).subquery("stretch")
    most = wanted.limit if inside.asks_nothing else DOCUMENTS_MAX
    rows = connection.execute(_matching(stretch, wanted).limit(most)).all()
    items = _read(connection, rows, wanted.limit, inside)
    if len(items) == wanted.limit:
        return DecisionsFound(items, None)
    if len(rows) == most:
        return DecisionsFound(items, Scanned(rows[-1].request_id, Instant(rows[-1].at)))
    return DecisionsFound(items, _end(connection, stretch, wanted))


def _begun_at_until(connection: Connection, wanted: DecisionFilter) -> DecisionFilter:
    """Skip what is too new, if ids tell: what follows the id of that time must be of that time."""
    if wanted.until is None:
        return wanted
    least = least_id_at(Instant(wanted.until + _DISORDER_NS))
    if wanted.before is not None and wanted.before <= least:
        return wanted
    query = select(decisions.c.at).where(decisions.c.request_id >= least)
    at = connection.execute(query.order_by(decisions.c.request_id).limit(1)).scalar()
    return wanted if at is None or at < wanted.until else replace(wanted, before=least)


def _stretch(wanted: DecisionFilter) -> Select[*tuple[Any, ...]]:
    """The next calls by what has an index."""
    query = select(decisions).order_by(decisions.c.request_id.desc()).limit(ROWS_MAX)
    if wanted.principal is not None:
        query = query.where(decisions.c.principal == wanted.principal)
    if wanted.before is not None:
        query = query.where(decisions.c.request_id < wanted.before)
    if wanted.first is not None:
        query = query.where(decisions.c.request_id >= wanted.first)
    return query


def _matching(stretch: Subquery, wanted: DecisionFilter) -> Select[*tuple[Any, ...]]:
    query = select(stretch).order_by(stretch.c.request_id.desc())
    for column in ("agent", "session", "model", "outcome", "state"):
        value = getattr(wanted, column)
        if value is not None:
            # Calls without an agent have none at all here, and "" in the rollups.
            query = query.where(stretch.c[column] == value if value else stretch.c[column].is_(None))
    if wanted.since is not None:
        query = query.where(stretch.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(stretch.c.at < wanted.until)
    return query


def _read(
    connection: Connection, rows: Sequence[Row[Any]], limit: int, inside: Inside
) -> list[StoredDecision]:
    """The first of them that are as wanted."""
    found: list[StoredDecision] = []
    for first in range(0, len(rows), _AT_ONCE):
        some = stored_decisions(connection, rows[first : first + _AT_ONCE])
        found += [each for each in some if inside.has(each)]
        if len(found) >= limit:
            break
    return found[:limit]


def _end(connection: Connection, stretch: Subquery, wanted: DecisionFilter) -> Scanned | None:
    """The end of the stretch; None if nothing is behind it, or nothing that is not too old."""
    count, last = connection.execute(select(func.count(), func.min(stretch.c.request_id))).one()
    if count < ROWS_MAX:
        return None
    at = connection.execute(select(decisions.c.at).where(decisions.c.request_id == last)).scalar_one()
    if wanted.since is not None and at < wanted.since - _DISORDER_NS:
        return None
    return Scanned(last, Instant(at))
