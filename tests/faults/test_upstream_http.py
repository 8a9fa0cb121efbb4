"""The HTTP client against real sockets that misbehave: one end per call, right kind, nothing left behind."""

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
import uvloop

from palyra.core.errors import UpstreamFailed, UpstreamTimedOut
from palyra.core.secret import Secret
from palyra.lifecycle.wire import FailureKind, UpstreamCall, UpstreamFailure, UpstreamRequest
from palyra.upstream.deadlines import Deadlines
from palyra.upstream.guard import ProviderUrl, check_provider_url
from palyra.upstream.pool import PoolSize
from palyra.upstream.provider import HttpUpstream, ProviderEndpoint
from palyra.upstream.request_head import ProviderKind

PATIENCE = Deadlines(connect=5, first_byte=5, idle=5, total=10)
BODY = b'{"model":"m"}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\nok"

Handler = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """The provider's end of one connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> tuple[bytes, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        return head, await self.reader.readexactly(length)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Sink:
    """Records one answer and insists on the protocol: head first, one end, nothing after it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.failure: UpstreamFailure | None = None
        self.done = asyncio.Event()
        self.progress = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.status
        assert not self.done.is_set()
        self.status = status
        self.headers = headers
        self.progress.set()

    def data(self, chunk: bytes) -> None:
        assert self.status
        assert chunk
        assert not self.done.is_set()
        self.chunks.append(chunk)
        self.progress.set()

    def end(self) -> None:
        assert self.status
        assert not self.done.is_set()
        self.done.set()

    def failed(self, failure: UpstreamFailure) -> None:
        assert not self.done.is_set()
        self.failure = failure
        self.done.set()


@dataclass
class Rig:
    """A provider on loopback and the client under test."""

    port: int
    upstream: HttpUpstream
    peers: list[Peer] = field(default_factory=list[Peer])

    def send(self, sink: Sink, body: bytes = BODY, path: bytes = b"/chat/completions") -> UpstreamCall:
        headers = ((b"content-type", b"application/json"),)
        return self.upstream.send(UpstreamRequest("p", b"POST", path, headers, body), sink)

    async def call(self, body: bytes = BODY) -> Sink:
        sink = Sink()
        self.send(sink, body)
        await asyncio.wait_for(sink.done.wait(), 10)
        return sink

    async def failure(self) -> UpstreamFailure:
        sink = await self.call()
        assert sink.failure is not None
        return sink.failure


