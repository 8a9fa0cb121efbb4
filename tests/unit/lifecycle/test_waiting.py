"""Coroutines carried by callbacks: they go on inside the callback, once, and end in ``done``."""

import asyncio

import pytest

from fakes.engines import turns
from palyra.lifecycle.patience import Patience
from palyra.lifecycle.waiting import Course, Wait, in_task


class Ends:
    """How a course ended."""

    def __init__(self) -> None:
        self.all: list[tuple[str | None, BaseException | None]] = []

    def __call__(self, value: str | None, error: BaseException | None) -> None:
        self.all.append((value, error))


async def _after(*waits: Wait) -> str:
    for wait in waits:
        await wait
    return "done"


def test_a_course_goes_on_inside_the_callback_that_told_its_wait() -> None:
    first, second, ends = Wait(), Wait(), Ends()
    Course(_after(first, second), ends).start()

    first.tell()
    assert ends.all == []
    second.tell()

    assert ends.all == [("done", None)]


def test_what_was_told_before_is_not_waited_for() -> None:
    told, ends = Wait(), Ends()
    told.tell()

    Course(_after(told), ends).start()

    assert ends.all == [("done", None)]


def test_only_the_first_telling_counts() -> None:
    wait, ends = Wait(), Ends()
    Course(_after(wait), ends).start()

    wait.tell()
    wait.tell(OSError("late"))

    assert ends.all == [("done", None)]


def test_an_error_is_raised_where_the_course_waits() -> None:
    wait, ends = Wait(), Ends()
    Course(_after(wait), ends).start()

    wait.tell(OSError("no room"))

    ((value, error),) = ends.all
    assert value is None
    assert isinstance(error, OSError)


def test_a_cancelled_course_ends_and_hears_nothing_more() -> None:
    wait, ends = Wait(), Ends()
    course = Course(_after(wait), ends)
    course.start()

    course.cancel()
    course.cancel()
    wait.tell()

    ((_, error),) = ends.all
    assert isinstance(error, asyncio.CancelledError)


def test_a_course_that_waits_again_after_being_cancelled_goes_on() -> None:
    first, last, ends = Wait(), Wait(), Ends()

    async def stubborn() -> str:
        try:
            await first
        except asyncio.CancelledError:
            await last
        return "tidied"

    course = Course(stubborn(), ends)
    course.start()
    course.cancel()
    assert ends.all == []
    last.tell()

    assert ends.all == [("tidied", None)]


async def test_a_task_can_carry_a_course_and_cancel_it() -> None:
    wait = Wait()
    running = asyncio.ensure_future(in_task(_after(wait)))
    cancelled = asyncio.ensure_future(in_task(_after(Wait())))
    await asyncio.sleep(0)

    wait.tell()
    cancelled.cancel()
    await turns(lambda: running.done() and cancelled.done())

    assert running.result() == "done"
    assert cancelled.cancelled()


async def test_patience_tells_what_nobody_told_in_time_and_leaves_the_rest() -> None:
    patience = Patience(0.01)
    told, forgotten = Wait(), Wait()
    heard: list[str] = []
    told.then(lambda _: heard.append("told"))
    forgotten.then(lambda _: heard.append("forgotten"))
    patience.bound(told)
    patience.bound(forgotten)

    told.tell()
    assert heard == ["told"]
    async with asyncio.timeout(10):
        await in_task(_after(forgotten))  # replaces the callback: only one may wait

    assert forgotten.told
    assert heard == ["told"]


@pytest.mark.parametrize("error", [None, OSError("no")])
def test_a_callback_for_what_happened_already_is_called_at_once(error: OSError | None) -> None:
    wait = Wait()
    wait.tell(error)
    heard: list[Exception | None] = []

    wait.then(heard.append)

    assert heard == [error]
