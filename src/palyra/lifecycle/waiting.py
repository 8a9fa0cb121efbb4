"""Coroutines that callbacks carry on, without a task: the path of a call reads from top to bottom and costs
no turn of the loop where it waits.

A ``Wait`` is told once, and whatever waits for it goes on at once, inside the callback that told it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from palyra.core.errors import LedgerUnavailable

T = TypeVar("T")

Told = Callable[[Exception | None], None]


class Wait:
    """Something that happens once, well or with an error. One coroutine or one callback may wait for it."""

    __slots__ = ("_error", "_then", "told")

    def __init__(self) -> None:
        self.told = False
        self._error: Exception | None = None
        self._then: Told | None = None

    def tell(self, error: Exception | None = None) -> None:
        """It happened, or failed with ``error``. Only the first time counts."""
        if self.told:
            return
        self.told = True
        self._error = error
        then, self._then = self._then, None
        if then is not None:
            then(error)

    def then(self, callback: Told) -> None:
        """Call back when it happens, or now if it has. Replaces whoever waited before."""
        if self.told:
            callback(self._error)
        else:
            self._then = callback

    def forget(self) -> None:
        """Nobody waits any more."""
        self._then = None

    def __await__(self) -> "Generator[Wait, None, None]":
        if not self.told:
            yield self
        if self._error is not None:
            raise self._error


class Course(Generic[T]):
    """Carries one coroutine, which awaits nothing but ``Wait``, to its end.

    ``done`` is called once: with what the coroutine returned and None, or with None and what it raised.
    """

    __slots__ = ("_coroutine", "_done", "_waiting")

    def __init__(
        self, coroutine: Coroutine[Wait, None, T], done: Callable[[T | None, BaseException | None], None]
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._waiting: Wait | None = None

    def start(self) -> None:
        """Run to the first wait, or to the end."""
        self._step()

    def cancel(self) -> None:
        """Raise CancelledError where the coroutine waits. Does nothing while it runs or after its end."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.forget()
            self._step(asyncio.CancelledError())

    def _resume(self, _error: Exception | None) -> None:
        self._waiting = None
        self._step()

    def _step(self, thrown: BaseException | None = None) -> None:
        coroutine = self._coroutine
        try:
            waiting = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
        except StopIteration as end:
            self._done(end.value, None)
        except BaseException as error:  # noqa: BLE001 (whoever called back must not hear of it: ``done`` does)
            self._done(None, error)
        else:
            self._waiting = waiting
            waiting.then(self._resume)


class Errand(Generic[T]):
    """An asyncio coroutine that a ``Course`` waits for. It runs to its end even if nobody waits any more."""

    __slots__ = ("_task", "_wait")

    def __init__(self, coroutine: Coroutine[Any, Any, T], running: set[asyncio.Task[Any]]) -> None:
        """``running`` keeps the task for as long as it runs."""
        self._wait = Wait()
        self._task = asyncio.get_running_loop().create_task(coroutine)
        running.add(self._task)
        self._task.add_done_callback(running.discard)
        self._task.add_done_callback(self._ended)

    def __await__(self) -> "Generator[Wait, None, T]":
        yield from self._wait.__await__()
        return self._task.result()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._wait.tell(LedgerUnavailable("the daemon is stopping; retry shortly"))
        else:
            # What it raised is raised by ``result``, and must count as looked at.
            task.exception()
            self._wait.tell()


async def in_task(coroutine: Coroutine[Any, Any, T]) -> T:
    """Carry a coroutine that awaits ``Wait`` from within an asyncio task; cancelling the task cancels it."""
    ended: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

    def done(value: T | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(value)

    course = Course(coroutine, done)
    course.start()
    try:
        return await ended  # pyright: ignore[reportReturnType] (T may be None itself)
    except asyncio.CancelledError:
        course.cancel()
        raise