@contextlib.asynccontextmanager
async def rig(
    handler: Handler,
    *,
    deadlines: Deadlines = PATIENCE,
    size: PoolSize | None = None,
    server_tls: ssl.SSLContext | None = None,
    ca_file: Path | None = None,
    host: str = "127.0.0.1",
    kind: ProviderKind = ProviderKind.openai,
    credential: Secret | None = None,
) -> AsyncGenerator[Rig]:
    before = asyncio.all_tasks()
    peers: list[Peer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(peers), reader, writer)
        peers.append(peer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(peer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    url = check_provider_url(f"{'https' if server_tls else 'http'}://{host}:{port}/v1")
    endpoint = ProviderEndpoint(
        "p", kind, url, credential, ca_file=ca_file, deadlines=deadlines, size=size or PoolSize()
    )
    upstream = HttpUpstream({"p": endpoint})
    try:
        yield Rig(port, upstream, peers)
    finally:
        await asyncio.wait_for(upstream.close(), 5)
        server.close()
        for peer in peers:
            peer.writer.transport.abort()
        left = asyncio.all_tasks() - before
        if left:
            await asyncio.wait(left, timeout=5)
        assert asyncio.all_tasks() <= before


def always(answer: bytes, *, close: bool = False) -> Handler:
    async def handle(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.write(answer)
            if close:
                return

    return handle


async def silence(peer: Peer) -> None:
    await peer.reader.read()


async def test_an_answer_arrives_with_end_to_end_headers_and_the_connection_is_reused() -> None:
    answer = (
        b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nConnection: keep-alive, X-Hop\r\n"
        b"Keep-Alive: timeout=5\r\n"
        b"X-Hop: 1\r\nX-Request-Id: abc\r\nContent-Length: 3\r\n\r\nabc"
    )
    async with rig(always(answer), credential=Secret("sk")) as r:
        for _ in range(5):
            sink = await r.call()
            assert (sink.status, sink.body, sink.failure) == (201, b"abc", None)
            assert sink.headers == [
                (b"content-type", b"text/plain"),
                (b"x-request-id", b"abc"),
                (b"content-length", b"3"),
            ]
        assert len(r.peers) == 1


async def test_the_provider_sees_one_well_formed_request() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handle(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.write(OK)

    body = b"x" * (3 << 20)
    async with rig(handle, credential=Secret("sk-up")) as r:
        assert (await r.call(body)).failure is None
        assert seen[0][1] == body
        lines = seen[0][0].split(b"\r\n")
        assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
        assert lines[1] == b"host: 127.0.0.1:%d" % r.port
        assert b"authorization: Bearer sk-up" in lines
        assert b"accept-encoding: identity" in lines


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, 200, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n1;x\r\n!\r\n0\r\nx: 1\r\n\r\n",
            200,
            b"ok!",
        ),
    ],
)
async def test_bodies_with_framing_keep_the_connection(answer: bytes, status: int, body: bytes) -> None:
    async with rig(always(answer)) as r:
        for _ in range(3):
            sink = await r.call()
            assert (sink.status, sink.body, sink.failure) == (status, body, None)
            assert {b"transfer-encoding", b"link", b"x"}.isdisjoint(dict(sink.headers))
        assert len(r.peers) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_close_delimited_and_closing_answers_end_and_are_not_reused(answer: bytes) -> None:
    async with rig(always(answer, close=True)) as r:
        for number in range(1, 4):
            sink = await r.call()
            assert (sink.status, sink.body, sink.failure) == (200, b"ok", None)
            assert len(r.peers) == number


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunked"])
async def test_a_cut_at_any_byte_is_a_cut_and_never_an_end(answer: bytes) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer[: peer.number])

    async with rig(handle) as r:
        for _ in range(len(answer)):
            failure = await r.failure()
            assert failure.kind is FailureKind.cut
            assert failure.sent
        sink = await r.call()
        assert sink.failure is None


async def test_bytes_before_a_cut_reach_the_sink() -> None:
    async with rig(always(CHUNKED[:-5], close=True)) as r:
        sink = await r.call()
        assert sink.body == b"data: 1\n\ndata: 2\n\n"
        assert sink.failure is not None
        assert sink.failure.kind is FailureKind.cut


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"garbage\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 2000 OK\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 abc OK\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", FailureKind.protocol),
        (b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nx", FailureKind.protocol),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n", FailureKind.too_large),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", FailureKind.too_large),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000, FailureKind.too_large),
        (b"HTTP/1.1 103 Hi\r\n\r\n" * 10_000, FailureKind.too_large),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 400_000,
            FailureKind.too_large,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"y" * 400_000,
            FailureKind.too_large,
        ),
    ],
)
async def test_answers_that_are_no_http_or_have_no_end_are_refused(answer: bytes, kind: FailureKind) -> None:
    async with rig(always(answer)) as r:
        failure = await r.failure()
        assert failure.kind is kind
        assert failure.sent


