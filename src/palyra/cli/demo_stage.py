"""The month of the demo as it happens: a clock that jumps from event to event, providers that follow scripts.

Calls take the daemon's own path: ``lifecycle.flow.run`` plans them, holds their money and settles what their
provider reports. Nothing waits for the wall clock, a network or a disk.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

from palyra.cli.demo_script import EVENTS, JSON, Break, Refusal, Script, refusal_body
from palyra.core.errors import PalyraError
from palyra.core.instant import Instant
from palyra.daemon.past import MovedClock, Past
from palyra.lifecycle.call import Call
from palyra.lifecycle.flow import Answered, Repeated, run
from palyra.lifecycle.waiting import Course
from palyra.lifecycle.wire import UpstreamCall, UpstreamRequest, UpstreamSink

MILLISECOND_NS = 1_000_000
FAULT_MS = 900
"""How long a provider takes to say no."""
TIMEOUT_MS = 60_000
TURNS_MAX = 100_000
"""Turns of the loop that one event may take."""

Action = Callable[[], Awaitable[None]]
Over = Callable[[PalyraError | None], None]
"""Told once when a call is over: None if it was answered, else why it was not."""


class Stage:
    """Events in the order of their time, and the calls that are on their way."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self._events: list[tuple[int, int, Action]] = []
        self._numbers = count()
        self._scripts: dict[bytes, tuple[Script, Over]] = {}

    def at(self, when: int, action: Action) -> None:
        """Do something at an instant, or as soon as it is over."""
        heapq.heappush(self._events, (when, next(self._numbers), action))

    def after(self, milliseconds: int, action: Action) -> None:
        """Do something so much later."""
        self.at(self.clock.at + milliseconds * MILLISECOND_NS, action)

    async def play(self, until: Instant, past: Past, tell: Callable[[int], None]) -> None:
        """Do all that happens before ``until``. ``tell`` is given the instant after each event."""
        while self._events and self._events[0][0] < until:
            when, _, action = heapq.heappop(self._events)
            self.clock.move(Instant(when))
            await action()
            await past.settled()
            tell(when)

    # Calls.

    async def make(self, call: Call, script: Script, past: Past, over: Over) -> None:
        """Make a call; returns when it is with its provider, or over."""
        self._scripts[script.name] = script, over
        course = Course(run(call, past.engine), partial(self._done, script))
        course.start()
        await self._carry(script)

    async def _carry(self, script: Script) -> None:
        for _ in range(TURNS_MAX):
            if script.waits or script.over:
                return
            await asyncio.sleep(0)
        raise RuntimeError(f"a call goes nowhere: {script}")

    def _done(
        self, script: Script, answered: Answered | Repeated | None, error: BaseException | None
    ) -> None:
        if isinstance(answered, Answered) and answered.exchange.streams:
            answered.exchange.read_by(_Reader(partial(self._over, script)))
        elif error is None or isinstance(error, PalyraError):
            self._over(script, error)
        else:
            raise error

    def _over(self, script: Script, error: PalyraError | None) -> None:
        script.over, script.waits = True, False
        _, over = self._scripts.pop(script.name)
        over(error)

    # Providers.

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> UpstreamCall:
        """See ``Upstream.send``: the script of this call says what comes of it."""
        script, _ = self._scripts[request.body]
        script.waits = True
        match script.fault():
            case Refusal() as refusal:
                self.after(FAULT_MS, partial(self._refuse, script, sink, refusal))
            case Break() as broken if broken.after_head:
                self.after(script.first_ms, partial(self._head, script, sink))
                self.after(script.last_ms(), partial(self._break, script, sink, broken))
            case Break() as broken:
                self.after(TIMEOUT_MS, partial(self._break, script, sink, broken))
            case None:
                self.after(script.first_ms, partial(self._head, script, sink))
                self.after(script.last_ms(), partial(self._end, script, sink))
        return _AtProvider()

    async def close(self) -> None:
        """See ``Upstream.close``."""
        self._events.clear()

    async def _head(self, script: Script, sink: UpstreamSink) -> None:
        sink.head(200, EVENTS if script.stream else JSON)

    async def _end(self, script: Script, sink: UpstreamSink) -> None:
        script.waits = False
        sink.data(script.answer())
        sink.end()
        await self._carry(script)

    async def _refuse(self, script: Script, sink: UpstreamSink, refusal: Refusal) -> None:
        script.waits = False
        sink.head(refusal.status, JSON)
        sink.data(refusal_body(refusal))
        sink.end()
        await self._carry(script)

    async def _break(self, script: Script, sink: UpstreamSink, broken: Break) -> None:
        script.waits = False
        sink.failed(broken.failure())
        await self._carry(script)


class _AtProvider:
    """A call in flight."""

    def pause(self) -> None:
        """Nothing is lost by going on."""

    def resume(self) -> None:
        """It never stopped."""

    def abort(self) -> None:
        """Nobody gives up."""


class _Reader:
    """A client that takes a stream to its end."""

    def __init__(self, over: Over) -> None:
        self._over = over

    def chunk(self, data: bytes) -> None:
        """Take the next bytes."""

    def end(self) -> None:
        """The answer is complete."""
        self._over(None)

    def broken(self, error: PalyraError) -> None:
        """The provider broke off."""
        self._over(error)
