"""One test for each weakness found in the first Palyra (W1 ... W48): it fails on what that one did.

Each is short and goes through HTTP or the command line; other suites show most of them in depth.
"""

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import DaemonProcess, budget, config, eventually, model
from harness.gate import Gate
from harness.ledger import rows, settlement_of
from harness.raw import KeepAlive, Reply
from harness.script import Answer, failing, fixed
from harness.stub import Stub
from harness.talk import (
    CHAT,
    INPUT_NANO,
    Document,
    ask,
    balance,
    chat,
    code,
    detail,
    gauges,
    held_by,
    input_bound,
    only_account,
    request_id,
)
from harness.tenant import SharedDaemons, Tenant
from palyra.core.money import format_usd

USED = 100_000
"""Nano-USD of a call that reports 20 input and 40 output tokens at the prices of ``stub-model``."""
TINY = "0.00001"

MODELS = (
    model("stub-model"),
    model("other-model", price={"input": "10.00", "output": "20.00"}),
    model("dated", price={"input": "1.00", "output": "2.00", "valid_from": "2026-01-01T00:00:00Z"}),
    model("with-fee", price={"input": "0", "output": "0", "request": "0.01"}),
    model("cheap", price={"input": "0.001", "output": "0.001"}),
    model("stub-embed", price={"input": "0.50"}, output_limit=None, role="embeddings"),
    {"id": "unpriced", "provider": "stub", "output_limit": 4096},
)

SHIFTED_CLOCK = """
import os, time
_now, _shift = time.time_ns, int(os.environ["CLOCK_SHIFT_S"]) * 1_000_000_000
time.time_ns = lambda: _now() + _shift
"""


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    routing = {"smart": "never"}
    governance = {"default_model": "stub-model"}
    return module_daemons(config(module_stub.url, models=MODELS, governance=governance, routing=routing))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    shared_stub.script = Answer(usage=fixed(20, 40))
    return tenant_of(daemon)


def cost_of(tenant: Tenant, reply: Reply) -> int:
    """What the call cost, once it is over."""
    return cast("int", settlement_of(tenant.api, request_id(reply))["cost_nano_usd"])


def usage_by(tenant: Tenant, *groups: str) -> list[Document]:
    """The usage groups of one tenant."""
    answer = tenant.api.get("/usage/summary", group_by=",".join(("principal", *groups)))
    found = cast("list[Document]", answer["groups"])
    return [
        each for each in found if cast("Mapping[str, str]", each["group"])["principal"] == tenant.principal
    ]


@pytest.fixture
def shift_clock(tmp_path: Path) -> Callable[[DaemonProcess, int], None]:
    """``shift_clock(daemon, days)``: restart the daemon with its wall clock moved."""
    (tmp_path / "sitecustomize.py").write_text(SHIFTED_CLOCK)

    def shift(daemon: DaemonProcess, days: int) -> None:
        daemon.environment = {"PYTHONPATH": str(tmp_path), "CLOCK_SHIFT_S": str(days * 86_400)}
        daemon.restart()

    return shift


def test_w01_a_budget_starts_at_zero_when_its_window_ends(
    daemon_factory: DaemonFactory, stub: Stub, shift_clock: Callable[[DaemonProcess, int], None]
) -> None:
    stub.script = Answer(usage=fixed(20, 40))
    daemon = daemon_factory(config(stub.url, budgets=[budget("day", 1, metric="requests")]))
    key = daemon.create_key()

    def statuses() -> list[int]:
        return [ask(daemon, key).status for _ in range(2)]

    assert statuses() == [200, 402]
    shift_clock(daemon, 1)
    assert statuses() == [200, 402]
    # A clock that runs backwards opens nothing again (P3).
    shift_clock(daemon, 0)
    assert statuses() == [402, 402]
    assert sorted(balance(account, "") for account in daemon.api.accounts("day")) == [(1, 0), (1, 0)]


