"""The official Anthropic SDK through Palyra to a real model: answers arrive, the ledger has the tokens."""

from collections.abc import Callable

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock

from harness.daemon import DaemonProcess
from harness.ledger import rows, settlement_of, tokens_of
from harness.model import ModelProcess

Connect = Callable[[DaemonProcess, str], anthropic.Anthropic]

MODEL = "smollm2-messages"
MESSAGES: list[MessageParam] = [{"role": "user", "content": "What is a budget? Answer in one sentence."}]


@pytest.fixture
def client(governed: DaemonProcess, anthropic_client: Connect) -> anthropic.Anthropic:
    return anthropic_client(governed, governed.create_key("alice", agent="writer"))


def test_a_message_is_answered_and_billed_with_the_tokens_the_model_reported(
    client: anthropic.Anthropic, governed: DaemonProcess
) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=32)
    answer = raw.parse()

    assert isinstance(answer.content[0], TextBlock)
    assert answer.content[0].text
    request_id = raw.headers["x-palyra-request-id"]
    told = (answer.usage.input_tokens, answer.usage.output_tokens)
    assert tokens_of(governed.api, request_id) == told
    assert settlement_of(governed.api, request_id)["cost_nano_usd"] == told[0] * 1_000 + told[1] * 2_000


def test_a_stream_is_passed_on_and_billed_with_the_tokens_the_model_reported(
    client: anthropic.Anthropic, governed: DaemonProcess
) -> None:
    with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=32) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        request_id = stream.response.headers["x-palyra-request-id"]

    assert text
    told = (final.usage.input_tokens, final.usage.output_tokens)
    assert tokens_of(governed.api, request_id) == told


def test_the_ledger_adds_up_to_what_the_model_server_counted(
    governed: DaemonProcess, anthropic_client: Connect, model_server: ModelProcess
) -> None:
    client = anthropic_client(governed, governed.create_key("counted-messages"))
    before = model_server.tokens()
    for cap in (1, 7, 16):
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=cap)
        with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=cap) as stream:
            stream.until_done()
    after = model_server.tokens()

    found = rows(governed.api, principal="counted-messages")
    calls = [tokens_of(governed.api, str(row["request_id"])) for row in found]
    assert len(calls) == 6
    assert sum(call[0] for call in calls) == after[0] - before[0]
    assert sum(call[1] for call in calls) == after[1] - before[1]


def test_tokens_are_counted_by_the_provider_and_cost_nothing(
    client: anthropic.Anthropic, governed: DaemonProcess
) -> None:
    before = governed.api.get("/usage/summary")["totals"]
    counted = client.messages.count_tokens(model=MODEL, messages=MESSAGES)
    after = governed.api.get("/usage/summary")["totals"]

    answer = client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert counted.input_tokens == answer.usage.input_tokens
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["cost_nano_usd"] == before["cost_nano_usd"]


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    assert MODEL in {model.id for model in client.models.list()}


def test_a_wrong_key_is_an_authentication_error(governed: DaemonProcess, anthropic_client: Connect) -> None:
    client = anthropic_client(governed, "plr_wrong")

    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=8)

    assert told_of(caught.value)["message"]


def test_an_unknown_model_is_a_not_found_error(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="no-such-model", messages=MESSAGES, max_tokens=8)


def test_a_model_that_the_key_may_not_use_is_a_permission_error(
    governed: DaemonProcess, anthropic_client: Connect
) -> None:
    client = anthropic_client(governed, governed.create_key("alice", models=["smollm2"]))

    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=8)


def told_of(error: anthropic.APIStatusError) -> dict[str, object]:
    """The ``error`` object of the body, in Anthropic's wire format."""
    body: dict[str, dict[str, object]] = error.response.json()
    assert body["type"] == "error"
    return body["error"]
