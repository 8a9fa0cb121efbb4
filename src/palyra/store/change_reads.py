"""Changes of rules, found by their rows and read from the pages of the journal that these lead to."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, tuple_

from palyra.lifecycle.changes import Change, ChangeFilter, ChangePlace
from palyra.store.page import Audited, read_record
from palyra.store.schema import changes

Found = Sequence[Row[Any]]


def list_places(connection: Connection, wanted: ChangeFilter) -> Found:
    """The rows of the changes that match, newest first."""
    place = tuple_(changes.c.at, changes.c.node, changes.c.record)
    query = select(changes).limit(wanted.limit)
    query = query.order_by(changes.c.at.desc(), changes.c.node.desc(), changes.c.record.desc())
    if wanted.kind is not None:
        column = changes.c.kind if "." in wanted.kind else changes.c.what
        query = query.where(column == wanted.kind)
        if column is changes.c.kind:
            query = query.where(changes.c.what == wanted.kind.partition(".")[0])
    if wanted.ref is not None:
        query = query.where(changes.c.ref == wanted.ref)
    if wanted.actor is not None:
        query = query.where(changes.c.actor == wanted.actor)
    if wanted.since is not None:
        query = query.where(changes.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(changes.c.at < wanted.until)
    if wanted.before is not None:
        # The first condition lets SQLite seek; PostgreSQL would do with the second.
        query = query.where(changes.c.at <= wanted.before.at, place < tuple_(*wanted.before))
    return connection.execute(query).all()


def pages_of(found: Found) -> str:
    """The pages that rows lead to, as JSON: a list of [node, page]."""
    return msgspec.json.encode(sorted({(row.node, row.page) for row in found})).decode()


def read_changes(found: Found, pages: Mapping[tuple[int, int], Sequence[bytes]]) -> list[Change]:
    """What the rows lead to; those whose page retention dropped meanwhile are left out."""
    listed: list[Change] = []
    for row in found:
        lines = pages.get((row.node, row.page))
        number: int = row.record - row.page
        record = None if lines is None else read_record(lines[number])
        if isinstance(record, Audited):
            place = ChangePlace(row.at, row.node, row.record)
            listed.append(Change(place, record.kind, record.ref, record.actor, record.before, record.after))
    return listed