def test_w02_prices_are_found_whatever_the_provider_is_called(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    stub.models = ["gpt-4o-mini"]
    stub.script = Answer(usage=fixed(1_000_000, 0))
    provider = {
        "id": "our-own-name",
        "kind": "openai",
        "base_url": f"{stub.url}/v1",
        "credential": "env:STUB_CREDENTIAL",
    }
    daemon = daemon_factory(
        config(stub.url, providers=[provider], models=[], budgets=[budget("all", "5.00")])
    )

    reply = ask(daemon, daemon.create_key(), chat(model="gpt-4o-mini"))

    assert settlement_of(daemon.api, request_id(reply))["cost_usd"] == "0.15"


def test_w03_a_missing_price_or_a_mistyped_metric_lets_nothing_through(
    tenant: Tenant, shared_stub: Stub
) -> None:
    tenant.budget("5.00")

    reply = tenant.ask(chat(model="unpriced"))
    mistyped = tenant.api.request("POST", "/budgets", tenant.policy("5.00", "typo", metric="cost_usdd"))

    assert (reply.status, code(reply)) == (402, "price_unknown")
    assert (mistyped.status_code, mistyped.json()["field"]) == (422, "metric")
    assert shared_stub.generations == []


def test_w04_a_budget_binds_its_scope_and_nobody_else(
    tenant: Tenant, tenant_of: Callable[..., Tenant]
) -> None:
    tenant.budget(TINY)

    assert (tenant.ask().status, tenant_of(tenant.daemon).ask().status) == (402, 200)


async def test_w05_a_new_session_does_not_start_at_zero_and_old_calls_never_fall_out(tenant: Tenant) -> None:
    limit = 260
    policy = tenant.budget(limit, metric="requests")
    connection = KeepAlive(tenant.daemon.url, tenant.key)

    replies = [
        await connection.call(CHAT, chat(), {"x-palyra-session": f"s{number}"}) for number in range(limit + 2)
    ]
    connection.close()

    assert [reply.status for reply in replies] == [200] * limit + [402] * 2
    assert balance(only_account(tenant.api, policy), "") == (limit, 0)


def test_w06_what_was_spent_counts_against_the_next_call(tenant: Tenant) -> None:
    hold = held_by(tenant.api, tenant.ask())
    policy = tenant.budget(format_usd(hold + USED - 1))

    first, second = tenant.ask(), tenant.ask()

    assert (first.status, second.status) == (200, 402)
    assert detail(second)["policy_id"] == policy


async def test_w07_parallel_calls_cannot_all_pass_one_budget(tenant: Tenant, shared_stub: Stub) -> None:
    first = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=tenant.key)
    hold = held_by(tenant.api, first)
    tenant.budget(format_usd(3 * hold))
    shared_stub.calls.clear()
    gate = Gate()
    shared_stub.script = Answer(gate=gate)
    refused: list[Reply] = []

    async def one(_number: int) -> Reply:
        reply = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=tenant.key)
        if reply.status != 200:
            refused.append(reply)
        return reply

    burst = asyncio.create_task(raw.burst(20, one))
    await eventually(lambda: len(refused) + gate.arrived >= 20, "a decision on every call", 30)
    gate.open()
    await burst

    assert {reply.status for reply in refused} == {402}
    assert (len(refused), len(shared_stub.generations)) == (17, 3)


def test_w08_every_call_of_an_agent_loop_is_checked(tenant: Tenant) -> None:
    tenant.budget("0.0006")
    headers = {"x-palyra-session": f"{tenant.principal}-loop", "x-palyra-agent": "loop"}

    replies = [tenant.ask(headers=headers) for _ in range(10)]

    statuses = [reply.status for reply in replies]
    assert {200, 402} == set(statuses)
    assert len({request_id(reply) for reply in replies}) == 10
    assert len(rows(tenant.api, principal=tenant.principal)) == 10


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "system", "content": "s" * 5_000}, {"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "hi"}] * 200},
        {"messages": [{"role": "user", "content": "x" * 5_000}]},
        {"tools": [{"type": "function", "function": {"name": "f", "description": "d" * 5_000}}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
                }
            ]
        },
    ],
    ids=["system prompt", "history", "a text without spaces", "tools", "an image"],
)
def test_w09_the_estimate_covers_all_of_the_input(tenant: Tenant, more: dict[str, object]) -> None:
    plain, full = tenant.ask(), tenant.ask(chat() | more)

    assert input_bound(tenant.api, full) >= 5_000 > input_bound(tenant.api, plain) > 1


