"""However a stream is cut into chunks, the client gets the same bytes and the same usage is read."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.lifecycle.wire import Endpoint, Reported
from palyra.pricing.usage import Usage
from palyra.upstream.meters import make_meter

USAGE_EVENT = (
    'data: {"id":"1","object":"chat.completion.chunk","model":"gpt-x","choices":[],'
    '"usage":{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15}}\n\n'
)


def chunk(text: str) -> str:
    payload = {
        "id": "1",
        "model": "gpt-x",
        "choices": [{"index": 0, "delta": {"content": text}}],
        "usage": None,
    }
    return f"data: {json.dumps(payload, ensure_ascii=False, separators=(',', ':'))}\n\n"


CHAT_BEFORE = (
    ": keep-alive\n\n"
    + chunk("Dobr\u00fd den")
    + chunk('\U0001f600 "usage" \\n')
    + chunk("")
    + "event: x\nid: 7\n"
    + chunk("!")
)
CHAT_AFTER = "data: [DONE]\n\n"
MESSAGES = (
    'event: message_start\ndata: {"type":"message_start","message":{"model":"c","usage":{"input_tokens":7,'
    '"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'
    'event: ping\ndata: {"type":"ping"}\n\n'
    'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\u017elu\u0165"}}\n\n'
    'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
    'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = (
    'event: response.created\ndata: {"type":"response.created","response":{"model":"r","usage":null}}\n\n'
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
    'event: response.completed\ndata: {"type":"response.completed","response":{"model":"r",'
    '"usage":{"input_tokens":7,"output_tokens":5}}}\n\n'
)
RECORDED = {
    Endpoint.chat_completions: (
        CHAT_BEFORE + USAGE_EVENT + CHAT_AFTER,
        Reported(Usage(11, 4), model="gpt-x"),
    ),
    Endpoint.messages: (MESSAGES, Reported(Usage(9, 5, cache_read_tokens=2), model="c")),
    Endpoint.responses: (RESPONSES, Reported(Usage(7, 5), model="r")),
}
LINE_ENDS = ("\n", "\r\n", "\r")


def encode(text: str, line_end: str) -> bytes:
    return text.replace("\n", line_end).encode()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def run(endpoint: Endpoint, chunks: list[bytes], *, hide: bool) -> tuple[bytes, Reported | None, int]:
    meter = make_meter(endpoint, stream=True, hide_usage=hide)
    out = b"".join(meter.feed(part) for part in chunks) + meter.finish()
    assert meter.seen_output_bytes() <= sum(map(len, chunks)) + meter.seen_events()
    return out, meter.reported(), meter.seen_events()


cuts = st.lists(st.integers(0, 1_400), max_size=40)


@given(endpoint=st.sampled_from(list(RECORDED)), line_end=st.sampled_from(LINE_ENDS), where=cuts)
def test_any_split_passes_the_same_bytes_and_reads_the_same_usage(
    endpoint: Endpoint, line_end: str, where: list[int]
) -> None:
    text, expected = RECORDED[endpoint]
    data = encode(text, line_end)
    whole = run(endpoint, [data], hide=False)
    assert run(endpoint, split(data, where), hide=False) == whole
    assert whole[:2] == (data, expected)


@given(line_end=st.sampled_from(LINE_ENDS), where=cuts, last=st.booleans())
def test_any_split_hides_exactly_the_usage_event(line_end: str, where: list[int], last: bool) -> None:
    after = "" if last else CHAT_AFTER
    data = encode(CHAT_BEFORE + USAGE_EVENT + after, line_end)
    kept = encode(CHAT_BEFORE + after, line_end)
    out, reported, events = run(Endpoint.chat_completions, split(data, where), hide=True)
    assert out == kept
    assert reported == Reported(Usage(11, 4), model="gpt-x")
    assert events == 6 + (not last)


@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("endpoint", list(RECORDED))
def test_byte_by_byte(endpoint: Endpoint, line_end: str) -> None:
    text, expected = RECORDED[endpoint]
    data = encode(text, line_end)
    out, reported, _ = run(endpoint, [data[at : at + 1] for at in range(len(data))], hide=True)
    hidden = encode(USAGE_EVENT, line_end) if endpoint is Endpoint.chat_completions else b""
    assert out == data.replace(hidden, b"")
    assert reported == expected


@given(line_end=st.sampled_from(LINE_ENDS), at=st.integers(0, 1_400), where=cuts)
def test_a_cut_stream_passes_all_that_came_except_a_whole_usage_event(
    line_end: str, at: int, where: list[int]
) -> None:
    data = encode(CHAT_BEFORE + USAGE_EVENT + CHAT_AFTER, line_end)[:at]
    out, reported, _ = run(Endpoint.chat_completions, split(data, where), hide=True)
    usage = encode(USAGE_EVENT, line_end)
    if reported is None:
        assert out == data
    else:
        begin = len(encode(CHAT_BEFORE, line_end))
        assert out == data[:begin] + data[begin + len(usage) :]


pieces = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"data: ",
            b"data:",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"event: error\n",
            b'{"usage":',
            b'"usage"',
            b"{}",
            b"null",
            b"}",
            b'"choices":[]',
            b'{"choices":[],"usage":{"prompt_tokens":-1}}',
            b'{"usage":{"prompt_tokens":"1","completion_tokens":1e99}}',
            b'{"type":"message_delta","usage":[]}',
            b'{"message":{"usage":7}}',
            b'{"response":[{"usage":1}]}',
            b"[DONE]",
            b"\xc5",
            b"\xef\xbb\xbf",
        ]
    ),
)


@given(
    endpoint=st.sampled_from(list(Endpoint)), chunks=st.lists(pieces, max_size=40), as_stream=st.booleans()
)
def test_garbage_never_raises_and_passes_unchanged(
    endpoint: Endpoint, chunks: list[bytes], as_stream: bool
) -> None:
    meter = make_meter(endpoint, as_stream, hide_usage=False)
    assert b"".join(meter.feed(part) for part in chunks) + meter.finish() == b"".join(chunks)
    meter.reported()
    meter.seen_events()


@given(chunks=st.lists(pieces, max_size=40))
def test_garbage_is_cut_into_the_same_events_however_it_is_split(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    whole = run(Endpoint.chat_completions, [data], hide=True)
    bytewise = run(Endpoint.chat_completions, [data[at : at + 1] for at in range(len(data))], hide=True)
    assert run(Endpoint.chat_completions, chunks, hide=True)[:2] == bytewise[:2] == whole[:2]
