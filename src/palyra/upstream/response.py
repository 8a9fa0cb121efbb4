"""One HTTP/1.1 response after another, parsed: what httptools says, within limits, ready for a sink."""

import math

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
_NOTED = _HOP_BY_HOP | {b"content-length"}
"""Headers that mean something to us. All others only pass."""
_PERSISTENCE = frozenset({b"keep-alive", b"close"})


class ProtocolError(Exception):
    """The provider's bytes are no response that we accept. ``too_large``: they broke a size limit."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


class ResponseParser:
    """Collects one final response at a time; informational ones are skipped.

    The owner calls ``feed`` and then looks at ``status`` (0 before the head), ``headers``, ``parts`` (body
    pieces to take and clear), ``complete``, ``keep_alive`` and ``idle_s`` (how long the server says that it
    keeps an unused connection), and calls ``reset`` before the next request.
    Sinks are called by the owner after ``feed``, so that nothing re-enters the parser.
    """

    __slots__ = (
        "_dropped",
        "_framed",
        "_head_bytes",
        "_pairs",
        "_parser",
        "_quiet_bytes",
        "chunked",
        "complete",
        "headers",
        "idle_s",
        "keep_alive",
        "on_body",
        "parts",
        "status",
    )

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        # httptools calls this for every piece of a body: straight into the list, without Python between.
        self.on_body = self.parts.append
        self.reset()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def reset(self) -> None:
        """Get ready for the next response on the same connection."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.idle_s = math.inf
        self.chunked = False
        self.parts.clear()
        self._pairs: list[tuple[bytes, bytes]] = []
        self._dropped: list[tuple[bytes, bytes]] = []
        self._framed = False
        self._head_bytes = 0
        self._quiet_bytes = 0

    def close(self) -> None:
        """Break the reference cycle with the C parser."""
        self._parser = None

    @property
    def touched(self) -> bool:
        """Whether any byte came since the reset."""
        return self._head_bytes != 0

    def feed(self, data: bytes | memoryview) -> None:
        """Parse ``data``. Raises ProtocolError; what was parsed before it stays readable."""
        parser = self._parser
        if parser is None or self.complete:
            raise ProtocolError("bytes that belong to no response")
        if not self.status:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("an upgrade nobody asked for") from None
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, ProtocolError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise ProtocolError(str(error)) from None
        if self.parts:
            self._quiet_bytes = 0
        elif not self.complete:
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
        """Collect a header; trailers, too, but nobody looks at them."""
        name = name.lower()
        if name not in _NOTED:
            self._pairs.append((name, value))
        elif name == b"content-length":
            self._pairs.append((name, value))
            self._framed = True
        else:
            self._dropped.append((name, value))

    def on_headers_complete(self) -> None:
        """Freeze the head of a final response, forget that of an informational one."""
        parser = self._parser
        if parser is None:
            return
        self._check_size()
        status = parser.get_status_code()
        if status < 200:
            self._pairs.clear()
            self._dropped.clear()
            self._framed = False
            return
        if status > 599:
            raise ProtocolError("a status that HTTP does not have")
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        self.headers, self._pairs = self._pairs, []
        self._quiet_bytes = 0
        if self._dropped:
            self._read_dropped()

    def on_message_complete(self) -> None:
        """Note the end of a final response."""
        if self.status:
            self.complete = True

    def _check_size(self) -> None:
        headers = len(self._pairs) + len(self._dropped)
        size = self._head_bytes
        if size > limits.UPSTREAM_HEADER_BYTES_MAX:
            # Part of it may be body.
            size = sum(len(name) + len(value) for name, value in (*self._pairs, *self._dropped))
        if headers > limits.HEADER_COUNT_MAX or size > limits.UPSTREAM_HEADER_BYTES_MAX:
            raise ProtocolError("response head is too large", too_large=True)

    def _read_dropped(self) -> None:
        """Obey the headers that end here."""
        named: set[bytes] = set()
        for name, value in self._dropped:
            if name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise ProtocolError("a transfer coding other than chunked")
                self._framed = self.chunked = True
            elif name == b"keep-alive":
                self.idle_s = _promised(value)
            elif name == b"connection":
                named.update(part.strip() for part in value.lower().split(b","))
        if not named <= _PERSISTENCE:
            self.headers = [pair for pair in self.headers if pair[0] not in named]


def _promised(keep_alive: bytes) -> float:
    """The ``timeout`` of a Keep-Alive header in seconds, infinite without one."""
    for parameter in keep_alive.lower().split(b","):
        name, _, seconds = parameter.partition(b"=")
        if name.strip() == b"timeout" and seconds.strip().isdigit():
            return float(seconds)
    return math.inf
