"""A call that a budget stops, a person who decides, and the call that then runs, through a real daemon."""

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx2
import pytest

from harness import command, raw
from harness.daemon import Api, DaemonProcess, budget, config, poll
from harness.people import asked, showing
from harness.raw import Reply
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import CHAT, chat, code, detail, request_id
from harness.tenant import SharedDaemons, Tenant

DaemonFactory = Callable[..., DaemonProcess]
WAIT = {"prefer": "wait=30"}
ASKS: dict[str, Any] = {"metric": "requests", "action": "approval_required"}


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture(scope="module")
def operator(daemon: DaemonProcess) -> str:
    """The key of somebody who may decide."""
    return daemon.create_key("olga", roles=["operator"])


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    """A principal that has had its one call of the day; the next one asks."""
    shared_stub.script = Answer(usage=fixed(20, 40))
    made = tenant_of(daemon)
    made.budget(1, **ASKS)
    assert made.ask().status == 200
    return made


def palyra(tenant: Tenant, key: str, *words: str, code: int = 0) -> str:
    """What a command wrote."""
    return "".join(command.run(tenant.daemon, key, *words, code=code))


def decide(tenant: Tenant, key: str, ref: str, **body: object) -> httpx2.Response:
    given = {"decision": "allow"} | body
    return Api(tenant.daemon.url, key).request("POST", f"/approvals/{ref}/decision", given)


