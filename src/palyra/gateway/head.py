"""The head of a data-plane request, and recognising the same head again.

A client sends the same head with every request of a connection, but for the length of the body. What was
parsed and accepted once is recognised by its bytes: nothing about it can differ the second time.
"""

from functools import cached_property

from palyra.gateway.hints import HeaderHints, read_header_hints
from palyra.gateway.patience import read_approvals, read_wait
from palyra.lifecycle.wire import Endpoint

Header = tuple[bytes, bytes]

KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")
LENGTH_DIGITS_MAX = 9
_OURS = (b"x-palyra-", b"prefer", b"content-type", b"content-encoding", b"content-length")
_JSON = (b"content-type", b"application/json")
_LENGTH = b"\r\ncontent-length:"
_END = b"\r\n\r\n"


class Head:
    """What a request line and headers say; ``keep_alive`` and ``modern`` (HTTP/1.1) as the parser does."""

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Endpoint | None,
        headers: list[Header],
        *,
        keep_alive: bool,
        modern: bool,
        expects_continue: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.endpoint = endpoint
        self.fields: dict[bytes, bytes] = dict(headers)
        self.keep_alive = keep_alive
        self.modern = modern
        self.expects_continue = expects_continue
        self._headers = headers

    @cached_property
    def credential(self) -> str | None:
        """The key a client sent, whichever of the usual headers it uses."""
        authorization = self.fields.get(b"authorization")
        if authorization is not None and authorization[:7].lower() == b"bearer ":
            return authorization[7:].strip().decode("latin-1")
        for name in KEY_HEADERS:
            value = self.fields.get(name)
            if value:
                return value.strip().decode("latin-1")
        return None

    @cached_property
    def forwarded(self) -> tuple[Header, ...]:
        """The headers that may reach the provider. The body is written anew, so its type is ours."""
        kept = [header for header in self._headers if not header[0].startswith(_OURS)]
        return (*kept, _JSON)

    @cached_property
    def hints(self) -> HeaderHints:
        """The labels that headers give. Raises InvalidRequest naming the header that cannot be accepted."""
        return read_header_hints(self.fields)

    @cached_property
    def approvals(self) -> tuple[str, ...]:
        """The approvals that the caller shows. Raises InvalidRequest."""
        return read_approvals(self.fields)

    @cached_property
    def wait_s(self) -> int:
        """How long the caller would wait for a person to decide."""
        return read_wait(self.fields)

    @property
    def declared_length(self) -> int | None:
        """Bytes of the body as Content-Length tells them, None without it."""
        declared = self.fields.get(b"content-length", b"")
        return int(declared) if declared.isdigit() else None


class KnownHead:
    """A head as bytes, cut open at the digits of its Content-Length."""

    __slots__ = ("_after", "_before", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        self.head = head
        self._before = before
        self._after = after

    @classmethod
    def learn(cls, head: Head, data: bytes) -> "KnownHead | None":
        """``data`` is one whole request that was parsed as ``head``. None if it cannot be cut open."""
        end = data.find(_END)
        length = head.declared_length
        if (
            length is None
            or not head.keep_alive
            or head.expects_continue
            or end + len(_END) + length != len(data)
        ):
            return None
        lowered = data[:end].lower()
        if lowered.count(_LENGTH) != 1:
            return None
        start = lowered.index(_LENGTH) + len(_LENGTH)
        while data[start : start + 1] == b" ":
            start += 1
        stop = start + len(b"%d" % length)
        if data[start:stop] != b"%d" % length:
            return None
        return cls(head, data[:start], data[stop : end + len(_END)])

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if ``data`` is one whole request with this head; else None."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        stop = data.find(b"\r", start, start + LENGTH_DIGITS_MAX + 1)
        digits = data[start:stop]
        if stop < 0 or not digits.isdigit() or not data.startswith(after, stop):
            return None
        body = stop + len(after)
        return data[body:] if int(digits) == len(data) - body else None
