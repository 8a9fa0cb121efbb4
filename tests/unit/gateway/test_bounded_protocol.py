"""Every wait and every byte of a client connection has a bound; whoever behaves is served all the same."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from harness.daemon import eventually
from harness.raw import Wire, exchange, request
from palyra.core.limits import HEADER_BYTES_MAX, HEADER_COUNT_MAX
from palyra.gateway.protocol import BoundedProtocol

Message = MutableMapping[str, Any]
SOON_S = 0.2
LONG_S = 60.0
FILL = b"y" * 65_536
FILLS = {"/large": 64, "/huge": 1_024}
"""Huge is more than the buffers of two sockets take, however the system tunes them."""


class Patient(BoundedProtocol):
    """No deadline of its own fires within a test."""

    header_receive_s = LONG_S
    body_receive_s = LONG_S
    client_stalled_s = LONG_S


class HastyHeads(Patient):
    header_receive_s = SOON_S


class HastyBodies(Patient):
    body_receive_s = SOON_S


class HastyReaders(Patient):
    client_stalled_s = SOON_S


class FairReaders(Patient):
    client_stalled_s = 10 * SOON_S


class App:
    """Says what it was asked; ``/stream`` writes until the client is gone, ``/early`` reads no body."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.gone: list[str] = []
        self.connections: set[Any] = set()
        self.written = 0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        path: str = scope["path"]
        self.served.append(path)
        if path == "/stream":
            await self._stream(path, receive, send)
            return
        body = b""
        more = path != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.append(path)
                return
            body += message["body"]
            more = message["more_body"]
        self.headers.append(dict(scope["headers"]))
        answer = (
            FILL * FILLS[path] if path in FILLS else json.dumps({"path": path, "body": len(body)}).encode()
        )
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})

    async def _stream(
        self,
        path: str,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watch = asyncio.ensure_future(self._until_gone(receive))
        while not watch.done():
            await send({"type": "http.response.body", "body": b"word ", "more_body": True})
            await asyncio.wait([watch], timeout=0.01)
        self.gone.append(path)

    @staticmethod
    async def _until_gone(receive: Callable[[], Awaitable[Message]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


@asynccontextmanager
async def serving(protocol: type[BoundedProtocol], keep_alive_s: int = 60) -> AsyncGenerator[tuple[str, App]]:
    app = App()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=protocol,
            ws="none",
            lifespan="off",
            log_level="critical",
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the test server")
    app.connections = server.server_state.connections
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", app
    server.should_exit = True
    server.force_exit = True
    await task


async def happens(condition: Callable[[], bool]) -> None:
    await eventually(condition, "it", 30.0)


async def still_serves(url: str) -> None:
    reply = await exchange(url, request(url, "/good", body=b"ok"))
    assert (reply.status, reply.json()) == (200, {"path": "/good", "body": 2})


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"P",
        b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\r\nhost: a\r\nx-slow: aaa",
    ],
)
async def test_a_head_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    async with serving(HastyHeads) as (url, app), Wire(url) as wire:
        wire.send(begun)
        await wire.shut()
        assert app.served == []
        await still_serves(url)


async def test_a_head_that_comes_a_byte_at_a_time_ends_the_connection() -> None:
    async with serving(HastyHeads) as (url, app), Wire(url) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nx: ")
        while not wire.current.closed:
            wire.send(b"a")
            await asyncio.sleep(0.02)
        assert app.served == []


@pytest.mark.parametrize("begun", [b"\r\n", b"\r\n" * 40, b"G", b"POST /x HTTP/1.1\r\nhost:"])
async def test_the_next_head_on_a_kept_alive_connection_has_a_deadline_too(begun: bytes) -> None:
    async with serving(HastyHeads) as (url, _), Wire(url) as wire:
        wire.send(request(url, "/one", body=b"ok"))
        assert (await wire.reply()).status == 200
        wire.send(begun)
        await wire.shut()


async def test_a_body_that_goes_on_after_its_answer_leaves_the_connection_with_a_deadline() -> None:
    async with serving(HastyHeads) as (url, _), Wire(url) as wire:
        wire.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
        assert (await wire.reply()).status == 200
        wire.send(b"cd")
        await wire.shut()


@pytest.mark.parametrize(
    "begun",
    [
        b"content-length: 10\r\n\r\nabc",
        b"transfer-encoding: chunked\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: a",
    ],
)
async def test_a_body_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    async with serving(HastyBodies) as (url, app), Wire(url) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost: a\r\n" + begun)
        await wire.shut()
        await happens(lambda: app.gone == ["/x"])
        await still_serves(url)


async def test_an_idle_connection_is_closed() -> None:
    async with serving(Patient, keep_alive_s=1) as (url, _), Wire(url) as wire:
        wire.send(request(url, "/one", body=b"ok"))
        assert (await wire.reply()).status == 200
        await wire.shut()


async def test_a_client_that_stops_reading_is_cut_off() -> None:
    async with serving(HastyReaders) as (url, app), Wire(url) as wire:
        wire.pause()
        wire.send(request(url, "/huge", body=b"ok"))
        await happens(lambda: app.served == ["/huge"])
        await happens(lambda: not app.connections)
        wire.resume()
        reply = await wire.reply()
        assert reply.closed
        assert not reply.complete


async def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    """It takes longer than a client may stand still, and never stands still that long."""
    async with serving(FairReaders) as (url, _), Wire(url) as wire:
        wire.send(request(url, "/large", body=b"ok"))
        wire.pause()
        for _ in range(20):
            before = len(wire.current.body)
            wire.resume()
            await wire.until(lambda seen, size=before: len(seen.body) > size)
            wire.pause()
            await asyncio.sleep(FairReaders.client_stalled_s / 16)
        wire.resume()
        reply = await wire.reply()
        assert reply.complete
        assert len(reply.body) == FILLS["/large"] * len(FILL)


LARGE = b"a" * (HEADER_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /" + LARGE + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nx: " + LARGE + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + LARGE + b": x\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * (HEADER_COUNT_MAX + 1) + b"\r\n",
        b"POST / HTTP/1.1\r\n" + b"x: " + b"y" * 9_000 + b"\r\n" * 1 + b"z: " + LARGE[:60_000] + b"\r\n\r\n",
    ],
)
async def test_a_head_that_is_too_large_gets_431_and_nothing_else(head: bytes) -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(head)
        reply = await wire.reply()
        assert reply.status == 431
        assert reply.error()["code"] == "request_head_too_large"
        await wire.shut()
        assert wire.current.garbled is None
        assert app.served == []
        await still_serves(url)


