"""A body cannot say one thing to Palyra and another to the provider, and cannot hide what costs money."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.core.errors import InvalidRequest
from palyra.gateway.asks import parse
from palyra.lifecycle.call import Ask
from palyra.lifecycle.wire import Endpoint

CHAT = Endpoint.chat_completions


def body(*content: object, **fields: object) -> bytes:
    messages = [{"role": "user", "content": list(content) or "hi"}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def ask(raw: bytes, endpoint: Endpoint = CHAT) -> Ask:
    return parse(endpoint, raw).ask


def escaped(raw: bytes, *names: str) -> bytes:
    """The same JSON with the letters of ``names`` written as escapes."""
    for name in names:
        letters = "".join(f"\\u{ord(letter):04x}" for letter in name)
        raw = raw.replace(f'"{name}"'.encode(), f'"{letters}"'.encode())
    return raw


@pytest.mark.parametrize(
    "pair",
    [
        '"max_tokens":5,"max_tokens":9',
        '"max\\u005ftokens":5,"max_tokens":9',
        '"max_tokens":5,"m\\u0061x_tokens":9',
    ],
)
@pytest.mark.parametrize("clamped", [None, 3])
def test_a_field_given_twice_reaches_the_provider_once_as_it_was_understood(
    pair: str, clamped: int | None
) -> None:
    raw = body()[:-1] + b"," + pair.encode() + b"}"
    parsed = parse(CHAT, raw)
    assert parsed.ask.output_cap == 9
    sent = json.loads(
        parsed.body.rewritten("m", clamped, include_usage=False), object_pairs_hook=lambda pairs: pairs
    )
    assert [value for name, value in sent if name == "max_tokens"] == [clamped or 9]


def test_both_names_of_the_cap_become_one_when_it_is_clamped() -> None:
    parsed = parse(CHAT, body(max_tokens=50, max_completion_tokens=60))
    assert parsed.ask.output_cap == 60
    sent = json.loads(parsed.body.rewritten("m", 7, include_usage=False))
    assert sent["max_completion_tokens"] == 7
    assert "max_tokens" not in sent


def test_usage_is_asked_for_beside_the_options_the_caller_gave() -> None:
    parsed = parse(
        CHAT, body(stream=True, stream_options={"include_usage": False, "include_obfuscation": False})
    )
    sent = json.loads(parsed.body.rewritten("upstream", None, include_usage=True))
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert sent["model"] == "upstream"


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    "names", [(), ("image_url",), ("type",), ("type", "image_url"), ("url", "image_url")]
)
def test_an_image_is_counted_however_its_name_is_written(names: tuple[str, ...]) -> None:
    assert ask(escaped(body(IMAGE, IMAGE), *names)).images == 2


def test_a_cache_write_is_seen_however_its_name_is_written() -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    for names in ((), ("cache_control",)):
        assert ask(escaped(body(part, max_tokens=5), *names), Endpoint.messages).cache_writes


def test_text_that_speaks_of_escapes_is_still_text() -> None:
    text = "C:\\u0061bc and é"
    parsed = parse(CHAT, body({"type": "text", "text": text}))
    sent = json.loads(parsed.body.rewritten("m", None, include_usage=False))
    assert sent["messages"][0]["content"][0]["text"] == text


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "image", "source": {"type": "file", "file_id": "file-1"}},
    ],
)
def test_a_document_is_not_bounded_by_its_bytes(part: object) -> None:
    assert ask(body(part)).hidden_input
    assert ask(
        escaped(body(part), "type", "file", "input_file", "document", "video_url", "file_id")
    ).hidden_input


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "document file video"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}},
        {"type": "document", "source": {"type": "content", "content": "hello"}},
    ],
)
def test_plain_text_is_bounded_by_its_bytes(part: object) -> None:
    assert not ask(body(part)).hidden_input


def test_a_tool_schema_may_have_several_types_beside_an_image() -> None:
    schema = {"type": ["string", "null"], "properties": {"type": {"type": "file"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert ask(body(IMAGE, tools=[tool])).images == 1


@pytest.mark.parametrize("depth", [70, 500, 900, 980, 990, 995, 1_000, 5_000, 100_000])
def test_deep_nesting_is_refused_or_passed_and_breaks_nothing(depth: int) -> None:
    for inner in (b'"x"', b'"image_url"', b'"\\u0061"', b'"im\\u0061ge_url"'):
        raw = (
            b'{"model":"m","messages":[{"role":"user","content":'
            + b"[" * depth
            + inner
            + b"]" * depth
            + b"}]}"
        )
        with suppress(InvalidRequest):
            parse(CHAT, raw)


CACHED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "image_url", "file", "source", "n", "max_tokens", "model"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    endpoint=st.sampled_from(list(Endpoint)),
    fields=st.dictionaries(
        st.sampled_from(
            ["model", "messages", "input", "prompt", "max_tokens", "n", "stream", "tools", "metadata", "user"]
        ),
        json_values,
    ),
)
def test_no_body_raises_anything_but_a_refusal(endpoint: Endpoint, fields: dict[str, object]) -> None:
    raw = json.dumps(
        {"model": "m", "messages": [{"role": "user"}], "input": "x", "max_tokens": 5} | fields
    ).encode()
    try:
        parsed = parse(endpoint, raw)
    except InvalidRequest:
        return
    sent = json.loads(parsed.body.rewritten("upstream", None, include_usage=True))
    assert sent["model"] == "upstream"
    assert sent.keys() - {"stream_options"} == json.loads(raw).keys() - {"stream_options"}


@given(
    endpoint=st.sampled_from([CHAT, Endpoint.messages]),
    fields=st.dictionaries(
        st.sampled_from(
            ["max_tokens", "n", "stream", "tools", "system", "stop", "metadata", "user", "x", "url"]
        ),
        json_values,
    ),
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.just("user") | json_values},
            optional={"content": json_values | st.lists(st.sampled_from([IMAGE, CACHED, {}]))},
        ),
        max_size=3,
    ),
)
def test_a_long_chat_is_understood_and_sent_as_a_short_one_is(
    endpoint: Endpoint, fields: dict[str, object], messages: list[dict[str, object]]
) -> None:
    """Also one with unknown or forbidden fields, without a message, or with media."""
    raw = json.dumps({"model": "m", "max_tokens": 5} | fields | {"messages": messages}).encode()
    understood: list[object] = []
    for longest in (10**9, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("palyra.gateway.asks.PLAIN_BYTES_MAX", longest)
            try:
                parsed = parse(endpoint, raw)
            except InvalidRequest:
                # Of several flaws either may be named.
                understood.append("refused")
                continue
        sent = json.loads(parsed.body.rewritten("upstream", 7, include_usage=True))
        understood.append((parsed.ask, sent))
    assert understood[0] == understood[1]


def test_a_field_given_twice_in_a_long_chat_reaches_the_provider_once() -> None:
    pad = "y" * 70_000
    raw = body(user=pad)[:-1] + b',"max_tokens":5,"max_tokens":9}'
    parsed = parse(CHAT, raw)
    assert parsed.ask.output_cap == 9
    assert parsed.body.rewritten("m", None, include_usage=False).count(b'"max_tokens"') == 1


@given(raw=st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    for endpoint in Endpoint:
        with pytest.raises(InvalidRequest):
            parse(endpoint, raw)
