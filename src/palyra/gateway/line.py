"""A client connection that serves the data plane itself and leaves every other request to ASGI.

The path of a call costs no scope, no task and no message there; the control plane keeps its framework.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from palyra.core.limits import STREAM_BUFFER_BYTES_MAX
from palyra.gateway.door import ENDPOINTS, PREFIX, Door
from palyra.gateway.head import Head, KnownHead
from palyra.gateway.protocol import BoundedProtocol
from palyra.gateway.request import Request

_EXACT = {path.encode(): (path, endpoint) for path, endpoint in ENDPOINTS.items()}

_LESSONS = 8
"""How often a connection learns a head before it gives up on a client whose heads always differ."""


class DataPlaneLine(BoundedProtocol):
    """``Line`` over a BoundedProtocol: requests below ``/v1/`` are ``Request``s, the others uvicorn's."""

    def __init__(self, door: Door, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._fixed_lines = b""
        self.write: Callable[[bytes], None] = _not_connected
        self._known: KnownHead | None = None
        self._lessons_left = _LESSONS
        self._at_boundary = True
        self._begun = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what a slow client may leave unread before its provider is paused (V2)."""
        super().connection_made(transport)
        self.write = self.transport.write
        self.transport.set_write_buffer_limits(STREAM_BUFFER_BYTES_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: its call goes on to its settlement without it."""
        for request in (self._serving, self.cycle):
            if isinstance(request, Request) and not request.response_complete:
                request.leave()
        if isinstance(self._serving, Request):
            self._serving = None
        if isinstance(self.cycle, Request):
            self.cycle = None  # pyright: ignore[reportAttributeAccessIssue]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the short way for a whole request whose head is known, the parser for everything else."""
        known = self._known
        if known is not None and self._at_boundary and not self._answering():
            body = known.body_of(data)
            if body is not None:
                self._disarm()
                self._quiet_bytes = 0
                self.cycle = self._serving = request = Request(self, self._door, known.head)  # pyright: ignore[reportAttributeAccessIssue]
                request.check(len(body))
                request.serve(body)
                return
        whole, begun = self._at_boundary, self._begun
        super().data_received(data)
        if whole and self._at_boundary and self._lessons_left and self._begun == begun + 1:
            self._lessons_left -= 1
            if isinstance(self._serving, Request):
                self._known = KnownHead.learn(self._serving.head, data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._at_boundary = False
        super().on_message_begin()

    def begin(self) -> None:
        """Serve the request whose head is in ``url`` and ``headers``."""
        found = _EXACT.get(self.url)
        path, endpoint = found if found is not None else (_path_of(self.url), None)
        if not path.startswith(PREFIX):
            super().begin()
            return
        parser = self.parser
        if parser is None:
            return
        modern = parser.get_http_version() != "1.0"
        head = Head(
            parser.get_method().decode("ascii"),
            path,
            endpoint if found is not None else ENDPOINTS.get(path),
            self.headers,
            keep_alive=modern and parser.should_keep_alive(),
            modern=modern,
            expects_continue=self.expect_100_continue,
        )
        self._begun += 1
        request = Request(self, self._door, head)
        request.check(head.declared_length)
        before: Any = self.cycle
        self.cycle = request  # pyright: ignore[reportAttributeAccessIssue]
        if before is None or before.response_complete:
            self._serving = request
            request.take_turn()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, None))  # pyright: ignore[reportArgumentType]

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        request: Any = self.cycle
        if isinstance(request, Request):
            self._advanced = True
            request.piece(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._at_boundary = True
        request: Any = self.cycle
        if isinstance(request, Request):
            self._advanced = True
            self._disarm()
            request.complete()
        else:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        super().pause_writing()
        if isinstance(self._serving, Request):
            self._serving.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if isinstance(self._serving, Request):
            self._serving.resume()

    # For Request.

    @property
    def fixed_lines(self) -> bytes:
        """Header lines that every answer carries: the date. uvicorn makes a new list every second."""
        default_headers = self.server_state.default_headers
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._fixed_lines = b"".join(b"%b: %b\r\n" % header for header in default_headers)
        return self._fixed_lines

    def answered(self, *, keep: bool) -> None:
        """The answer is out; the connection serves on if ``keep``."""
        if not keep:
            self.transport.close()
        self.on_response_complete()

    def break_off(self) -> None:
        """Close without an end of the answer."""
        self.transport.close()
        self._arm(self.client_stalled_s)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Request):
            self._serving = cycle
            # On the loop's next turn: a long queue of refusals must not become deep recursion.
            self.loop.call_soon(cycle.take_turn)
        else:
            super()._start_asgi_task(cycle, app)


def _not_connected(_data: bytes) -> None:
    raise ValueError("nothing can be written before the connection is made")


def line_factory(door: Door) -> Callable[..., DataPlaneLine]:
    """What uvicorn calls for every connection."""

    def make(*args: Any, **kwargs: Any) -> DataPlaneLine:
        return DataPlaneLine(door, *args, **kwargs)

    return make


def _path_of(url: bytes) -> str:
    """The path as ASGI servers read it: without query, percent-decoded, also from an absolute URL."""
    path = httptools.parse_url(url).path or b""
    start, *escaped = path.split(b"%")
    return b"".join((start, *map(_decoded, escaped))).decode("utf-8", "replace")


def _decoded(after_percent: bytes) -> bytes:
    try:
        return bytes.fromhex(after_percent[:2].decode("ascii")) + after_percent[2:]
    except ValueError:
        return b"%" + after_percent
