"""Tells pages what changed, so that they fetch it anew: looked for once a second, while anybody listens.

Nothing tells the hub: it compares figures. So it adds nothing to the path of a call, and what other gateways
did is seen like everything else. A listener that does not keep up has a set of topics waiting, and no queue.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from palyra.core.errors import LedgerUnavailable, StreamUnavailable
from palyra.lifecycle.topics import Topic

LISTENERS_MAX = 200
"""So many may listen at a time (V2)."""
TURN_S = 1.0
BEAT_TURNS = 15
"""So seldom a listener hears something, if nothing changes."""
PROOF_TURNS = 5
"""So often a listener proves that it still may listen."""
RETRY_S = 5

Figures = Mapping[Topic, object]

_log = structlog.get_logger("palyra.changes")


class Told(NamedTuple):
    """``topics`` changed; none, where it is time to beat or to prove. ``number`` goes up with changes."""

    topics: tuple[Topic, ...]
    number: int
    beats: bool
    is_over: bool


class Listener:
    """One who listens. To be asked by one task."""

    __slots__ = ("_beats", "_is_over", "_turns", "_waiting", "_woken", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._waiting: set[Topic] = set()
        self._beats = False
        self._is_over = False
        self._turns = 0
        self._woken = asyncio.Event()

    async def next(self) -> Told:
        """Wait until there is something to tell, or to do."""
        await self._woken.wait()
        self._woken.clear()
        topics = tuple(topic for topic in Topic if topic in self._waiting)
        told = Told(topics, self.number, self._beats, self._is_over)
        self._waiting.clear()
        self._beats = False
        return told

    def turn(self, topics: set[Topic], number: int) -> None:
        """A second is over, in which these changed."""
        self._turns += 1
        self.number = number
        self._waiting |= topics
        if self._turns % BEAT_TURNS == 0:
            self._beats = True
        if topics or self._beats or self._turns % PROOF_TURNS == 0:
            self.wake()

    def wake(self) -> None:
        """Let it prove that it may go on."""
        self._woken.set()

    def end(self) -> None:
        """Let it leave."""
        self._is_over = True
        self.wake()


class Changes:
    """The hub. ``look`` gives the figures of now, ``pause`` waits for so many seconds."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Figures]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._pause = pause
        self._listeners: list[Listener] = []
        self._known: Figures = {}
        self._number = 0
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._leaving = False

    @property
    def is_looking(self) -> bool:
        """Whether figures are compared: not while nobody listens."""
        return self._task is not None

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener]:
        """Listen to what changes from now on. Raises StreamUnavailable where too many do, or at the end."""
        if self._leaving:
            raise StreamUnavailable.after("This daemon stops; listen again in a moment.", RETRY_S)
        if len(self._listeners) >= LISTENERS_MAX:
            told = f"{LISTENERS_MAX} pages listen already, which is the most; ask now and then instead."
            raise StreamUnavailable.after(told, RETRY_S)
        listener = Listener(self._number)
        self._listeners.append(listener)
        try:
            async with self._starting:
                if self._task is None:
                    await self._compare()
                    self._task = asyncio.get_running_loop().create_task(self._run())
            yield listener
        finally:
            self._listeners.remove(listener)

    def prove(self) -> None:
        """Somebody signed out: let every listener prove now that it may go on."""
        for listener in self._listeners:
            listener.wake()

    def leave(self) -> None:
        """The daemon stops: nobody listens any more."""
        self._leaving = True
        for listener in self._listeners:
            listener.end()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._pause(TURN_S)
            if not self._listeners:
                break
            changed = await self._compare()
            self._number += bool(changed)
            for listener in self._listeners:
                listener.turn(changed, self._number)
        self._task = None

    async def _compare(self) -> set[Topic]:
        """What is not as it was. While it cannot be seen, nothing is; then all that changed meanwhile is."""
        try:
            seen = await self._look()
        except LedgerUnavailable:
            return set()
        except Exception:  # noqa: BLE001 (listeners outlive any single failure)
            _log.exception("changes cannot be seen")
            return set()
        known, self._known = self._known, seen
        return {topic for topic in seen if topic not in known or known[topic] != seen[topic]}
