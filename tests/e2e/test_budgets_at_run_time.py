"""Budgets made and edited while calls run: the next call sees the edit, balances stay."""

from collections.abc import Callable
from typing import cast

import httpx2
import pytest

from harness.daemon import DaemonProcess, budget, config
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import Document, balance, code, detail, only_account, request_id
from harness.tenant import SharedDaemons, Tenant

USED = 100_000
"""Nano-USD of a call that reports 20 input and 40 output tokens."""


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=[budget("from-the-file", "1000.00")]))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    shared_stub.script = Answer(usage=fixed(20, 40))
    return tenant_of(daemon)


def write(
    tenant: Tenant, method: str, policy: str, document: object = None, **headers: str
) -> httpx2.Response:
    """One change of a budget, with headers such as ``if_match``."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.request(
        method,
        f"{tenant.api.url}/api/v1/budgets/{policy}",
        json=document,
        headers={"authorization": f"Bearer {tenant.api.key}", **sent},
    )


def test_a_new_budget_binds_the_next_call(tenant: Tenant) -> None:
    before = tenant.ask()
    policy = tenant.budget("0.00001")
    after = tenant.ask()

    assert (before.status, after.status) == (200, 402)
    assert detail(after)["policy_id"] == policy


def test_an_edit_keeps_the_balance_and_applies_to_the_next_call(tenant: Tenant) -> None:
    policy = tenant.budget("5.00")
    assert tenant.ask().status == 200
    first = write(tenant, "GET", policy)

    lowered = write(tenant, "PUT", policy, tenant.policy("0.0001"))
    refused = tenant.ask()
    raised = write(tenant, "PUT", policy, tenant.policy("7.00"))
    served = tenant.ask()

    assert [answer.headers["etag"] for answer in (first, lowered, raised)] == ['"1"', '"2"', '"3"']
    assert (refused.status, code(refused)) == (402, "budget_exceeded")
    assert served.status == 200
    account = only_account(tenant.api, policy)
    assert balance(account) == (2 * USED, 0)
    assert account["hard_limit_nano_usd"] == 7_000_000_000
    evaluations = cast("list[Document]", tenant.api.decision(request_id(refused))["evaluations"])
    (own,) = [each for each in evaluations if each["policy_id"] == policy]
    assert (own["policy_version"], own["consumed_nano_usd"]) == (2, USED)


def test_two_people_who_edit_at_once_do_not_overwrite_each_other(tenant: Tenant) -> None:
    policy = tenant.budget("5.00")
    seen = write(tenant, "GET", policy).headers["etag"]

    first = write(tenant, "PUT", policy, tenant.policy("6.00"), if_match=seen)
    second = write(tenant, "PUT", policy, tenant.policy("7.00"), if_match=seen)
    gone = write(tenant, "DELETE", policy, if_match=seen)

    assert (first.status_code, second.status_code, gone.status_code) == (200, 412, 412)
    assert tenant.api.get(f"/budgets/{policy}")["hard_limit_usd"] == "6.00"


def test_a_deleted_budget_stops_no_call_and_comes_back_with_its_balance(tenant: Tenant) -> None:
    policy = tenant.budget("0.0006")
    statuses = [tenant.ask().status for _ in range(6)]
    used = statuses.count(200) * USED
    assert {200, 402} == set(statuses)

    assert write(tenant, "DELETE", policy).status_code == 204
    assert tenant.ask().status == 200
    assert write(tenant, "GET", policy).status_code == 404
    tenant.budget("0.0006")

    assert tenant.ask().status == 402
    assert balance(only_account(tenant.api, policy)) == (used, 0)
    assert tenant.api.get(f"/budgets/{policy}")["version"] == 2


def test_a_disabled_budget_counts_and_stops_nothing(tenant: Tenant) -> None:
    policy = tenant.budget("0.00001", enabled=False)

    assert tenant.ask().status == 200
    assert balance(only_account(tenant.api, policy)) == (0, 0)


def test_a_budget_of_the_file_cannot_be_changed_here(tenant: Tenant) -> None:
    document = budget("from-the-file", "0.01")

    changed = write(tenant, "PUT", "from-the-file", document)
    deleted = write(tenant, "DELETE", "from-the-file")

    assert (changed.status_code, deleted.status_code) == (409, 409)
    assert changed.json()["code"] == "read_only"
    assert tenant.ask().status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "blokc"),
        ("metric", "cost_eur"),
        ("interval", "fortnight"),
        ("mode", "strict"),
        ("timezone", "Europe/Atlantis"),
        ("hard_limit", "-1"),
        ("hard_limit", "NaN"),
        ("hard_limit", 0.1),
        ("soft_limit", "6.00"),
        ("scope", "team:x"),
        ("scope", "principal:nobody-has-this-name"),
        ("hard_limti", "5"),
        ("version", 7),
    ],
)
def test_what_cannot_be_meant_is_an_error_when_it_is_written(
    tenant: Tenant, field: str, value: object
) -> None:
    answer = tenant.api.request("POST", "/budgets", tenant.policy("5.00") | {field: value})

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert tenant.api.request("GET", f"/budgets/{tenant.principal}-own").status_code == 404


def test_an_edit_while_a_call_runs_does_not_move_its_hold(tenant: Tenant) -> None:
    policy = tenant.budget("5.00")
    tenant.ask()
    tenant.api.request("PUT", f"/budgets/{policy}", tenant.policy(1_000, metric="total_tokens"))

    assert tenant.ask().status == 200

    by_metric = {account["metric"]: account for account in tenant.api.accounts(policy)}
    assert balance(by_metric["cost_usd"]) == (USED, 0)
    assert balance(by_metric["total_tokens"], "") == (60, 0)
