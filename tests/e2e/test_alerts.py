"""Alerts of a real daemon: each kind through its own surface, once for its cause, and over by itself."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from conftest import DaemonFactory
from harness import command, raw
from harness.daemon import Api, DaemonProcess, budget, config, model, poll
from harness.fleet import Fleet
from harness.gate import Gate
from harness.postgres import new_database
from harness.raw import Reply
from harness.script import Answer, failing, fixed, more
from harness.stub import Stub
from harness.talk import CHAT, Document, ask, chat, code, gauges, held_by, request_id, spent
from harness.tenant import SharedDaemons, Tenant

CHECK_S = 0.2
AT_ONCE = 200
MODELS = (model("stub-model"), model("mystery", price=None), model("flaky", "flaky"))


def settings(stub: Stub, **tables: Any) -> dict[str, object]:
    """A daemon that looks often, with a provider that can fail alone and a model without a price."""
    url = {"base_url": f"{stub.url}/v1", "credential": "env:STUB_CREDENTIAL"}
    kind = {"kind": "openai_compatible", "discover": False}
    return config(
        stub.url,
        models=MODELS,
        providers=({"id": "stub", **kind, **url}, {"id": "flaky", **kind, **url}),
        alerts={"check_s": CHECK_S},
        routing={"breaker_failures": 2, "breaker_open_s": 0.5, "retry_base_s": 0.01},
        **tables,
    )


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(settings(module_stub))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


def alerts(api: Api, **wanted: str) -> list[Document]:
    """Alerts as the API lists them, newest first."""
    return cast("list[Document]", api.get("/alerts", **wanted)["items"])


def alert(api: Api, met: Callable[[Document], bool] = lambda _: True, **wanted: str) -> Document:
    """The only alert of this filter, once it is there and as wanted."""
    (found,) = poll(
        lambda: alerts(api, **wanted),
        lambda seen: len(seen) == 1 and met(seen[0]),
        15.0,
        f"the alert of {wanted}",
    )
    return found


def is_over(found: Document) -> bool:
    return found["state"] == "resolved"


def burst(url: str, key: str, body: object, calls: int = AT_ONCE) -> list[Reply]:
    """So many calls at once."""
    return asyncio.run(raw.burst(calls, lambda _: raw.call(url, CHAT, json_body=body, key=key)))


def test_a_limit_that_many_calls_run_into_at_once_is_one_alert_that_counts_them(tenant: Tenant) -> None:
    policy = tenant.budget("0.00001")

    replies = burst(tenant.daemon.url, tenant.key, chat())

    assert {each.status for each in replies} == {402}
    found = alert(tenant.api, lambda seen: seen["count"] == AT_ONCE, policy_id=policy)
    assert (found["kind"], found["severity"], found["principal"]) == (
        "budget_exhausted",
        "critical",
        tenant.principal,
    )
    tenant.api.request("PUT", f"/budgets/{policy}", tenant.policy("5.00"))
    assert alert(tenant.api, is_over, policy_id=policy)["resolution"] == "The limit was raised."


def test_each_level_is_an_alert_and_a_caller_sees_its_own(tenant: Tenant) -> None:
    policy = tenant.budget(10, metric="requests", thresholds=[{"at": 0.2, "then": "notify"}], soft_limit=8)

    for _ in range(3):
        assert tenant.ask().status == 200

    found = alert(tenant.api, lambda seen: seen["count"] == 2, policy_id=policy, kind="budget_threshold")
    assert cast("Document", found["facts"])["at"] == "0.2"
    own = Api(tenant.daemon.url, tenant.key)
    assert {each["principal"] for each in alerts(own)} == {tenant.principal}
    assert own.request("GET", f"/alerts/{found['id']}").status_code == 200
    assert own.request("GET", "/alerts/notices").status_code == 403
    tenant.api.request("DELETE", f"/budgets/{policy}")
    over = alert(tenant.api, is_over, policy_id=policy, kind="budget_threshold")
    assert over["resolution"] == "The budget was deleted."


def test_an_overrun_is_told_with_what_was_held_and_what_was_used(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=more(by=1_000))
    tenant.budget("5.00")

    reply = tenant.ask()

    facts = cast("Document", alert(tenant.api, principal=tenant.principal, kind="overrun")["facts"])
    assert (facts["held"], facts["used"]) == (held_by(tenant.api, reply), spent(shared_stub))
    assert facts["request_id"] == request_id(reply)


def test_a_model_without_a_price_is_one_alert(tenant: Tenant) -> None:
    tenant.budget("5.00")

    for _ in range(2):
        assert code(tenant.ask(chat(model="mystery"))) == "price_unknown"

    found = alert(tenant.api, lambda seen: cast("int", seen["count"]) >= 2, kind="unpriced_model")
    assert cast("Document", found["facts"])["model"] == "mystery"


def test_a_request_for_approval_is_an_alert_until_somebody_decides(tenant: Tenant) -> None:
    tenant.budget(1, metric="requests", action="approval_required")
    tenant.ask()
    refused = tenant.ask()
    approval_id = cast("str", cast("Document", refused.error()["palyra"])["approval_id"])

    found = alert(tenant.api, principal=tenant.principal, kind="approval_pending")
    assert cast("Document", found["facts"])["approval_id"] == approval_id
    tenant.api.post(f"/approvals/{approval_id}/decision", {"decision": "deny", "reason": "no"})

    over = alert(tenant.api, is_over, principal=tenant.principal, kind="approval_pending")
    assert over["resolution"] == "The request is denied by owner."


def test_a_provider_that_fails_is_an_alert_until_it_answers(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = failing(500)
    for _ in range(2):
        tenant.ask(chat(model="flaky"))
    found = alert(tenant.api, kind="provider_health", state="firing")
    assert cast("Document", found["facts"])["provider"] == "flaky"
    assert gauges(tenant.daemon)['palyra_alerts_firing{kind="provider_health",severity="critical"}'] == 1

    shared_stub.script = Answer(usage=fixed(1, 1))
    poll(lambda: tenant.ask(chat(model="flaky")).status, lambda status: status == 200, 15.0, "an answer")

    over = alert(tenant.api, is_over, kind="provider_health")
    assert over["resolution"] == "A call to it succeeded."


def test_people_list_show_and_acknowledge_on_the_command_line(tenant: Tenant) -> None:
    policy = tenant.budget("0.00001")
    tenant.ask()
    found = cast("str", alert(tenant.api, policy_id=policy)["id"])
    operator = tenant.daemon.create_key("olga", roles=["operator"])

    assert found in command.run(tenant.daemon, operator, "alerts", "list", "--policy", policy)[0]
    told = command.run(tenant.daemon, operator, "alerts", "ack", found, "--note", "on it")[0]

    assert told.startswith("Acknowledged by olga at ")
    page = command.run(tenant.daemon, operator, "alerts", "show", found)[0]
    assert "is exhausted" in page
    assert "on it" in page
    assert command.run_json(tenant.daemon, operator, "alerts", "show", found)["state"] == "firing"
    command.run(tenant.daemon, tenant.key, "alerts", "ack", found, code=3)


def test_calls_that_a_crash_left_behind_are_told_at_the_next_start(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(settings(stub, budgets=[budget("all", "5.00")]))
    key = daemon.create_key()
    gate = Gate()
    stub.script = Answer(gate=gate)

    async def lose(calls: int) -> None:
        asked = [
            asyncio.create_task(raw.call(daemon.url, CHAT, json_body=chat(), key=key)) for _ in range(calls)
        ]
        await gate.reached(calls)
        daemon.kill9()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(lose(3))
    gate.open()
    daemon.start()

    found = alert(daemon.api, kind="unsettled_reservation")
    assert (found["count"], cast("Document", found["facts"])["provider"]) == (3, "stub")


def test_a_restart_keeps_the_count_and_who_has_seen_it(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(settings(stub, budgets=[budget("all", "0.00001")]))
    key = daemon.create_key()
    for _ in range(5):
        ask(daemon, key)
    ref = alert(daemon.api, policy_id="all")["id"]
    daemon.api.post(f"/alerts/{ref}/acknowledge", {"note": "on it"})
    ask(daemon, key)

    daemon.restart()
    ask(daemon, key)

    found = alert(daemon.api, lambda seen: seen["count"] == 7, policy_id="all")
    assert (found["id"], found["state"]) == (ref, "firing")
    assert cast("Document", found["acknowledged"])["note"] == "on it"
    daemon.terminate()
    (entry,) = command.run_json(daemon, "", "audit", "list", "--kind", "alert.acknowledged")["items"]
    assert (entry["ref"], entry["after"]["acknowledged"]["note"]) == (ref, "on it")


def test_reading_pages_of_a_daemon_changes_no_alert_w43(
    tenant: Tenant, tenant_of: Callable[..., Tenant]
) -> None:
    policy, other = tenant.budget("0.00001"), tenant_of(tenant.daemon)
    tenant.ask()
    before = alert(tenant.api, policy_id=policy)

    for _ in range(20):
        for path in ("/alerts", f"/alerts/{before['id']}", "/alerts/notices", "/usage/summary"):
            tenant.api.get(path)
    counted = other.budget("0.00001")
    for _ in range(2):
        other.ask()
    alert(tenant.api, lambda seen: seen["count"] == 2, policy_id=counted)

    assert alert(tenant.api, policy_id=policy) == before


@pytest.fixture
def fleet(tmp_path: Path, stub: Stub) -> Iterator[Fleet]:
    made = Fleet(tmp_path, settings(stub), new_database())
    yield made.start(2)
    made.close()


def test_two_gateways_raise_one_alert_together(fleet: Fleet) -> None:
    fleet.set_budget(budget("all", "0.00001"))
    key = fleet.create_key()

    async def both() -> list[Reply]:
        urls = [gateway.url for gateway in fleet.alive]
        return await raw.burst(
            AT_ONCE, lambda number: raw.call(urls[number % 2], CHAT, json_body=chat(), key=key)
        )

    assert {each.status for each in asyncio.run(both())} == {402}
    for gateway in fleet.alive:
        alert(fleet.api_of(gateway), lambda seen: seen["count"] == AT_ONCE, policy_id="all")


def test_what_a_dead_gateway_left_behind_is_told_by_another(fleet: Fleet, stub: Stub) -> None:
    key = fleet.create_key()
    gate = Gate()
    stub.script = Answer(gate=gate)
    dying = fleet.alive[0]

    async def lose() -> None:
        asked = asyncio.create_task(raw.call(dying.url, CHAT, json_body=chat(), key=key))
        await gate.reached(1)
        dying.kill9()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(lose())
    gate.open()

    assert alert(fleet.api, kind="unsettled_reservation")["count"] == 1
