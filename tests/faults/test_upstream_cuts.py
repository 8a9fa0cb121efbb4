"""Providers that break off, hang, refuse or fail: the client is told, and the ledger counts what was seen."""

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Literal, cast

import pytest

from harness import script, wire
from harness.daemon import DaemonProcess, budget, config, eventually, model
from harness.ledger import settlement_of
from harness.raw import Reply, call
from harness.script import Answer, failing
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, held_by, message, request_id
from harness.tenant import SharedDaemons

RESPONSES = "/v1/responses"
WORDS = 6
HASTY_S = 0.5


def closed_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    at = {"base_url": f"{module_stub.url}/v1", "credential": "env:STUB_CREDENTIAL"}
    gone = at | {"base_url": f"http://127.0.0.1:{closed_port()}/v1"}
    return module_daemons(
        config(
            module_stub.url,
            budgets=[budget("all", "1000.00")],
            routing={"breaker_failures": 1_000},
            providers=[
                {"id": "stub", "kind": "openai_compatible", **at},
                {"id": "stub-anthropic", "kind": "anthropic", **at},
                {"id": "hasty", "kind": "openai_compatible", "first_byte_timeout_s": HASTY_S, **at},
                {"id": "idle", "kind": "openai_compatible", "idle_timeout_s": HASTY_S, **at},
                {"id": "gone", "kind": "openai_compatible", **gone},
            ],
            models=[
                model("stub-model"),
                model("stub-claude", "stub-anthropic"),
                model("hasty-model", "hasty", upstream_name="stub-model"),
                model("idle-model", "idle", upstream_name="stub-model"),
                model("gone-model", "gone"),
            ],
        )
    )


@pytest.fixture(scope="module")
def key(door: DaemonProcess) -> str:
    return door.create_key("alice")


@pytest.fixture(autouse=True)
def _fresh(shared_stub: Stub) -> None:
    """Every test begins with the stub's default answer."""


def stream_body(path: str, cap: int = 1_000) -> dict[str, object]:
    if path == MESSAGES:
        return message(cap, stream=True)
    if path == RESPONSES:
        return {"model": "stub-model", "input": "hi", "max_output_tokens": cap, "stream": True}
    return chat(cap, stream=True)


def pieces_of(path: str) -> list[bytes]:
    """The events that the stub sends for ``stream_body``."""
    figures = wire.Figures(7, 5)
    wording = wire.Wording("stub-model", ["word "] * WORDS, figures)
    render = {CHAT: wire.chat_stream, MESSAGES: wire.messages_stream, RESPONSES: wire.responses_stream}
    return list(render[path](wording).pieces)


def told(door: DaemonProcess, reply: Reply) -> tuple[Mapping[str, object], Mapping[str, int]]:
    settlement = settlement_of(door.api, request_id(reply))
    return settlement, cast("Mapping[str, int]", settlement["usage"] or {})


