"""A gate that holds the stub's answers until the test opens it."""

import asyncio
import threading
from collections.abc import Callable


class Gate:
    """Answers wait here. The test waits until ``n`` have come, then opens it. Safe across threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived = 0
        self._open = False
        self._waiting: list[Callable[[], object]] = []

    @property
    def arrived(self) -> int:
        """How many answers have come so far."""
        return self._arrived

    def open(self) -> None:
        """Let everyone through, now and later."""
        with self._changed:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def wait_for(self, count: int, deadline_s: float = 20.0) -> None:
        """Block the test's thread until ``count`` answers wait here. AssertionError after ``deadline_s``."""
        with self._changed:
            reached = self._changed.wait_for(lambda: self._arrived >= count, deadline_s)
            assert reached, f"{self._arrived} of {count} answers reached the gate in {deadline_s} s"

    async def reached(self, count: int, deadline_s: float = 20.0) -> None:
        """As ``wait_for``, for tests that run in a loop."""
        await asyncio.to_thread(self.wait_for, count, deadline_s)

    async def passed(self) -> None:
        """The stub's side: count the arrival and wait for the gate to open."""
        loop = asyncio.get_running_loop()
        through: asyncio.Future[None] = loop.create_future()

        def let_through() -> None:
            if not through.done():
                through.set_result(None)

        with self._changed:
            self._arrived += 1
            self._changed.notify_all()
            if self._open:
                return
            self._waiting.append(lambda: loop.call_soon_threadsafe(let_through))
        await through
