"""What a provider reports becomes usage; what cannot be believed does not."""

import json

import pytest

from palyra.core.limits import SSE_EVENT_BYTES_MAX, TOKENS_MAX
from palyra.lifecycle.wire import Endpoint, Reported
from palyra.pricing.usage import Usage
from palyra.upstream.meters import make_meter


def body(endpoint: Endpoint, payload: object) -> Reported | None:
    meter = make_meter(endpoint, stream=False, hide_usage=False)
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    half = len(raw) // 2
    assert meter.feed(raw[:half]) == raw[:half]
    assert meter.feed(raw[half:]) == raw[half:]
    assert meter.finish() == b""
    return meter.reported()


def chat(usage: object) -> Reported | None:
    return body(Endpoint.chat_completions, {"choices": [1], "usage": usage})


def stream(endpoint: Endpoint, *events: object) -> Reported | None:
    meter = make_meter(endpoint, stream=True, hide_usage=False)
    for event in events:
        chunk = b"data: " + json.dumps(event).encode() + b"\n\n"
        assert meter.feed(chunk) is chunk
    meter.finish()
    return meter.reported()


def test_openai_chat_with_all_details() -> None:
    reported = body(
        Endpoint.chat_completions,
        {
            "model": "gpt-x",
            "service_tier": "flex",
            "choices": [],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 7},
            },
        },
    )
    assert reported == Reported(
        Usage(
            100, 50, cache_read_tokens=60, input_audio_tokens=5, reasoning_tokens=20, output_audio_tokens=7
        ),
        service_tier="flex",
        model="gpt-x",
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 8},
            Usage(10, 2, cache_read_tokens=8),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(10, 12, reasoning_tokens=7),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(10, 12, reasoning_tokens=7),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}},
            Usage(10, 5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"audio_tokens": 11}},
            Usage(11, 5, input_audio_tokens=11),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None},
            Usage(10, 5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}},
            Usage(10, 5),
        ),
    ],
)
def test_openai_dialects_and_contradictions_never_bill_less(usage: object, expected: Usage) -> None:
    reported = chat(usage)
    assert reported is not None
    assert reported.usage == expected
    assert reported.input_known
    assert reported.output_known


@pytest.mark.parametrize("usage", [None, {}, [], "12", 5, True, {"prompt_tokens": None}, {"x": 1}])
def test_missing_usage_is_unknown_not_zero(usage: object) -> None:
    assert chat(usage) is None


@pytest.mark.parametrize("bad", [None, -1, 2**63, TOKENS_MAX + 1, "5", 5.0, True, [], {}])
def test_a_count_that_cannot_be_believed_is_unknown(bad: object) -> None:
    assert chat({"prompt_tokens": bad, "completion_tokens": bad}) is None
    half = chat({"prompt_tokens": 9, "completion_tokens": bad})
    assert half is not None
    assert (half.usage.input_tokens, half.input_known, half.output_known) == (9, True, False)
    half = chat({"prompt_tokens": bad, "completion_tokens": 9})
    assert half is not None
    assert (half.usage.output_tokens, half.input_known, half.output_known) == (9, False, True)


def test_embeddings_have_no_output() -> None:
    reported = body(Endpoint.embeddings, {"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}})
    assert reported == Reported(Usage(8, 0))


def test_counting_tokens_is_free() -> None:
    assert body(Endpoint.count_tokens, {"input_tokens": 14}) == Reported(Usage(0, 0))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"nope", b"\xff\xfe", b"[" * 200_000, b'{"usage":' * 99_999]
)
def test_a_body_that_is_no_json_object_reports_nothing(raw: bytes) -> None:
    for endpoint in (Endpoint.chat_completions, Endpoint.messages, Endpoint.responses, Endpoint.embeddings):
        assert body(endpoint, raw) is None


def test_responses_body() -> None:
    reported = body(
        Endpoint.responses,
        {
            "usage": {
                "input_tokens": 9,
                "output_tokens": 8,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            }
        },
    )
    assert reported == Reported(Usage(9, 8, cache_read_tokens=4, reasoning_tokens=3))


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_responses_stream_reads_usage_from_its_last_event(kind: str) -> None:
    reported = stream(
        Endpoint.responses,
        {"type": "response.created", "response": {"usage": None, "model": "m"}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": kind, "response": {"usage": {"input_tokens": 3, "output_tokens": 2}, "model": "m"}},
    )
    assert reported == Reported(Usage(3, 2), model="m")


def test_anthropic_body_with_cache_split_and_searches() -> None:
    reported = body(
        Endpoint.messages,
        {
            "model": "claude-x",
            "usage": {
                "input_tokens": 10,
                "output_tokens": 20,
                "cache_read_input_tokens": 30,
                "cache_creation_input_tokens": 15,
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 10},
                "server_tool_use": {"web_search_requests": 2},
                "service_tier": "standard",
            },
        },
    )
    usage = Usage(
        55,
        20,
        cache_read_tokens=30,
        cache_write_5m_tokens=5,
        cache_write_1h_tokens=10,
        web_searches=2,
    )
    assert reported == Reported(usage, service_tier="standard", model="claude-x")


