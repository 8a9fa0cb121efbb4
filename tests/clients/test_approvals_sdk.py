"""Approvals as programs with an official SDK meet them: a typed 402, somebody decides, and the call runs.

Nothing but a header is added to what the program does anyway.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import anthropic
import openai
import pytest

from harness import command
from harness.daemon import DaemonProcess, budget, config, poll
from harness.stub import Stub
from harness.tenant import SharedDaemons, Tenant

OpenAi = Callable[[DaemonProcess, str], openai.OpenAI]
Anthropic = Callable[[DaemonProcess, str], anthropic.Anthropic]

HELLO: Any = [{"role": "user", "content": "hi"}]
WAIT = {"Prefer": "wait=60"}


@pytest.fixture(scope="module")
def asking_daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """A daemon whose only budget asks for every call."""
    calls = budget(
        "each-call", "0.000001", interval="request", action="approval_required", min_output_tokens=64
    )
    return module_daemons(config(module_stub.url, budgets=[calls]))


@pytest.fixture
def asking(asking_daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    """Somebody who must ask."""
    return tenant_of(asking_daemon)


@pytest.fixture(scope="module")
def operator(asking_daemon: DaemonProcess) -> str:
    """The key of somebody who may decide."""
    return asking_daemon.create_key("olga", roles=["operator"])


def approve_one(tenant: Tenant, key: str) -> Mapping[str, Any]:
    """Wait for a request and allow it, as an operator at a terminal would."""

    def pending() -> list[Mapping[str, Any]]:
        page = tenant.api.get("/approvals", state="pending", requester=tenant.principal)
        return cast("list[Mapping[str, Any]]", page["items"])

    (found,) = poll(pending, bool, 30.0, "a request")
    words = ("approvals", "approve", found["id"], "--once", "--reason", "demo")
    return command.run_json(tenant.daemon, key, *words)


def told(error: openai.APIStatusError | anthropic.APIStatusError) -> Mapping[str, Any]:
    """``error.palyra``; the SDKs unwrap the body to different depths."""
    return error.response.json()["error"]["palyra"]


def test_openai_is_refused_once_and_runs_with_the_approval(
    asking: Tenant, operator: str, openai_client: OpenAi, shared_stub: Stub
) -> None:
    client: Any = openai_client(asking.daemon, asking.key).with_options(max_retries=5)

    def ask(**more: Any) -> Any:
        return client.chat.completions.create(model="stub-model", messages=HELLO, max_tokens=64, **more)

    with pytest.raises(openai.APIStatusError) as caught:
        ask()
    error = caught.value
    assert (error.status_code, error.code) == (402, "approval_required")
    assert error.response.headers["x-should-retry"] == "false"
    ref, url = told(error)["approval_id"], told(error)["approval_url"]
    assert url == f"{asking.daemon.url}/console/approvals?id={ref}"
    assert f"x-palyra-approval: {ref}" in str(error)
    assert shared_stub.generations == []

    approved = approve_one(asking, operator)
    assert (approved["id"], approved["occurrences"]) == (ref, 1)
    served = ask(extra_headers={"x-palyra-approval": ref})
    assert served.choices[0].message.content
    with pytest.raises(openai.APIStatusError) as again:
        ask(extra_headers={"x-palyra-approval": ref})
    assert told(again.value)["approval_id"] != ref
    assert len(shared_stub.generations) == 1


def test_one_openai_call_goes_on_when_somebody_approves(
    asking: Tenant, operator: str, openai_client: OpenAi, shared_stub: Stub
) -> None:
    client = openai_client(asking.daemon, asking.key).with_options(max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        approving = pool.submit(approve_one, asking, operator)
        served = client.chat.completions.create(
            model="stub-model", messages=HELLO, max_tokens=64, extra_headers=WAIT
        )
        assert approving.result()["state"] == "approved"
    assert served.usage is not None
    assert served.usage.completion_tokens == 64
    assert len(shared_stub.generations) == 1


def test_one_openai_stream_goes_on_when_somebody_approves(
    asking: Tenant, operator: str, openai_client: OpenAi, shared_stub: Stub
) -> None:
    client = openai_client(asking.daemon, asking.key).with_options(max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        approving = pool.submit(approve_one, asking, operator)
        stream = client.chat.completions.create(
            model="stub-model", messages=HELLO, max_tokens=64, stream=True, extra_headers=WAIT
        )
        words = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert approving.result()["state"] == "approved"
    assert "".join(words) == "word word word "
    assert [call.stream for call in shared_stub.generations] == [True]


async def test_one_async_openai_call_goes_on_when_somebody_approves(
    asking: Tenant, operator: str, shared_stub: Stub
) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{asking.daemon.url}/v1", api_key=asking.key, max_retries=0
    ) as client:
        with ThreadPoolExecutor(1) as pool:
            approving = pool.submit(approve_one, asking, operator)
            served = await client.responses.create(
                model="stub-model", input="hi", max_output_tokens=64, extra_headers=WAIT
            )
            assert approving.result()["state"] == "approved"
    assert served.output_text
    assert len(shared_stub.generations) == 1


def test_anthropic_is_refused_in_its_own_format_and_runs_with_the_approval(
    asking: Tenant, operator: str, anthropic_client: Anthropic, shared_stub: Stub
) -> None:
    client: Any = anthropic_client(asking.daemon, asking.key).with_options(max_retries=5)

    def ask(**more: Any) -> Any:
        return client.messages.create(model="stub-claude", messages=HELLO, max_tokens=64, **more)

    with pytest.raises(anthropic.APIStatusError) as caught:
        ask()
    assert caught.value.status_code == 402
    assert caught.value.response.json()["error"]["type"] == "approval_required"
    ref = told(caught.value)["approval_id"]
    assert shared_stub.generations == []

    assert approve_one(asking, operator)["id"] == ref
    served = ask(extra_headers={"x-palyra-approval": ref})
    assert served.content[0].text
    assert len(shared_stub.generations) == 1


def test_one_anthropic_stream_goes_on_when_somebody_approves(
    asking: Tenant, operator: str, anthropic_client: Anthropic, shared_stub: Stub
) -> None:
    client = anthropic_client(asking.daemon, asking.key).with_options(max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        approving = pool.submit(approve_one, asking, operator)
        with client.messages.stream(
            model="stub-claude", messages=HELLO, max_tokens=64, extra_headers=WAIT
        ) as stream:
            text = stream.get_final_text()
        assert approving.result()["state"] == "approved"
    assert text == "word word word "
    assert [call.stream for call in shared_stub.generations] == [True]
