"""A client that leaves pays what was used, holds nothing, and leaves nothing running (L6, V1, V2)."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from harness import script
from harness.daemon import DaemonProcess, budget, config, eventually
from harness.gate import Gate
from harness.ledger import settlement_of
from harness.raw import Reply, Wire, call, request
from harness.script import Answer
from harness.stub import Stub
from harness.talk import CHAT, INPUT_NANO, OUTPUT_NANO, chat, gauges, request_id
from harness.tenant import SharedDaemons
from palyra.core.limits import DRAINS_MAX

CHUNKS = 50
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=[budget("all", "1000.00")]))


@pytest.fixture(scope="module")
def key(door: DaemonProcess) -> str:
    return door.create_key("alice")


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(door: DaemonProcess, shared_stub: Stub) -> Iterator[None]:
    yield
    asyncio.run(is_quiet(door))


async def is_quiet(door: DaemonProcess) -> None:
    """Wait until no call runs, none drains, and nothing is held."""
    names = ("palyra_calls_in_flight", "palyra_calls_draining", "palyra_reservations_pending")
    await eventually(lambda: all(gauges(door)[name] == 0 for name in names), "silence", DEADLINE_S)
    (account,) = door.api.accounts("all")
    assert account["held_nano_usd"] == 0


def usage_of(settlement: Mapping[str, object]) -> tuple[int, int]:
    usage = cast("Mapping[str, int]", settlement["usage"])
    return usage["input_tokens"], usage["output_tokens"]


async def test_a_client_may_leave_at_any_chunk_and_the_provider_s_usage_is_settled(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    gates = [Gate() for _ in range(CHUNKS)]

    def until_left(asked: script.Call) -> Answer:
        number = asked.output_cap - 100
        # Piece k waits until the client that leaves after k chunks is gone.
        return Answer(
            usage=script.fixed(1_000 + number, number), chunks=CHUNKS, gates={number: gates[number]}
        )

    shared_stub.script = until_left

    async def leave_after(number: int) -> str:
        async with Wire(door.url) as client:
            client.send(request(door.url, CHAT, json_body=chat(100 + number, stream=True), key=key))
            reply = await client.until(
                lambda seen: seen.status > 0 and seen.body.count(b"\n\n") >= number, DEADLINE_S
            )
            client.reset()
            await client.shut()
        return request_id(reply)

    before = door.api.accounts("all")[0]["posted_nano_usd"]
    left = await asyncio.gather(*(leave_after(number) for number in range(CHUNKS)))
    await eventually(lambda: gauges(door)["palyra_calls_draining"] == CHUNKS, "50 drains", DEADLINE_S)
    for gate in gates:
        gate.open()
    await is_quiet(door)

    for number, settled_id in enumerate(left):
        settlement = await asyncio.to_thread(settlement_of, door.api, settled_id)
        assert (settlement["state"], settlement["source"]) == ("settled", "provider")
        assert settlement["client_gone"] is True
        assert usage_of(settlement) == (1_000 + number, number)
    assert all(asked.finished and not asked.client_gone for asked in shared_stub.generations)
    cost = sum((1_000 + number) * INPUT_NANO + number * OUTPUT_NANO for number in range(CHUNKS))
    assert door.api.accounts("all")[0]["posted_nano_usd"] == cast("int", before) + cost


async def test_drains_beyond_the_bound_are_given_up_and_estimated(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    extra = 6
    gate = Gate()
    shared_stub.script = Answer(usage=script.fixed(7, 5), gates={4: gate})

    async def leave() -> str:
        async with Wire(door.url) as client:
            client.send(request(door.url, CHAT, json_body=chat(1_000, stream=True), key=key))
            reply = await client.until(lambda seen: seen.body.count(b"word") >= 3, DEADLINE_S)
            client.reset()
            await client.shut()
        return request_id(reply)

    left = await asyncio.gather(*(leave() for _ in range(DRAINS_MAX + extra)))
    await eventually(
        lambda: gauges(door)["palyra_calls_in_flight"] == DRAINS_MAX, "the drains over the bound", DEADLINE_S
    )
    assert gauges(door)["palyra_calls_draining"] == DRAINS_MAX
    gate.open()
    await is_quiet(door)

    settlements = [await asyncio.to_thread(settlement_of, door.api, each) for each in left]
    given_up = [each for each in settlements if each["source"] == "estimated"]
    assert len(given_up) == extra
    for each in given_up:
        assert each["state"] == "settled"
        assert 15 <= usage_of(each)[1] <= 25
    assert all(usage_of(each) == (7, 5) for each in settlements if each["source"] == "provider")


async def test_a_client_that_leaves_before_the_answer_is_billed_for_it(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    for stream in (True, False):
        gate = Gate()
        shared_stub.script = Answer(usage=script.fixed(7, 5), gate=gate)
        seen = len(door.api.get("/decisions", limit="200")["items"])  # pyright: ignore[reportArgumentType]
        async with Wire(door.url) as client:
            client.send(request(door.url, CHAT, json_body=chat(stream=stream), key=key))
            await gate.reached(1)
            client.reset()
            await client.shut()
        gate.open()
        await is_quiet(door)
        items = cast("list[dict[str, object]]", door.api.get("/decisions", limit="200")["items"])
        assert len(items) == min(200, seen + 1)
        settlement = await asyncio.to_thread(settlement_of, door.api, str(items[0]["request_id"]))
        assert (settlement["source"], usage_of(settlement)) == ("provider", (7, 5))


async def test_a_client_that_leaves_while_its_provider_is_paused_is_settled(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 65_536 + b'"}}]}\n\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'
    shared_stub.script = Answer(raw=[*[event] * 400, last], content_type="text/event-stream")
    async with Wire(door.url) as client:
        client.send(request(door.url, CHAT, json_body=chat(stream=True), key=key))
        reply = await client.chunk(1)
        client.pause()
        other = await call(door.url, CHAT, json_body=chat(max_tokens=8, stream=True), key=key)
        assert other.complete
        client.reset()
    await is_quiet(door)
    settlement = await asyncio.to_thread(settlement_of, door.api, request_id(reply))
    assert (settlement["source"], usage_of(settlement)) == ("provider", (7, 5))


async def test_hundreds_of_clients_that_come_and_go_leave_nothing_behind(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=script.fixed(7, 5), chunks=5)
    slots = asyncio.Semaphore(50)

    async def leave(number: int) -> Reply:
        async with slots:
            return await call(
                door.url, CHAT, json_body=chat(stream=True), key=key, leave_after_chunks=number % 4
            )

    replies = await asyncio.gather(*(leave(number) for number in range(300)))
    await is_quiet(door)
    assert {reply.status for reply in replies} == {200}
    tail = replies[-5:]
    for reply in tail:
        settlement = await asyncio.to_thread(settlement_of, door.api, request_id(reply))
        assert settlement["state"] == "settled"
    assert door.process is not None
    assert door.process.poll() is None
