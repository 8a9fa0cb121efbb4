"""What an answer without usage is estimated from: close to the tokens that were seen, never below them."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.lifecycle.wire import Endpoint
from palyra.upstream.meters import make_meter

CHAT, MESSAGES, RESPONSES = Endpoint.chat_completions, Endpoint.messages, Endpoint.responses


def event(payload: object) -> bytes:
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def delta(**fields: object) -> dict[str, object]:
    choice = {"index": 0, "delta": fields, "finish_reason": None, "logprobs": None}
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice]}


def seen(endpoint: Endpoint, chunks: Sequence[bytes]) -> int:
    meter = make_meter(endpoint, stream=True, hide_usage=True)
    for chunk in chunks:
        meter.feed(chunk)
    meter.finish()
    return meter.seen_output_bytes()


def response(kind: str, **fields: object) -> bytes:
    return event({"type": f"response.{kind}", "item_id": "msg_1", "output_index": 0, **fields})


TOLD = "Dobrý den"
TEXT_PART: dict[str, object] = {"type": "output_text", "text": TOLD}
ITEM: dict[str, object] = {"id": "msg_1", "type": "message", "role": "assistant", "content": [TEXT_PART]}
RESPONSE_EVENTS = {
    "delta": response("output_text.delta", delta=TOLD),
    "text": response("output_text.done", text=TOLD),
    "part": response("content_part.done", part=TEXT_PART),
    "item": response("output_item.done", item=ITEM),
    "whole": event({"type": "response.completed", "response": {"id": "resp_1", "output": [ITEM]}}),
}


@pytest.mark.parametrize(
    ("endpoint", "payload", "expected"),
    [
        (CHAT, delta(content="hello"), 5),
        (CHAT, delta(role="assistant", content=""), 1),
        (CHAT, delta(content="žluť 😀"), 11),
        (CHAT, delta(reasoning_content="hmm"), 3),
        (CHAT, delta(reasoning="hmm", content=None), 3),
        (CHAT, delta(refusal="no"), 2),
        (
            CHAT,
            delta(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}]),
            3,
        ),
        (CHAT, {"choices": [{"index": 0, "text": "hello", "logprobs": None}]}, 5),
        (CHAT, {"choices": [], "usage": None}, 0),
        (CHAT, "[DONE]", 0),
        (MESSAGES, {"type": "ping"}, 0),
        (MESSAGES, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hello"}}, 5),
        (MESSAGES, {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}, 2),
        (
            MESSAGES,
            {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
            1,
        ),
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, 0),
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}, 1),
        (MESSAGES, {"type": "message_start", "message": {"id": "m", "content": [], "model": "c"}}, 0),
        (RESPONSES, {"type": "response.function_call_arguments.delta", "delta": "{}"}, 2),
        (RESPONSES, {"type": "response.created", "response": {"id": "r", "output": []}}, 0),
    ],
)
def test_only_generated_text_counts(endpoint: Endpoint, payload: object, expected: int) -> None:
    assert seen(endpoint, [event(payload)]) == expected


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize(
    "payload",
    [
        {"type": "response.brand_new", "secret_text": "x" * 40},
        {"surprise": "x" * 40},
        {"choices": {"0": "x" * 40}, "type": 7},
        ["x" * 40],
        '{"choices":[{"delta":{"content":"' + "x" * 40,
        "x" * 40,
        "[" * 5_000,
        '{"choices":' + '[{"a":' * 900 + "1" + "}]" * 900 + ',"type":"content_block_delta"}',
    ],
)
def test_what_is_not_recognised_counts_whole(endpoint: Endpoint, payload: object) -> None:
    assert seen(endpoint, [event(payload)]) >= 40


@pytest.mark.parametrize("line", [b": " + b"k" * 90, b"event: message", b"id: 7", b"retry: 1000", b""])
def test_lines_that_carry_no_data_do_not_count(line: bytes) -> None:
    assert seen(CHAT, [line + b"\n" + event(delta(content="hello"))]) == 5


def test_a_body_where_a_stream_was_asked_for_counts_whole() -> None:
    assert seen(CHAT, [b'{"choices":[{"message":{"content":"hello"}}]}']) == 45


@pytest.mark.parametrize("told", [["delta"], ["text"], ["part"], ["item"], ["whole"], list(RESPONSE_EVENTS)])
def test_a_text_that_the_responses_api_repeats_counts_once(told: list[str]) -> None:
    assert seen(RESPONSES, [RESPONSE_EVENTS[name] for name in told]) == len(TOLD.encode())


def test_items_of_one_response_add_up() -> None:
    second = response("function_call_arguments.delta", delta="{}").replace(b'_index": 0', b'_index": 1')
    assert seen(RESPONSES, [*RESPONSE_EVENTS.values(), second]) == len(TOLD.encode()) + 2


def test_a_long_stream_is_counted_as_it_passes() -> None:
    chunk = event(delta(content="word "))
    assert seen(CHAT, [chunk] * 3_000) == 15_000


def test_a_line_that_never_ends_counts_every_byte_and_is_not_kept() -> None:
    block = b"x" * 65_536
    assert seen(CHAT, [b"data: ", *[block] * 20, b":\n", event(delta(content="hi"))]) >= 20 * 65_536 + 2


def test_a_cut_inside_an_event_counts_what_came_of_it() -> None:
    whole = event(delta(content="hello"))
    assert seen(CHAT, [whole, whole[:90]]) == 5 + 90 - len("data:")


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        (
            CHAT,
            {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}]},
            5,
        ),
        (RESPONSES, {"id": "1", "output": [ITEM]}, len(TOLD.encode())),
        (MESSAGES, {"id": "1", "content": [{"type": "text", "text": "hello"}]}, 5),
    ],
)
def test_the_texts_of_a_whole_body_count(endpoint: Endpoint, body: object, expected: int) -> None:
    meter = make_meter(endpoint, stream=False, hide_usage=False)
    raw = json.dumps(body).encode()
    meter.feed(raw[:9])
    meter.feed(raw[9:])
    meter.finish()
    assert meter.seen_output_bytes() == expected


@pytest.mark.parametrize("raw", [b"", b"{}", b"nope", b'{"choices":7}', b'{"content":{}}'])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES])
def test_a_body_that_is_no_answer_counts_whole(endpoint: Endpoint, raw: bytes) -> None:
    meter = make_meter(endpoint, stream=False, hide_usage=False)
    meter.feed(raw)
    meter.finish()
    assert meter.seen_output_bytes() == len(raw)


words = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30)


@given(
    words=words,
    field=st.sampled_from(["content", "reasoning_content", "refusal", "brand_new"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    cut=st.integers(0, 6_000),
    where=st.lists(st.integers(0, 6_000), max_size=30),
)
def test_however_it_is_cut_the_bound_holds_and_is_close(
    words: list[str], field: str, line_end: str, cut: int, where: list[int]
) -> None:
    events = [event(delta(**{field: word})).replace(b"\n", line_end.encode()) for word in words]
    data = b"".join(events)[:cut]
    edges = [0, *sorted(min(place, len(data)) for place in where), len(data)]
    counted = seen(CHAT, [data[start:end] for start, end in pairwise(edges)])
    ends = [sum(map(len, events[: number + 1])) for number in range(len(events))]
    shown = sum(len(word.encode()) for word, end in zip(words, ends, strict=True) if end <= len(data))
    longest = max(map(len, events))
    assert shown <= counted <= shown + len(words) + longest


def chat_delta(text: str) -> bytes:
    return event(delta(content=text))


def message_delta(text: str) -> bytes:
    fields = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\n" + event(fields)


def response_delta(text: str) -> bytes:
    return b"event: response.output_text.delta\n" + response("output_text.delta", delta=text)


USUAL = {CHAT: chat_delta, MESSAGES: message_delta, RESPONSES: response_delta}
UNUSUAL = {
    CHAT: event(delta(content="a", reasoning="hmm")),
    MESSAGES: event({"type": "content_block_delta", "delta": {"type": "x", "text": "a", "more": "hmm"}}),
    RESPONSES: response("content_part.done", part={"text": "hmma"}, output_index=1),
}


@given(
    endpoint=st.sampled_from([CHAT, MESSAGES, RESPONSES]),
    texts=st.lists(st.text(max_size=6), min_size=1, max_size=20),
    strange=st.lists(st.integers(0, 400), max_size=2),
)
def test_usual_events_counted_together_count_as_one_by_one(
    endpoint: Endpoint, texts: list[str], strange: list[int]
) -> None:
    events = [USUAL[endpoint](text) for text in texts * 20]
    for place in strange:
        events.insert(place, UNUSUAL[endpoint])
    expected = sum(max(1, len(text.encode())) for text in texts) * 20
    expected += (4 if endpoint is not RESPONSES else bool(strange) * 4) * len(strange)
    meter = make_meter(endpoint, stream=True, hide_usage=False)
    for each in events:
        meter.feed(each)
    assert meter.seen_output_bytes() == expected
    assert meter.seen_events() == len(events)
