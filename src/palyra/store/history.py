"""Going through all records of calls in the order of the journal, a few pages at a time.

A page of documents has the decisions and settlements of one commit; the page of the journal of the same
commit says whose settlements they are. Each step is a short question of its own, so that nothing is locked
and no snapshot is held while somebody goes through a million calls.
"""

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from palyra.core.instant import Instant
from palyra.core.invariant import unreachable
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.history import Line, Reading
from palyra.store.page import unpack
from palyra.store.write import Write

PAGES_AT_ONCE = 64
"""Pages in one answer of the database (V2)."""
LINES_AT_ONCE = 256
"""Records in one answer to whoever reads, where they are not those of one page: others wait meanwhile."""

Rows = Callable[..., Awaitable[Sequence[Sequence[Any]]]]
"""Runs a statement by its name, with parameters."""


class _Event(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a record of the journal."""

    kind: str
    id: str


class _Dated(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a decision or settlement that are times or texts."""

    first: str | int
    second: str | int


class _End(NamedTuple):
    """Where a journal and its documents end."""

    seq: int
    page: int


class NodeReading:
    """The records of one gateway. ``done`` and ``total`` count records of the journal."""

    def __init__(self, rows: Rows, first_seq: int, first_page: int, end: _End) -> None:
        self._rows = rows
        self._seq = self._first_seq = first_seq
        self._page = first_page - 1
        self._end = end
        self._journal: deque[tuple[int, bytes]] = deque()
        self._documents: deque[Sequence[Any]] = deque()

    @property
    def done(self) -> int:
        """See ``Reading.done``."""
        return self._seq - self._first_seq

    @property
    def total(self) -> int:
        """See ``Reading.total``."""
        return max(self._end.seq - self._first_seq, self.done)

    async def next(self) -> Sequence[Line] | None:
        """See ``Reading.next``."""
        if not self._documents:
            self._documents.extend(
                await self._rows("history_documents", self._page, self._end.page, PAGES_AT_ONCE)
            )
        if not self._documents:
            return None
        self._page, body = self._documents.popleft()
        return list(_lines(unpack(body), await self._ended_in(self._page)))

    async def _ended_in(self, page: int) -> list[str]:
        """The calls that ended in the commit of a page of documents, in order."""
        journal = self._journal
        while not journal or journal[-1][0] < page:
            found = await self._rows("history_journal", self._seq, self._end.seq, PAGES_AT_ONCE)
            if not found:
                break
            for seq, records, documents, body in found:
                # A page without records is the head of a journal in the format before revision 0002.
                self._seq = seq + max(records, 1)
                if documents:
                    journal.append((documents, body))
        while journal and journal[0][0] < page:
            journal.popleft()
        if not journal or journal[0][0] != page:
            return []
        return [each.id for each in map(_event_of.decode, unpack(journal.popleft()[1])) if each.kind in _ENDS]


async def node_reading(rows: Rows, since: Instant) -> NodeReading:
    """A walk through what a gateway recorded from ``since`` on, up to now."""
    ((last, page),) = await rows("history_ends")
    low, high = 0, last + 1
    while low < high:
        middle = (low + high) // 2
        found = await rows("history_from", middle)
        if not found or found[0][1] >= since:
            high = middle
        else:
            low = found[0][0] + 1
    before = await rows("history_before", low)
    first_page = before[0][0] + 1 if before else 0
    return NodeReading(rows, low, first_page, _End(last, page))


class MergedReading:
    """The records of several gateways in one order: each one's own, and among them that of their clocks."""

    def __init__(self, nodes: Sequence[NodeReading]) -> None:
        self._nodes = nodes
        self._waiting: list[tuple[int, int, Line]] = []
        """The next record of each gateway that has one."""
        self._buffers: list[Iterator[Line]] = [iter(()) for _ in nodes]
        self._begun = False

    @property
    def done(self) -> int:
        """See ``Reading.done``."""
        return sum(each.done for each in self._nodes)

    @property
    def total(self) -> int:
        """See ``Reading.total``."""
        return sum(each.total for each in self._nodes)

    async def next(self) -> Sequence[Line] | None:
        """See ``Reading.next``."""
        if not self._begun:
            self._begun = True
            for place in range(len(self._nodes)):
                await self._advance(place)
        lines: list[Line] = []
        while self._waiting and len(lines) < LINES_AT_ONCE:
            _, place, line = heapq.heappop(self._waiting)
            lines.append(line)
            await self._advance(place)
        return lines or None

    async def _advance(self, place: int) -> None:
        line = next(self._buffers[place], None)
        while line is None:
            lines = await self._nodes[place].next()
            if lines is None:
                return
            self._buffers[place] = iter(lines)
            line = next(self._buffers[place], None)
        heapq.heappush(self._waiting, (_at(line), place, line))


class SqliteHistory:
    """The records of a SQLite file; ``rows`` runs a statement of ``sql.HISTORY``."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def read(self, since: Instant) -> Reading:
        """See ``History.read``."""
        return await node_reading(self._rows, since)


class MemoryHistory:
    """The records of a ledger in memory, which it keeps as writes."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._writes = writes

    async def read(self, since: Instant) -> Reading:
        """See ``History.read``."""
        return _MemoryReading([write for write in self._writes if write.at >= since])


class _MemoryReading:
    def __init__(self, writes: Sequence[Write]) -> None:
        self._writes = writes
        self.done = 0
        self.total = len(writes)

    async def next(self) -> Sequence[Line] | None:
        some = self._writes[self.done : self.done + LINES_AT_ONCE]
        self.done += len(some)
        begins = (CallState.PENDING, CallState.DENIED)
        lines = [
            Line(write.call.id, write.state not in begins, write.document)
            for write in some
            if write.call is not None and write.state is not None
        ]
        return lines if some else None


def _lines(documents: Sequence[bytes], ended: Sequence[str]) -> Iterator[Line]:
    """The documents of a page, with the calls that they are of. Raises InvariantViolation (G3).

    Where the page of the journal says nothing of them, they were filed when an older database was brought up
    to date: each settlement then stands behind its decision.
    """
    is_told = sum(not _is_decision(each) for each in documents) == len(ended)
    left = iter(ended)
    request_id: str | None = None
    for document in documents:
        if _is_decision(document):
            request_id = None if is_told else _id_of(document)
            yield Line("", False, document)
            continue
        request_id = next(left, None) if is_told else request_id
        if request_id is None:
            unreachable("G3", "a settlement is stored that no record of the journal explains")
        yield Line(request_id, True, document)


def _id_of(document: bytes) -> str:
    """The call that a decision is of."""
    if document[:1] == b"{":
        return str(_object_of.decode(document)["request_id"])
    return str(_dated.decode(document).first)


def _is_decision(document: bytes) -> bool:
    """A decision begins with its id, a settlement with its time; earlier versions wrote objects."""
    return document[:2] == b'["' or (document[:1] == b"{" and b'"request_id"' in document)


def _at(line: Line) -> int:
    """When a record was made."""
    if line.document[:1] == b"{":
        return _object_of.decode(line.document)["at"]
    found = _dated.decode(line.document)
    at = found.first if line.ends else found.second
    return at if isinstance(at, int) else 0


_ENDS = frozenset({"settle", "release", "expire"})
_event_of = msgspec.json.Decoder(_Event)
_dated = msgspec.json.Decoder(_Dated)
_object_of = msgspec.json.Decoder(dict[str, Any])
