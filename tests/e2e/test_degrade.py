"""Budgets that move calls to a cheaper model: what runs, what is told, and that the limit holds (L1)."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import cast

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import DaemonProcess, config, eventually, model, poll
from harness.gate import Gate
from harness.raw import KeepAlive, Reply
from harness.script import Answer, fixed, held, less
from harness.stub import Stub
from harness.talk import (
    CHAT,
    INPUT_NANO,
    OUTPUT_NANO,
    Document,
    balance,
    chat,
    code,
    held_by,
    input_bound,
    only_account,
    request_id,
)
from harness.tenant import SharedDaemons, Tenant
from palyra.core.money import format_usd

TenantOf = Callable[..., Tenant]
DEAR, CHEAP, OTHER = "stub-dear", "stub-tiny", "stub-else"
TIMES = {DEAR: 10, CHEAP: 1, OTHER: 5}
"""Prices as multiples of the harness's. The names have the same length, so all bodies have."""
USED = 20 * INPUT_NANO + 40 * OUTPUT_NANO
"""Of a call of 20 input and 40 output tokens on the cheap model; ten times that on the dear one."""
CALLS = 500
WORTH = 60
DEADLINE_S = 60.0
TINY = "0.0000001"
"""A share of a limit that every call passes."""


def settings(stub: Stub, mode: str = "enforced") -> dict[str, object]:
    models = [
        model(
            name,
            price={"input": f"{times}.00", "output": f"{2 * times}.00"},
            capabilities=["streaming"],
            cost_tier={1: "low", 5: "standard"}.get(times, "premium"),
        )
        for name, times in TIMES.items()
    ]
    return config(stub.url, models=models, governance={"mode": mode})


