"""Waits with the same bound, in the order they began: one timer for all of them."""

import asyncio
from collections import deque

from palyra.lifecycle.waiting import Wait


class Patience:
    """Tells waits that nobody told within ``seconds``. Holds one small entry per wait until then."""

    __slots__ = ("_loop", "_pending", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pending: deque[tuple[float, Wait]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def bound(self, wait: Wait) -> None:
        """Tell ``wait`` in ``seconds``, unless it was told by then."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        pending = self._pending
        while pending and pending[0][1].told:
            pending.popleft()
        pending.append((loop.time() + self._seconds, wait))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        pending = self._pending
        while pending and (pending[0][1].told or pending[0][0] <= now):
            pending.popleft()[1].tell()
        if pending:
            self._timer = loop.call_at(pending[0][0], self._look, loop)