@pytest.mark.parametrize("garbage", [b"GARBAGE", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
async def test_bytes_after_an_answer_never_become_the_next_answer(garbage: bytes) -> None:
    async with rig(always(OK + garbage)) as r:
        for number in range(1, 4):
            sink = await r.call()
            assert (sink.status, sink.body, sink.failure) == (200, b"ok", None)
            assert len(r.peers) == number


async def test_bytes_on_an_idle_connection_close_it() -> None:
    closed = asyncio.Event()

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        if peer.number == 0:
            await peer.write(OK)
            with contextlib.suppress(ConnectionError):
                await peer.reader.read()
            closed.set()

    async with rig(handle) as r:
        await r.call()
        await asyncio.wait_for(closed.wait(), 5)
        assert (await r.call()).failure is None
        assert len(r.peers) == 2


async def test_a_reused_connection_that_is_cut_before_the_answer_is_not_sent_on_again() -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()

    async with rig(handle) as r:
        await r.call()
        failure = await r.failure()
        assert (failure.kind, failure.sent) == (FailureKind.cut, True), "the provider may have done the work"
        assert len(r.peers) == 1


async def test_a_reused_connection_that_began_an_answer_is_not_retried() -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        await peer.write(b"H")

    async with rig(handle) as r:
        await r.call()
        assert (await r.failure()).kind is FailureKind.cut
        assert len(r.peers) == 1


async def test_nobody_listening_is_refused_and_nothing_was_sent() -> None:
    async with rig(silence) as r:
        port = r.port
    url = check_provider_url(f"http://localhost:{port}/v1")
    upstream = HttpUpstream({"p": ProviderEndpoint("p", ProviderKind.openai, url, deadlines=PATIENCE)})
    failure = await Rig(port, upstream).failure()
    assert (failure.kind, failure.sent) == (FailureKind.refused, False)
    await upstream.close()


async def test_a_host_name_that_cannot_be_resolved_is_refused() -> None:
    url = ProviderUrl("https", "a" * 70 + ".invalid", 443, "")
    upstream = HttpUpstream({"p": ProviderEndpoint("p", ProviderKind.openai, url, deadlines=PATIENCE)})
    failure = await Rig(443, upstream).failure()
    assert (failure.kind, failure.sent) == (FailureKind.refused, False)
    await upstream.close()


async def test_deadlines_name_the_stage_that_hung() -> None:
    async def after_head(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await peer.reader.read()

    async def between(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED[:-20])
        await peer.reader.read()

    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.write(b".")
            await asyncio.sleep(0)

    first = Deadlines(first_byte=0.05)
    for handler, deadlines, kind in (
        (silence, first, FailureKind.first_byte_timeout),
        (after_head, first, FailureKind.first_byte_timeout),
        (between, Deadlines(idle=0.05), FailureKind.idle_timeout),
        (drip, Deadlines(total=0.05), FailureKind.total_timeout),
        (silence, Deadlines(total=0.05), FailureKind.total_timeout),
    ):
        async with rig(handler, deadlines=deadlines) as r:
            failure = await r.failure()
            assert (failure.kind, failure.sent) == (kind, True)


async def test_a_handshake_that_hangs_is_a_connect_timeout() -> None:
    async with rig(silence) as r:
        url = check_provider_url(f"https://127.0.0.1:{r.port}/v1")
        endpoint = ProviderEndpoint("p", ProviderKind.openai, url, deadlines=Deadlines(connect=0.05))
        upstream = HttpUpstream({"p": endpoint})
        failure = await Rig(r.port, upstream).failure()
        assert (failure.kind, failure.sent) == (FailureKind.connect_timeout, False)
        await upstream.close()


async def test_a_call_that_finds_no_free_connection_times_out_unsent_and_a_full_queue_refuses() -> None:
    size = PoolSize(connections=1, waiting=1)
    async with rig(silence, deadlines=Deadlines(connect=0.1), size=size) as r:
        busy, waiting, refused = Sink(), Sink(), Sink()
        r.send(busy)
        r.send(waiting)
        r.send(refused)
        await asyncio.wait_for(refused.done.wait(), 5)
        await asyncio.wait_for(waiting.done.wait(), 5)
        assert refused.failure is not None
        assert (refused.failure.kind, refused.failure.sent) == (FailureKind.local, False)
        assert waiting.failure is not None
        assert (waiting.failure.kind, waiting.failure.sent) == (FailureKind.connect_timeout, False)
        assert not busy.done.is_set()


def once_until_closed(answer: bytes, closed: asyncio.Event) -> Handler:
    """Answers one call, waits for the other side to close, and tells of it."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer)
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()
        closed.set()

    return handle


def patient(said: bytes) -> bytes:
    """OK with this Keep-Alive header."""
    return OK.replace(b"\r\n", b"\r\nKeep-Alive: " + said + b"\r\n", 1)


async def test_an_unused_connection_is_closed_after_its_keep_alive() -> None:
    closed = asyncio.Event()
    async with rig(once_until_closed(OK, closed), deadlines=Deadlines(keep_alive=0.02)) as r:
        await r.call()
        await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.parametrize("said", [b"timeout=1, max=100", b"max=5, Timeout = 1", b"timeout=0"])
async def test_an_unused_connection_is_closed_before_the_provider_says_it_would_close_it(said: bytes) -> None:
    closed = asyncio.Event()
    async with rig(once_until_closed(patient(said), closed), deadlines=Deadlines(keep_alive=3_600)) as r:
        await r.call()
        await asyncio.wait_for(closed.wait(), 30)


@pytest.mark.parametrize("said", [b"timeout=1000", b"timeout=soon", b"", b"max=1"])
async def test_a_provider_s_patience_does_not_lengthen_ours(said: bytes) -> None:
    closed = asyncio.Event()
    async with rig(once_until_closed(patient(said), closed), deadlines=Deadlines(keep_alive=0.02)) as r:
        sink = await r.call()
        assert all(name != b"keep-alive" for name, _ in sink.headers)
        await asyncio.wait_for(closed.wait(), 30)


async def test_a_provider_that_closes_after_streams_without_a_word_is_not_reused_after_them() -> None:
    """Or a call written in between would be in doubt."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED)
        if peer.number:
            # Now it would take another call.
            await peer.request()
            await peer.write(CHUNKED)

    async with rig(handle) as r:
        await r.call()
        pool = r.upstream._routes["p"].pool  # pyright: ignore[reportPrivateUsage]
        async with asyncio.timeout(30):
            while pool._connections:  # noqa: ASYNC110  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0)
        for number in range(2, 5):
            sink = await r.call()
            assert (sink.status, sink.failure) == (200, None)
            assert len(r.peers) == number, "each has a connection of its own"


async def test_five_hundred_calls_complete_on_eight_connections() -> None:
    async with rig(always(CHUNKED), size=PoolSize(connections=8)) as r:
        sinks = [Sink() for _ in range(500)]
        for sink in sinks:
            r.send(sink)
        await asyncio.wait_for(asyncio.gather(*(sink.done.wait() for sink in sinks)), 20)
        assert all(sink.failure is None and sink.body == b"data: 1\n\ndata: 2\n\n" for sink in sinks)
        assert len(r.peers) <= 8


async def test_the_queue_moves_on_when_connections_die() -> None:
    async with rig(always(OK, close=True), size=PoolSize(connections=2)) as r:
        sinks = [Sink() for _ in range(40)]
        for sink in sinks:
            r.send(sink)
        await asyncio.wait_for(asyncio.gather(*(sink.done.wait() for sink in sinks)), 20)
        for sink in sinks:
            assert sink.failure is None or sink.failure.kind is FailureKind.cut


async def test_a_call_takes_the_connection_that_is_free_first(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def handle(peer: Peer) -> None:
        while True:
            await peer.request()
            arrived.set()
            await answer.wait()
            await peer.write(OK)

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async with rig(handle) as r:
        first, second = Sink(), Sink()
        r.send(first)
        await asyncio.wait_for(arrived.wait(), 5)
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
        r.send(second)
        answer.set()
        await asyncio.wait_for(second.done.wait(), 5)
        assert second.body == b"ok"
        assert len(r.peers) == 1


async def test_abort_closes_the_connection_and_silences_the_sink() -> None:
    gone = asyncio.Event()

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED[:-20])
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()
        gone.set()

    async with rig(handle, size=PoolSize(connections=1)) as r:
        sink = Sink()
        call = r.send(sink)
        await asyncio.wait_for(sink.progress.wait(), 5)
        call.abort()
        call.abort()
        call.pause()
        call.resume()
        await asyncio.wait_for(gone.wait(), 5)
        assert not sink.done.is_set()


async def test_abort_while_waiting_or_opening_frees_the_place() -> None:
    async with rig(always(OK), size=PoolSize(connections=1)) as r:
        opening, waiting, last = Sink(), Sink(), Sink()
        first = r.send(opening)
        second = r.send(waiting)
        r.send(last)
        first.abort()
        second.abort()
        await asyncio.wait_for(last.done.wait(), 5)
        assert last.body == b"ok"
        assert not opening.done.is_set()
        assert not waiting.done.is_set()


async def test_abort_from_inside_a_callback_is_the_last_thing_heard() -> None:
    class Aborting(Sink):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            call.abort()

    async with rig(always(OK)) as r:
        sink = Aborting()
        call = r.send(sink)
        await asyncio.wait_for(sink.progress.wait(), 5)
        assert (await r.call()).failure is None
        assert not sink.done.is_set()
        assert len(r.peers) == 2


async def test_the_next_call_may_start_inside_end() -> None:
    async with rig(always(OK), size=PoolSize(connections=1)) as r:
        second = Sink()

        class Chaining(Sink):
            def end(self) -> None:
                super().end()
                r.send(second)

        first = Chaining()
        r.send(first)
        await asyncio.wait_for(second.done.wait(), 5)
        assert second.body == b"ok"
        assert len(r.peers) == 1


async def test_pause_stops_the_flow_and_the_idle_deadline() -> None:
    size = 4 << 20
    written = asyncio.Event()

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        await peer.write(b"x" * size)
        written.set()
        await peer.request()

    class Pausing(Sink):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            if len(self.chunks) == 1:
                call.pause()

    async with rig(handle, deadlines=Deadlines(idle=0.05)) as r:
        sink = Pausing()
        call = r.send(sink)
        await asyncio.wait_for(sink.progress.wait(), 5)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sink.done.wait(), 0.15)
        assert not sink.done.is_set()
        assert len(sink.body) < size
        call.resume()
        await asyncio.wait_for(sink.done.wait(), 5)
        assert len(sink.body) == size
        assert sink.failure is None


async def test_close_fails_calls_in_flight_and_refuses_new_ones() -> None:
    arrived = asyncio.Event()

    async def handle(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.reader.read()

    async with rig(handle, size=PoolSize(connections=1)) as r:
        busy, waiting, late = Sink(), Sink(), Sink()
        r.send(busy)
        r.send(waiting)
        await asyncio.wait_for(arrived.wait(), 5)
        await r.upstream.close()
        r.send(late)
        await asyncio.wait_for(late.done.wait(), 5)
        for sink in (busy, waiting, late):
            assert sink.failure is not None
        assert waiting.failure is not None
        assert not waiting.failure.sent


async def test_an_unknown_provider_and_a_forged_header_fail_later_and_unsent() -> None:
    async with rig(always(OK)) as r:
        for request, kind in (
            (UpstreamRequest("nope", b"POST", b"/x", (), b""), FailureKind.local),
            (UpstreamRequest("p", b"POST", b"/x", ((b"a", b"b\r\nc: d"),), b""), FailureKind.protocol),
        ):
            sink, silent = Sink(), Sink()
            r.upstream.send(request, sink)
            r.upstream.send(request, silent).abort()
            assert not sink.done.is_set()
            await asyncio.wait_for(sink.done.wait(), 5)
            assert sink.failure is not None
            assert (sink.failure.kind, sink.failure.sent) == (kind, False)
            assert not silent.done.is_set()
        assert not r.peers


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(name)
    with certificate.private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def test_tls_with_a_trusted_authority_works_and_is_reused(
    authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, "localhost")
    async with rig(always(CHUNKED), server_tls=context, ca_file=ca_file, host="localhost") as r:
        for _ in range(3):
            sink = await r.call(b"x" * 300_000)
            assert (sink.body, sink.failure) == (b"data: 1\n\ndata: 2\n\n", None)
        assert len(r.peers) == 1


async def test_large_tls_answers_side_by_side_keep_their_bytes(authority: trustme.CA, tmp_path: Path) -> None:
    async def handle(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(body) * 300_000))
            for _ in range(30):
                await peer.write(body * 10_000)

    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, "localhost")
    async with rig(handle, server_tls=context, ca_file=ca_file, host="localhost") as r:
        sinks = {bytes([number]): Sink() for number in b"abcdefgh"}
        for body, sink in sinks.items():
            r.send(sink, body)
        await asyncio.wait_for(asyncio.gather(*(sink.done.wait() for sink in sinks.values())), 20)
        assert all(sink.body == body * 300_000 for body, sink in sinks.items())


@pytest.mark.parametrize(("name", "trusted"), [("localhost", False), ("other.example", True)])
async def test_tls_with_an_untrusted_or_wrong_certificate_is_refused_unsent(
    authority: trustme.CA, tmp_path: Path, name: str, trusted: bool
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, name)
    async with rig(
        always(OK), server_tls=context, ca_file=ca_file if trusted else None, host="localhost"
    ) as r:
        failure = await r.failure()
        assert (failure.kind, failure.sent) == (FailureKind.tls, False)


async def test_tls_to_a_clear_text_server_is_a_tls_failure() -> None:
    async def handle(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with rig(handle) as r:
        url = check_provider_url(f"https://127.0.0.1:{r.port}/v1")
        upstream = HttpUpstream({"p": ProviderEndpoint("p", ProviderKind.openai, url, deadlines=PATIENCE)})
        failure = await Rig(r.port, upstream).failure()
        assert failure.kind is FailureKind.tls
        await upstream.close()


def listing(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def test_discovery_reads_the_models_of_a_provider() -> None:
    seen: list[bytes] = []

    async def handle(peer: Peer) -> None:
        seen.append((await peer.request())[0])
        await peer.write(listing(b'{"object":"list","data":[{"id":"m","meta":{"n_ctx_train":2048}}]}'))

    async with rig(handle, kind=ProviderKind.anthropic, credential=Secret("k")) as r:
        models = await r.upstream.discover("p", 5)
        assert [(model.id, model.context_window) for model in models] == [("m", 2048)]
        assert seen[0].startswith(b"GET /v1/models?limit=1000 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        listing(b'{"error":"no"}', b"401 Unauthorized"),
        listing(b'{"error":"no"}'),
        listing(b"<html>"),
        listing(b"[]"),
        listing(b'{"data":[' + b"1" * (9 << 20)),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        b"nope\r\n",
    ],
)
async def test_discovery_failures_are_typed(answer: bytes) -> None:
    async with rig(always(answer, close=True)) as r:
        with pytest.raises(UpstreamFailed):
            await r.upstream.discover("p", 5)


async def test_discovery_that_hangs_times_out() -> None:
    async with rig(silence) as r:
        with pytest.raises(UpstreamTimedOut):
            await r.upstream.discover("p", 0.05)
    async with rig(silence, deadlines=Deadlines(first_byte=0.05)) as r:
        with pytest.raises(UpstreamTimedOut):
            await r.upstream.discover("p", 5)


def plain_tests() -> dict[str, Callable[[], Coroutine[None, None, None]]]:
    return {
        name: test
        for name, test in globals().items()
        if inspect.iscoroutinefunction(test)
        and name.startswith("test_")
        and not inspect.signature(test).parameters
    }


@pytest.mark.parametrize("name", sorted(plain_tests()))
def test_the_same_on_uvloop(name: str) -> None:
    on_uvloop(plain_tests()[name]())


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunked"])
def test_cuts_on_uvloop(answer: bytes) -> None:
    on_uvloop(test_a_cut_at_any_byte_is_a_cut_and_never_an_end(answer))


def test_tls_on_uvloop(authority: trustme.CA, tmp_path: Path) -> None:
    on_uvloop(test_tls_with_a_trusted_authority_works_and_is_reused(authority, tmp_path))
    on_uvloop(test_large_tls_answers_side_by_side_keep_their_bytes(authority, tmp_path))
    for name, trusted in (("localhost", False), ("other.example", True)):
        on_uvloop(
            test_tls_with_an_untrusted_or_wrong_certificate_is_refused_unsent(
                authority, tmp_path, name, trusted
            )
        )


def on_uvloop(test: Coroutine[None, None, None]) -> None:
    """The daemon runs on uvloop, which differs in closing, pausing and TLS."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test)