def allow(tenant: Tenant, key: str, ref: str, **body: object) -> Mapping[str, Any]:
    answer = decide(tenant, key, ref, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pending(tenant: Tenant) -> list[Mapping[str, Any]]:
    page = tenant.api.get("/approvals", state="pending", requester=tenant.principal)
    return cast("list[Mapping[str, Any]]", page["items"])


def one_pending(tenant: Tenant) -> str:
    (found,) = poll(lambda: pending(tenant), lambda each: len(each) == 1, 10.0, "a pending request")
    return found["id"]


def waiting(tenant: Tenant, body: object = None, **headers: str) -> "asyncio.Task[Reply]":
    """A call that waits for a decision."""
    given = chat() if body is None else body
    return asyncio.create_task(
        raw.call(tenant.daemon.url, CHAT, json_body=given, key=tenant.key, headers=WAIT | headers)
    )


def show(tenant: Tenant, ref: str) -> Mapping[str, Any]:
    return tenant.api.get(f"/approvals/{ref}")


def test_once_lets_the_call_run_one_time(tenant: Tenant, operator: str, shared_stub: Stub) -> None:
    refused = tenant.ask()
    ref = asked(refused)
    assert detail(refused)["approval_url"] == f"{tenant.daemon.url}/console/approvals?id={ref}"
    listed = palyra(tenant, operator, "approvals", "list", "--requester", tenant.principal)
    assert f"{ref}  pending" in listed

    said = palyra(tenant, operator, "approvals", "approve", ref, "--once", "--reason", "month end")
    assert f"{ref} is approved by olga" in said
    assert f"x-palyra-approval: {ref}" in said
    without, served, again = tenant.ask(), tenant.ask(headers=showing(ref)), tenant.ask(headers=showing(ref))

    assert [each.status for each in (without, served, again)] == [402, 200, 402]
    shown = poll(lambda: show(tenant, ref), lambda each: each["used_by"] is not None, 10.0, "the use")
    told = str(tenant.ask(headers=showing(ref)).error()["message"])
    assert f"{ref} was used up by request {request_id(served)}" in told
    assert (shown["used_by"], shown["grant"]["live"]) == (request_id(served), False)
    assert len(shared_stub.generations) == 2
    page = palyra(tenant, operator, "approvals", "show", ref)
    assert f"It let request {request_id(served)} through." in page
    assert "olga approved once" in page


def test_once_is_for_the_call_that_asked_and_for_nobody_else(
    tenant: Tenant, operator: str, daemon: DaemonProcess, tenant_of: Callable[..., Tenant]
) -> None:
    ref = asked(tenant.ask())
    allow(tenant, operator, ref)

    other_body = tenant.ask(chat(max_tokens=65), headers=showing(ref))
    stranger = tenant_of(daemon)
    stranger.budget(1, **ASKS)
    assert stranger.ask().status == 200
    elsewhere = stranger.ask(headers=showing(ref))

    assert asked(other_body) != ref
    assert "does not cover this call" in str(other_body.error()["message"])
    assert asked(elsewhere) != ref
    assert f"{ref} is not known" in str(elsewhere.error()["message"])
    assert tenant.ask(headers=showing(ref)).status == 200


async def test_once_lets_one_of_many_calls_at_the_same_time_through(
    tenant: Tenant, operator: str, shared_stub: Stub
) -> None:
    ref = asked(await asyncio.to_thread(tenant.ask))
    await asyncio.to_thread(allow, tenant, operator, ref)
    url, key = tenant.daemon.url, tenant.key
    replies = await raw.burst(
        50, lambda _: raw.call(url, CHAT, json_body=chat(), key=key, headers=showing(ref))
    )
    assert sorted(each.status for each in replies) == [200, *[402] * 49]
    assert len(shared_stub.generations) == 2


def test_an_amount_holds_for_every_call_in_the_window(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    palyra(tenant, operator, "approvals", "approve", ref, "--amount", "2 requests")
    assert [tenant.ask().status for _ in range(3)] == [200, 200, 402]
    shown = show(tenant, ref)
    assert (shown["grant"]["extra"], shown["grant"]["extra_used"]) == (2, 2)
    assert (shown["budget_now"]["consumed"], shown["budget_now"]["remaining"]) == (3, 0)


def test_the_status_of_a_budget_tells_of_live_overrides(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    policy_id = show(tenant, ref)["policy_id"]
    assert "extra" not in palyra(tenant, operator, "budgets", "status", policy_id)

    allow(tenant, operator, ref, grant="amount", amount=2)

    (account,) = tenant.api.accounts(policy_id)
    assert (account["limit"], account["extra"], account["remaining"]) == (1, 2, 2)
    assert "extra" in palyra(tenant, operator, "budgets", "status", policy_id)


def test_money_is_granted_in_money(tenant: Tenant, operator: str) -> None:
    policy = tenant.budget("0.0002", "money", action="approval_required")
    tenant.api.request("DELETE", f"/budgets/{tenant.principal}-own")
    ref = asked(tenant.ask())
    assert show(tenant, ref)["policy_id"] == policy
    palyra(tenant, operator, "approvals", "approve", ref, "--amount", "1 request", code=2)
    palyra(tenant, operator, "approvals", "approve", ref, "--amount", "0.01usd", "--reason", "demo")
    assert tenant.ask().status == 200
    (account,) = tenant.api.accounts(policy)
    assert account["posted_nano_usd"] == 100_000, "of the window: the first call came before the budget"
    assert show(tenant, ref)["budget_now"]["extra_usd"] == "0.01"


def test_a_time_box_holds_until_its_time(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    ends = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    allow(tenant, operator, ref, until=ends, amount=1_000_000)
    assert tenant.ask().status == 200
    over = poll(tenant.ask, lambda reply: reply.status == 402, 15.0, "the end of the time box")
    assert asked(over) != ref
    assert datetime.now(UTC) >= datetime.fromisoformat(ends)


def test_a_denial_is_final(tenant: Tenant, operator: str, shared_stub: Stub) -> None:
    ref = asked(tenant.ask())
    palyra(tenant, operator, "approvals", "deny", ref, "--reason", "wait for Monday")
    for headers in ({}, showing(ref), WAIT):
        refused = tenant.ask(headers=headers)
        assert (refused.status, code(refused)) == (402, "budget_exceeded")
        assert "denied by olga" in str(refused.error()["message"])
        assert detail(refused)["approval_state"] == "denied"
    assert pending(tenant) == []
    assert decide(tenant, operator, ref).status_code == 409
    assert len(shared_stub.generations) == 1


async def test_a_call_that_waits_goes_on_when_somebody_approves(
    tenant: Tenant, operator: str, shared_stub: Stub
) -> None:
    call = waiting(tenant)
    ref = await asyncio.to_thread(one_pending, tenant)
    assert not call.done()
    said = await asyncio.to_thread(palyra, tenant, operator, "approvals", "approve", ref, "--once")
    reply = await call
    assert (reply.status, "Granted: once, a call of at most 1 request" in said) == (200, True)
    # The call may have run before the answer about it was written.
    assert "goes on by itself" in said or "It is used" in said
    assert len(shared_stub.generations) == 2
    assert (await asyncio.to_thread(show, tenant, ref))["used_by"] == request_id(reply)


async def test_a_stream_that_waits_goes_on_when_somebody_approves(
    tenant: Tenant, operator: str, shared_stub: Stub
) -> None:
    call = waiting(tenant, chat(stream=True))
    ref = await asyncio.to_thread(one_pending, tenant)
    await asyncio.to_thread(allow, tenant, operator, ref, amount=1)
    reply = await call
    assert (reply.status, reply.complete) == (200, True)
    assert reply.events()[-1] == "[DONE]"
    assert [call.stream for call in shared_stub.generations] == [False, True]


async def test_a_call_that_waits_is_refused_when_somebody_denies_or_the_time_is_up(
    tenant: Tenant, operator: str, shared_stub: Stub
) -> None:
    call = waiting(tenant)
    ref = await asyncio.to_thread(one_pending, tenant)
    in_vain = await waiting(tenant, chat(max_tokens=65), prefer="wait=1")
    await asyncio.to_thread(decide, tenant, operator, ref, decision="deny")
    denied = await call
    assert (denied.status, code(denied)) == (402, "budget_exceeded")
    assert asked(in_vain) != ref
    assert len(shared_stub.generations) == 1


def test_who_asks_does_not_decide_and_a_viewer_does_not_either(tenant: Tenant) -> None:
    own = tenant.daemon.create_key(tenant.principal, roles=["operator", "caller"])
    viewer = tenant.daemon.create_key("vera", roles=["viewer"])
    ref = asked(tenant.ask(key=own))
    for key, told in ((own, "someone else must decide"), (viewer, "role 'operator'")):
        for verb in ("approve", "deny"):
            assert told in palyra(tenant, key, "approvals", verb, ref, code=3)
    assert show(tenant, ref)["state"] == "pending"
    other = tenant.daemon.create_key("quinn")
    assert Api(tenant.daemon.url, other).request("GET", f"/approvals/{ref}").status_code == 404


def test_an_edit_of_the_budget_voids_what_is_pending(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    edited = tenant.policy(1, **ASKS, name="own") | {"name": "edited"}
    assert tenant.api.request("PUT", f"/budgets/{tenant.principal}-own", edited).status_code == 200
    told = palyra(tenant, operator, "approvals", "approve", ref, code=7)
    assert "the budget was changed" in told
    assert show(tenant, ref)["state"] == "void"
    assert asked(tenant.ask()) != ref


def test_a_revoked_grant_lets_no_further_call_through(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    allow(tenant, operator, ref, amount=100)
    assert tenant.ask().status == 200
    palyra(tenant, operator, "approvals", "revoke", ref, "--reason", "wrong project")
    refused = tenant.ask(headers=showing(ref))
    assert asked(refused) != ref
    assert "revoked by olga" in str(refused.error()["message"])
    assert show(tenant, ref)["revocation"]["reason"] == "wrong project"


def test_an_override_that_was_asked_for_up_front_spares_the_refusal(tenant: Tenant, operator: str) -> None:
    policy = f"{tenant.principal}-own"
    words = ("budgets", "override-request", policy, "--amount", "2 requests", "--reason", "demo at noon")
    document = command.run_json(tenant.daemon, tenant.key, *words)
    assert (document["requester"], document["reason"], document["asked"]) == (
        tenant.principal,
        "demo at noon",
        2,
    )
    palyra(tenant, operator, "approvals", "approve", document["id"])
    assert [tenant.ask().status for _ in range(3)] == [200, 200, 402]


def test_a_watch_tells_each_change_as_it_comes(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(
        config(stub.url, budgets=[budget("calls", 1, **ASKS, scope="principal:*")]), "watched"
    )
    alice = Tenant(daemon, "alice", daemon.create_key("alice"))
    bob = daemon.create_key("bob", roles=["operator"])
    assert alice.ask().status == 200
    ref = asked(alice.ask())
    with command.begin(daemon, bob, ("approvals", "watch", "--json", "--until-empty")) as watch:
        assert watch.stdout is not None
        opened = json.loads(watch.stdout.readline())
        assert (opened["change"], opened["approval"]["id"]) == ("opened", ref)
        allow(alice, bob, ref, reason="fine")
        approved = json.loads(watch.stdout.readline())
        assert (approved["change"], approved["approval"]["decision_reason"]) == ("approved", "fine")
        assert watch.stdout.read() == ""
        assert watch.wait(command.RUN_S) == 0
    other = asked(alice.ask(chat(max_tokens=65)))
    with command.begin(daemon, bob, ("approvals", "watch")) as endless:
        assert endless.stdout is not None
        assert f"opened {other} alice needs 1 request beyond calls of alice" in endless.stdout.readline()
        endless.send_signal(signal.SIGINT)
        assert endless.wait(command.RUN_S) == 0


async def test_what_is_pending_outlives_a_restart_and_so_does_what_is_granted(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(
        config(stub.url, budgets=[budget("calls", 1, **ASKS, scope="principal:*")]), "restarted"
    )
    alice = Tenant(daemon, "alice", daemon.create_key("alice"))
    bob = daemon.create_key("bob", roles=["operator"])
    assert (await asyncio.to_thread(alice.ask)).status == 200
    call = waiting(alice)
    ref = await asyncio.to_thread(one_pending, alice)

    await asyncio.to_thread(daemon.restart)
    left = await call
    assert asked(left) == ref, "a call that waits is told before the daemon goes"
    assert [each["id"] for each in pending(alice)] == [ref]
    again = await asyncio.to_thread(alice.ask)
    assert asked(again) == ref

    await asyncio.to_thread(allow, alice, bob, ref)
    await asyncio.to_thread(daemon.kill9)
    await asyncio.to_thread(daemon.restart)
    replies = [await asyncio.to_thread(alice.ask, headers=showing(ref)) for _ in range(2)]
    assert [each.status for each in replies] == [200, 402]

    await asyncio.to_thread(daemon.kill9)
    await asyncio.to_thread(daemon.restart)
    assert (await asyncio.to_thread(alice.ask, headers=showing(ref))).status == 402
    assert len(stub.generations) == 2
