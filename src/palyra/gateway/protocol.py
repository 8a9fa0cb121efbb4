"""uvicorn's HTTP protocol with the deadlines and limits it lacks (V2).

uvicorn waits for ever for the rest of a header or a body and for a client that stops reading, and collects a
header line of any length. This protocol gives each wait a deadline and bounds every byte that is no body.
"""

import asyncio
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from palyra.core.limits import (
    BODY_RECEIVE_S,
    CLIENT_STALLED_S,
    HEADER_BYTES_MAX,
    HEADER_COUNT_MAX,
    HEADER_RECEIVE_S,
)

_VERSIONS = frozenset({"1.0", "1.1"})


class BoundedProtocol(HttpToolsProtocol):
    """One client connection whose every wait has a bound."""

    header_receive_s = HEADER_RECEIVE_S
    body_receive_s = BODY_RECEIVE_S
    client_stalled_s = CLIENT_STALLED_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tick_s = min(
            self.header_receive_s, self.body_receive_s, self.client_stalled_s, self.timeout_keep_alive
        )
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._idle = False
        self._stalled: asyncio.TimerHandle | None = None
        self._serving: Any = None
        self._in_head = False
        self._head_bytes = 0
        self._head_lines = 0
        self._refusal = _NOT_HTTP
        self._advanced = False
        self._quiet_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the header deadline with the connection, not with its first byte."""
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self._arm(self.header_receive_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines, and tell the running call: uvicorn tells the one that came in last."""
        self._disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stalled is not None:
            self._stalled.cancel()
        serving = self._serving
        if serving is not None and not serving.response_complete:
            serving.disconnected = True
            serving.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse. Heads, chunk lines, trailers and blank lines may not go on for ever."""
        self._advanced = False
        if self._idle:
            self._disarm()
        parser = self.parser
        if parser is None:
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            self._reject(self._refusal)
            return
        if self._advanced:
            self._quiet_bytes = 0
        else:
            self._quiet_bytes += len(data)
            if self._quiet_bytes > HEADER_BYTES_MAX:
                self._reject(_HEAD_TOO_LARGE)
                return
        if self._due is None and not self._answering() and not self.transport.is_closing():
            # Bytes that begin no request, such as blank lines, have ended the wait for one.
            self._arm(self.header_receive_s)

    def on_message_begin(self) -> None:
        """A request begins: its header has a deadline of its own on a kept-alive connection."""
        self._in_head = True
        self._head_bytes = 0
        self._head_lines = 0
        self._arm(self.header_receive_s)
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_url(self, url: bytes) -> None:
        """Count the URL with the header."""
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what headers weigh; trailers are counted, and mean nothing."""
        self._head_lines += 1
        self._count(len(name) + len(value))
        if self._in_head:
            name = name.lower()
            self.headers.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """From here on the body has its deadline. Only HTTP/1.x goes on: the parser takes 0.9 and 2.0, too.

        It also takes no body from a request that offers an upgrade, and would read it as the next request.
        """
        parser = self.parser
        if parser is None or parser.get_http_version() not in _VERSIONS:
            raise ValueError("not HTTP/1.x")
        if parser.should_upgrade():
            self._refusal = _NO_UPGRADE
            raise ValueError("an upgrade is offered")
        self._in_head = False
        self._advanced = True
        self._arm(self.body_receive_s)
        self.begin()

    def begin(self) -> None:
        """Serve the request whose head is in ``url`` and ``headers``, by uvicorn's ASGI."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = expects
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._advanced = True
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or bound how long the client may take to read the last answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._arm(self.client_stalled_s)
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._due is None:
            self._arm(self.timeout_keep_alive)
            self._idle = True

    def pause_writing(self) -> None:
        """The client does not read: it may pause, not stop."""
        self._watch_reader()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _answering(self) -> bool:
        return self._serving is not None and not self._serving.response_complete

    def _reject(self, refusal: bytes) -> None:
        """Say what is wrong and close; inside another answer only closing is left to say it."""
        if not self._answering():
            self.transport.write(refusal)
        self._close_soon()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEADER_BYTES_MAX or self._head_lines > HEADER_COUNT_MAX:
            self._refusal = _HEAD_TOO_LARGE
            raise ValueError("request head too large")

    def _watch_reader(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.client_stalled_s, self._look_at_reader, unread)

    def _look_at_reader(self, unread_before: int) -> None:
        """A slow client that takes bytes may go on."""
        if self.transport.get_write_buffer_size() < unread_before:
            self._watch_reader()
        else:
            self.transport.abort()

    def _close_soon(self) -> None:
        """Close once the client has read what is on its way, within a bound."""
        self.transport.close()
        self._arm(self.client_stalled_s)

    # One timer serves all deadlines of a connection. It never fires later than the shortest of them could
    # be due, so that moving a deadline, as every request does several times, moves no timer.

    def _arm(self, seconds: float) -> None:
        now = self.loop.time()
        self._due = now + seconds
        self._idle = False
        if self._timer is None:
            self._timer = self.loop.call_at(now + min(seconds, self._tick_s), self._look_at_clock)

    def _disarm(self) -> None:
        self._due = None
        self._idle = False

    def _look_at_clock(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        now = self.loop.time()
        if now < due:
            self._timer = self.loop.call_at(min(due, now + self._tick_s), self._look_at_clock)
        elif self._idle:
            self._close_soon()
        else:
            self.transport.abort()


def _refusal(status: bytes, message: str, code: str) -> bytes:
    """A whole answer to bytes that are no request; no wire format is known yet, so OpenAI's is used."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = msgspec.json.encode({"error": error})
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body


_NOT_HTTP = _refusal(b"400 Bad Request", "this is no valid HTTP/1.1 request", "invalid_request_error")
_NO_UPGRADE = _refusal(
    b"400 Bad Request",
    "Upgrade is not supported; send plain HTTP/1.1 (with Java's HttpClient: version(HTTP_1_1))",
    "invalid_request_error",
)
_HEAD_TOO_LARGE = _refusal(
    b"431 Request Header Fields Too Large",
    f"the request head is larger than {HEADER_BYTES_MAX} bytes or has more than {HEADER_COUNT_MAX} headers",
    "request_head_too_large",
)
