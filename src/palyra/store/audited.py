"""Who changed which rules, as the journal has it: its ``audit`` records, found in the lines of an export."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from palyra.core.instant import Instant
from palyra.store.page import AUDITED, Audited, Record, read_record


class Wanted(NamedTuple):
    """Which changes: a kind such as ``policy``, or ``policy.updated``; of which object; from when on.

    None means any. ``limit`` is how many at most, the newest.
    """

    kind: str | None = None
    ref: str | None = None
    since: Instant | None = None
    limit: int = 50

    def includes(self, change: Audited) -> bool:
        """Whether this change is one of them."""
        return (
            (self.kind is None or self.kind in (change.kind, change.kind.partition(".")[0]))
            and (self.ref is None or self.ref == change.ref)
            and (self.since is None or self.since <= change.at)
        )


class Found(NamedTuple):
    """A change, and where it stands: record ``seq`` in the journal of ``node``."""

    at: int
    node: int
    seq: int
    change: Audited


class _Entries(msgspec.Struct):
    """What of a page has to be looked at."""

    node: int
    seq: int
    entries: list[msgspec.Raw]


class ChangesFound:
    """Reads lines of an export as they are written; holds the newest changes that are wanted, and no more."""

    def __init__(self, wanted: Wanted) -> None:
        self.matching = 0
        """How many there are, whether they are among the newest or not."""
        self._wanted = wanted
        self._newest: list[Found] = []

    def read(self, line: bytes) -> None:
        """Look through one line."""
        # Most pages have nothing but calls, and are not worth reading.
        if AUDITED not in line:
            return
        page = _entries_of.decode(line)
        for place, entry in enumerate(page.entries):
            self._add(page.node, page.seq + place, read_record(bytes(entry)))

    @property
    def newest(self) -> Sequence[Found]:
        """The changes, the newest first."""
        return sorted(self._newest, reverse=True)

    def _add(self, node: int, seq: int, record: Record) -> None:
        if not isinstance(record, Audited) or not self._wanted.includes(record):
            return
        self.matching += 1
        heapq.heappush(self._newest, Found(record.at, node, seq, record))
        if len(self._newest) > self._wanted.limit:
            heapq.heappop(self._newest)


_entries_of = msgspec.json.Decoder(_Entries)
