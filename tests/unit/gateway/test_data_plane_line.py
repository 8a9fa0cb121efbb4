"""A connection that serves the data plane itself, beside uvicorn's ASGI: order, deadlines, back-pressure."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvicorn

from fakes.engines import Bench, budget
from harness.daemon import eventually
from harness.raw import Wire, exchange, request
from palyra.gateway.door import Door
from palyra.gateway.line import DataPlaneLine

CHAT = "/v1/chat/completions"
SOON_S = 0.2
LONG_S = 60.0
MODEST = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer alice\r\n".encode()
QUEUED = 2_000
MEGABYTE = 1024 * 1024


class Patient(DataPlaneLine):
    """No deadline of its own fires within a test."""

    header_receive_s = LONG_S
    body_receive_s = LONG_S
    client_stalled_s = LONG_S


class HastyBodies(Patient):
    body_receive_s = SOON_S


class HastyReaders(Patient):
    client_stalled_s = SOON_S


async def _elsewhere(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """What is not the data plane."""
    await receive()
    body = cast("str", scope["path"]).encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    line: type[DataPlaneLine] = Patient, keep_alive_s: int = 60, body_bytes_max: int = 4 * MEGABYTE
) -> AsyncGenerator[tuple[str, Bench]]:
    bench = Bench(budget("all", "100.00"))
    door = Door(bench.engine, body_bytes_max)

    def make(*args: Any, **kwargs: Any) -> DataPlaneLine:
        return line(door, *args, **kwargs)

    config = uvicorn.Config(
        _elsewhere,
        port=0,
        http=cast("type[asyncio.Protocol]", make),
        ws="none",
        lifespan="off",
        log_level="critical",
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the test server")
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", bench
    server.should_exit = True
    server.force_exit = True
    await task


async def happens(condition: Callable[[], bool]) -> None:
    await eventually(condition, "it", 30.0)


def asked(url: str, **more: Any) -> bytes:
    return request(url, CHAT, json_body={**MODEST, **more}, key="alice")


async def test_answers_leave_in_the_order_of_their_requests_whoever_serves_them() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url) + request(url, "/api/x", body=b"{}") + asked(url, max_tokens=9))
        await bench.at_provider()
        assert wire.current.status == 0
        bench.upstream.calls[0].answer(1, 1)
        await happens(lambda: b"/api/x" in wire.current.body)
        first = wire.current
        assert first.body.index(b"usage") < first.body.index(b"/api/x")
        (await bench.at_provider(2)).answer(2, 2)
        await happens(lambda: wire.current.body.count(b"usage") == 2)
        assert bench.upstream.calls[1].body["max_tokens"] == 9


async def test_a_long_queue_of_refusals_is_answered_one_by_one() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url) + request(url, "/v1/nowhere", method="GET") * QUEUED)
        (await bench.at_provider()).answer(1, 1)
        await happens(lambda: wire.current.body.count(b"no /v1/nowhere") == QUEUED)


async def test_a_refused_body_is_thrown_away_and_the_connection_serves_on() -> None:
    async with serving(body_bytes_max=1_000) as (url, bench), Wire(url) as wire:
        wire.send(HEAD + b"content-length: 200000\r\n\r\n" + b"x" * 100)
        assert (await wire.reply()).status == 413
        wire.send(b"x" * 199_900 + asked(url))
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).status == 200


async def test_a_chunked_body_is_refused_where_it_passes_the_limit() -> None:
    async with serving(body_bytes_max=1_000) as (url, _), Wire(url) as wire:
        wire.send(HEAD + b"transfer-encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1_000 + b"\r\n")
        assert wire.current.status == 0
        wire.send(b"1\r\nx\r\n")
        assert (await wire.reply()).status == 413


@pytest.mark.parametrize(
    "begun", [b"content-length: 10\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
async def test_a_body_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    async with serving(HastyBodies) as (url, bench), Wire(url) as wire:
        wire.send(HEAD + begun)
        await wire.shut()
        assert bench.upstream.calls == []


async def test_an_idle_connection_is_closed() -> None:
    async with serving(keep_alive_s=1) as (url, bench), Wire(url) as wire:
        wire.send(asked(url))
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).status == 200
        await wire.shut()


async def test_an_answer_in_the_making_is_no_idle_connection() -> None:
    async with serving(keep_alive_s=1) as (url, bench), Wire(url) as wire:
        wire.send(asked(url))
        call = await bench.at_provider()
        await asyncio.sleep(1.5)
        call.answer(1, 1)
        assert (await wire.reply()).status == 200


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        body = asked(url).partition(b"\r\n\r\n")[2]
        wire.send(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
        await wire.until(lambda seen: seen.status == 100)
        assert wire.current.status == 100
        wire.send(body)
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).status == 200


async def test_100_continue_waits_for_its_turn() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        body = asked(url).partition(b"\r\n\r\n")[2]
        behind = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
        wire.send(asked(url, stream=True) + behind)
        call = await bench.at_provider()
        call.begin_stream()
        call.sink.data(b"data: {}\n\n")
        reply = await wire.chunk(1)
        assert reply.status == 200
        assert reply.garbled is None
        wire.send(body)
        call.sink.end()
        (await bench.at_provider(2)).answer(1, 1)
        await happens(lambda: b"usage" in wire.current.body)


async def test_a_slow_reader_pauses_its_provider_and_resumes_it() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url, stream=True))
        call = await bench.at_provider()
        call.begin_stream()
        await wire.until(lambda seen: seen.status == 200)
        wire.pause()
        sent = 0
        while not call.paused:
            call.sink.data(b"data: " + b"x" * 65_536 + b"\n\n")
            sent += 1
            assert sent < 1_000
            await asyncio.sleep(0)
        wire.resume()
        await happens(lambda: not call.paused)
        call.event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        call.sink.end()
        reply = await wire.reply()
        assert reply.complete
        assert reply.body.count(b"data: x") == sent


async def test_a_stream_whose_client_stops_reading_is_cut_off_and_settled() -> None:
    async with serving(HastyReaders) as (url, bench), Wire(url) as wire:
        wire.send(asked(url, stream=True))
        call = await bench.at_provider()
        call.begin_stream()
        wire.pause()
        while not call.paused:
            call.sink.data(b"data: " + b"x" * 65_536 + b"\n\n")
            await asyncio.sleep(0)
        await happens(lambda: bench.engine.draining == 1)
        assert not call.paused, "what drains is read on"
        call.event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        call.sink.end()
        await happens(lambda: bench.balance("all").held == 0)


async def test_a_client_that_leaves_while_its_call_waits_is_drained() -> None:
    async with serving() as (url, bench):
        async with Wire(url) as wire:
            wire.send(asked(url))
            call = await bench.at_provider()
        await happens(lambda: bench.engine.draining == 1)
        call.answer(1, 1)
        await happens(lambda: bench.engine.draining == 0)


async def test_http_1_0_gets_its_stream_unframed_and_the_close_as_its_end() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url, stream=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        call = await bench.at_provider()
        call.begin_stream()
        call.sink.data(b"data: {}\n\n")
        call.sink.end()
        reply = await wire.reply()
        assert reply.closed
        assert reply.header("transfer-encoding") is None
        assert reply.body == b"data: {}\n\n"


async def test_a_client_that_asks_to_close_is_told_so_and_closed() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(request(url, CHAT, json_body=MODEST, key="alice", headers={"connection": "close"}))
        (await bench.at_provider()).answer(1, 1)
        reply = await wire.reply()
        assert reply.header("connection") == "close"
        await wire.shut()


@pytest.mark.parametrize(
    "target", ["/v1/chat%2Fcompletions", "/%76%31/chat/completions", f"{CHAT}?beta=true", f"http://a{CHAT}"]
)
async def test_a_path_is_the_data_planes_however_it_is_written(target: str) -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url).replace(CHAT.encode(), target.encode(), 1))
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).status == 200


@pytest.mark.parametrize("target", ["/v1", "/", "/v1%zz", "/api/v1/chat/completions"])
async def test_every_other_path_is_served_elsewhere(target: str) -> None:
    async with serving() as (url, bench):
        reply = await exchange(url, request(url, target, body=b"{}"))
        assert reply.status == 200
        assert bench.upstream.calls == []


async def test_a_bug_on_the_path_of_a_call_is_an_error_for_its_caller_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        with monkeypatch.context() as broken:
            broken.setattr("palyra.lifecycle.flow.plan_call", None)
            wire.send(asked(url))
            reply = await wire.reply()
        assert (reply.status, reply.error()["code"]) == (500, "internal_error")
        wire.send(asked(url))
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).status == 200


async def test_answers_carry_a_date() -> None:
    async with serving() as (url, bench), Wire(url) as wire:
        wire.send(asked(url))
        (await bench.at_provider()).answer(1, 1)
        assert (await wire.reply()).header("date")
