"""Governed calls without HTTP: so many at once, one after the other, until so many are through."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from benchmarks import scene
from palyra.lifecycle import flow
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.waiting import Course

IN_FLIGHT = 64
Next = Callable[[], Call]


class Callers:
    """Keeps IN_FLIGHT calls going until ``calls`` are through; then ``through`` is done."""

    def __init__(
        self, engine: Engine, loop: asyncio.AbstractEventLoop, calls: int, next_call: Next | None = None
    ) -> None:
        """``next_call`` makes each call; without it all are alike but for their ids."""
        self.through: asyncio.Future[None] = loop.create_future()
        self._engine = engine
        self._left = calls
        self._running = 0
        self._next_call = next_call or alike(engine)

    def start(self) -> None:
        """Begin the first ones, on the loop."""
        for _ in range(IN_FLIGHT):
            self._next()

    def _next(self) -> None:
        if self._left:
            self._left -= 1
            self._running += 1
            Course(flow.run(self._next_call(), self._engine), self._ended).start()
        elif not self._running and not self.through.done():
            self.through.set_result(None)

    def _ended(self, answer: object, error: BaseException | None) -> None:
        if error is not None and not self.through.done():
            self.through.set_exception(error)
        assert answer is not None
        self._running -= 1
        self._next()


def drive(engine: Engine, loop: asyncio.AbstractEventLoop, calls: int, next_call: Next | None = None) -> None:
    """Run the loop until ``calls`` calls are through. Raises what the first one that failed raised."""
    callers = Callers(engine, loop, calls, next_call)
    loop.call_soon(callers.start)
    loop.run_until_complete(callers.through)


def alike(engine: Engine) -> Next:
    """The same call again and again, under a new id."""
    template, new_id = scene.call(engine), engine.ids.request_id
    return lambda: replace(template, request_id=new_id())


def in_new_sessions(engine: Engine) -> Next:
    """The same call, each in a session that nobody has seen before."""
    template, new_id = scene.call(engine), engine.ids.request_id

    def next_call() -> Call:
        request_id = new_id()
        return replace(template, request_id=request_id, hints=replace(template.hints, session=request_id))

    return next_call
