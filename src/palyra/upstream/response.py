"""One HTTP/1.1 response after another, parsed: what httptools says, within limits, ready for a sink."""

import httptools

from palyra.core import limits

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class ProtocolError(Exception):
    """The provider's bytes are no response that we accept. ``too_large``: they broke a size limit."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


class ResponseParser:
    """Collects one final response at a time; informational ones are skipped.

    The owner calls ``feed`` and then looks at ``status`` (0 before the head), ``headers``, ``parts`` (body
    pieces to take and clear), ``complete`` and ``keep_alive``, and calls ``reset`` before the next request.
    Sinks are called by the owner after ``feed``, so that nothing re-enters the parser.
    """

    __slots__ = (
        "_framed",
        "_header_bytes",
        "_parser",
        "_quiet_bytes",
        "complete",
        "headers",
        "keep_alive",
        "parts",
        "status",
    )

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        """Get ready for the next response on the same connection."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts.clear()
        self.complete = False
        self.keep_alive = False
        self._framed = False
        self._header_bytes = 0
        self._quiet_bytes = 0

    def close(self) -> None:
        """Break the reference cycle with the C parser."""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """Parse ``data``. Raises ProtocolError; what was parsed before it stays readable."""
        if self._parser is None or self.complete:
            raise ProtocolError("bytes that belong to no response")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("an upgrade nobody asked for") from None
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, ProtocolError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise ProtocolError(str(error)) from None
        if not self.parts and not self.complete:
            # Heads, chunk lines and trailers: whatever is no body may not go on for ever.
            self._quiet_bytes += len(data)
            if self._quiet_bytes > limits.UPSTREAM_HEADER_BYTES_MAX:
                raise ProtocolError("response head is too large", too_large=True)

    def ends_with_connection(self) -> bool:
        """Whether the body has no framing, so that the provider's close is its end."""
        return self.status != 0 and not self.complete and not self._framed

    def on_message_begin(self) -> None:
        """Refuse a second response to one request."""
        if self.complete:
            raise ProtocolError("bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; trailers only count against the limits."""
        self._header_bytes += len(name) + len(value)
        if (
            self._header_bytes > limits.UPSTREAM_HEADER_BYTES_MAX
            or len(self.headers) >= limits.HEADER_COUNT_MAX
        ):
            raise ProtocolError("response head is too large", too_large=True)
        if not self.status:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Freeze the head of a final response, forget that of an informational one."""
        parser = self._parser
        if parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        if status > 599:
            raise ProtocolError("a status that HTTP does not have")
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        self._quiet_bytes = 0
        hop_by_hop = _HOP_BY_HOP
        for name, value in self.headers:
            if name == b"content-length":
                self._framed = True
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise ProtocolError("a transfer coding other than chunked")
                self._framed = True
            elif name == b"connection":
                hop_by_hop = hop_by_hop | {part.strip() for part in value.lower().split(b",")}
        self.headers = [pair for pair in self.headers if pair[0] not in hop_by_hop]

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body."""
        self._quiet_bytes = 0
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """Note the end of a final response."""
        if self.status:
            self.complete = True
