"""Sums for people, made anew from the calls they are sums of, where the calls are still there.

Hours before the oldest call that is kept stay as they are, and so do sessions that began before it: retention
dropped their calls, and their sums are all that is left of them.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palyra.lifecycle.decision import CallState, read_decision, read_settlement
from palyra.store import sql
from palyra.store.derived import Counted, Derived, counted_call, derived
from palyra.store.page import unpack
from palyra.store.write import HOUR_NS

CALLS_AT_ONCE = 2_000
PAGES_KEPT = 512
"""Calls that ran at the same time share their pages: so many are kept unpacked."""

Progress = Callable[[int, int], None]


class Rebuilt(NamedTuple):
    """What was made anew: from how many calls, and from which hour on (nanoseconds; 0 without calls)."""

    calls: int
    since: int


class Pages:
    """Documents as lines, the last ones used kept in memory."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[int, int], Sequence[bytes]] = OrderedDict()

    def find(self, node: int, page: int) -> Sequence[bytes] | None:
        """The lines of a page, if it is in memory."""
        found = self._pages.get((node, page))
        if found is not None:
            self._pages.move_to_end((node, page))
        return found

    def add(self, node: int, page: int, body: bytes) -> Sequence[bytes]:
        """Keep a page; the one that was not used for longest goes."""
        lines = self._pages[node, page] = unpack(body)
        if len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        return lines


def read_call(state: str, decision: bytes, end: bytes | None) -> Counted | None:
    """A call from its documents; None for one that changes no sum."""
    settlement = None if end is None else read_settlement(end)
    return counted_call(CallState(state), read_decision(decision), settlement)


def anew(calls: Sequence[Counted | None], kept: set[tuple[str, str]]) -> Derived:
    """What calls add, but for sessions that stay as they are, and half-days: those are filled from hours."""
    sums = derived([each for each in calls if each is not None])
    return sums._replace(
        half_days=[],
        half_day_latencies=[],
        half_day_tags=[],
        sessions=[row for row in sums.sessions if row[:2] not in kept],
        session_parts=[row for row in sums.session_parts if row[:2] not in kept],
    )


def rebuild_file(path: Path, progress: Progress = lambda _done, _total: None) -> Rebuilt:
    """Make the sums in a SQLite file anew, in one transaction. No other process may have it open."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        rebuilt = _rebuild(connection, progress)
        connection.execute("COMMIT")
        return rebuilt
    finally:
        connection.close()


def _rebuild(connection: sqlite3.Connection, progress: Progress) -> Rebuilt:
    total, oldest = connection.execute(sql.CALLS_KEPT).fetchone()
    if oldest is None:
        return Rebuilt(0, 0)
    since = oldest - oldest % HOUR_NS
    for statement in sql.FORGET_SUMS:
        connection.execute(statement, (since,))
    kept = set(connection.execute(sql.SESSIONS_KEPT).fetchall())
    done = 0
    for calls in _chunks(connection):
        for statements, rows in zip(sql.DERIVED, anew(calls, kept), strict=True):
            if rows:
                sql.store(connection.execute, statements, rows)
        done += len(calls)
        progress(done, total)
    for statement in (*sql.FORGET_HALF_DAYS, *sql.FILL_HALF_DAYS):
        connection.execute(statement)
    return Rebuilt(done, since)


def _chunks(connection: sqlite3.Connection) -> Iterator[list[Counted | None]]:
    pages = Pages()

    def line(page: int, place: int) -> bytes:
        lines = pages.find(0, page)
        if lines is None:
            lines = pages.add(0, page, connection.execute(sql.DOCUMENTS, (page,)).fetchone()[0])
        return lines[place]

    rows: Any = connection.execute(sql.EVERY_CALL)
    while some := rows.fetchmany(CALLS_AT_ONCE):
        yield [
            read_call(state, line(page, place), None if end_page is None else line(end_page, end_place))
            for state, page, place, end_page, end_place in some
        ]
