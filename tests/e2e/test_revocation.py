"""Keys: who may call, which models, and that a revoked key is dead at once."""

from collections.abc import Callable
from typing import cast

import pytest

from harness import raw
from harness.daemon import DaemonProcess, config
from harness.raw import KeepAlive
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, code, message
from harness.tenant import SharedDaemons, Tenant


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


async def test_a_revoked_key_is_refused_on_its_next_call_also_on_an_open_connection(
    tenant: Tenant, shared_stub: Stub
) -> None:
    created = tenant.api.post("/keys", {"principal": tenant.principal, "roles": ["caller"]})
    connection = KeepAlive(tenant.daemon.url, cast("str", created["key"]))

    before = await connection.call(CHAT, chat())
    assert tenant.api.request("DELETE", f"/keys/{created['id']}").status_code == 204
    after = await connection.call(CHAT, chat())
    other = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=tenant.key)
    connection.close()

    assert (before.status, after.status, other.status) == (200, 401, 200)
    assert code(after) == "invalid_api_key"
    assert len(shared_stub.generations) == 2


async def test_a_key_is_not_known_under_any_other_form(tenant: Tenant, shared_stub: Stub) -> None:
    for wrong in ("", "sk-palyra-", tenant.key[:-1], tenant.key.swapcase(), f"{tenant.key}x"):
        reply = await raw.call(tenant.daemon.url, CHAT, json_body=chat(), key=wrong)
        assert (reply.status, code(reply)) == (401, "invalid_api_key"), wrong
    none = await raw.call(tenant.daemon.url, CHAT, json_body=chat())

    assert none.status == 401
    assert shared_stub.generations == []


@pytest.mark.parametrize("header", ["x-api-key", "x-goog-api-key"])
async def test_the_usual_key_headers_are_read(tenant: Tenant, header: str) -> None:
    reply = await raw.call(tenant.daemon.url, MESSAGES, json_body=message(), headers={header: tenant.key})

    assert reply.status == 200


def test_a_model_that_the_key_does_not_allow_is_refused(
    daemon: DaemonProcess, tenant: Tenant, shared_stub: Stub
) -> None:
    key = daemon.create_key(tenant.principal, models=["stub-model"])

    allowed = tenant.ask(key=key)
    other = tenant.ask(message(), MESSAGES, key=key)
    by_its_long_name = tenant.ask(chat(model="stub-anthropic/stub-claude"), MESSAGES, key=key)

    assert allowed.status == 200
    assert (other.status, other.error()["type"]) == (403, "model_not_allowed")
    assert by_its_long_name.status == 403
    assert len(shared_stub.generations) == 1


def test_a_model_that_nobody_serves_is_not_found(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(model="no-such-model"))

    assert (reply.status, code(reply)) == (404, "model_not_found")
    assert shared_stub.generations == []
