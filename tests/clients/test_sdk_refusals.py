"""A refused call reaches the program as its SDK's own error, once: no retry, no upstream connection (G2).

The daemon asks its providers for their models as it starts, so connections are counted from there.
"""

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from harness.daemon import DaemonProcess, budget, config
from harness.ledger import rows
from harness.script import failing
from harness.stub import Stub
from harness.tenant import SharedDaemons, Tenant

DaemonFactory = Callable[..., DaemonProcess]
OpenAi = Callable[[DaemonProcess, str], openai.OpenAI]
Anthropic = Callable[[DaemonProcess, str], anthropic.Anthropic]

TINY = budget("tiny", "0.000001")


def body_of(error: openai.APIStatusError | anthropic.APIStatusError) -> dict[str, Any]:
    """The ``error`` object; the SDKs unwrap it to different depths."""
    body = error.response.json()
    return body["error"]


@pytest.fixture(scope="module")
def frugal_daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """A daemon whose only budget covers no call."""
    return module_daemons(config(module_stub.url, budgets=[TINY]))


@pytest.fixture
def frugal(frugal_daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    """Somebody who may not call."""
    return tenant_of(frugal_daemon)


def test_openai_gets_a_402_with_code_and_numbers_and_sends_the_call_once(
    frugal: Tenant, openai_client: OpenAi, shared_stub: Stub
) -> None:
    before = shared_stub.connections
    client = openai_client(frugal.daemon, frugal.key).with_options(max_retries=5)

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="stub-model", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    error = caught.value
    assert error.status_code == 402
    assert error.code == "budget_exceeded"
    assert error.response.headers["x-should-retry"] == "false"
    told = body_of(error)["palyra"]
    assert told["policy_id"] == "tiny"
    assert told["request_id"] == error.response.headers["x-palyra-request-id"]
    assert [row["request_id"] for row in rows(frugal.api, principal=frugal.principal)] == [told["request_id"]]
    assert shared_stub.generations == []
    assert shared_stub.connections == before


def test_openai_streams_are_refused_before_they_start(
    frugal: Tenant, openai_client: OpenAi, shared_stub: Stub
) -> None:
    before = shared_stub.connections
    client = openai_client(frugal.daemon, frugal.key)

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="stub-model", messages=[{"role": "user", "content": "hi"}], max_tokens=64, stream=True
        )

    assert caught.value.code == "budget_exceeded"
    assert len(rows(frugal.api, principal=frugal.principal)) == 1
    assert shared_stub.generations == []
    assert shared_stub.connections == before


def test_anthropic_gets_a_402_in_its_own_format_and_sends_the_call_once(
    frugal: Tenant, anthropic_client: Anthropic, shared_stub: Stub
) -> None:
    before = shared_stub.connections
    client = anthropic_client(frugal.daemon, frugal.key).with_options(max_retries=5)

    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(
            model="stub-claude", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    error = caught.value
    assert error.status_code == 402
    assert error.response.json()["type"] == "error"
    assert error.response.headers["x-should-retry"] == "false"
    told = body_of(error)
    assert told["type"] == "budget_exceeded"
    assert told["palyra"]["policy_id"] == "tiny"
    assert len(rows(frugal.api, principal=frugal.principal)) == 1
    assert shared_stub.generations == []
    assert shared_stub.connections == before


def test_a_missing_price_is_refused_once(
    daemon_factory: DaemonFactory, openai_client: OpenAi, stub: Stub
) -> None:
    unpriced = {"id": "stub-unpriced", "provider": "stub", "output_limit": 4096}
    daemon = daemon_factory(config(stub.url, models=[unpriced], budgets=[budget("any", "5.00")]))
    before = stub.connections
    client = openai_client(daemon, daemon.create_key("alice"))

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="stub-unpriced", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    assert caught.value.status_code == 402
    assert caught.value.code == "price_unknown"
    assert len(rows(daemon.api, principal="alice")) == 1
    assert stub.generations == []
    assert stub.connections == before


def test_a_provider_error_reaches_the_program_unchanged(
    daemon: DaemonProcess, openai_client: OpenAi, stub: Stub
) -> None:
    stub.script = failing(418, body=b'{"error":{"message":"short and stout","type":"teapot","code":"tea"}}')
    client = openai_client(daemon, daemon.create_key("alice"))

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="stub-model", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    assert caught.value.status_code == 418
    assert caught.value.code == "tea"
    assert "short and stout" in str(caught.value)
