"""L6: a price that is not known is not a price of zero."""

from collections.abc import Callable
from typing import cast

import pytest

from harness.daemon import DaemonProcess, config, model
from harness.ledger import settlement_of
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import Document, balance, chat, code, held_by, only_account, request_id
from harness.tenant import SharedDaemons, Tenant

UNPRICED = {"id": "unpriced", "provider": "stub", "output_limit": 4096}
CALL = chat(model="unpriced")
CEILING_OF_USE = 20 * 3_000_000 + 40 * 7_000_000 + 50_000_000
"""Nano-USD of a call at the dearest of every unit below, which is dearer than any in the catalogue."""

TenantOf = Callable[..., Tenant]


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    models = [
        UNPRICED,
        model("stub-model", price={"input": "3000", "output": "1.00"}),
        model("dear-output", price={"input": "1.00", "output": "7000", "request": "0.05"}),
    ]
    return module_daemons(config(module_stub.url, models=models))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: TenantOf) -> Tenant:
    shared_stub.script = Answer(usage=fixed(20, 40))
    return tenant_of(daemon)


@pytest.mark.parametrize("rule", [None, "deny"])
def test_a_money_budget_refuses_a_call_that_it_cannot_price(
    tenant: Tenant, shared_stub: Stub, rule: str | None
) -> None:
    policy = tenant.budget("5.00", unknown_price=rule)

    reply = tenant.ask(CALL)

    assert (reply.status, code(reply), reply.error()["param"]) == (402, "price_unknown", "model")
    assert reply.header("x-should-retry") == "false"
    assert "unpriced" in str(reply.error()["message"]) or "price" in str(reply.error()["message"])
    assert shared_stub.generations == []
    assert tenant.api.decision(request_id(reply))["status"] == "unknown"
    assert balance(only_account(tenant.api, policy)) == (0, 0)


def test_under_ceiling_the_dearest_known_price_is_held_and_charged(tenant: Tenant) -> None:
    policy = tenant.budget("5.00", unknown_price="ceiling")

    reply = tenant.ask(CALL)

    assert reply.status == 200
    assert held_by(tenant.api, reply) > CEILING_OF_USE
    decision = tenant.api.settled(request_id(reply))
    assert cast("Document", decision["price"])["known"] is False
    assert settlement_of(tenant.api, request_id(reply))["cost_nano_usd"] == CEILING_OF_USE
    assert balance(only_account(tenant.api, policy)) == (CEILING_OF_USE, 0)


def test_under_ceiling_the_limit_holds(tenant: Tenant, shared_stub: Stub) -> None:
    policy = tenant.budget("3.00", unknown_price="ceiling")

    while (reply := tenant.ask(CALL)).status == 200:
        assert len(shared_stub.generations) < 100

    assert code(reply) == "budget_exceeded"
    posted, held = balance(only_account(tenant.api, policy))
    assert (posted, held) == (len(shared_stub.generations) * CEILING_OF_USE, 0)
    assert 0 < posted <= 3_000_000_000


def test_under_allow_the_call_runs_its_cost_stays_unknown_and_is_never_zero(tenant: Tenant) -> None:
    policy = tenant.budget("5.00", unknown_price="allow")

    reply = tenant.ask(CALL)

    assert reply.status == 200
    assert reply.header("x-palyra-cost-usd") is None
    assert reply.header("x-palyra-budget-warning") == f"{policy}=unknown"
    ending = settlement_of(tenant.api, request_id(reply))
    assert (ending["state"], ending["cost_nano_usd"], ending["cost_usd"]) == ("settled", None, None)
    groups = cast("list[Document]", tenant.api.get("/usage/summary", group_by="principal")["groups"])
    (own,) = [each for each in groups if each["group"] == {"principal": tenant.principal}]
    assert (own["requests"], own["unpriced"], own["output_tokens"]) == (1, 1, 40)


def test_a_budget_of_tokens_needs_no_price(tenant: Tenant) -> None:
    policy = tenant.budget(1_000, metric="total_tokens")

    assert tenant.ask(CALL).status == 200
    assert balance(only_account(tenant.api, policy), "") == (60, 0)


def test_one_budget_that_refuses_beats_another_that_allows(tenant: Tenant) -> None:
    tenant.budget("5.00", "allows", unknown_price="allow")
    tenant.budget("5.00", "refuses")

    assert code(tenant.ask(CALL)) == "price_unknown"


def test_a_budget_on_trial_says_that_it_would_refuse(tenant: Tenant) -> None:
    policy = tenant.budget("5.00", mode="dry_run")

    reply = tenant.ask(CALL)

    assert (reply.status, reply.header("x-palyra-would")) == (200, f"{policy}=would_block")
