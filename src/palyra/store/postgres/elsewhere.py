"""The calls that other gateways have under way, followed along their journals."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from palyra.store.leftovers import decisions_of, heads_of
from palyra.store.page import JournalPage, unpack
from palyra.store.postgres import sql
from palyra.store.postgres.reading import Reading
from palyra.store.write import Filed

PAGES_AT_ONCE = 200


@dataclass(slots=True)
class _Followed:
    """How far a journal was read, and its calls that were under way then."""

    seen: int = 0
    calls: dict[str, Filed] = field(default_factory=dict[str, Filed])


class Elsewhere:
    """Remembers what it read: asking again costs what was written since, or since the oldest open call."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._followed: dict[int, _Followed] = {}
        self._one_at_a_time = asyncio.Lock()

    async def calls(self, own: int) -> list[Filed]:
        """The open calls of all gateways but ``own``. Raises LedgerUnavailable."""
        async with self._one_at_a_time:
            nodes = [node for node, *_ in await self._reading.rows(sql.NODES) if node != own]
            self._followed = {node: self._followed.get(node) or _Followed() for node in nodes}
            for node, followed in self._followed.items():
                await self._follow(node, followed)
            return [call for each in self._followed.values() for call in each.calls.values()]

    async def _follow(self, node: int, followed: _Followed) -> None:
        rows = await self._reading.rows(sql.LAST_PAGE, node)
        if not rows:
            followed.calls.clear()
            return
        last = JournalPage(*rows[0])
        # No reservation of an earlier page is open any more.
        followed.calls = {key: each for key, each in followed.calls.items() if each.seq >= last.open_from}
        # The page that was seen last is read again: it changes nothing, and is always there.
        start = max(last.open_from, followed.seen)
        while True:
            rows = await self._reading.rows(sql.SOME_PAGES, node, start, PAGES_AT_ONCE)
            await self._take(node, followed, [JournalPage(*row) for row in rows])
            if len(rows) < PAGES_AT_ONCE:
                return
            start = followed.seen + 1

    async def _take(self, node: int, followed: _Followed, pages: Sequence[JournalPage]) -> None:
        opened: dict[str, JournalPage] = {}
        for page in pages:
            for is_reservation, request_id, _ in heads_of(page):
                if is_reservation:
                    opened[request_id] = page
                else:
                    opened.pop(request_id, None)
                    followed.calls.pop(request_id, None)
        left = {page.documents: page for page in opened.values()}
        for number, body in await self._reading.rows(sql.SOME_DOCUMENTS, node, list(left)) if left else ():
            decisions = decisions_of(left[number], unpack(body))
            followed.calls.update(
                (request_id, call) for request_id, call in decisions.items() if request_id in opened
            )
        if pages:
            followed.seen = pages[-1].seq
