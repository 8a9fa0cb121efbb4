"""A nearly used budget still serves agents that ask for 64k tokens: the cap is lowered, and they are told."""

from collections.abc import Callable
from typing import cast

import pytest

from harness.daemon import DaemonProcess, config, model
from harness.ledger import settlement_of
from harness.raw import Reply
from harness.script import Answer, less
from harness.stub import Stub
from harness.talk import (
    CHAT,
    INPUT_NANO,
    MESSAGES,
    OUTPUT_NANO,
    balance,
    chat,
    code,
    input_bound,
    message,
    only_account,
    request_id,
    spent,
)
from harness.tenant import SharedDaemons, Tenant
from palyra.core.money import format_usd

ASKED = 64_000
LIMIT = 50_000_000
"""0.05 USD: less than half of what 64,000 output tokens cost."""

LARGE = (
    model("stub-model", output_limit=128_000),
    model("stub-claude", "stub-anthropic", output_limit=128_000),
)
FORMS = [
    pytest.param(
        CHAT, {"model": "stub-model", "messages": [{"role": "user", "content": "hi"}]}, "max_tokens"
    ),
    pytest.param(
        CHAT,
        {"model": "stub-model", "messages": [{"role": "user", "content": "hi"}]},
        "max_completion_tokens",
    ),
    pytest.param("/v1/completions", {"model": "stub-model", "prompt": "hi"}, "max_tokens"),
    pytest.param("/v1/responses", {"model": "stub-model", "input": "hi"}, "max_output_tokens"),
    pytest.param(
        MESSAGES, {"model": "stub-claude", "messages": [{"role": "user", "content": "hi"}]}, "max_tokens"
    ),
]


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, models=LARGE))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    return tenant_of(daemon)


@pytest.fixture
def small(tenant: Tenant) -> str:
    """A budget of 0.05 USD."""
    return tenant.budget(format_usd(LIMIT))


def told_cap(reply: Reply) -> int:
    """The output cap in the header."""
    header = reply.header("x-palyra-clamped-max-tokens")
    assert header is not None, (reply.status, reply.body, reply.headers)
    return int(header)


def affordable(tenant: Tenant, reply: Reply, money: int, choices: int = 1) -> int:
    """Output tokens per choice that ``money`` pays for after the input of this call."""
    return (money - input_bound(tenant.api, reply) * INPUT_NANO) // OUTPUT_NANO // choices


