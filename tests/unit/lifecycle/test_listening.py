"""What changed is told once a second, to those who listen, and looked for only while somebody does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from palyra.core.errors import LedgerUnavailable, StreamUnavailable
from palyra.lifecycle.listening import (
    BEAT_TURNS,
    LISTENERS_MAX,
    PROOF_TURNS,
    Changes,
    Figures,
    Listener,
    Told,
)
from palyra.lifecycle.topics import Topic


class World:
    """Figures that change when the test says so, and a second that passes when it says so."""

    def __init__(self) -> None:
        self.figures: dict[Topic, object] = dict.fromkeys(Topic, 0)
        self.failure: Exception | None = None
        self.looks = 0
        self.hub = Changes(self.look, self.pause)
        self._seconds = asyncio.Semaphore(0)
        self._waits = asyncio.Event()

    async def look(self) -> Figures:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return dict(self.figures)

    async def pause(self, seconds: float) -> None:
        assert seconds == 1.0
        self._waits.set()
        await self._seconds.acquire()

    async def second(self, *changed: Topic) -> None:
        """These change, and a second passes."""
        for topic in changed:
            self.figures[topic] = object()
        await self._waits.wait()
        self._waits.clear()
        self._seconds.release()
        await settled()


async def settled() -> None:
    """All that is ready to run has run; nothing here waits for anything else."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.hub.leave()


async def hears(listener: Listener) -> Told:
    """What it is told, which must be there."""
    async with asyncio.timeout(10):
        return await listener.next()


async def hears_nothing(listener: Listener) -> bool:
    waiting = asyncio.ensure_future(listener.next())
    await settled()
    heard = waiting.done()
    waiting.cancel()
    return not heard


async def test_what_changed_is_named_in_the_order_of_topics(world: World) -> None:
    async with world.hub.listening() as listener:
        await world.second(Topic.KEYS, Topic.USAGE)
        assert await hears(listener) == Told((Topic.USAGE, Topic.KEYS), 1, False, False)
        await world.second()
        assert await hears_nothing(listener)
        await world.second(Topic.BUDGETS)
        assert (await hears(listener)).number == 2


async def test_all_that_listen_are_told_and_those_who_come_later_of_what_comes_later(world: World) -> None:
    async with world.hub.listening() as first:
        await world.second(Topic.ALERTS)
        async with world.hub.listening() as second:
            assert await hears_nothing(second)
            await world.second(Topic.MODELS)
            assert (await hears(second)).topics == (Topic.MODELS,)
        assert (await hears(first)).topics == (Topic.ALERTS, Topic.MODELS)


async def test_nothing_is_looked_at_while_nobody_listens(world: World) -> None:
    assert not world.hub.is_looking
    async with world.hub.listening():
        await world.second()
        assert (world.looks, world.hub.is_looking) == (2, True)
    await world.second()
    assert (world.looks, world.hub.is_looking) == (2, False)
    async with world.hub.listening() as listener:
        assert await hears_nothing(listener)
        await world.second(Topic.USAGE)
        assert (await hears(listener)).topics == (Topic.USAGE,)


async def test_what_changed_before_somebody_listens_is_no_news(world: World) -> None:
    async with world.hub.listening():
        pass
    await world.second(Topic.KEYS)
    world.figures[Topic.BUDGETS] = 7
    async with world.hub.listening() as listener:
        await world.second()
        assert await hears_nothing(listener)


async def test_who_does_not_keep_up_has_topics_waiting_and_no_queue(world: World) -> None:
    async with world.hub.listening() as listener:
        for _ in range(1_000):
            await world.second(Topic.USAGE, Topic.DECISIONS)
        told = await hears(listener)
        assert (told.topics, told.number) == ((Topic.USAGE, Topic.DECISIONS), 1_000)
        assert await hears_nothing(listener)


async def test_it_beats_and_lets_prove_in_between(world: World) -> None:
    async with world.hub.listening() as listener:
        woken: list[tuple[int, bool]] = []
        for turn in range(1, 2 * BEAT_TURNS + 1):
            await world.second()
            if turn % PROOF_TURNS == 0:
                woken.append((turn, (await hears(listener)).beats))
            else:
                assert await hears_nothing(listener)
        assert woken == [(5, False), (10, False), (15, True), (20, False), (25, False), (30, True)]


async def test_all_are_asked_to_prove_when_somebody_signs_out(world: World) -> None:
    async with world.hub.listening() as listener:
        world.hub.prove()
        assert await hears(listener) == Told((), 0, False, False)


async def test_while_nothing_can_be_seen_it_goes_on_and_tells_afterwards(world: World) -> None:
    async with world.hub.listening() as listener:
        for failure in (LedgerUnavailable("gone"), ValueError("a bug")):
            world.failure = failure
            await world.second(Topic.APPROVALS)
            assert await hears_nothing(listener)
        world.failure = None
        await world.second()
        assert (await hears(listener)).topics == (Topic.APPROVALS,)


async def test_who_comes_while_nothing_can_be_seen_is_told_of_everything_then(world: World) -> None:
    world.failure = LedgerUnavailable("gone")
    async with world.hub.listening() as listener:
        await world.second()
        world.failure = None
        await world.second()
        assert (await hears(listener)).topics == tuple(Topic)


async def test_so_many_may_listen_and_one_who_leaves_makes_room(world: World) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(LISTENERS_MAX - 1):
            await stack.enter_async_context(world.hub.listening())
        async with world.hub.listening():
            assert await refused(world.hub.listening().__aenter__)
        async with world.hub.listening():
            pass


async def test_at_the_end_all_are_let_go_and_nobody_is_let_in(world: World) -> None:
    async with world.hub.listening() as listener:
        world.hub.leave()
        assert (await hears(listener)).is_over
        assert await refused(world.hub.listening().__aenter__)


async def refused(listen: Callable[[], Awaitable[object]]) -> bool:
    """Whether nobody may listen, and is told when to come again."""
    with pytest.raises(StreamUnavailable) as caught:
        await listen()
    return caught.value.status == 503 and caught.value.retry_after_s == 5


async def test_who_gives_up_while_it_begins_leaves_nothing_behind() -> None:
    begun, held = asyncio.Event(), asyncio.Event()

    async def look() -> Figures:
        begun.set()
        await held.wait()
        return {}

    hub = Changes(look)

    async def listen() -> None:
        async with hub.listening():
            raise AssertionError("it never began")

    task = asyncio.ensure_future(listen())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert not hub.is_looking
    held.set()
    async with AsyncExitStack() as stack:
        for _ in range(LISTENERS_MAX):
            await stack.enter_async_context(hub.listening())
    hub.leave()
