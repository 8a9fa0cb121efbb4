"""An HTTP client close to the wire: malformed requests, slow bodies, disconnects, and 1,000 calls at a time.

reply = await call(url, "/v1/chat/completions", json_body={…}, key=key)
replies = await burst(1_000, lambda number: call(url, …))
async with Wire(url) as wire: wire.send(b"GET / HT"); wire.send(b"TP/1.1…"); reply = await wire.reply()
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, cast
from urllib.parse import urlsplit

import httptools


@dataclass(slots=True)
class Reply:
    """What came back. ``chunks``: body parts as they arrived; ``complete``: the message ended as framed."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    chunks: list[bytes] = field(default_factory=list[bytes])
    complete: bool = False
    closed: bool = False
    garbled: str | None = None

    @property
    def body(self) -> bytes:
        """The whole body that arrived."""
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """The first value of a header, None if it is missing."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        parsed: object = json.loads(self.body)
        assert isinstance(parsed, dict)
        return cast("dict[str, object]", parsed)

    def error(self) -> dict[str, object]:
        """The ``error`` object of a JSON body."""
        error = self.json()["error"]
        assert isinstance(error, dict)
        return cast("dict[str, object]", error)

    def events(self) -> list[str]:
        """The data of every server-sent event in the body, in order."""
        text = self.body.decode().replace("\r\n", "\n").replace("\r", "\n")
        found: list[str] = []
        for block in text.split("\n\n"):
            data = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
            if data:
                found.append("\n".join(data))
        return found


class Wire(asyncio.Protocol):
    """One connection. ``send`` bytes as they are; await ``reply``, ``chunk`` number k, or ``closed``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._fresh()

    def _fresh(self) -> None:
        self.current = Reply()
        self._parser = httptools.HttpResponseParser(self)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        assert self._transport is not None
        self._transport.write(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent; the answer can still be read."""
        assert self._transport is not None
        self._transport.write_eof()

    def pause(self) -> None:
        """Stop reading: a slow client."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """Close in good order."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Drop the connection with a TCP reset, as a killed client does."""
        assert self._transport is not None
        raw = cast("socket.socket", self._transport.get_extra_info("socket"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def until(self, reached: Callable[[Reply], bool], deadline_s: float = 30.0) -> Reply:
        """Wait until the reply is as wanted or ends, or the connection closes. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s):
            while not (reached(self.current) or self.current.complete or self._closed):
                self._changed.clear()
                await self._changed.wait()
        return self.current

    async def reply(self, deadline_s: float = 30.0) -> Reply:
        """The whole next reply; ``complete`` is False if the connection broke off."""
        reply = await self.until(lambda _: False, deadline_s)
        reply.closed = self._closed
        if reply.complete and not self._closed:
            self._fresh()
        return reply

    async def chunk(self, count: int, deadline_s: float = 30.0) -> Reply:
        """Wait until ``count`` body parts have come."""
        return await self.until(lambda reply: len(reply.chunks) >= count, deadline_s)

    async def shut(self, deadline_s: float = 30.0) -> None:
        """Wait until the connection is closed, by either side."""
        async with asyncio.timeout(deadline_s):
            while not self._closed:
                self._changed.clear()
                await self._changed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser (asyncio calls this)."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.current.garbled = repr(error)
        self._changed.set()

    def eof_received(self) -> bool:
        """The other side is done; a body framed by the close is then whole (asyncio calls this)."""
        framed = any(key in {"content-length", "transfer-encoding"} for key, _ in self.current.headers)
        if self.current.status and not framed:
            self.current.complete = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end (asyncio calls this)."""
        self._closed = True
        self.current.closed = True
        self._changed.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header (the parser calls this)."""
        self.current.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The status is known (the parser calls this)."""
        self.current.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """A part of the body (the parser calls this)."""
        self.current.chunks.append(body)

    def on_message_complete(self) -> None:
        """The reply is whole (the parser calls this)."""
        self.current.complete = self.current.status >= 200


def request(
    url: str,
    path: str,
    *,
    method: str = "POST",
    json_body: object = None,
    body: bytes = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    key: str | None = None,
) -> bytes:
    """The bytes of a well-formed request. ``key`` becomes a bearer token."""
    content = json.dumps(json_body).encode() if json_body is not None else body
    parts = urlsplit(url)
    lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}"]
    given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    names = {name.lower() for name, _ in given}
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    if content and "content-type" not in names:
        lines.append("content-type: application/json")
    if (content or method == "POST") and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"content-length: {len(content)}")
    lines += [f"{name}: {value}" for name, value in given]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content


async def call(
    url: str,
    path: str,
    *,
    method: str = "POST",
    json_body: object = None,
    body: bytes = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    key: str | None = None,
    leave_after_chunks: int | None = None,
    deadline_s: float = 60.0,
) -> Reply:
    """One call on a connection of its own. ``leave_after_chunks``: reset it once that many came."""
    asked = request(url, path, method=method, json_body=json_body, body=body, headers=headers, key=key)
    async with Wire(url) as wire:
        wire.send(asked)
        if leave_after_chunks is None:
            return await wire.reply(deadline_s)
        reply = await wire.until(
            lambda seen: seen.status > 0 and len(seen.chunks) >= leave_after_chunks, deadline_s
        )
        wire.reset()
        await wire.shut()
        return reply


async def exchange(url: str, data: bytes, *, half_close: bool = False, deadline_s: float = 30.0) -> Reply:
    """Send raw bytes on a new connection, return the first reply or what came until the close."""
    async with Wire(url) as wire:
        wire.send(data)
        if half_close:
            wire.half_close()
        return await wire.reply(deadline_s)


async def burst(
    count: int, make: Callable[[int], Awaitable[Reply]], *, at_a_time: int = 1_000
) -> list[Reply]:
    """Run ``make(0) … make(count - 1)``, at most ``at_a_time`` at once; replies in that order."""
    slots = asyncio.Semaphore(at_a_time)

    async def one(number: int) -> Reply:
        async with slots:
            return await make(number)

    return list(await asyncio.gather(*(one(number) for number in range(count))))


@dataclass(slots=True)
class KeepAlive:
    """A few connections that are used again and again, for many calls at little cost."""

    url: str
    key: str
    _idle: list[Wire] = field(default_factory=list[Wire])

    async def call(self, path: str, json_body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """One call on an idle connection, or on a new one."""
        wire = self._idle.pop() if self._idle else await Wire(self.url).__aenter__()
        wire.send(request(self.url, path, json_body=json_body, headers=headers or {}, key=self.key))
        reply = await wire.reply()
        if reply.complete and not reply.closed and reply.header("connection") != "close":
            self._idle.append(wire)
        else:
            wire.close()
        return reply

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()
