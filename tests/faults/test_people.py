"""A1, D1, V1: kill -9 and stops while people are asked: what was asked stays asked, what was granted stays
granted, and no grant is used twice.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest

from harness import raw
from harness.daemon import DaemonProcess, config, eventually
from harness.gate import Gate
from harness.ledger import rows
from harness.people import allow, asked, asking, await_asks, grant_of, pending, showing, shown
from harness.raw import Reply
from harness.script import Answer
from harness.stub import Stub
from harness.talk import CHAT, Document, balance, chat, code, detail
from harness.tenant import SharedDaemons, Tenant

STOP_S = 5.0
"""Far below the time that calls in flight are given when the daemon stops."""
CLIENTS = 6
GRANTS_MAX = 30
PAUSE_S_MAX = 0.02

TenantOf = Callable[[DaemonProcess], Tenant]


@pytest.fixture(scope="module")
def module_daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """One request a day for each principal; for every other one people are asked."""
    return module_daemons(config(module_stub.url, budgets=[asking("each")]))


@pytest.fixture
def daemon(module_daemon: DaemonProcess) -> DaemonProcess:
    """The same for all tests, running whatever the last one did to it."""
    return module_daemon if module_daemon.is_running else module_daemon.start()


@pytest.fixture
def spender(daemon: DaemonProcess, shared_stub: Stub, tenant_of: TenantOf) -> Tenant:
    """Somebody whose budget is full."""
    return full(tenant_of(daemon), shared_stub)


def full(tenant: Tenant, stub: Stub) -> Tenant:
    """Use up the budget of a tenant; the stub then forgets how."""
    assert tenant.ask().status == 200
    stub.calls.clear()
    return tenant


async def call(tenant: Tenant, *approval_ids: str, user: str = "", stream: bool = False) -> Reply:
    """One call that shows approvals."""
    body, headers = chat(user=user, stream=stream), showing(*approval_ids)
    return await raw.call(tenant.daemon.url, CHAT, json_body=body, key=tenant.key, headers=headers)


def waiting(tenant: Tenant, *, stream: bool = False) -> "asyncio.Task[Reply]":
    """A call that is held until somebody decides."""
    body, headers = chat(user="", stream=stream), showing(wait=True)
    return asyncio.create_task(
        raw.call(tenant.daemon.url, CHAT, json_body=body, key=tenant.key, headers=headers)
    )


def requests_of(tenant: Tenant) -> tuple[int, int]:
    """Posted and held on the account of a tenant."""
    (found,) = [each for each in tenant.api.accounts("each") if each["entity"] == tenant.principal]
    return balance(found, "")


async def test_requests_that_were_pending_at_a_kill_are_pending_after_it_and_run_once(
    daemon: DaemonProcess, spender: Tenant, shared_stub: Stub
) -> None:
    users = [str(number) for number in range(4)]
    ids = [asked(await call(spender, user=user)) for user in users]
    before = pending(daemon.api, spender.principal)
    assert list(before) == ids

    daemon.kill9()
    daemon.start()

    moved = {each: {**before[each], "url": f"{daemon.url}/console/approvals?id={each}"} for each in ids}
    assert pending(daemon.api, spender.principal) == moved
    for approval_id in ids:
        allow(daemon.api, approval_id)
    for expected in (200, 402):
        replies = [await call(spender, each, user=user) for each, user in zip(ids, users, strict=True)]
        assert {reply.status for reply in replies} == {expected}
    assert Counter(each.json["user"] for each in shared_stub.generations) == dict.fromkeys(users, 1)


async def test_a_kill_while_a_caller_waits_leaves_the_request_and_nothing_held(
    daemon: DaemonProcess, spender: Tenant, shared_stub: Stub
) -> None:
    held_call = waiting(spender)
    (approval_id,) = await asyncio.to_thread(await_asks, daemon.api, [spender.principal], 1)
    assert requests_of(spender) == (1, 0), "a call that waits for a person holds nothing"

    await asyncio.to_thread(daemon.kill9)
    reply = await held_call
    assert (reply.status, reply.complete) == (0, False)
    await asyncio.to_thread(daemon.start)

    assert list(pending(daemon.api, spender.principal)) == [approval_id]
    assert requests_of(spender) == (1, 0)
    allow(daemon.api, approval_id)
    assert shared_stub.generations == [], "nobody waits any more, so nothing runs"
    assert (await call(spender, approval_id)).status == 200
    assert (await call(spender, approval_id)).status == 402
    assert len(shared_stub.generations) == 1
    assert requests_of(spender) == (2, 0)


async def test_a_stop_tells_callers_that_wait_at_once_what_they_asked_for(
    daemon: DaemonProcess, spender: Tenant, shared_stub: Stub, tenant_of: TenantOf
) -> None:
    tenants = [spender, await asyncio.to_thread(full, tenant_of(daemon), shared_stub)]
    kinds = [(tenant, streams) for tenant in tenants for streams in (False, True)]
    held_calls = [waiting(tenant, stream=streams) for tenant, streams in kinds for _ in range(5)]
    names = [each.principal for each in tenants]
    ids = await asyncio.to_thread(await_asks, daemon.api, names, 5, 5, 5, 5)

    began = time.monotonic()
    exit_code = await asyncio.to_thread(daemon.terminate)
    took = time.monotonic() - began
    replies = await asyncio.gather(*held_calls)

    assert exit_code == 0
    assert took < STOP_S
    assert all(reply.complete for reply in replies)
    assert Counter(asked(reply) for reply in replies) == dict.fromkeys(ids, 5)
    assert {detail(reply)["approval_state"] for reply in replies} == {"pending"}
    await asyncio.to_thread(daemon.start)
    assert list(pending(daemon.api, *names)) == ids
    allow(daemon.api, ids[0])
    replies = [await call(tenant, ids[0], stream=streams) for tenant, streams in kinds]
    assert sorted(reply.status for reply in replies) == [200, 402, 402, 402]
    assert len(shared_stub.generations) == 1


async def test_a_grant_of_one_call_is_used_up_by_a_call_that_is_in_doubt(
    daemon: DaemonProcess, spender: Tenant, shared_stub: Stub
) -> None:
    approval_id = asked(await call(spender))
    allow(daemon.api, approval_id)
    gate = Gate()
    shared_stub.script = Answer(gate=gate)
    running = asyncio.create_task(call(spender, approval_id))
    await gate.reached(1)

    await asyncio.to_thread(daemon.kill9)
    assert not (await running).complete
    gate.open()
    await asyncio.to_thread(daemon.start)

    # On a shared database, what a dead gateway held is posted a moment later.
    await eventually(lambda: requests_of(spender) == (2, 0), "the end of the call")
    assert len(rows(daemon.api, principal=spender.principal, state="in_doubt")) == 1
    assert grant_of(shown(daemon.api, approval_id))["used"] is True
    reply = await call(spender, approval_id)
    assert (reply.status, code(reply)) == (402, "approval_required")
    assert asked(reply) != approval_id
    assert len(shared_stub.generations) == 1


async def test_grants_survive_a_kill_between_the_approval_and_the_call(
    daemon: DaemonProcess, spender: Tenant, shared_stub: Stub, tenant_of: TenantOf
) -> None:
    other = await asyncio.to_thread(full, tenant_of(daemon), shared_stub)
    once, amount = [asked(await call(each)) for each in (spender, other)]
    allow(daemon.api, once, grant="once")
    allow(daemon.api, amount, grant="amount")

    daemon.kill9()
    daemon.start()

    statuses = [(await call(spender, once)).status for _ in range(2)]
    statuses += [(await call(other)).status for _ in range(2)]
    assert statuses == [200, 402, 200, 402]
    assert len(shared_stub.generations) == 2


@dataclass(slots=True)
class Seen:
    """What the clients and the person who decides know. ``told``: the calls of the ids that came back."""

    told: dict[str, tuple[Tenant, Document]] = field(default_factory=dict[str, tuple[Tenant, Document]])
    granted: set[str] = field(default_factory=set[str])
    served: set[object] = field(default_factory=set[object])

    def note(self, tenant: Tenant, body: Document, reply: Reply) -> None:
        """One answer, or as much of it as came."""
        if reply.status == 402 and reply.complete:
            self.told[asked(reply)] = tenant, body
        elif reply.status in (0, 402):
            return
        else:
            assert reply.status == 200, f"{reply.status} {reply.body!r}"
            self.served.add(body["user"])


async def client(tenant: Tenant, chance: random.Random, seen: Seen) -> None:
    """Call after call, each of which somebody must allow, until the daemon is gone."""
    while True:
        body = chat(user=f"{tenant.principal}-{chance.getrandbits(64)}", stream=chance.random() < 0.5)
        headers = showing(wait=chance.random() < 0.5)
        while body["user"] not in seen.served:
            try:
                reply = await raw.call(
                    tenant.daemon.url, CHAT, json_body=body, key=tenant.key, headers=headers
                )
            except OSError:
                return
            seen.note(tenant, body, reply)
            if not reply.complete:
                return
            if reply.status == 402:
                headers = showing(asked(reply))


async def decider(daemon: DaemonProcess, seen: Seen) -> None:
    """Allow whatever is asked for, until the daemon is gone."""

    async def request(path: str, method: str = "GET", body: object = None) -> Reply:
        path = f"/api/v1/approvals{path}"
        reply = await raw.call(daemon.url, path, method=method, json_body=body, key=daemon.owner_key)
        if not reply.complete:
            raise ConnectionResetError
        return reply

    with suppress(OSError):
        while True:
            reply = await request("?state=pending&limit=200")
            for each in cast("list[Document]", reply.json()["items"]):
                ruled = await request(f"/{each['id']}/decision", "POST", {"decision": "allow"})
                assert ruled.status == 200
                seen.granted.add(cast("str", each["id"]))


async def killed_while_people_decide(
    daemon: DaemonProcess, tenants: Sequence[Tenant], number: int, seen: Seen
) -> None:
    """Let everybody go on for a random number of grants, then end the daemon as a power cut would."""
    chance, before = random.Random(number), len(seen.granted)
    running = [asyncio.create_task(client(each, random.Random(chance.random()), seen)) for each in tenants]
    running.append(asyncio.create_task(decider(daemon, seen)))
    grants = before + chance.randrange(GRANTS_MAX)
    await eventually(lambda: len(seen.granted) >= grants, f"{grants} grants")
    await asyncio.sleep(chance.uniform(0.0, PAUSE_S_MAX))
    await asyncio.to_thread(daemon.kill9)
    await asyncio.gather(*running)


async def run_what_is_left(daemon: DaemonProcess, seen: Seen) -> int:
    """Whatever was told is so, and what did not run yet can; returns how many grants a kill had used up."""
    used_up = 0
    for approval_id, (tenant, body) in seen.told.items():
        document = shown(daemon.api, approval_id)
        assert document["state"] == "approved" or approval_id not in seen.granted, "D1: a decision was lost"
        if document["state"] == "pending":
            document = allow(daemon.api, approval_id)
        was_used = grant_of(document)["used"]
        if body["user"] in seen.served:
            assert was_used, "A1: a grant for one call is there again"
            continue
        headers = showing(approval_id)
        reply = await raw.call(daemon.url, CHAT, json_body=body, key=tenant.key, headers=headers)
        assert reply.status == (402 if was_used else 200), f"{reply.status} {reply.body!r}"
        used_up += reply.status == 402
    seen.told.clear()
    return used_up


def used_grants(tenant: Tenant) -> int:
    """How many grants for one call a tenant has used."""
    used, cursor = 0, dict[str, str]()
    while True:
        page = tenant.api.get("/approvals", requester=tenant.principal, limit="200", **cursor)
        for each in cast("list[Document]", page["items"]):
            used += each["grant"] is not None and grant_of(each)["used"] is True
        if page["next_cursor"] is None:
            return used
        cursor = {"cursor": cast("str", page["next_cursor"])}


async def kill_again_and_again(
    daemon: DaemonProcess, tenants: Sequence[Tenant], stub: Stub, kills: int
) -> None:
    """Kill, restart, look; in the end the sums are those of the grants that were used."""
    stub.script = Answer(delay_s=0.005, between_s=0.002)
    seen, used_up = Seen(), 0
    for number in range(kills):
        await killed_while_people_decide(daemon, tenants, number, seen)
        await asyncio.to_thread(daemon.start)
        used_up += await run_what_is_left(daemon, seen)
    print(f"{len(seen.granted)} grants, {len(seen.served)} calls served; kills used up {used_up} grants")
    assert seen.granted
    assert seen.served
    calls = Counter(each.json["user"] for each in stub.generations)
    assert set(calls.values()) == {1}, "A1: a grant for one call let two through"
    used = [await asyncio.to_thread(used_grants, each) for each in tenants]
    posted = [(1 + each, 0) for each in used]
    await eventually(
        lambda: [requests_of(each) for each in tenants] == posted, "L2, V1: the sums of the uses"
    )
    assert sum(used) >= len(calls) >= len(seen.served)


def clients(daemon: DaemonProcess, stub: Stub, tenant_of: TenantOf) -> list[Tenant]:
    """Several whose budgets are full."""
    return [full(tenant_of(daemon), stub) for _ in range(CLIENTS)]


async def test_kills_at_random_moments_lose_no_decision_and_use_no_grant_twice(
    daemon: DaemonProcess, shared_stub: Stub, tenant_of: TenantOf
) -> None:
    tenants = await asyncio.to_thread(clients, daemon, shared_stub, tenant_of)
    await kill_again_and_again(daemon, tenants, shared_stub, 4)


@pytest.mark.soak
async def test_hundreds_of_kills_lose_no_decision_and_use_no_grant_twice(
    daemon: DaemonProcess, shared_stub: Stub, tenant_of: TenantOf
) -> None:
    tenants = await asyncio.to_thread(clients, daemon, shared_stub, tenant_of)
    await kill_again_and_again(daemon, tenants, shared_stub, 100)
