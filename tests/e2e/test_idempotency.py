"""K1: one Idempotency-Key, one effect: at once, afterwards, after a failure, after a restart."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import DaemonProcess, budget, config, eventually
from harness.gate import Gate
from harness.ledger import rows, settlement_of
from harness.raw import Reply
from harness.script import Answer, failing, in_turn
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, ask, balance, chat, code, held_by, only_account, request_id
from harness.tenant import SharedDaemons, Tenant

REPEATS = 100
KEY = {"idempotency-key": "order-66"}
REPLAYED = "x-palyra-idempotent-replay"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


def used_keys_refusal(reply: Reply) -> tuple[int, object, str | None]:
    """Status, code and whether to retry."""
    return reply.status, code(reply), reply.header("x-should-retry")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hundred_repeats_at_once_and_more_later_are_one_call(
    daemon_factory: DaemonFactory, stub: Stub, stream: bool
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", "5.00")]))
    key, gate = daemon.create_key(), Gate()
    stub.script = Answer(gate=gate)
    refused: list[Reply] = []

    async def one(_number: int) -> Reply:
        reply = await raw.call(daemon.url, CHAT, json_body=chat(stream=stream), key=key, headers=KEY)
        if reply.status != 200:
            refused.append(reply)
        return reply

    burst = asyncio.create_task(raw.burst(REPEATS, one))
    await eventually(lambda: len(refused) + gate.arrived >= REPEATS, "a word on every repeat", 30)
    gate.open()
    (first,) = [reply for reply in await burst if reply.status == 200]

    assert {used_keys_refusal(reply) for reply in refused} == {(409, "idempotency_in_flight", None)}
    assert {reply.header("retry-after") for reply in refused} == {"1"}
    assert first.header(REPLAYED) is None
    again = await raw.burst(5, one)
    for reply in again:
        assert (reply.status, reply.header(REPLAYED)) == (200, "true")
        assert reply.body == first.body
        assert reply.header("content-type") == first.header("content-type")
        assert request_id(reply) == request_id(first)
    assert len(stub.generations) == 1
    hold = held_by(daemon.api, first)
    posted = balance(only_account(daemon.api, "all"))
    assert posted[1] == 0
    assert 0 < posted[0] <= hold

    await asyncio.to_thread(daemon.restart)
    after = await raw.burst(REPEATS, one)

    assert {used_keys_refusal(reply) for reply in after} == {(409, "idempotency_in_flight", "false")}
    assert len(stub.generations) == 1
    assert balance(only_account(daemon.api, "all")) == posted
    assert [row["state"] for row in rows(daemon.api)] == ["settled"]


def test_another_body_or_endpoint_under_the_same_key_is_refused(tenant: Tenant, shared_stub: Stub) -> None:
    first = tenant.ask(chat(), headers=KEY)

    other_body = tenant.ask(chat(max_tokens=65), headers=KEY)
    other_door = tenant.ask(chat(), "/v1/completions", headers=KEY)
    same = tenant.ask(chat(), headers=KEY)

    assert first.status == 200
    assert (other_body.status, code(other_body)) == (422, "idempotency_mismatch")
    assert other_door.status in (400, 422)
    assert (same.status, same.body) == (200, first.body)
    assert len(shared_stub.generations) == 1


def test_the_anthropic_format_says_so_in_its_own_words(tenant: Tenant, shared_stub: Stub) -> None:
    body = chat(model="stub-claude")
    first = tenant.ask(body, MESSAGES, KEY)
    again = tenant.ask(body, MESSAGES, KEY)
    other = tenant.ask(chat(65, model="stub-claude"), MESSAGES, KEY)

    assert (again.body, again.header(REPLAYED)) == (first.body, "true")
    assert (other.status, other.error()["type"]) == (422, "idempotency_mismatch")
    assert len(shared_stub.generations) == 1


def test_keys_are_those_of_a_principal(
    tenant: Tenant, tenant_of: Callable[..., Tenant], shared_stub: Stub
) -> None:
    second_key = tenant.daemon.create_key(tenant.principal)
    stranger = tenant_of(tenant.daemon)

    replies = [
        tenant.ask(headers=KEY),
        tenant.ask(headers=KEY, key=second_key),
        stranger.ask(headers=KEY),
    ]

    assert [reply.header(REPLAYED) for reply in replies] == [None, "true", None]
    assert len(shared_stub.generations) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_cost_nothing_frees_the_key(tenant: Tenant, shared_stub: Stub, status: int) -> None:
    # Palyra tries twice more by itself.
    shared_stub.script = in_turn(failing(status), failing(status), failing(status), Answer())

    failed, served, repeated = (tenant.ask(headers=KEY) for _ in range(3))

    assert (failed.status, served.status, repeated.status) == (status, 200, 200)
    assert (served.header(REPLAYED), repeated.header(REPLAYED)) == (None, "true")
    assert len(shared_stub.generations) == 4


def test_a_refusal_by_budget_does_not_use_the_key_up(tenant: Tenant, shared_stub: Stub) -> None:
    policy = tenant.budget("0.00001")
    refused = tenant.ask(headers=KEY)
    tenant.api.request("PUT", f"/budgets/{policy}", tenant.policy("5.00")).raise_for_status()

    served = tenant.ask(headers=KEY)

    assert (refused.status, served.status, served.header(REPLAYED)) == (402, 200, None)
    assert len(shared_stub.generations) == 1


def test_a_call_whose_answer_broke_off_is_not_sent_again(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(cut_after_pieces=0)
    policy = tenant.budget("5.00")

    broken = tenant.ask(headers=KEY)
    repeated = tenant.ask(headers=KEY)

    assert broken.status == 502
    assert used_keys_refusal(repeated) == (409, "idempotency_in_flight", "false")
    assert len(shared_stub.generations) == 1
    ending = settlement_of(tenant.api, request_id(broken))
    assert (ending["state"], ending["source"]) == ("settled", "estimated")
    assert balance(only_account(tenant.api, policy)) == (ending["cost_nano_usd"], 0)
    assert cast("int", ending["cost_nano_usd"]) > 0


@pytest.mark.parametrize("bad", ["", "k" * 257])
def test_a_key_that_cannot_be_kept_is_refused(tenant: Tenant, shared_stub: Stub, bad: str) -> None:
    reply = tenant.ask(headers={"idempotency-key": bad})

    assert (reply.status, reply.error()["param"]) == (400, "Idempotency-Key")
    assert shared_stub.generations == []


@pytest.mark.sqlite
async def test_after_a_crash_in_mid_flight_the_key_is_finished_and_the_amount_in_doubt(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", "5.00")]))
    key, gate = daemon.create_key(), Gate()
    stub.script = Answer(gate=gate)
    running = asyncio.create_task(raw.call(daemon.url, CHAT, json_body=chat(), key=key, headers=KEY))
    await gate.reached(1)
    (_, hold) = balance(only_account(daemon.api, "all"))
    assert hold > 0

    await asyncio.to_thread(daemon.kill9)
    assert not (await running).complete
    gate.open()
    await asyncio.to_thread(daemon.start)
    repeated = await raw.call(daemon.url, CHAT, json_body=chat(), key=key, headers=KEY)
    fresh = await raw.call(daemon.url, CHAT, json_body=chat(), key=key, headers={"idempotency-key": "new"})

    assert used_keys_refusal(repeated) == (409, "idempotency_in_flight", "false")
    assert fresh.status == 200
    assert len(stub.generations) == 2
    newest, doubtful = rows(daemon.api)
    assert (newest["state"], doubtful["state"]) == ("settled", "in_doubt")
    assert doubtful["cost_nano_usd"] == hold
    posted, on_hold = balance(only_account(daemon.api, "all"))
    assert (posted, on_hold) == (hold + cast("int", newest["cost_nano_usd"]), 0)


def test_a_client_that_left_finds_its_answer_when_it_comes_back(tenant: Tenant, shared_stub: Stub) -> None:
    gate = Gate()
    shared_stub.script = Answer(gates={2: gate}, chunks=5)
    body = chat(stream=True)

    async def leave() -> Reply:
        return await raw.call(
            tenant.daemon.url, CHAT, json_body=body, key=tenant.key, headers=KEY, leave_after_chunks=1
        )

    left = asyncio.run(leave())
    gate.open()
    assert tenant.api.settled(request_id(left))["state"] == "settled"
    back = ask(tenant.daemon, tenant.key, body, headers=KEY)

    assert (back.status, back.header(REPLAYED)) == (200, "true")
    assert back.body.startswith(left.body)
    assert back.body.endswith(b"data: [DONE]\n\n")
    assert len(shared_stub.generations) == 1


def test_an_answer_is_repeated_only_to_a_key_that_may_use_the_model(
    tenant: Tenant, shared_stub: Stub
) -> None:
    shared_stub.script = Answer()
    narrow = tenant.daemon.create_key(tenant.principal, models=["stub-claude"])
    headers = {"idempotency-key": "of-the-wider-key"}
    assert tenant.ask(headers=headers).status == 200
    refused = tenant.ask(headers=headers, key=narrow)
    assert (refused.status, code(refused)) == (403, "model_not_allowed")
