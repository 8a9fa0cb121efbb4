"""Who may call what on the data plane: every role, nobody without a key, no key beyond its models."""

from collections.abc import Mapping
from typing import cast

import pytest

from harness.daemon import DaemonProcess, budget, config
from harness.raw import call
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, message
from harness.tenant import SharedDaemons
from palyra.identity.keys import Role

CALLS: Mapping[tuple[str, str], Mapping[str, object] | None] = {
    ("POST", CHAT): chat(),
    ("POST", "/v1/completions"): {"model": "stub-model", "prompt": "hi", "max_tokens": 8},
    ("POST", "/v1/responses"): {"model": "stub-model", "input": "hi", "max_output_tokens": 8},
    ("POST", "/v1/embeddings"): {"model": "stub-embed", "input": "hi"},
    ("POST", MESSAGES): message(),
    ("POST", "/v1/messages/count_tokens"): {
        "model": "stub-claude",
        "messages": [{"role": "user", "content": "hi"}],
    },
    ("GET", "/v1/models"): None,
    ("GET", "/v1/models/stub-model"): None,
}
KEY_FORMS = ("authorization", "x-api-key", "x-goog-api-key")


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(
        config(module_stub.url, budgets=[budget("owner-stop", "0.00", scope="principal:stopped")])
    )


@pytest.fixture(scope="module")
def keys(door: DaemonProcess) -> dict[Role, str]:
    return {
        role: door.create_key(role.value, roles=[role.value]) for role in Role if role is not Role.OWNER
    } | {Role.OWNER: door.owner_key}


@pytest.mark.parametrize("form", KEY_FORMS)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_every_role_may_call_with_its_key_in_any_of_the_usual_headers(
    method: str, path: str, role: Role, form: str, door: DaemonProcess, keys: dict[Role, str]
) -> None:
    value = f"Bearer {keys[role]}" if form == "authorization" else keys[role]
    body = CALLS[method, path]
    reply = await call(door.url, path, method=method, json_body=body, headers={form: value})
    assert reply.status == 200, reply.body


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_nobody_may_call_without_a_key(
    method: str, path: str, door: DaemonProcess, shared_stub: Stub
) -> None:
    before = shared_stub.connections
    reply = await call(door.url, path, method=method, json_body=CALLS[method, path])
    assert (reply.status, shared_stub.calls, shared_stub.connections) == (401, [], before)


@pytest.mark.parametrize(("method", "path"), [pair for pair in CALLS if pair[0] == "POST"])
async def test_a_key_that_is_limited_to_other_models_may_not_call(
    method: str, path: str, door: DaemonProcess, shared_stub: Stub
) -> None:
    narrow = door.create_key("narrow", models=["something-else"])
    reply = await call(door.url, path, method=method, json_body=CALLS[method, path], key=narrow)
    assert (reply.status, reply.error()["type"]) == (403, "model_not_allowed")
    assert shared_stub.calls == []


async def test_a_key_sees_only_the_models_it_may_use(door: DaemonProcess) -> None:
    narrow = door.create_key("narrow", models=["stub-embed"])
    listed = await call(door.url, "/v1/models", method="GET", key=narrow)
    entries = cast("list[dict[str, object]]", listed.json()["data"])
    assert [entry["id"] for entry in entries] == ["stub-embed"]
    assert (await call(door.url, "/v1/models/stub-model", method="GET", key=narrow)).status == 404


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.VIEWER, Role.CALLER])
async def test_no_role_is_above_a_budget(role: Role, door: DaemonProcess, shared_stub: Stub) -> None:
    stopped = door.create_key("stopped", roles=[role.value])
    before = shared_stub.connections
    reply = await call(door.url, CHAT, json_body=chat(), key=stopped)
    assert (reply.status, reply.error()["type"]) == (402, "budget_exceeded")
    assert (shared_stub.calls, shared_stub.connections) == ([], before)


@pytest.mark.parametrize("path", ["/api/v1/keys", "/api/v1/budgets", "/api/v1/decisions", "/metrics"])
async def test_a_caller_s_key_opens_nothing_of_the_control_plane(
    path: str, door: DaemonProcess, keys: dict[Role, str]
) -> None:
    assert (await call(door.url, path, method="GET", key=keys[Role.CALLER])).status == 403
    assert (await call(door.url, path, method="GET")).status == 401
