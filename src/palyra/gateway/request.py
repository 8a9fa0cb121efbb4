"""One request of the data plane, from its head to the last byte of its answer. No task, no queue.

Its body comes in by ``piece`` and ``complete``; the door's coroutine answers it; a stream is written chunk by
chunk as the provider sends it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from palyra.core.errors import PalyraError, RequestTooLarge
from palyra.gateway import answer
from palyra.gateway.head import Head
from palyra.gateway.problems import ANTHROPIC, problem_body, problem_headers
from palyra.lifecycle.dispatch import Exchange
from palyra.lifecycle.respond import header_lines
from palyra.lifecycle.waiting import Course, Wait

_JOIN_BYTES_MAX = 64 * 1024
"""Up to this size one write of a joined copy is cheaper than two writes."""
_log = structlog.get_logger("palyra.gateway")


class Line(Protocol):
    """The connection that a request came in on."""

    write: Callable[[bytes], None]

    @property
    def fixed_lines(self) -> bytes:
        """Header lines that every answer carries."""
        ...

    def answered(self, *, keep: bool) -> None:
        """The answer is out; the connection serves on if ``keep``."""
        ...

    def break_off(self) -> None:
        """Close without an end of the answer: the client must see that the rest is missing."""
        ...


class Server(Protocol):
    """Who answers requests."""

    body_bytes_max: int

    def check_head(self, head: Head, length: int | None) -> None:
        """Raise PalyraError for a request whose body need not be read; ``length`` is None if not told."""
        ...

    def serve(self, request: "Request", request_id: str) -> Coroutine[Wait, None, None]:
        """Answer a whole request. What it raises is told to the client."""
        ...

    def new_id(self) -> str:
        """A fresh request id."""
        ...


class Request:
    """A received request and its answer."""

    __slots__ = (
        "_course",
        "_error",
        "_exchange",
        "_has_turn",
        "_head_sent",
        "_line",
        "_parts",
        "_request_id",
        "_server",
        "_size",
        "_whole",
        "_write",
        "head",
        "keep_alive",
        "response_complete",
    )

    def __init__(
        self,
        line: Line,
        server: Server,
        head: Head,
    ) -> None:
        self.head = head
        self.keep_alive = head.keep_alive
        self.response_complete = False
        self._line = line
        self._write = line.write
        self._server = server
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = False
        self._has_turn = False
        self._head_sent = False
        self._error: PalyraError | None = None
        self._exchange: Exchange | None = None
        self._course: Course[None] | None = None
        self._request_id = ""

    @property
    def body(self) -> bytes:
        """The body, whole."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # What comes in.

    def check(self, length: int | None) -> None:
        """Refuse on its turn what need not be read. ``length`` of the body in bytes, None if not told."""
        try:
            self._server.check_head(self.head, length)
        except PalyraError as error:
            self._error = error

    def serve(self, body: bytes) -> None:
        """The whole request is here, and it is its turn."""
        self._has_turn = self._whole = True
        self._parts.append(body)
        if self._error is not None:
            self.refuse(self._error)
        else:
            self._start()

    def piece(self, data: bytes) -> None:
        """Take a part of the body. What comes after a refusal is thrown away."""
        if self.response_complete or self._error is not None:
            return
        self._size += len(data)
        if self._size <= self._server.body_bytes_max:
            self._parts.append(data)
            return
        self._parts.clear()
        self._error = RequestTooLarge(f"the body is larger than {self._server.body_bytes_max} bytes")
        if self._has_turn:
            self.refuse(self._error)

    def complete(self) -> None:
        """The body is whole."""
        self._whole = True
        if self._has_turn:
            self._start()

    def take_turn(self) -> None:
        """Every earlier answer on this connection is out."""
        self._has_turn = True
        if self._error is not None:
            self.refuse(self._error)
        elif self._whole:
            self._start()
        elif self.head.expects_continue:
            self._write(answer.CONTINUE)

    def leave(self) -> None:
        """The client is gone."""
        self.response_complete = True
        if self._exchange is not None:
            self._exchange.abandon()
        elif self._course is not None:
            self._course.cancel()

    def pause(self) -> None:
        """The client does not keep up with its answer."""
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._exchange is not None:
            self._exchange.resume()

    # What goes out.

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole answer; ``lines`` are those of its headers."""
        if self.response_complete:
            return
        framing = b"content-length: %d\r\n" % len(body)
        head = answer.head(status, self._line.fixed_lines, lines, framing + self._connection_line())
        if self.head.method == "HEAD":
            body = b""
        if len(body) <= _JOIN_BYTES_MAX:
            self._write(head + body)
        else:
            self._write(head)
            self._write(body)
        self._done()

    def stream(self, status: int, lines: bytes, exchange: Exchange) -> None:
        """Send the head of a stream; the exchange sends the rest through ``chunk`` and ``end``."""
        framing = b"transfer-encoding: chunked\r\n" if self.head.modern else b""
        head = answer.head(status, self._line.fixed_lines, lines, framing + self._connection_line())
        self._write(head)
        self._head_sent = True
        self._exchange = exchange
        exchange.read_by(self)

    def chunk(self, data: bytes) -> None:
        """See ``AnswerReader.chunk``."""
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self.head.modern else data)

    def end(self) -> None:
        """See ``AnswerReader.end``."""
        if self.head.modern:
            self._write(answer.LAST_CHUNK)
        self._done()

    def broken(self, error: PalyraError) -> None:
        """See ``AnswerReader.broken``: the head is out, so breaking off is the only honest way to say it."""
        _log.warning("stream broke off", request_id=self._request_id, reason=error.message)
        self._break_off()

    def refuse(self, error: PalyraError) -> None:
        """Tell the client why the call does not run, in the wire format of its endpoint.

        The connection stays open even if the body is still coming: it is thrown away until its deadline.
        A close would reset the connection, and a client that is still sending would never read why.
        """
        request_id = self._request_id or self._server.new_id()
        body = problem_body(error, request_id, anthropic=self._speaks_anthropic())
        self.answer(error.status, header_lines(problem_headers(error, request_id)), body)

    def _start(self) -> None:
        if self.response_complete:
            return
        self._request_id = self._server.new_id()
        self._course = Course(self._server.serve(self, self._request_id), self._served)
        self._course.start()

    def _served(self, _value: None, error: BaseException | None) -> None:
        self._course = None
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        if not isinstance(error, PalyraError):
            # The door: a bug must reach the log and the client, not the server.
            _log.error("call failed", request_id=self._request_id, exc_info=error)
            error = PalyraError("internal error; the daemon's log has the details")
        if self._head_sent:
            self._break_off()
        else:
            self.refuse(error)

    def _connection_line(self) -> bytes:
        return b"" if self.keep_alive else b"connection: close\r\n"

    def _speaks_anthropic(self) -> bool:
        head = self.head
        if head.endpoint is not None:
            return head.endpoint in ANTHROPIC
        return b"anthropic-version" in head.fields

    def _done(self) -> None:
        self._release()
        self._line.answered(keep=self.keep_alive)

    def _break_off(self) -> None:
        self._release()
        self._line.break_off()

    def _release(self) -> None:
        """Nothing of a finished call is kept while its connection waits for the next."""
        self.response_complete = True
        self._exchange = None
        self._parts.clear()