def test_w10_suggest_and_dry_run_block_nothing_and_are_not_the_same(
    tenant: Tenant, tenant_of: Callable[..., Tenant]
) -> None:
    tenant.budget(TINY, "suggested", mode="suggest")
    other = tenant_of(tenant.daemon)
    policy = other.budget(TINY, "tried", mode="dry_run")

    suggested, tried = tenant.ask(), other.ask()

    assert (suggested.status, tried.status) == (200, 200)
    assert suggested.header("x-palyra-would") is None
    assert tried.header("x-palyra-would") == f"{policy}=would_block"


def test_w11_a_routing_mode_override_changes_the_mode(tenant: Tenant) -> None:
    admin = tenant.daemon.create_key(tenant.principal, roles=["admin"])
    tenant.budget("5.00", "soft", soft_limit=TINY, routing_mode_override="enforced")
    tenant.budget(TINY, "hard")

    reply = tenant.ask(headers={"x-palyra-mode": "suggest"}, key=admin)

    assert (reply.status, reply.header("x-palyra-mode")) == (402, "enforced")


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "warn"), ("hard_limit", "-5"), ("soft_limit", "6.00"), ("interval", "yearly"), ("x", 1)],
)
def test_w12_a_policy_that_cannot_be_meant_is_refused_with_its_field(
    tenant: Tenant, field: str, value: object
) -> None:
    answer = tenant.api.request("POST", "/budgets", tenant.policy("5.00") | {field: value})

    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_w13_the_outcome_is_the_worst_of_all_policies_not_the_last(tenant: Tenant) -> None:
    blocking = tenant.budget(TINY, "a")
    tenant.budget("5.00", "z", soft_limit=TINY)

    reply = tenant.ask()

    decision = tenant.api.decision(request_id(reply))
    assert (decision["outcome"], decision["status"]) == ("deny", "blocked")
    assert detail(reply)["policy_id"] == blocking


def test_w14_a_call_of_a_few_nano_dollars_is_counted_exactly(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=fixed(1, 2))
    policy = tenant.budget("5.00")

    for _ in range(7):
        tenant.ask(chat(model="cheap"))

    assert balance(only_account(tenant.api, policy)) == (21, 0)
    (usage,) = usage_by(tenant)
    assert (usage["cost_nano_usd"], usage["cost_usd"]) == (21, "0.000000021")


def test_w15_a_price_in_another_currency_is_refused_not_summed(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    euro = model("stub-model", price={"input": "1.00", "output": "2.00", "currency": "EUR"})

    with pytest.raises(AssertionError, match="currency"):
        daemon_factory(config(stub.url, models=[euro]))


def test_w16_a_price_with_a_start_date_is_used_from_that_date(tenant: Tenant) -> None:
    tenant.budget("5.00")

    reply = tenant.ask(chat(model="dated"))

    assert cost_of(tenant, reply) == USED
    assert "2026-01-01" in str(cast("Document", tenant.api.decision(request_id(reply))["price"])["entry_id"])


@pytest.mark.sqlite
def test_w17_a_ledger_that_cannot_be_written_admits_nothing(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url))
    key = daemon.create_key()
    assert daemon.process is not None
    unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)

    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4_096, unlimited[1]))
    refused = [ask(daemon, key) for _ in range(3)]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
    # Nobody knows what a failed write left behind, so the daemon admits calls again after a restart only.
    daemon.restart()
    assert ask(daemon, key).status == 200

    assert {reply.status for reply in refused} == {503}
    assert {code(reply) for reply in refused} == {"ledger_unavailable"}
    assert all(reply.header("retry-after") for reply in refused)
    assert len(stub.generations) == 1


def test_w18_a_fee_per_request_is_charged_per_answered_request(tenant: Tenant, shared_stub: Stub) -> None:
    policy = tenant.budget("5.00")
    session = {"x-palyra-session": f"{tenant.principal}-one"}

    for _ in range(3):
        assert tenant.ask(chat(model="with-fee"), headers=session).status == 200
    shared_stub.script = failing(500)
    assert tenant.ask(chat(model="with-fee"), headers=session).status == 500

    assert balance(only_account(tenant.api, policy)) == (30_000_000, 0)


