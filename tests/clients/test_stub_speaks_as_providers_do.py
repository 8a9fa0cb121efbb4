"""Every other suite believes the stub, so the official SDKs must understand it and its counts be right."""

import asyncio
from collections.abc import Iterator

import anthropic
import openai
import pytest

from harness import raw, shapes
from harness.daemon import eventually
from harness.gate import Gate
from harness.script import Answer, absent, failing, fixed, in_turn, less, more
from harness.stub import Stub

CHAT = {"model": "stub-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7}
PATH = "/v1/chat/completions"


@pytest.fixture
def client(stub: Stub) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stub.url}/v1", api_key="any", max_retries=0) as connected:
        yield connected


@pytest.fixture
def claude(stub: Stub) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stub.url, api_key="any", max_retries=0) as connected:
        yield connected


def stream_text(client: openai.OpenAI) -> str:
    """The text of a streamed chat completion."""
    chunks = client.chat.completions.create(
        model="stub-model", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_every_openai_endpoint_is_understood(stub: Stub, client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model="stub-model", messages=[{"role": "user", "content": "hi"}], max_tokens=7
    )
    assert chat.choices[0].message.content == "word word word "
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 7 == stub.reported_output_tokens
    assert chat.usage.prompt_tokens == len(stub.calls[0].body) == stub.reported_input_tokens
    assert stream_text(client) == "word word word "
    assert client.completions.create(model="stub-model", prompt="hi").choices[0].text == "word word word "
    assert client.responses.create(model="stub-model", input="hi").output_text == "word word word "
    with client.responses.stream(model="stub-model", input="hi") as stream:
        stream.until_done()
        assert stream.get_final_response().output_text == "word word word "
    assert len(client.embeddings.create(model="stub-embed", input=["a", "b"]).data) == 2
    assert [model.id for model in client.models.list()] == stub.models


def test_every_anthropic_endpoint_is_understood(stub: Stub, claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model="stub-claude", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.usage.output_tokens == 9
    with claude.messages.stream(
        model="stub-claude", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        assert "".join(stream.text_stream) == "word word word "
        final = stream.get_final_message()
    assert final.usage.output_tokens == 9
    assert final.usage.input_tokens == stub.calls[-1].reported_input
    counted = claude.messages.count_tokens(model="x", messages=[{"role": "user", "content": "hi"}])
    assert counted.input_tokens > 0


@pytest.mark.parametrize(
    "shape",
    [
        shapes.crlf,
        shapes.byte_by_byte,
        shapes.glued,
        shapes.cut_every(3),
        shapes.cut_at(1, 50, 51, 200),
        shapes.with_comments,
        shapes.without_space,
        shapes.with_extra_fields,
        shapes.data_over_two_lines,
        shapes.no_done,
    ],
)
def test_a_stream_in_any_shape_has_the_same_text(
    stub: Stub, client: openai.OpenAI, shape: shapes.Shape
) -> None:
    stub.script = Answer(shape=shape)

    assert stream_text(client) == "word word word "


def test_errors_are_typed_by_both_clients(
    stub: Stub, client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    stub.script = failing(429, retry_after="7")

    with pytest.raises(openai.RateLimitError) as limited:
        stream_text(client)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(model="x", max_tokens=1, messages=[{"role": "user", "content": "hi"}])


async def test_usage_is_whatever_the_script_says(stub: Stub) -> None:
    stub.script = in_turn(
        Answer(usage=less(2)), Answer(usage=more(2)), Answer(usage=fixed("a", -1)), Answer(usage=absent)
    )
    usages = [(await raw.call(stub.url, PATH, json_body=CHAT)).json().get("usage") for _ in range(4)]

    size = len(stub.calls[0].body)
    assert usages[0] == {"prompt_tokens": size - 2, "completion_tokens": 5, "total_tokens": size + 3}
    assert usages[1] == {"prompt_tokens": size + 2, "completion_tokens": 9, "total_tokens": size + 11}
    assert usages[2] == {"prompt_tokens": "a", "completion_tokens": -1, "total_tokens": "a"}
    assert usages[3] is None
    assert stub.reported_output_tokens == 5 + 9 - 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(cut_before_head=True),
        Answer(cut_after_bytes=10),
        Answer(cut_after_bytes=10, cut="close"),
        Answer(cut_after_pieces=0),
    ],
)
async def test_a_cut_answer_is_not_complete_and_reports_nothing(stub: Stub, answer: Answer) -> None:
    stub.script = answer

    reply = await raw.call(stub.url, PATH, json_body=CHAT)

    assert not reply.complete
    assert len(reply.body) <= 10
    assert stub.reported_output_tokens == 0


async def test_usage_counts_as_reported_once_its_event_is_out(stub: Stub) -> None:
    asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    stub.script = Answer(cut_after_pieces=6)
    await raw.call(stub.url, PATH, json_body=asked)
    assert stub.reported_output_tokens == 7

    stub.script = Answer(cut_after_pieces=5)
    await raw.call(stub.url, PATH, json_body=asked)
    assert stub.reported_output_tokens == 7


async def test_a_thousand_calls_wait_at_a_gate_and_are_all_answered(stub: Stub) -> None:
    gate = Gate()
    stub.script = Answer(gate=gate)

    async def one(number: int) -> raw.Reply:
        body = {**CHAT, "stream": number % 2 == 0, "stream_options": {"include_usage": True}}
        return await raw.call(stub.url, PATH, json_body=body)

    calls = asyncio.create_task(raw.burst(1_000, one))
    await gate.reached(1_000)
    gate.open()
    replies = await calls

    assert all(reply.complete and reply.status == 200 for reply in replies)
    assert stub.connections == 1_000
    assert stub.reported_output_tokens == 7_000


async def test_a_client_that_leaves_is_noticed(stub: Stub) -> None:
    gate = Gate()
    stub.script = Answer(gates={2: gate})

    reply = await raw.call(stub.url, PATH, json_body={**CHAT, "stream": True}, leave_after_chunks=2)

    assert len(reply.chunks) == 2
    assert not reply.complete
    await eventually(lambda: stub.calls[0].client_gone, "the end of the connection")