@pytest.mark.parametrize(
    "endless",
    [b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n", b"", b"POST / HTTP/1.1\r\nx: y\r\n"],
)
async def test_a_head_without_end_is_not_collected(endless: bytes) -> None:
    block = b"\r\n" * 2_048 if not endless else b"a" * 4_096
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(endless)
        sent = 0
        while not wire.current.closed:
            wire.send(block)
            sent += len(block)
            await asyncio.sleep(0)
            assert sent < 64 * 1024 * 1024
        assert wire.current.status in (0, 431)
        assert app.served == []


@pytest.mark.parametrize(
    "begun",
    [b"0\r\nx-trailer: ", b"0\r\n", b"1;x="],
)
async def test_chunk_lines_and_trailers_without_end_are_not_collected(begun: bytes) -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + begun)
        sent = 0
        while not wire.current.closed:
            wire.send(b"a" * 4_096)
            sent += 4_096
            await asyncio.sleep(0)
            assert sent < 64 * 1024 * 1024
        await happens(lambda: app.gone == ["/x"])


async def test_trailers_are_no_headers() -> None:
    async with serving(Patient) as (url, app):
        body = b"2\r\nok\r\n0\r\nx-late: 1\r\nauthorization: Bearer late\r\n\r\n"
        head = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (await exchange(url, head + body)).status == 200
        assert b"x-late" not in app.headers[0]
        assert b"authorization" not in app.headers[0]


async def test_what_is_no_http_gets_one_400_in_json() -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        reply = await wire.reply()
        assert (reply.status, reply.error()["type"]) == (400, "invalid_request_error")
        await wire.shut()
        assert app.served == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(b"".join(request(url, f"/{number}", body=b"ok") for number in range(5)))
        await happens(lambda: wire.current.body.count(b"}") == 5)
        told = wire.current.body.replace(b"}", b"}\n").splitlines()
        assert [json.loads(answer)["path"] for answer in told] == [f"/{number}" for number in range(5)]
        assert app.served == [f"/{number}" for number in range(5)]


async def test_garbage_behind_a_running_answer_writes_nothing_into_it() -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(request(url, "/stream"))
        await wire.chunk(1)
        wire.send(b"garbage garbage\r\n\r\n")
        reply = await wire.reply()
        assert reply.closed
        assert not reply.complete
        assert reply.garbled is None
        assert set(reply.body.split()) == {b"word"}
        await happens(lambda: app.gone == ["/stream"])


async def test_a_client_that_pipelines_and_leaves_is_noticed_by_the_call_that_runs() -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(request(url, "/stream"))
        await wire.chunk(1)
        wire.send(request(url, "/next", body=b"ok"))
        await asyncio.sleep(0.05)
        wire.reset()
        await happens(lambda: app.gone == ["/stream"])
        assert app.served == ["/stream"]


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_another_version_of_http_is_refused(version: str) -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        wire.send(f"POST /x HTTP/{version}\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode())
        assert (await wire.reply()).status == 400
        assert app.served == []


async def test_the_body_of_a_request_that_offers_an_upgrade_is_not_read_as_the_next_request() -> None:
    async with serving(Patient) as (url, app), Wire(url) as wire:
        inner = request(url, "/inner", body=b"ok")
        head = b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
        wire.send(head + b"content-length: %d\r\n\r\n" % len(inner))
        reply = await wire.reply()
        wire.send(inner)
        await wire.shut()
        assert reply.status == 400
        assert "Upgrade" in str(reply.error()["message"])
        assert app.served == []