def test_w19_every_call_is_priced_by_its_own_model(tenant: Tenant) -> None:
    session = {"x-palyra-session": f"{tenant.principal}-mixed"}

    cheap, dear, again = (
        tenant.ask(chat(model=name), headers=session) for name in ("stub-model", "other-model", "stub-model")
    )

    assert [cost_of(tenant, reply) for reply in (cheap, dear, again)] == [USED, 10 * USED, USED]


async def test_w35_nothing_that_was_used_is_lost(tenant: Tenant, shared_stub: Stub) -> None:
    gate = Gate()
    shared_stub.script = Answer(usage=fixed(20, 40), gates={2: gate}, chunks=5)
    left = await raw.call(
        tenant.daemon.url, CHAT, json_body=chat(stream=True), key=tenant.key, leave_after_chunks=1
    )
    await eventually(lambda: gauges(tenant.daemon)["palyra_calls_draining"] > 0, "the client is missed", 30)
    gate.open()
    ending = await asyncio.to_thread(settlement_of, tenant.api, request_id(left))
    shared_stub.script = failing(500)
    failed = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=tenant.key)
    tenant.budget(TINY)
    denied = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=tenant.key)

    assert (ending["client_gone"], ending["source"], ending["cost_nano_usd"]) == (True, "provider", USED)
    by_id = {row["request_id"]: row["state"] for row in rows(tenant.api, principal=tenant.principal)}
    assert by_id == {
        request_id(left): "settled",
        request_id(failed): "released",
        request_id(denied): "denied",
    }


def test_w36_embeddings_are_counted_too(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=fixed(1_000, 0))
    policy = tenant.budget("5.00")

    reply = tenant.ask({"model": "stub-embed", "input": ["a", "b"]}, "/v1/embeddings")

    assert cost_of(tenant, reply) == 1_000 * INPUT_NANO // 2
    assert balance(only_account(tenant.api, policy)) == (500_000, 0)


def test_w37_an_answer_that_is_given_again_is_not_charged_again(
    tenant: Tenant, tenant_of: Callable[..., Tenant]
) -> None:
    policy = tenant.budget("5.00")
    again = {"idempotency-key": "once"}

    first, repeated = tenant.ask(headers=again), tenant.ask(headers=again)
    stranger = tenant_of(tenant.daemon).ask(headers=again)

    assert first.body == repeated.body
    assert balance(only_account(tenant.api, policy)) == (USED, 0)
    assert stranger.header("x-palyra-idempotent-replay") is None


def test_w38_costs_are_in_every_summary(tenant: Tenant) -> None:
    tenant.ask()

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "palyra", "usage", "summary", "--json"),
            *("--url", tenant.api.url, "--key", tenant.api.key, "--by", "principal"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    groups = cast("list[Document]", json.loads(ran.stdout)["groups"])
    (own,) = [each for each in groups if each["group"] == {"principal": tenant.principal}]
    assert (own["cost_nano_usd"], own["cost_usd"]) == (USED, format_usd(USED))


def test_w39_usage_by_model_is_by_the_model_that_was_used(tenant: Tenant) -> None:
    for name in ("auto", "stub-model", "other-model"):
        tenant.ask(chat(model=name))

    by_model = {
        cast("Mapping[str, str]", each["group"])["model"]: (each["requests"], each["cost_nano_usd"])
        for each in usage_by(tenant, "model")
    }
    assert by_model == {"stub-model": (2, 2 * USED), "other-model": (1, 10 * USED)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat()),
        (CHAT, chat(stream=True)),
        ("/v1/completions", {"model": "stub-model", "prompt": "hi", "max_tokens": 9}),
        ("/v1/responses", {"model": "stub-model", "input": "hi", "max_output_tokens": 9}),
        ("/v1/messages", chat()),
        ("/v1/embeddings", {"model": "stub-embed", "input": "hi"}),
    ],
)
def test_w48_a_budget_block_is_a_402_that_says_why(
    tenant: Tenant, path: str, body: dict[str, object]
) -> None:
    policy = tenant.budget("0.000000001")

    reply = tenant.ask(body, path)

    assert (reply.status, reply.header("x-should-retry")) == (402, "false")
    assert reply.error()["type"] == "budget_exceeded"
    assert detail(reply)["policy_id"] == policy
