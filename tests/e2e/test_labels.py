"""Whose call it is: sessions, parents, agents and tags, and what a client cannot claim."""

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from harness.daemon import DaemonProcess, budget, config
from harness.raw import Reply
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import MESSAGES, Document, balance, chat, detail, message, request_id
from harness.tenant import SharedDaemons, Tenant

USED = 100_000
BUDGETS = (
    budget("each-session", "0.0006", scope="session:*", interval="total"),
    budget("each-agent", "100.00", scope="agent:*", interval="month"),
    budget("each-team", "100.00", scope="tag:team=*", interval="month"),
    budget("one-team", "100.00", scope="tag:team=red", interval="month"),
    budget("one-agent", "0.00001", scope="agent:forbidden-agent", interval="month"),
    budget("one-model", "0.00001", scope="model:stub-claude"),
)

Labels = Mapping[str, str]


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=BUDGETS))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    shared_stub.script = Answer(usage=fixed(20, 40))
    return tenant_of(daemon)


def posted(tenant: Tenant, policy_id: str) -> dict[str, int]:
    """What was posted, by entity."""
    return {cast("str", account["entity"]): balance(account)[0] for account in tenant.api.accounts(policy_id)}


def labels_of(tenant: Tenant, reply: Reply) -> Document:
    """The labels in the decision."""
    return tenant.api.decision(request_id(reply))


def test_each_session_has_a_budget_of_its_own(tenant: Tenant) -> None:
    first, second = f"{tenant.principal}-a", f"{tenant.principal}-b"
    while (reply := tenant.ask(headers={"x-palyra-session": first})).status == 200:
        pass

    other = tenant.ask(headers={"x-palyra-session": second})

    assert detail(reply)["policy_id"] == "each-session"
    assert other.status == 200
    accounts = posted(tenant, "each-session")
    assert accounts[second] == USED
    assert 2 * USED <= accounts[first] <= 600_000


def test_a_child_session_is_charged_to_its_parent_as_well(tenant: Tenant) -> None:
    parent = f"{tenant.principal}-parent"
    served = 0
    while True:
        child = f"{tenant.principal}-child-{served}"
        reply = tenant.ask(headers={"x-palyra-session": child, "x-palyra-parent-session": parent})
        if reply.status != 200:
            break
        assert posted(tenant, "each-session")[child] == USED
        served += 1

    assert served > 1
    assert posted(tenant, "each-session")[parent] == served * USED
    assert detail(reply)["policy_id"] == "each-session"
    alone = tenant.ask(headers={"x-palyra-session": f"{tenant.principal}-alone"})
    assert alone.status == 200


def test_a_session_that_is_its_own_parent_is_charged_once(tenant: Tenant) -> None:
    name = f"{tenant.principal}-self"

    tenant.ask(headers={"x-palyra-session": name, "x-palyra-parent-session": name})

    assert posted(tenant, "each-session")[name] == USED


def test_calls_without_a_label_share_one_account_of_their_principal(
    tenant: Tenant, tenant_of: Callable[..., Tenant]
) -> None:
    served = 0
    while tenant.ask().status == 200:
        served += 1
    stranger = tenant_of(tenant.daemon)

    assert stranger.ask().status == 200
    accounts = posted(tenant, "each-session")
    assert accounts[f"~{tenant.principal}"] == served * USED
    assert accounts[f"~{stranger.principal}"] == USED
    assert posted(tenant, "each-agent")[f"~{tenant.principal}"] == served * USED


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-palyra-session", "~somebody"),
        ("x-palyra-agent", "~somebody"),
        ("x-palyra-parent-session", "~somebody"),
        ("x-palyra-session", "*"),
        ("x-palyra-session", "s" * 201),
        ("x-palyra-tags", "team"),
        ("x-palyra-tags", "team=~x"),
        ("x-palyra-task-class", "anything"),
    ],
)
def test_a_label_that_would_be_somebody_elses_account_is_refused(
    tenant: Tenant, shared_stub: Stub, header: str, value: str
) -> None:
    reply = tenant.ask(headers={header: value})

    assert (reply.status, reply.error()["param"]) == (400, header)
    assert shared_stub.generations == []


def test_a_label_in_the_body_is_held_to_the_same_rule(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(metadata={"session_id": "~somebody"}))

    assert (reply.status, reply.error()["param"]) == (400, "metadata.session_id")
    assert shared_stub.generations == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (chat(metadata={"session_id": "from-body"}), None),
        (chat(user="from-body"), None),
        (chat(safety_identifier="from-body", user="other"), None),
    ],
)
def test_labels_come_from_the_fields_that_wire_formats_have(
    tenant: Tenant, body: dict[str, object], path: str | None
) -> None:
    assert labels_of(tenant, tenant.ask(body))["session"] == "from-body"
    by_header = tenant.ask(body, headers={"x-palyra-session": f"{tenant.principal}-x"})
    assert labels_of(tenant, by_header)["session"] == f"{tenant.principal}-x"


def test_a_pinned_agent_cannot_be_overridden(daemon: DaemonProcess, tenant: Tenant) -> None:
    pinned = daemon.create_key(tenant.principal, agent=f"{tenant.principal}-agent")
    evading = daemon.create_key(tenant.principal, agent="forbidden-agent")

    reply = tenant.ask(headers={"x-palyra-agent": "someone-else"}, key=pinned)
    body = tenant.ask(chat(metadata={"agent_id": "someone-else"}), key=pinned)
    evaded = tenant.ask(headers={"x-palyra-agent": "innocent"}, key=evading)

    assert (
        labels_of(tenant, reply)["agent"] == labels_of(tenant, body)["agent"] == f"{tenant.principal}-agent"
    )
    assert posted(tenant, "each-agent")[f"{tenant.principal}-agent"] == 2 * USED
    assert (evaded.status, detail(evaded)["policy_id"]) == (402, "one-agent")


def test_a_pinned_tag_cannot_be_overridden_and_others_can_be_added(
    daemon: DaemonProcess, tenant: Tenant
) -> None:
    key = daemon.create_key(tenant.principal, tags={"team": "red"})
    before = posted(tenant, "one-team").get("team=red", 0)

    reply = tenant.ask(headers={"x-palyra-tags": "team=blue,job=nightly"}, key=key)

    assert labels_of(tenant, reply)["tags"] == {"team": "red", "job": "nightly"}
    assert posted(tenant, "one-team")["team=red"] == before + USED
    assert "team=blue" not in posted(tenant, "each-team")


def test_a_budget_on_a_model_binds_that_model_only(tenant: Tenant) -> None:
    dear = tenant.ask(message(), MESSAGES)
    cheap = tenant.ask()

    assert (dear.status, cheap.status) == (402, 200)
    assert cast("Document", dear.error()["palyra"])["policy_id"] == "one-model"
