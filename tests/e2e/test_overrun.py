"""L4: what was used above the hold is posted in full and seen by everyone."""

from collections.abc import Callable
from typing import cast

import pytest

from harness.daemon import DaemonProcess, config
from harness.ledger import settlement_of
from harness.script import Answer, absent, fixed, more
from harness.stub import Stub
from harness.talk import (
    INPUT_NANO,
    MESSAGES,
    OUTPUT_NANO,
    balance,
    chat,
    code,
    held_by,
    input_bound,
    message,
    only_account,
    request_id,
    spent,
)
from harness.tenant import SharedDaemons, Tenant
from palyra.core.money import format_usd


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [None, MESSAGES])
def test_an_overrun_is_posted_in_full_marked_and_the_next_call_is_refused(
    tenant: Tenant, shared_stub: Stub, path: str | None, stream: bool
) -> None:
    shared_stub.script = Answer(usage=more(by=1_000))
    body = message(stream=stream) if path else chat(stream=stream)
    policy = tenant.budget("0.001")

    reply = tenant.ask(body, path or "/v1/chat/completions")
    ending = settlement_of(tenant.api, request_id(reply))
    again = tenant.ask(body, path or "/v1/chat/completions")

    assert reply.status == 200
    assert (ending["overrun"], ending["source"]) == (True, "provider")
    assert cast("int", ending["cost_nano_usd"]) > cast("int", ending["held_nano_usd"])
    account = only_account(tenant.api, policy)
    assert balance(account) == (spent(shared_stub), 0)
    assert cast("int", account["remaining_nano_usd"]) == 1_000_000 - spent(shared_stub) < 0
    assert (again.status, len(shared_stub.generations)) == (402, 1)


def test_use_within_the_hold_is_no_overrun(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=fixed(1, 1))
    tenant.budget("5.00")

    reply = tenant.ask()

    ending = settlement_of(tenant.api, request_id(reply))
    assert (ending["overrun"], ending["cost_nano_usd"]) == (False, INPUT_NANO + OUTPUT_NANO)
    assert reply.header("x-palyra-cost-usd") == format_usd(INPUT_NANO + OUTPUT_NANO)


def test_tokens_beyond_the_hold_are_an_overrun_of_a_token_budget(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=fixed(10, 65))
    policy = tenant.budget(1_000, metric="output_tokens")

    reply = tenant.ask(chat(64))

    assert settlement_of(tenant.api, request_id(reply))["overrun"] is True
    assert balance(only_account(tenant.api, policy), "") == (65, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_no_usage_is_estimated_from_what_was_seen(tenant: Tenant, shared_stub: Stub, stream: bool) -> None:
    shared_stub.script = Answer(usage=absent, chunks=4, word="four")
    policy = tenant.budget("5.00")

    reply = tenant.ask(chat(64, stream=stream))

    ending = settlement_of(tenant.api, request_id(reply))
    assert (ending["source"], ending["overrun"]) == ("estimated", False)
    usage = cast("dict[str, int]", ending["usage"])
    assert usage["input_tokens"] == input_bound(tenant.api, reply)
    assert 16 <= usage["output_tokens"] <= 64
    posted, held = balance(only_account(tenant.api, policy))
    assert (posted, held) == (ending["cost_nano_usd"], 0)
    assert 0 < posted <= held_by(tenant.api, reply)


@pytest.mark.parametrize("figures", [(-5, -5), ("many", 3), (1.5, 2), (None, None), (2**40, 2**40)])
def test_figures_that_cannot_be_true_are_not_believed(
    tenant: Tenant, shared_stub: Stub, figures: tuple[object, object]
) -> None:
    shared_stub.script = Answer(usage=fixed(*figures))
    policy = tenant.budget("5.00")

    reply = tenant.ask()

    ending = settlement_of(tenant.api, request_id(reply))
    assert (reply.status, ending["source"]) == (200, "estimated")
    posted, held = balance(only_account(tenant.api, policy))
    assert held == 0
    assert 0 < posted <= held_by(tenant.api, reply)


def test_a_provider_error_costs_nothing(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(status=500, body=b"{}")
    policy = tenant.budget("5.00")

    reply = tenant.ask()

    assert reply.status == 500
    assert tenant.api.settled(request_id(reply))["state"] == "released"
    assert balance(only_account(tenant.api, policy)) == (0, 0)
    assert code(tenant.ask(chat(model="none"))) == "model_not_found"
