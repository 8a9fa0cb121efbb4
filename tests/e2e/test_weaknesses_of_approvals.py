"""One test for each weakness that approvals and the journal of the first Palyra had (W20 to W26, W49).

Each is short and goes through HTTP or the command line; ``test_approvals`` and others show them in depth.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx2
import pytest

from conftest import DaemonFactory
from harness.command import finish
from harness.daemon import Api, DaemonProcess, budget, config, unaware
from harness.people import asked
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import chat
from harness.tenant import SharedDaemons, Tenant

ASKS: dict[str, Any] = {"metric": "requests", "action": "approval_required"}


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture(scope="module")
def operator(daemon: DaemonProcess) -> str:
    return daemon.create_key("olga", roles=["operator"])


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    """A principal that has had its one call of the day."""
    shared_stub.script = Answer(usage=fixed(20, 40))
    made = tenant_of(daemon)
    made.budget(1, **ASKS)
    assert made.ask().status == 200
    return made


def decide(tenant: Tenant, key: str, ref: str, **body: object) -> httpx2.Response:
    path = f"/approvals/{ref}/decision"
    return Api(tenant.daemon.url, key).request("POST", path, {"decision": "allow"} | body)


def shown(tenant: Tenant, ref: str) -> Mapping[str, Any]:
    return tenant.api.get(f"/approvals/{ref}")


def test_w20_once_is_used_up_and_for_nobody_else(
    tenant: Tenant, operator: str, daemon: DaemonProcess, tenant_of: Callable[..., Tenant]
) -> None:
    ref = asked(tenant.ask())
    assert decide(tenant, operator, ref).status_code == 200
    stranger = tenant_of(daemon)
    stranger.budget(1, **ASKS)
    assert stranger.ask().status == 200

    header = {"x-palyra-approval": ref}

    assert [each.ask(headers=header).status for each in (stranger, tenant, tenant)] == [402, 200, 402]
    assert shown(tenant, ref)["grant"]["expires_at"] is not None


def test_w21_what_was_decided_is_not_decided_again(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    assert decide(tenant, operator, ref, decision="deny", reason="no").status_code == 200
    before = shown(tenant, ref)

    again = decide(tenant, operator, ref)

    assert (again.status_code, again.json()["code"]) == (409, "approval_closed")
    assert shown(tenant, ref) == before


def test_w22_nobody_decides_alone_or_without_the_role(tenant: Tenant, daemon: DaemonProcess) -> None:
    ref = asked(tenant.ask())
    viewer = daemon.create_key("vera", roles=["viewer"])
    own = daemon.create_key(tenant.principal, roles=["operator"])

    assert [decide(tenant, key, ref).status_code for key in (tenant.key, viewer, own)] == [403, 403, 403]
    assert shown(tenant, ref)["state"] == "pending"


def test_w23_a_time_box_needs_its_time(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())

    refused = decide(tenant, operator, ref, grant="timeboxed")

    assert (refused.status_code, refused.json()["field"]) == (422, "until")
    assert shown(tenant, ref)["state"] == "pending"


def test_w24_requests_expire_and_what_is_pending_is_found(tenant: Tenant, operator: str) -> None:
    denied, waiting = asked(tenant.ask()), asked(tenant.ask(chat(max_tokens=65)))
    assert decide(tenant, operator, denied, decision="deny").status_code == 200

    page = tenant.api.get("/approvals", state="pending", requester=tenant.principal)
    items = cast("list[Mapping[str, Any]]", page["items"])

    assert [each["id"] for each in items] == [waiting]
    assert items[0]["expires_at"] is not None


def test_w25_an_override_is_a_subject_of_its_own(tenant: Tenant) -> None:
    found = shown(tenant, asked(tenant.ask()))

    assert found["subject"] == f"usage-budget:{found['policy_id']}"


def test_w26_a_grant_has_an_amount_and_the_caller_its_id(tenant: Tenant, operator: str) -> None:
    ref = asked(tenant.ask())
    assert decide(tenant, operator, ref, grant="amount", amount=2).status_code == 200

    statuses = [tenant.ask(chat(max_tokens=60 + number)).status for number in range(4)]

    assert statuses == [200, 200, 402, 402]
    assert shown(tenant, ref)["grant"]["extra"] == 2


def test_w49_every_change_of_rules_is_in_the_journal(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url))
    daemon.api.post("/budgets", budget("mine", "1.00"))
    daemon.create_key("alice")
    assert daemon.terminate() == 0

    words = ("audit", "list", "--database", str(daemon.database), "--json")
    listed = finish(words, daemon.directory, unaware())

    assert listed.returncode == 0, listed.stderr
    kinds = {each["kind"] for each in json.loads(listed.stdout)["items"]}
    assert {"policy.created", "key.created", "price.created"} <= kinds
