"""Slots at a provider, with the real daemon: people wait in their order, other work comes again (W33)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import DaemonProcess, budget, config, eventually, model, poll
from harness.gate import Gate
from harness.raw import Reply, Wire, request
from harness.script import Answer, Call, failing, fixed
from harness.stub import Stub
from harness.talk import CHAT, INPUT_NANO, OUTPUT_NANO, balance, chat, code, gauges, only_account, request_id

USED = 20 * INPUT_NANO + 40 * OUTPUT_NANO
BACKGROUND = {"x-palyra-task-class": "background_automation"}


@dataclass(slots=True)
class Doors:
    """A gate for each call, by the number in its body: the stub answers a call once its gate is open."""

    gates: dict[str, Gate] = field(default_factory=dict[str, Gate])

    def script(self, call: Call) -> Answer:
        return Answer(usage=fixed(20, 40), gate=self.gate(str(call.json["user"])))

    def gate(self, user: str) -> Gate:
        return self.gates.setdefault(user, Gate())

    def open_all(self) -> None:
        for gate in list(self.gates.values()):
            gate.open()


@pytest.fixture
async def doors(stub: Stub) -> AsyncIterator[Doors]:
    made = Doors()
    stub.script = made.script
    yield made
    made.open_all()


def limited(daemon_factory: DaemonFactory, stub: Stub, **limits: object) -> DaemonProcess:
    provider = {
        "id": "stub",
        "kind": "openai_compatible",
        "base_url": f"{stub.url}/v1",
        "credential": "env:STUB_CREDENTIAL",
        "discover": False,
        **limits,
    }
    settings = config(
        stub.url, providers=[provider], models=[model("stub-model")], budgets=[budget("all", "1.00")]
    )
    return daemon_factory(settings)


@pytest.fixture
def daemon(daemon_factory: DaemonFactory, stub: Stub) -> DaemonProcess:
    return limited(daemon_factory, stub, concurrency=2)


@pytest.fixture
def key(daemon: DaemonProcess) -> str:
    return daemon.create_key()


async def call(
    daemon: DaemonProcess,
    key: str,
    user: str,
    headers: Mapping[str, str] | None = None,
    *,
    stream: bool = False,
) -> Reply:
    body = chat(user=user, stream=stream)
    return await raw.call(daemon.url, CHAT, json_body=body, key=key, headers=headers or {})


def users(stub: Stub) -> list[object]:
    return [each.json["user"] for each in stub.generations]


async def holds(daemon: DaemonProcess, calls: int) -> None:
    """Wait until so many calls are admitted, at the provider or waiting for it."""
    await eventually(
        lambda: gauges(daemon)["palyra_reservations_pending"] == calls, f"{calls} calls admitted"
    )


async def is_over(daemon: DaemonProcess, posted: int) -> None:
    await holds(daemon, 0)
    assert balance(only_account(daemon.api, "all")) == (posted, 0)


async def test_a_third_call_waits_and_calls_are_served_in_the_order_they_came(
    daemon: DaemonProcess, key: str, stub: Stub, doors: Doors
) -> None:
    running: list[asyncio.Task[Reply]] = []
    for number in range(6):
        running.append(asyncio.create_task(call(daemon, key, str(number), stream=number % 2 == 0)))
        await holds(daemon, number + 1)
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")

    for number in range(6):
        assert len(stub.generations) == min(number + 2, 6), "never more than two at a time"
        doors.gate(str(number)).open()
        reply = await running[number]
        assert (reply.status, reply.complete) == (200, True)
        await eventually(lambda done=number: len(stub.generations) == min(done + 3, 6), "the next call")

    assert users(stub) == [str(number) for number in range(6)]
    await is_over(daemon, 6 * USED)


async def test_work_that_can_wait_is_told_when_to_come_again_and_then_runs(
    daemon: DaemonProcess, key: str, stub: Stub, doors: Doors
) -> None:
    people = [asyncio.create_task(call(daemon, key, user)) for user in "ab"]
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
    await holds(daemon, 2)

    deferred = await call(daemon, key, "work", BACKGROUND)

    assert (deferred.status, code(deferred), deferred.header("retry-after")) == (
        429,
        "capacity_deferred",
        "1",
    )
    assert deferred.header("x-palyra-route") == "defer"
    # A refusal is answered before it is on disk: nothing of it is held.
    decision = await asyncio.to_thread(
        poll,
        lambda: daemon.api.request("GET", f"/decisions/{request_id(deferred)}").json(),
        lambda document: "state" in document,
        10.0,
        "the stored refusal",
    )
    assert (decision["state"], decision["error_code"]) == ("denied", "capacity_deferred")
    await holds(daemon, 2)
    assert len(stub.generations) == 2
    doors.open_all()
    await asyncio.gather(*people)
    doors.gate("work").open()
    assert (await call(daemon, key, "work", BACKGROUND)).status == 200
    await is_over(daemon, 3 * USED)


async def test_one_slot_of_two_is_kept_for_people(
    daemon: DaemonProcess, key: str, stub: Stub, doors: Doors
) -> None:
    work = asyncio.create_task(call(daemon, key, "work", BACKGROUND))
    await eventually(lambda: len(stub.generations) == 1, "the work at the provider")

    more = await call(daemon, key, "more", BACKGROUND)
    person = asyncio.create_task(call(daemon, key, "person"))
    await eventually(lambda: len(stub.generations) == 2, "the person's call at the provider")

    assert (more.status, code(more)) == (429, "capacity_deferred")
    assert users(stub) == ["work", "person"]
    doors.open_all()
    assert [(await each).status for each in (work, person)] == [200, 200]


async def test_a_client_that_leaves_the_queue_frees_its_place_and_its_hold(
    daemon: DaemonProcess, key: str, stub: Stub, doors: Doors
) -> None:
    people = [asyncio.create_task(call(daemon, key, user)) for user in "ab"]
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
    async with Wire(daemon.url) as gone:
        gone.send(request(daemon.url, CHAT, json_body=chat(user="gone"), key=key))
        await holds(daemon, 3)
        last = asyncio.create_task(call(daemon, key, "last"))
        await holds(daemon, 4)
        gone.reset()
    await holds(daemon, 3)

    for user in ("a", "b", "last"):
        doors.gate(user).open()
    assert [(await each).status for each in (*people, last)] == [200] * 3

    assert sorted(map(str, users(stub))) == ["a", "b", "last"]
    await is_over(daemon, 3 * USED)


async def test_a_client_that_leaves_its_call_at_the_provider_gives_the_slot_back_once_it_is_drained(
    daemon: DaemonProcess, key: str, stub: Stub, doors: Doors
) -> None:
    async with Wire(daemon.url) as one, Wire(daemon.url) as two:
        for wire, user in ((one, "one"), (two, "two")):
            wire.send(request(daemon.url, CHAT, json_body=chat(user=user), key=key))
        await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
        one.reset()
        two.reset()
    await eventually(lambda: gauges(daemon)["palyra_calls_draining"] == 2, "two drains")
    third = asyncio.create_task(call(daemon, key, "third"))
    await holds(daemon, 3)
    assert len(stub.generations) == 2

    doors.gate("third").open()
    doors.gate("one").open()

    assert (await third).status == 200
    doors.gate("two").open()
    await is_over(daemon, 3 * USED)


async def test_a_hundred_calls_pass_two_slots_and_every_slot_is_used(
    daemon: DaemonProcess, key: str, stub: Stub
) -> None:
    at_once: list[int] = []

    def script(asked: Call) -> Answer:
        at_once.append(sum(not each.finished for each in stub.generations))
        if asked.number % 10 == 0:
            return failing(400)(asked)
        return Answer(usage=fixed(20, 40))

    stub.script = script

    replies = await raw.burst(100, lambda number: call(daemon, key, str(number), stream=number % 2 == 0))

    assert sorted(reply.status for reply in replies) == [200] * 90 + [400] * 10
    assert max(at_once) <= 2
    await is_over(daemon, 90 * USED)


async def test_a_rate_limit_defers_work_that_can_wait_and_lets_people_try(
    daemon: DaemonProcess, key: str, stub: Stub
) -> None:
    stub.script = failing(429, retry_after="40")
    assert (await call(daemon, key, "first")).status == 429
    stub.script = Answer(usage=fixed(20, 40))

    deferred = await call(daemon, key, "work", BACKGROUND)

    assert (deferred.status, code(deferred)) == (429, "capacity_deferred")
    assert 1 <= int(deferred.header("retry-after") or 0) <= 40
    assert users(stub) == ["first"]
    assert (await call(daemon, key, "person")).status == 200
    # The answer shows that the limit is over.
    assert (await call(daemon, key, "work", BACKGROUND)).status == 200
    await is_over(daemon, 2 * USED)
