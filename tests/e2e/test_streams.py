"""Streams through the daemon: the client gets the provider's bytes, the ledger the provider's figures."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import script, shapes, wire
from harness.daemon import DaemonProcess, config
from harness.gate import Gate
from harness.ledger import settlement_of
from harness.raw import Reply, Wire, call, request
from harness.script import Answer
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, message, request_id
from harness.tenant import SharedDaemons

USAGE_PIECE = b'"usage":{'


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture(scope="module")
def key(door: DaemonProcess) -> str:
    return door.create_key("alice")


@pytest.fixture(autouse=True)
def _fresh(shared_stub: Stub) -> None:
    """Every test begins with the stub's default answer."""


def settled(door: DaemonProcess, reply: Reply) -> tuple[Mapping[str, object], Mapping[str, int]]:
    """Settlement and usage of a call."""
    settlement = settlement_of(door.api, request_id(reply))
    assert settlement["state"] == "settled", settlement
    return settlement, cast("Mapping[str, int]", settlement["usage"])


def streamed(asked: bool) -> dict[str, object]:
    """A streamed chat that asks for the usage chunk, or not."""
    return chat(stream=True) | ({"stream_options": {"include_usage": True}} if asked else {})


def chat_pieces(words: Sequence[str], *, usage: bool = True) -> list[bytes]:
    """The events of a chat as the stub words them, the usage chunk among them."""
    figures = wire.Figures(7, 5)
    return list(wire.chat_stream(wire.Wording("stub-model", words, figures, include_usage=usage)).pieces)


def without_usage(pieces: Sequence[bytes]) -> bytes:
    return b"".join(piece for piece in pieces if USAGE_PIECE not in piece)


