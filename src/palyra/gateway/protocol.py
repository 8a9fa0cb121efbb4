"""uvicorn's HTTP protocol with the deadlines and header limits it lacks (V2).

uvicorn waits for ever for the rest of a header or a body, and for a client that stops reading. This
protocol gives each of them an absolute deadline, and bounds what headers may weigh.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palyra.core.limits import (
    BODY_RECEIVE_S,
    CLIENT_STALLED_S,
    HEADER_BYTES_MAX,
    HEADER_COUNT_MAX,
    HEADER_RECEIVE_S,
)

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/json\r\ncontent-length: 101\r\nconnection: close\r\n\r\n"
    b'{"error":{"message":"the request headers are too large","type":"invalid_request_error","code":"431"}}'
)


class BoundedProtocol(HttpToolsProtocol):
    """One client connection whose every wait has a bound."""

    header_receive_s = HEADER_RECEIVE_S
    body_receive_s = BODY_RECEIVE_S
    client_stalled_s = CLIENT_STALLED_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the header deadline with the connection, not with its first byte."""
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self._arm(self.header_receive_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._disarm()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins: its header has a deadline of its own on a kept-alive connection."""
        self._header_bytes = 0
        self._arm(self.header_receive_s)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the URL with the header."""
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what headers weigh; past the limit the connection ends."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX or len(self.headers) >= HEADER_COUNT_MAX:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
            raise ValueError("request headers too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """From here on the body has its deadline."""
        self._arm(self.body_receive_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._disarm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read: it may pause, not stop."""
        self._stalled = self.loop.call_later(self.client_stalled_s, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self.transport.abort()