def clamp_of(tenant: Tenant, reply: Reply) -> dict[str, object]:
    """The clamp in the decision."""
    return cast("dict[str, object]", tenant.api.decision(request_id(reply))["clamp"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body", "field"), FORMS)
def test_the_affordable_cap_goes_upstream_under_the_name_the_caller_used(
    tenant: Tenant,
    small: str,
    shared_stub: Stub,
    path: str,
    body: dict[str, object],
    field: str,
    stream: bool,
) -> None:
    reply = tenant.ask({**body, field: ASKED, "stream": stream}, path)

    assert (reply.status, reply.complete) == (200, True)
    granted = told_cap(reply)
    assert granted == affordable(tenant, reply, LIMIT)
    (sent,) = shared_stub.generations
    caps = {name: value for name, value in sent.json.items() if name.startswith("max_")}
    assert caps == {field: granted}
    assert sent.stream is stream
    decision = tenant.api.settled(request_id(reply))
    assert decision["clamp"] == {"requested": ASKED, "granted": granted, "policy_id": small}
    assert settlement_of(tenant.api, request_id(reply))["overrun"] is False
    assert balance(only_account(tenant.api, small)) == (spent(shared_stub), 0)
    assert LIMIT // 2 < spent(shared_stub) <= LIMIT


@pytest.mark.usefixtures("small")
def test_what_is_left_is_lent_again_until_it_is_too_little(tenant: Tenant, shared_stub: Stub) -> None:
    shared_stub.script = Answer(usage=less(by=100))
    caps: list[int] = []

    while (reply := tenant.ask(chat(ASKED))).status == 200:
        caps.append(told_cap(reply))

    assert (reply.status, code(reply)) == (402, "budget_exceeded")
    assert caps == sorted(caps, reverse=True)
    assert min(caps) >= 256
    assert reply.header("x-palyra-clamped-max-tokens") is None
    left = LIMIT - spent(shared_stub)
    assert 0 <= left < input_bound(tenant.api, reply) * INPUT_NANO + 256 * OUTPUT_NANO


@pytest.mark.parametrize("least", [None, 1, 2_000])
def test_one_token_below_the_least_useful_cap_the_call_is_refused(
    tenant: Tenant, shared_stub: Stub, least: int | None
) -> None:
    bound = input_bound(tenant.api, tenant.ask(chat(ASKED)))
    useful = least or 256

    def leave(tokens: int) -> str:
        limit = format_usd(bound * INPUT_NANO + tokens * OUTPUT_NANO)
        return tenant.budget(limit, f"{tokens}", interval="request", min_output_tokens=least)

    leave(useful)
    assert told_cap(tenant.ask(chat(ASKED))) == useful
    leave(useful - 1)
    calls = len(shared_stub.generations)
    refused = tenant.ask(chat(ASKED))

    assert (refused.status, code(refused)) == (402, "budget_exceeded")
    assert len(shared_stub.generations) == calls


@pytest.mark.usefixtures("small")
def test_several_choices_share_what_is_left(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(ASKED, n=3))

    granted = told_cap(reply)
    assert granted == affordable(tenant, reply, LIMIT, choices=3)
    (sent,) = shared_stub.generations
    assert (sent.json["max_tokens"], sent.json["n"]) == (granted, 3)
    assert spent(shared_stub) <= LIMIT


@pytest.mark.usefixtures("small")
def test_of_two_cap_fields_one_is_left_and_it_is_the_newer(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(max_tokens=10, max_completion_tokens=ASKED))

    (sent,) = shared_stub.generations
    assert sent.json["max_completion_tokens"] == told_cap(reply)
    assert "max_tokens" not in sent.json


@pytest.mark.usefixtures("small")
def test_without_any_cap_the_limit_of_the_model_is_lowered(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(max_tokens=None))

    assert told_cap(reply) == affordable(tenant, reply, LIMIT)
    assert shared_stub.generations[0].output_cap == told_cap(reply)
    assert clamp_of(tenant, reply)["requested"] == 128_000


@pytest.mark.usefixtures("small")
def test_a_call_that_fits_is_sent_as_it_was_asked(tenant: Tenant, shared_stub: Stub) -> None:
    reply = tenant.ask(chat(100))

    assert reply.header("x-palyra-clamped-max-tokens") is None
    assert shared_stub.generations[0].json["max_tokens"] == 100
    assert tenant.api.decision(request_id(reply))["clamp"] is None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("tokens", "decided_by"), [(5_000, "tokens"), (60_000, "own")])
def test_of_two_budgets_the_tighter_sets_the_cap(
    tenant: Tenant, shared_stub: Stub, tokens: int, decided_by: str
) -> None:
    tenant.budget(tokens, "tokens", metric="total_tokens", interval="month")

    reply = tenant.ask(chat(ASKED))

    input_tokens = input_bound(tenant.api, reply)
    assert told_cap(reply) == min(affordable(tenant, reply, LIMIT), tokens - input_tokens)
    assert clamp_of(tenant, reply)["policy_id"] == f"{tenant.principal}-{decided_by}"
    assert spent(shared_stub) <= LIMIT
    assert shared_stub.reported_input_tokens + shared_stub.reported_output_tokens <= tokens


def test_a_budget_of_requests_cannot_be_met_by_less_output(tenant: Tenant, shared_stub: Stub) -> None:
    tenant.budget(1, metric="requests")

    replies = [tenant.ask(message(ASKED), MESSAGES) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 402]
    assert shared_stub.generations[0].json["max_tokens"] == ASKED
