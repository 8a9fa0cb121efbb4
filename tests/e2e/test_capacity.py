"""Slots at a provider, with the real daemon: people wait in their order, other work comes again (W33)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from harness import raw
from harness.daemon import DaemonProcess, budget, config, eventually, model, poll
from harness.gate import Gate
from harness.raw import Reply, Wire, request
from harness.script import Answer, Call, failing, fixed
from harness.stub import Stub
from harness.talk import CHAT, INPUT_NANO, OUTPUT_NANO, balance, chat, code, gauges, request_id
from harness.tenant import SharedDaemons, Tenant

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


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """It lets two calls at a time through to its provider; no test leaves one behind."""
    provider = {
        "id": "stub",
        "kind": "openai_compatible",
        "base_url": f"{module_stub.url}/v1",
        "credential": "env:STUB_CREDENTIAL",
        "discover": False,
        "concurrency": 2,
    }
    each = budget("each", "1.00", scope="principal:*")
    settings = config(module_stub.url, providers=[provider], models=[model("stub-model")], budgets=[each])
    return module_daemons(settings)


@pytest.fixture
def stub(shared_stub: Stub) -> Stub:
    return shared_stub


@pytest.fixture
async def doors(stub: Stub) -> AsyncIterator[Doors]:
    made = Doors()
    stub.script = made.script
    yield made
    made.open_all()


@pytest.fixture
def tenant(daemon: DaemonProcess, stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


async def call(
    tenant: Tenant,
    user: str,
    headers: Mapping[str, str] | None = None,
    *,
    stream: bool = False,
) -> Reply:
    body = chat(user=user, stream=stream)
    return await raw.call(tenant.daemon.url, CHAT, json_body=body, key=tenant.key, headers=headers or {})


def users(stub: Stub) -> list[object]:
    return [each.json["user"] for each in stub.generations]


async def holds(daemon: DaemonProcess, calls: int) -> None:
    """Wait until so many calls are admitted, at the provider or waiting for it."""
    await eventually(
        lambda: gauges(daemon)["palyra_reservations_pending"] == calls, f"{calls} calls admitted"
    )


async def is_over(tenant: Tenant, posted: int) -> None:
    await holds(tenant.daemon, 0)
    (account,) = [each for each in tenant.api.accounts("each") if each["entity"] == tenant.principal]
    assert balance(account) == (posted, 0)


async def test_a_third_call_waits_and_calls_are_served_in_the_order_they_came(
    tenant: Tenant, stub: Stub, doors: Doors
) -> None:
    running: list[asyncio.Task[Reply]] = []
    for number in range(6):
        running.append(asyncio.create_task(call(tenant, str(number), stream=number % 2 == 0)))
        await holds(tenant.daemon, number + 1)
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")

    for number in range(6):
        assert len(stub.generations) == min(number + 2, 6), "never more than two at a time"
        doors.gate(str(number)).open()
        reply = await running[number]
        assert (reply.status, reply.complete) == (200, True)
        await eventually(lambda done=number: len(stub.generations) == min(done + 3, 6), "the next call")

    assert users(stub) == [str(number) for number in range(6)]
    await is_over(tenant, 6 * USED)


async def test_work_that_can_wait_is_told_when_to_come_again_and_then_runs(
    tenant: Tenant, stub: Stub, doors: Doors
) -> None:
    people = [asyncio.create_task(call(tenant, user)) for user in "ab"]
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
    await holds(tenant.daemon, 2)

    deferred = await call(tenant, "work", BACKGROUND)

    assert (deferred.status, code(deferred), deferred.header("retry-after")) == (
        429,
        "capacity_deferred",
        "1",
    )
    assert deferred.header("x-palyra-route") == "defer"
    # A refusal is answered before it is on disk: nothing of it is held.
    decision = await asyncio.to_thread(
        poll,
        lambda: tenant.api.request("GET", f"/decisions/{request_id(deferred)}").json(),
        lambda document: "state" in document,
        10.0,
        "the stored refusal",
    )
    assert (decision["state"], decision["error_code"]) == ("denied", "capacity_deferred")
    await holds(tenant.daemon, 2)
    assert len(stub.generations) == 2
    doors.open_all()
    await asyncio.gather(*people)
    doors.gate("work").open()
    assert (await call(tenant, "work", BACKGROUND)).status == 200
    await is_over(tenant, 3 * USED)


async def test_one_slot_of_two_is_kept_for_people(tenant: Tenant, stub: Stub, doors: Doors) -> None:
    work = asyncio.create_task(call(tenant, "work", BACKGROUND))
    await eventually(lambda: len(stub.generations) == 1, "the work at the provider")

    more = await call(tenant, "more", BACKGROUND)
    person = asyncio.create_task(call(tenant, "person"))
    await eventually(lambda: len(stub.generations) == 2, "the person's call at the provider")

    assert (more.status, code(more)) == (429, "capacity_deferred")
    assert users(stub) == ["work", "person"]
    doors.open_all()
    assert [(await each).status for each in (work, person)] == [200, 200]
    await is_over(tenant, 2 * USED)


async def test_a_client_that_leaves_the_queue_frees_its_place_and_its_hold(
    tenant: Tenant, stub: Stub, doors: Doors
) -> None:
    people = [asyncio.create_task(call(tenant, user)) for user in "ab"]
    await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
    async with Wire(tenant.daemon.url) as gone:
        gone.send(request(tenant.daemon.url, CHAT, json_body=chat(user="gone"), key=tenant.key))
        await holds(tenant.daemon, 3)
        last = asyncio.create_task(call(tenant, "last"))
        await holds(tenant.daemon, 4)
        gone.reset()
    await holds(tenant.daemon, 3)

    for user in ("a", "b", "last"):
        doors.gate(user).open()
    assert [(await each).status for each in (*people, last)] == [200] * 3

    assert sorted(map(str, users(stub))) == ["a", "b", "last"]
    await is_over(tenant, 3 * USED)


async def test_a_client_that_leaves_its_call_at_the_provider_gives_the_slot_back_once_it_is_drained(
    tenant: Tenant, stub: Stub, doors: Doors
) -> None:
    async with Wire(tenant.daemon.url) as one, Wire(tenant.daemon.url) as two:
        for wire, user in ((one, "one"), (two, "two")):
            wire.send(request(tenant.daemon.url, CHAT, json_body=chat(user=user), key=tenant.key))
        await eventually(lambda: len(stub.generations) == 2, "two calls at the provider")
        one.reset()
        two.reset()
    await eventually(lambda: gauges(tenant.daemon)["palyra_calls_draining"] == 2, "two drains")
    third = asyncio.create_task(call(tenant, "third"))
    await holds(tenant.daemon, 3)
    assert len(stub.generations) == 2

    doors.gate("third").open()
    doors.gate("one").open()

    assert (await third).status == 200
    doors.gate("two").open()
    await is_over(tenant, 3 * USED)


async def test_a_hundred_calls_pass_two_slots_and_every_slot_is_used(tenant: Tenant, stub: Stub) -> None:
    at_once: list[int] = []

    def script(asked: Call) -> Answer:
        at_once.append(sum(not each.finished for each in stub.generations))
        if asked.number % 10 == 0:
            return failing(400)(asked)
        return Answer(usage=fixed(20, 40))

    stub.script = script

    replies = await raw.burst(100, lambda number: call(tenant, str(number), stream=number % 2 == 0))

    assert sorted(reply.status for reply in replies) == [200] * 90 + [400] * 10
    assert max(at_once) <= 2
    await is_over(tenant, 90 * USED)


async def test_a_rate_limit_defers_work_that_can_wait_and_lets_people_try(tenant: Tenant, stub: Stub) -> None:
    stub.script = failing(429, retry_after="40")
    assert (await call(tenant, "first")).status == 429
    stub.script = Answer(usage=fixed(20, 40))

    deferred = await call(tenant, "work", BACKGROUND)

    assert (deferred.status, code(deferred)) == (429, "capacity_deferred")
    assert 1 <= int(deferred.header("retry-after") or 0) <= 40
    assert users(stub) == ["first"]
    assert (await call(tenant, "person")).status == 200
    # The answer shows that the limit is over.
    assert (await call(tenant, "work", BACKGROUND)).status == 200
    await is_over(tenant, 2 * USED)