@pytest.fixture(scope="module")
def enforcing(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(settings(module_stub))


@pytest.fixture(scope="module")
def dry(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(settings(module_stub, "dry_run"))


@pytest.fixture(scope="module")
def suggesting(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(settings(module_stub, "suggest"))


@pytest.fixture(autouse=True)
def stub(shared_stub: Stub) -> Stub:
    """Every call uses 20 input and 40 output tokens unless a test says otherwise."""
    shared_stub.script = Answer(usage=fixed(20, 40))
    return shared_stub


def body(*, stream: bool = False) -> dict[str, object]:
    return chat(model=DEAR, stream=stream)


def told(reply: Reply) -> tuple[str | None, ...]:
    """Model, recommended model and route of an answer."""
    return tuple(reply.header(f"x-palyra-{name}") for name in ("model", "recommended-model", "route"))


def evaluation(tenant: Tenant, reply: Reply, policy: str) -> Document:
    decision = tenant.api.settled(request_id(reply))
    found = cast("list[Document]", decision["evaluations"])
    return next(each for each in found if each["policy_id"] == policy)


def asked_for(stub: Stub) -> list[object]:
    return [call.json["model"] for call in stub.generations]


def spent(stub: Stub) -> int:
    """By the stub's own count and the prices of its models: the oracle."""
    return sum(
        TIMES[cast("str", call.json["model"])]
        * (
            cast("int", call.reported_input or 0) * INPUT_NANO
            + cast("int", call.reported_output or 0) * OUTPUT_NANO
        )
        for call in stub.generations
    )


# Enforced.


def test_above_the_hard_limit_a_call_runs_on_a_cheaper_model(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing)
    hold = held_by(tenant.api, tenant.ask(body()))
    stub.calls.clear()
    policy = tenant.budget(format_usd(hold // 2), action="degrade", degrade_to="low")

    reply = tenant.ask(body())

    assert (reply.status, *told(reply)) == (200, CHEAP, CHEAP, "degrade")
    assert asked_for(stub) == [CHEAP]
    assert evaluation(tenant, reply, policy)["status"] == "degraded"
    assert f"{policy}=degraded" in (reply.header("x-palyra-budget-warning") or "")
    assert reply.header("x-palyra-cost-usd") == format_usd(USED)
    decision = tenant.api.decision(request_id(reply))
    assert (decision["status"], decision["requested_model"], decision["model"]) == ("degraded", DEAR, CHEAP)
    assert balance(only_account(tenant.api, policy)) == (USED, 0)


def test_without_a_target_the_dearest_cheaper_model_that_fits_is_taken(
    enforcing: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(enforcing)
    hold = held_by(tenant.api, tenant.ask(body()))
    tenant.budget(format_usd(hold * 7 // 10), action="degrade")

    assert told(tenant.ask(body()))[0] == OTHER


def test_where_no_cheaper_model_fits_the_call_is_refused_unsent(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget("0.00001", action="degrade")

    reply = tenant.ask(body())

    assert (reply.status, code(reply)) == (402, "budget_exceeded")
    assert stub.generations == []
    assert balance(only_account(tenant.api, policy)) == (0, 0)


def test_a_key_is_not_moved_to_a_model_that_it_may_not_use(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing, models=[DEAR])
    tenant.budget("1.00", thresholds=[{"at": TINY, "then": "degrade", "to": "low"}])

    assert told(tenant.ask(body())) == (DEAR, DEAR, "proceed")
    assert asked_for(stub) == [DEAR]


def test_a_threshold_moves_calls_from_where_it_is_passed(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget("0.01", thresholds=[{"at": "0.5", "then": "degrade", "to": "low"}])

    replies = [tenant.ask(body()) for _ in range(12)]

    models = [told(reply)[0] for reply in replies]
    turn = models.index(CHEAP)
    assert 1 < turn < 11
    assert models == [DEAR] * turn + [CHEAP] * (12 - turn)
    assert [told(reply)[2] for reply in replies] == ["proceed"] * turn + ["degrade"] * (12 - turn)
    assert asked_for(stub) == models
    assert balance(only_account(tenant.api, policy)) == (spent(stub), 0)


def test_a_named_target_and_a_stream_are_moved_as_well(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing)
    tenant.budget("1.00", thresholds=[{"at": TINY, "then": "degrade", "to": OTHER}])

    reply = tenant.ask(body(stream=True))

    assert (reply.status, reply.complete, *told(reply)) == (200, True, OTHER, OTHER, "degrade")
    assert asked_for(stub) == [OTHER]


# On trial.


@pytest.mark.parametrize("by", ["hard limit", "threshold"])
def test_dry_run_says_which_model_enforcement_would_take_and_what_it_would_cost(
    by: str, dry: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(dry)
    hold = held_by(tenant.api, tenant.ask(body()))
    stub.calls.clear()
    policy = (
        tenant.budget(format_usd(hold // 2), action="degrade", degrade_to="low")
        if by == "hard limit"
        else tenant.budget("1.00", thresholds=[{"at": TINY, "then": "degrade", "to": "low"}])
    )

    reply = tenant.ask(body())

    assert (reply.status, *told(reply)) == (200, DEAR, CHEAP, "proceed")
    assert asked_for(stub) == [DEAR]
    assert f"{policy}=would_route" in (reply.header("x-palyra-would") or "").split(", ")
    decision = tenant.api.settled(request_id(reply))
    shadow = cast("Document", decision["counterfactual"])
    assert f"{policy}=would_route" in cast("list[str]", shadow["would"])
    assert (shadow["outcome"], shadow["cost_nano_usd"]) == ("admit", USED)
    account = only_account(tenant.api, policy)
    assert balance(account) == (10 * USED, 0)
    assert account["shadow_held_nano_usd"] == 0


def test_the_shadow_balance_takes_what_the_call_would_have_cost_on_the_cheaper_model(
    dry: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(dry)
    policy = tenant.budget("1.00", thresholds=[{"at": TINY, "then": "degrade", "to": "low"}])

    tenant.ask(body())

    account = only_account(tenant.api, policy)
    assert balance(account) == (10 * USED, 0)
    assert account["shadow_posted_nano_usd"] == USED


def test_suggest_recommends_and_changes_nothing(
    suggesting: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(suggesting)
    policy = tenant.budget("1.00", thresholds=[{"at": TINY, "then": "degrade", "to": "low"}])

    reply = tenant.ask(body())

    assert (reply.status, *told(reply)) == (200, DEAR, CHEAP, "proceed")
    assert reply.header("x-palyra-would") is None
    assert asked_for(stub) == [DEAR]
    shadow = cast("Document", tenant.api.settled(request_id(reply))["counterfactual"])
    assert (shadow["would"], shadow["cost_nano_usd"]) == ([], USED)
    assert balance(only_account(tenant.api, policy)) == (10 * USED, 0)


# Many at once.


async def test_five_hundred_calls_at_once_fill_the_limit_with_dear_then_cheap_calls(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    """Worth 60 dear calls and 5 cheap ones, all held at once: so many run, and not one more."""
    daemon = daemon_factory(settings(stub))
    key = daemon.create_key()
    probe = await raw.call(daemon.url, CHAT, json_body=body(), key=key)
    hold, tokens = held_by(daemon.api, probe), input_bound(daemon.api, probe)
    stub.calls.clear()
    limit = WORTH * hold + hold // 2
    tenant = Tenant(daemon, "alice", key)
    tenant.api.post("/budgets", tenant.policy(format_usd(limit), "all", action="degrade", degrade_to=CHEAP))
    gate = Gate()
    stub.script = Answer(usage=held(tokens), gate=gate)
    refused = 0

    async def one(_: int) -> Reply:
        nonlocal refused
        reply = await raw.call(daemon.url, CHAT, json_body=body(), key=key, deadline_s=DEADLINE_S)
        refused += reply.status == 402
        return reply

    burst = asyncio.create_task(raw.burst(CALLS, one))
    await eventually(lambda: refused + gate.arrived >= CALLS, "a decision on every call", DEADLINE_S)
    assert balance(only_account(daemon.api, "alice-all")) == (0, limit)
    gate.open()
    replies = await burst

    assert Counter(reply.status for reply in replies) == {200: WORTH + 5, 402: CALLS - WORTH - 5}
    assert {code(reply) for reply in replies if reply.status == 402} == {"budget_exceeded"}
    assert Counter(asked_for(stub)) == {DEAR: WORTH, CHEAP: 5}
    served = Counter(told(reply)[::2] for reply in replies if reply.status == 200)
    assert served == {(DEAR, "proceed"): WORTH, (CHEAP, "degrade"): 5}
    assert spent(stub) == limit
    assert balance(only_account(daemon.api, "alice-all")) == (limit, 0)


async def test_calls_that_use_less_than_they_hold_never_spend_more_than_the_limit(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(settings(stub))
    key = daemon.create_key()
    probe = await raw.call(daemon.url, CHAT, json_body=body(), key=key)
    limit = WORTH * held_by(daemon.api, probe)
    stub.calls.clear()
    tenant = Tenant(daemon, "alice", key)
    thresholds = [{"at": "0.8", "then": "degrade", "to": "standard"}]
    policy = tenant.policy(format_usd(limit), "all", action="degrade", thresholds=thresholds)
    tenant.api.post("/budgets", policy)
    stub.script = Answer(usage=less(by=20))
    connections = KeepAlive(daemon.url, key)
    slots = asyncio.Semaphore(50)

    async def one(number: int) -> Reply:
        async with slots:
            return await connections.call(CHAT, body(stream=number % 2 == 0))

    replies = await asyncio.gather(*(one(number) for number in range(CALLS)))
    connections.close()

    account = await asyncio.to_thread(
        poll,
        lambda: only_account(daemon.api, "alice-all"),
        lambda each: balance(each)[1] == 0,
        DEADLINE_S,
        "an end of all holds",
    )
    counts = Counter(reply.status for reply in replies)
    assert set(counts) == {200, 402}
    assert counts[200] == len(stub.generations) > WORTH
    assert set(asked_for(stub)) == {DEAR, OTHER, CHEAP}
    assert balance(account) == (spent(stub), 0)
    assert limit * 3 // 4 < spent(stub) <= limit