@pytest.mark.parametrize(
    ("cache", "minutes", "hour"),
    [
        ({"cache_creation_input_tokens": 7}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 3}}, 4, 3),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}}, 2, 3),
        ({"cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 3}}, 0, 3),
        ({"cache_creation_input_tokens": None, "cache_creation": None}, 0, 0),
    ],
)
def test_anthropic_cache_writes_never_bill_less(cache: dict[str, object], minutes: int, hour: int) -> None:
    reported = body(Endpoint.messages, {"usage": {"input_tokens": 1, "output_tokens": 1, **cache}})
    assert reported is not None
    usage = reported.usage
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (minutes, hour)
    assert usage.input_tokens == 1 + minutes + hour


def start(**usage: object) -> dict[str, object]:
    return {"type": "message_start", "message": {"model": "c", "usage": usage}}


def delta(**usage: object) -> dict[str, object]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_anthropic_stream_merges_start_and_deltas() -> None:
    reported = stream(
        Endpoint.messages,
        start(input_tokens=5, cache_read_input_tokens=2, output_tokens=1),
        delta(output_tokens=4, input_tokens=None),
        delta(output_tokens=9, cache_read_input_tokens=3),
    )
    assert reported == Reported(Usage(8, 9, cache_read_tokens=3), model="c")


def test_anthropic_stream_broken_before_its_delta_knows_input_only() -> None:
    reported = stream(
        Endpoint.messages,
        start(input_tokens=5, output_tokens=1),
        {"type": "error", "error": {"type": "overloaded_error"}},
    )
    assert reported is not None
    assert (reported.usage.input_tokens, reported.input_known, reported.output_known) == (5, True, False)


def test_anthropic_stream_without_its_start_knows_output_only() -> None:
    reported = stream(Endpoint.messages, delta(output_tokens=4))
    assert reported is not None
    assert (reported.usage.output_tokens, reported.input_known, reported.output_known) == (4, False, True)


def test_anthropic_delta_that_carries_input_makes_it_known() -> None:
    reported = stream(Endpoint.messages, delta(output_tokens=4, input_tokens=6))
    assert reported == Reported(Usage(6, 4))


def test_anthropic_damaged_cache_count_makes_input_unknown() -> None:
    reported = stream(
        Endpoint.messages, start(input_tokens=5, cache_read_input_tokens=-2), delta(output_tokens=4)
    )
    assert reported is not None
    assert not reported.input_known


def test_openai_stream_takes_the_last_usage_also_beside_choices() -> None:
    reported = stream(
        Endpoint.chat_completions,
        {"choices": [{"delta": 0}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {"choices": [], "usage": None},
    )
    assert reported == Reported(Usage(1, 2))


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
HELLO = b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n'


def test_chunks_of_whole_events_come_back_as_the_same_object() -> None:
    for hide in (False, True):
        meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=hide)
        assert meter.feed(HELLO) is HELLO
        assert meter.seen_events() == 1
        assert meter.seen_output_bytes() == len("hi")


def test_hidden_usage_is_cut_out_exactly() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    out = meter.feed(HELLO + USAGE + b"data: [DONE]\n\n")
    assert out == HELLO + b"data: [DONE]\n\n"
    assert meter.finish() == b""
    assert meter.reported() == Reported(Usage(3, 2))
    assert meter.seen_events() == 3


def test_hidden_usage_without_its_blank_line_is_cut_out_too() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    assert meter.feed(HELLO + USAGE[:-1]) + meter.finish() == HELLO
    assert meter.reported() == Reported(Usage(3, 2))


@pytest.mark.parametrize(
    ("piece", "passed"),
    [
        (b'data: {"choices":[{', b'data: {"choices":[{'),
        (b'data: {"choices":[', b""),
        (b'data: {"id":"1","choices":[]', b""),
        (b"data: [DON", b"data: [DON"),
        (b"data: ", b""),
        (b"x" * 20_000, b"x" * 20_000),
    ],
)
def test_only_a_possible_usage_event_is_held_back(piece: bytes, passed: bytes) -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    assert meter.feed(piece) == passed
    assert passed + meter.finish() == piece


def test_the_rest_of_a_released_event_passes_at_once() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    assert meter.feed(HELLO[:30]) == HELLO[:30]
    assert meter.feed(HELLO[30:40]) == HELLO[30:40]
    assert meter.feed(HELLO[40:] + USAGE) == HELLO[40:]
    assert meter.finish() == b""


def test_an_event_beyond_the_bound_passes_uninspected_and_the_next_one_is_read() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=False)
    block = b"x" * (1 << 20)
    meter.feed(b'data: {"usage":{"prompt_tokens":9,"completion_tokens":9},"x":"')
    for _ in range(SSE_EVENT_BYTES_MAX // len(block) + 1):
        assert meter.feed(block) is block
    meter.feed(b'"}\n\n')
    assert meter.reported() is None
    meter.feed(USAGE)
    assert meter.reported() == Reported(Usage(3, 2))


def test_a_large_event_within_the_bound_is_read() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    event = (
        b'data: {"choices":[{"x":"'
        + b"x" * (10 << 20)
        + b'"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    )
    out = b"".join(meter.feed(event[at : at + 65_536]) for at in range(0, len(event), 65_536))
    assert out == event
    assert meter.reported() == Reported(Usage(3, 2))


def test_a_json_body_where_a_stream_was_asked_for_is_read() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    raw = b'{"choices":[{"message":{}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    assert meter.feed(raw) + meter.finish() == raw
    assert meter.reported() == Reported(Usage(3, 2))


def test_events_that_no_blank_line_parts_are_read() -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=False)
    meter.feed(HELLO[:-1] + USAGE[:-1] + b"data: [DONE]\n")
    meter.finish()
    assert meter.reported() == Reported(Usage(3, 2))