async def nothing_is_held(door: DaemonProcess) -> None:
    def free() -> bool:
        (account,) = door.api.accounts("all")
        return account["held_nano_usd"] == 0

    await eventually(free, "an account that holds nothing", 30.0)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_a_stream_cut_at_any_event_breaks_for_the_client_and_settles_what_was_seen(
    path: str, how: Literal["reset", "close"], door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    count = len(pieces_of(path))

    def cut(asked: script.Call) -> Answer:
        number = asked.output_cap - 100
        return Answer(usage=script.fixed(7, 5), chunks=WORDS, cut_after_pieces=number, cut=how)

    shared_stub.script = cut
    replies = await asyncio.gather(
        *(call(door.url, path, json_body=stream_body(path, 100 + number), key=key) for number in range(count))
    )
    await nothing_is_held(door)
    for number, reply in enumerate(replies):
        settlement, usage = await asyncio.to_thread(told, door, reply)
        assert reply.status == 200
        assert not reply.complete, f"cut after {number} looked whole"
        assert settlement["state"] == "settled"
        seen = reply.body.count(b"word ") if path != RESPONSES else reply.body.count(b'"delta":"word "')
        if settlement["source"] == "provider":
            assert (usage["input_tokens"], usage["output_tokens"]) == (7, 5)
        else:
            assert usage["input_tokens"] > 0
            assert max(1, seen) <= usage["output_tokens"] <= 5 * seen + 40
            assert cast("int", settlement["cost_nano_usd"]) > 0


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_stream_cut_inside_an_event_breaks_for_the_client_and_settles_what_was_seen(
    path: str, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    whole = sum(map(len, pieces_of(path)))
    places = list(range(1, whole, 37))

    def cut(asked: script.Call) -> Answer:
        return Answer(
            usage=script.fixed(7, 5),
            chunks=WORDS,
            cut_after_bytes=places[asked.output_cap - 100],
            cut="close",
        )

    shared_stub.script = cut
    bodies = [stream_body(path, 100 + number) for number in range(len(places))]
    replies = await asyncio.gather(*(call(door.url, path, json_body=body, key=key) for body in bodies))
    await nothing_is_held(door)
    for place, reply in zip(places, replies, strict=True):
        settlement, usage = await asyncio.to_thread(told, door, reply)
        assert not reply.complete, f"cut after {place} bytes looked whole"
        assert settlement["state"] == "settled"
        assert usage["output_tokens"] >= (5 if settlement["source"] == "provider" else 1)
        if settlement["source"] == "estimated":
            assert usage["output_tokens"] >= reply.body.count(b"word ")


async def test_a_body_that_is_cut_is_502_and_settles_an_estimate(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(cut_after_bytes=150, framing="length")
    reply = await call(door.url, CHAT, json_body=chat(1_000), key=key)
    settlement, usage = await asyncio.to_thread(told, door, reply)
    assert (reply.status, reply.error()["code"]) == (502, "upstream_failed")
    assert (settlement["state"], settlement["source"]) == ("settled", "estimated")
    assert 1 <= usage["output_tokens"] <= 150


async def test_a_connection_cut_before_the_answer_is_in_doubt_at_its_hold(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(cut_before_head=True)
    reply = await call(door.url, CHAT, json_body=chat(1_000), key=key)
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (reply.status, reply.error()["code"]) == (502, "upstream_failed")
    assert settlement["state"] == "in_doubt"
    assert settlement["cost_nano_usd"] == await asyncio.to_thread(held_by, door.api, reply)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_provider_that_hangs_before_its_answer_is_504_and_in_doubt_at_its_hold(
    stream: bool, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(stall_before_head=True)
    reply = await call(door.url, CHAT, json_body=chat(model="hasty-model", stream=stream), key=key)
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (reply.status, reply.error()["code"]) == (504, "upstream_timeout")
    assert settlement["state"] == "in_doubt"
    assert settlement["cost_nano_usd"] == await asyncio.to_thread(held_by, door.api, reply)


async def test_a_provider_that_hangs_inside_a_stream_breaks_it_and_settles_what_was_seen(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(stall_after=4)
    reply = await call(door.url, CHAT, json_body=chat(1_000, model="idle-model", stream=True), key=key)
    settlement, usage = await asyncio.to_thread(told, door, reply)
    assert not reply.complete
    assert (settlement["state"], settlement["source"]) == ("settled", "estimated")
    assert 15 <= usage["output_tokens"] <= 25


@pytest.mark.parametrize("stream", [True, False])
async def test_a_provider_that_refuses_connections_is_502_and_nothing_is_billed(
    stream: bool, door: DaemonProcess, key: str
) -> None:
    reply = await call(door.url, CHAT, json_body=chat(model="gone-model", stream=stream), key=key)
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (reply.status, reply.error()["code"]) == (502, "upstream_failed")
    assert (settlement["state"], settlement["cost_nano_usd"]) == ("released", None)
    await nothing_is_held(door)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
async def test_an_error_of_the_provider_passes_unchanged_and_costs_nothing(
    status: int, stream: bool, path: str, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = failing(status, retry_after="17")
    body = message(stream=stream) if path == MESSAGES else chat(stream=stream)
    reply = await call(door.url, path, json_body=body, key=key)
    assert reply.status == status
    assert reply.body == wire.failure(path, status, f"stub says {status}")
    assert reply.header("retry-after") == "17"
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (settlement["state"], settlement["cost_nano_usd"]) == ("released", None)
    assert settlement["upstream_status"] == status


@pytest.mark.parametrize("body", [b"", b"\x00\xff not json", b"<html>502</html>"])
async def test_the_body_of_an_error_need_not_be_json(
    body: bytes, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = failing(503, body=body)
    reply = await call(door.url, CHAT, json_body=chat(), key=key)
    assert (reply.status, reply.body) == (503, body)


async def test_a_rate_limit_on_counting_tokens_passes_with_its_retry_after(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = failing(429, retry_after="17")
    reply = await call(door.url, f"{MESSAGES}/count_tokens", json_body=message(), key=key)
    assert (reply.status, reply.header("retry-after")) == (429, "17")


async def test_a_status_that_http_does_not_have_is_502(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(status=799)
    reply = await call(door.url, CHAT, json_body=chat(), key=key)
    assert (reply.status, reply.error()["code"]) == (502, "upstream_failed")
    await nothing_is_held(door)


async def test_a_provider_cannot_speak_in_palyra_s_name(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    shared_stub.script = Answer(headers=[("x-palyra-cost-usd", "0.00"), ("set-cookie", "a=b")])
    reply = await call(door.url, CHAT, json_body=chat(stream=True), key=key)
    assert reply.header("x-palyra-cost-usd") is None
    assert reply.header("set-cookie") is None
    assert reply.header("x-request-id") == "stub"


async def test_an_event_stream_that_nobody_asked_for_is_estimated(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    raw = [b"data: " + json.dumps({"choices": []}).encode() + b"\n\n"]
    shared_stub.script = Answer(raw=raw, content_type="text/event-stream")
    reply = await call(door.url, CHAT, json_body=chat(), key=key)
    assert reply.body == raw[0]
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (settlement["state"], settlement["source"]) == ("settled", "estimated")


async def test_a_json_answer_to_a_streamed_call_is_passed_and_billed(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    body = b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":7,"completion_tokens":5}}'
    shared_stub.script = Answer(body=body)
    reply = await call(door.url, CHAT, json_body=chat(stream=True), key=key)
    assert reply.body == body
    settlement, usage = await asyncio.to_thread(told, door, reply)
    assert settlement["source"] == "provider"
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 5)


async def test_a_compressed_answer_passes_and_is_estimated(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    body = b"\x1f\x8b\x08\x00 not really gzip"
    shared_stub.script = Answer(body=body, headers=[("content-encoding", "gzip")])
    reply = await call(door.url, CHAT, json_body=chat(), key=key)
    assert (reply.body, reply.header("content-encoding")) == (body, "gzip")
    settlement, _ = await asyncio.to_thread(told, door, reply)
    assert (settlement["state"], settlement["source"]) == ("settled", "estimated")