SHAPES: dict[str, shapes.Shape] = {
    "crlf": shapes.crlf,
    "cr": shapes.cr,
    "byte_by_byte": shapes.byte_by_byte,
    "glued": shapes.glued,
    "every_7": shapes.cut_every(7),
    "comments": shapes.with_comments,
    "no_space": shapes.without_space,
    "extra_fields": shapes.with_extra_fields,
    "two_lines": shapes.data_over_two_lines,
    "no_done": shapes.no_done,
    "no_last_blank_line": shapes.no_last_blank_line,
    "broken_json": shapes.broken_json_in(2),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("asked", [True, False], ids=["usage asked", "usage hidden"])
async def test_odd_streams_pass_unchanged_and_are_billed_as_reported(
    name: str, asked: bool, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shape = SHAPES[name]
    words = ["příliš ", "žluťoučký ", "kůň 😀"]
    shared_stub.script = Answer(raw=shape(chat_pieces(words)), content_type="text/event-stream")

    reply = await call(door.url, CHAT, json_body=streamed(asked), key=key)

    assert reply.complete
    assert reply.body == b"".join(shape(chat_pieces(words) if asked else _visible(words, name)))
    settlement, usage = settled(door, reply)
    assert settlement["source"] == "provider"
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 5)


def _visible(words: Sequence[str], name: str) -> list[bytes]:
    """The events a client sees when the usage chunk is hidden; its comment, an event of its own, stays."""
    pieces = chat_pieces(words)
    shown = [piece for piece in pieces if USAGE_PIECE not in piece]
    return [*shown[:-1], b": keep-alive\n\n" + shown[-1]] if name == "comments" else shown


async def test_a_client_that_asked_for_the_usage_chunk_gets_it(door: DaemonProcess, key: str) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    reply = await call(door.url, CHAT, json_body=body, key=key)
    assert any(USAGE_PIECE.decode() in event for event in reply.events())
    assert reply.events()[-1] == "[DONE]"


async def test_a_client_that_did_not_ask_gets_no_usage_chunk_and_the_provider_is_asked(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    reply = await call(door.url, CHAT, json_body=chat(stream=True), key=key)
    assert not any("usage" in event for event in reply.events())
    assert shared_stub.generations[-1].include_usage


@pytest.mark.parametrize(
    "usage",
    [
        script.absent,
        script.null,
        script.fixed(-1, -5),
        script.fixed(2**63, 2**63),
        script.fixed("7", "5"),
        script.fixed(None, None),
        script.fixed(True, 5.5),
        script.fixed({}, []),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_usage_that_cannot_be_believed_is_estimated_and_close(
    usage: script.UsageRule, stream: bool, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=usage, chunks=3, word="word ")
    reply = await call(door.url, CHAT, json_body=chat(1_000, stream=stream), key=key)
    settlement, tokens = settled(door, reply)
    assert settlement["source"] == "estimated"
    assert 15 <= tokens["output_tokens"] <= 25
    assert tokens["input_tokens"] > 0
    assert cast("int", settlement["cost_nano_usd"]) > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_an_explicit_zero_is_zero(
    stream: bool, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=script.fixed(0, 0))
    reply = await call(door.url, CHAT, json_body=chat(stream=stream), key=key)
    settlement, tokens = settled(door, reply)
    assert settlement["source"] == "provider"
    assert (tokens["input_tokens"], tokens["output_tokens"], settlement["cost_nano_usd"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("usage", "known", "value"),
    [
        (script.fixed(7, None), "input_tokens", 7),
        (script.fixed(None, 5), "output_tokens", 5),
        (script.fixed(7, "5"), "input_tokens", 7),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_side_that_is_missing_is_estimated_and_the_other_kept(
    usage: script.UsageRule,
    known: str,
    value: int,
    stream: bool,
    door: DaemonProcess,
    key: str,
    shared_stub: Stub,
) -> None:
    shared_stub.script = Answer(usage=usage)
    reply = await call(door.url, CHAT, json_body=chat(stream=stream), key=key)
    settlement, tokens = settled(door, reply)
    assert settlement["source"] == "estimated"
    assert tokens[known] == value
    assert min(tokens["input_tokens"], tokens["output_tokens"]) > 0


async def test_usage_in_the_finish_chunk_is_billed_and_the_chunk_is_not_hidden(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=script.fixed(7, 5), usage_in_finish_chunk=True)
    reply = await call(door.url, CHAT, json_body=chat(stream=True), key=key)
    assert '"finish_reason":"stop"' in "".join(reply.events())
    assert settled(door, reply)[1]["output_tokens"] == 5


async def test_the_stream_of_an_anthropic_message_passes_unchanged(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=script.fixed(7, 5))
    reply = await call(door.url, MESSAGES, json_body=message(stream=True), key=key)
    words = ["word "] * 3
    wording = wire.Wording("stub-claude", words, wire.Figures(7, 5))
    assert reply.body == b"".join(wire.messages_stream(wording).pieces)
    assert settled(door, reply)[1]["output_tokens"] == 5


async def test_a_message_stream_without_its_start_is_estimated_on_the_input_side(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(usage=script.fixed(7, 5), message_start=False)
    reply = await call(door.url, MESSAGES, json_body=message(stream=True), key=key)
    settlement, tokens = settled(door, reply)
    assert settlement["source"] == "estimated"
    assert tokens["output_tokens"] == 5
    assert tokens["input_tokens"] > 7


async def test_chunks_reach_the_client_as_they_come(door: DaemonProcess, key: str, shared_stub: Stub) -> None:
    gate = Gate()
    shared_stub.script = Answer(gates={2: gate})
    async with Wire(door.url) as client:
        client.send(request(door.url, CHAT, json_body=chat(stream=True), key=key))
        await client.until(lambda seen: b"word" in seen.body)
        assert not client.current.complete
        gate.open()
        assert (await client.reply()).complete


async def test_a_slow_client_pauses_its_provider_and_nobody_else(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    block = 64 * 1024
    many = 512
    event = b"data: " + b'{"choices":[{"index":0,"delta":{"content":"' + b"x" * block + b'"}}]}\n\n'

    def flood(asked: script.Call) -> Answer:
        if not asked.stream:
            return Answer()
        return Answer(raw=[event] * many, content_type="text/event-stream")

    shared_stub.script = flood
    async with Wire(door.url) as slow:
        slow.send(request(door.url, CHAT, json_body=chat(stream=True), key=key))
        await slow.chunk(1)
        slow.pause()
        before = _resident_bytes(door)
        for _ in range(20):
            other = await call(door.url, CHAT, json_body=chat(), key=key)
            assert other.status == 200
        assert _resident_bytes(door) - before < 16 * 1024 * 1024
        assert not shared_stub.generations[0].finished
        slow.resume()
        reply = await slow.reply()
    assert reply.complete
    assert len(reply.body) == len(event) * many


def _resident_bytes(door: DaemonProcess) -> int:
    assert door.process is not None
    return int(Path(f"/proc/{door.process.pid}/statm").read_text().split()[1]) * 4_096


texts = st.text(st.characters(codec="utf-8"), max_size=12)
noise = st.sampled_from([b": comment\n\n", b"event: x\nid: 1\ndata: {}\n\n", b"retry: 5\n\n", b"data: \n\n"])


@given(
    words=st.lists(texts, max_size=6),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    extra=st.lists(st.tuples(st.integers(0, 9), noise), max_size=3),
    cuts=st.lists(st.integers(0, 2_500), max_size=12),
    with_usage=st.booleans(),
    asked=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_whatever_the_stream_the_client_gets_it_without_the_hidden_chunk(
    door: DaemonProcess,
    key: str,
    shared_stub: Stub,
    words: list[str],
    line_end: bytes,
    extra: list[tuple[int, bytes]],
    cuts: list[int],
    with_usage: bool,
    asked: bool,
) -> None:
    pieces = chat_pieces(words, usage=with_usage)
    for place, event in extra:
        pieces.insert(place % (len(pieces) + 1), event)
    pieces = [piece.replace(b"\n", line_end) for piece in pieces]
    raw = shapes.cut_at(*cuts)(pieces)
    shared_stub.script = Answer(raw=raw, content_type="text/event-stream")

    reply = asyncio.run(call(door.url, CHAT, json_body=streamed(asked), key=key))

    assert reply.complete
    assert reply.body == (b"".join(pieces) if asked else without_usage(pieces))
    settlement, tokens = settled(door, reply)
    assert settlement["source"] == ("provider" if with_usage else "estimated")
    if not with_usage:
        assert tokens["output_tokens"] >= min(64, sum(len(word.encode()) for word in words))
