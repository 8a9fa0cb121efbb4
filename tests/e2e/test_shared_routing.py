"""What gateways on one PostgreSQL share besides money: slots at a provider, and the model of a session."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import raw
from harness.daemon import config, eventually, model, poll
from harness.fleet import Fleet
from harness.gate import Gate
from harness.postgres import new_database
from harness.raw import Reply
from harness.script import Answer, Call, fixed
from harness.stub import Stub
from harness.talk import CHAT, ask, chat, code

SLOTS = 4
CALLS_EACH = 20
ABLE = ["tools", "json", "streaming"]
BACKGROUND = {"x-palyra-task-class": "background_automation"}

FleetOf = Callable[..., Fleet]


@pytest.fixture
def fleet_of(tmp_path: Path, stub: Stub) -> Iterator[FleetOf]:
    """``fleet_of(n, concurrency=4)``: n gateways in front of a stub with a cheap and a dear model."""
    made: list[Fleet] = []

    def start(count: int, **limits: object) -> Fleet:
        at = {"base_url": f"{stub.url}/v1", "credential": "env:STUB_CREDENTIAL"}
        provider = {"id": "stub", "kind": "openai_compatible", **at, **limits}
        models = [
            model("small", capabilities=ABLE),
            model("large", capabilities=ABLE, price={"input": "10.00", "output": "20.00"}),
        ]
        governance = {"default_model": "small"}
        settings = config(stub.url, providers=[provider], models=models, governance=governance)
        made.append(Fleet(tmp_path, settings, new_database()))
        return made[-1].start(count)

    yield start
    for fleet in made:
        fleet.close()


def under_way(stub: Stub) -> int:
    """Calls that the provider works on."""
    return sum(not call.finished and not call.client_gone for call in stub.generations)


async def test_gateways_together_never_have_more_calls_at_a_provider_than_it_takes(
    fleet_of: FleetOf, stub: Stub
) -> None:
    fleet = fleet_of(2, concurrency=SLOTS)
    key = fleet.create_key()
    most = 0

    def script(call: Call) -> Answer:
        nonlocal most
        most = max(most, under_way(stub))
        return Answer(usage=fixed(20, 40), between_s=0.01)

    stub.script = script

    async def one(number: int) -> Reply:
        gateway = fleet.gateways[number % 2]
        return await raw.call(gateway.url, CHAT, json_body=chat(model="small"), key=key, deadline_s=60.0)

    replies = await raw.burst(2 * CALLS_EACH, one)
    assert [reply.status for reply in replies] == [200] * 2 * CALLS_EACH
    assert most == SLOTS


async def test_a_gateway_that_needs_no_slots_leaves_them_to_another(fleet_of: FleetOf, stub: Stub) -> None:
    fleet = fleet_of(2, concurrency=SLOTS)
    key = fleet.create_key()
    for gateway in fleet.gateways:
        gate = stub_gate(stub)
        calls = [
            asyncio.create_task(
                raw.call(gateway.url, CHAT, json_body=chat(model="small"), key=key, deadline_s=60.0)
            )
            for _ in range(SLOTS)
        ]
        await eventually(lambda gate=gate: gate.arrived == SLOTS, "all slots in use at one gateway", 20.0)
        gate.open()
        assert [(await call).status for call in calls] == [200] * SLOTS


async def test_work_that_can_wait_is_deferred_by_slots_that_another_gateway_uses(
    fleet_of: FleetOf, stub: Stub
) -> None:
    fleet = fleet_of(2, concurrency=1)
    key = fleet.create_key()
    gate = stub_gate(stub)
    busy, other = fleet.gateways
    first = asyncio.create_task(
        raw.call(busy.url, CHAT, json_body=chat(model="small"), key=key, deadline_s=60.0)
    )
    await eventually(lambda: gate.arrived == 1, "the only slot in use")

    deferred = await raw.call(
        other.url, CHAT, json_body=chat(model="small"), key=key, headers=BACKGROUND, deadline_s=20.0
    )

    assert (deferred.status, code(deferred)) == (429, "capacity_deferred")
    assert deferred.header("retry-after") == "1"
    gate.open()
    assert (await first).status == 200


def test_a_session_keeps_its_model_at_another_gateway(fleet_of: FleetOf, stub: Stub) -> None:
    fleet = fleet_of(2)
    key = fleet.create_key()
    hard = chat(
        16,
        model="auto",
        messages=[{"role": "user", "content": "word " * 300}] * 12,
        tools=[{"type": "function", "function": {"name": "look"}}] * 9,
        response_format={"type": "json_object"},
    )
    session = {"x-palyra-session": "s1"}
    first, second = fleet.gateways
    assert ask(first, key, hard, headers=session).header("x-palyra-model") == "large"

    # The model of the session is stored beside the call, not before it.
    easy = chat(16, model="auto")
    poll(
        lambda: ask(second, key, easy, headers={"x-palyra-session": "s1"}).header("x-palyra-model"),
        lambda served: served == "large",
        30.0,
        "the session's model",
    )
    assert ask(second, key, easy, headers={"x-palyra-session": "s2"}).header("x-palyra-model") == "small"


def stub_gate(stub: Stub) -> Gate:
    """Hold every answer of the stub from now on."""
    gate = Gate()
    stub.script = Answer(usage=fixed(20, 40), gate=gate)
    return gate
