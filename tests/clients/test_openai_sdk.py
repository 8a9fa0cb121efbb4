"""The official OpenAI SDK through Palyra to a real model: answers arrive, the ledger has the real tokens."""

from collections.abc import Callable
from decimal import Decimal

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from harness.daemon import DaemonProcess
from harness.ledger import rows, settlement_of, tokens_of
from harness.model import ModelProcess

Connect = Callable[[DaemonProcess, str], openai.OpenAI]

MESSAGES: list[ChatCompletionUserMessageParam] = [
    {"role": "user", "content": "What is a budget? Answer in one sentence."}
]


@pytest.fixture
def client(governed: DaemonProcess, openai_client: Connect) -> openai.OpenAI:
    return openai_client(governed, governed.create_key("alice", agent="researcher"))


def test_chat_is_answered_and_billed_with_the_tokens_the_model_reported(
    client: openai.OpenAI, governed: DaemonProcess
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=MESSAGES, max_tokens=32, temperature=0
    )
    answer = raw.parse()

    assert answer.choices[0].message.content
    assert answer.usage is not None
    request_id = raw.headers["x-palyra-request-id"]
    reported = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert tokens_of(governed.api, request_id) == reported
    settlement = settlement_of(governed.api, request_id)
    assert settlement["cost_nano_usd"] == reported[0] * 1_000 + reported[1] * 2_000
    assert Decimal(str(settlement["cost_usd"])) == Decimal(str(settlement["cost_nano_usd"])) / 10**9


def test_headers_of_an_answer_say_what_was_decided(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="smollm2", messages=MESSAGES, max_tokens=8)

    assert raw.headers["x-palyra-outcome"] == "admit"
    assert raw.headers["x-palyra-mode"] == "enforced"
    assert raw.headers["x-palyra-model"] == "smollm2"
    assert Decimal(raw.headers["x-palyra-estimated-cost-usd"]) > 0


def test_a_stream_that_asks_for_usage_gets_it_and_the_ledger_agrees(
    client: openai.OpenAI, governed: DaemonProcess
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2",
        messages=MESSAGES,
        max_tokens=32,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(raw.parse())

    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == 1
    assert text_of(chunks)
    told = (usages[0].prompt_tokens, usages[0].completion_tokens)
    assert tokens_of(governed.api, raw.headers["x-palyra-request-id"]) == told


def test_a_stream_that_does_not_ask_for_usage_sees_none_and_the_ledger_still_has_it(
    client: openai.OpenAI, governed: DaemonProcess, model_server: ModelProcess
) -> None:
    before = model_server.tokens()
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=MESSAGES, max_tokens=32, temperature=0, stream=True
    )
    chunks = list(raw.parse())

    assert text_of(chunks)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    in_ledger = tokens_of(governed.api, raw.headers["x-palyra-request-id"])
    after = model_server.tokens()
    assert in_ledger == (after[0] - before[0], after[1] - before[1])


def test_a_stream_has_the_text_of_the_plain_answer(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=32, temperature=0)
    streamed = client.chat.completions.create(
        model="smollm2", messages=MESSAGES, max_tokens=32, temperature=0, stream=True
    )

    assert text_of(list(streamed)) == plain.choices[0].message.content


def test_the_ledger_adds_up_to_what_the_model_server_counted(
    governed: DaemonProcess, openai_client: Connect, model_server: ModelProcess
) -> None:
    client = openai_client(governed, governed.create_key("counted"))
    before = model_server.tokens()
    for cap in (1, 7, 16):
        client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=cap)
        list(client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=cap, stream=True))
    client.completions.create(model="smollm2", prompt="Once upon a time", max_tokens=5)
    after = model_server.tokens()

    calls = [
        tokens_of(governed.api, str(row["request_id"])) for row in rows(governed.api, principal="counted")
    ]
    assert len(calls) == 7
    assert sum(call[0] for call in calls) == after[0] - before[0]
    assert sum(call[1] for call in calls) == after[1] - before[1]


def test_embeddings_are_billed_by_their_input(client: openai.OpenAI, governed: DaemonProcess) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="smollm2-embed", input=["a budget", "a very long day at the sea"]
    )
    answer = raw.parse()

    assert [len(entry.embedding) for entry in answer.data] == [576, 576]
    request_id = raw.headers["x-palyra-request-id"]
    assert tokens_of(governed.api, request_id) == (answer.usage.prompt_tokens, 0)
    assert settlement_of(governed.api, request_id)["cost_nano_usd"] == answer.usage.prompt_tokens * 500


def test_responses_are_answered_and_billed(client: openai.OpenAI, governed: DaemonProcess) -> None:
    raw = client.responses.with_raw_response.create(
        model="smollm2", input="What is a budget? Answer in one sentence.", max_output_tokens=32
    )
    answer = raw.parse()

    assert answer.output_text
    assert answer.usage is not None
    told = (answer.usage.input_tokens, answer.usage.output_tokens)
    assert tokens_of(governed.api, raw.headers["x-palyra-request-id"]) == told


def test_responses_stream_to_their_end_and_are_billed(client: openai.OpenAI, governed: DaemonProcess) -> None:
    raw = client.responses.with_raw_response.create(
        model="smollm2", input="Name a colour.", max_output_tokens=16, stream=True
    )
    last = list(raw.parse())[-1]

    assert last.type == "response.completed"
    assert last.response.usage is not None
    told = (last.response.usage.input_tokens, last.response.usage.output_tokens)
    assert tokens_of(governed.api, raw.headers["x-palyra-request-id"]) == told


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {"smollm2", "smollm2-embed", "smollm2-messages"} <= {model.id for model in client.models.list()}


def test_a_wrong_key_is_an_authentication_error(governed: DaemonProcess, openai_client: Connect) -> None:
    client = openai_client(governed, "plr_wrong")

    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="smollm2", messages=MESSAGES)

    assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)

    assert caught.value.code == "model_not_found"


def test_a_model_that_the_key_may_not_use_is_a_permission_error(
    governed: DaemonProcess, openai_client: Connect
) -> None:
    client = openai_client(governed, governed.create_key("alice", models=["smollm2-embed"]))

    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="smollm2", messages=MESSAGES)

    assert caught.value.code == "model_not_allowed"


def test_a_malformed_call_is_a_bad_request_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=-5)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
