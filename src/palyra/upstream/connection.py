"""One connection to a provider and the call on it: callbacks only, no task, one lazy timer."""

import asyncio
import math
from typing import Protocol, cast

from palyra.lifecycle.wire import FailureKind, UpstreamFailure, UpstreamSink
from palyra.upstream.deadlines import Deadlines
from palyra.upstream.response import ProtocolError, ResponseParser

_JOIN_BYTES_MAX = 16 * 1024
"""Up to this size one write of a joined copy is cheaper than two writes; it is also one TLS record."""
_NEVER = math.inf
_AT_ONCE_S = 1.0
"""A provider that closes so soon after an answer did not wait for another call."""
_EARLIER_S = 1.0
"""How long before the end of a provider's patience an unused connection is closed."""


class Call:
    """One request from ``send`` to its end. Whoever holds it may pause, resume or abort it."""

    __slots__ = (
        "_owner",
        "body",
        "connection",
        "head",
        "paused",
        "sent",
        "sink",
        "started_at",
    )

    def __init__(
        self, owner: "CallOwner", sink: UpstreamSink, head: bytes, body: bytes, started_at: float
    ) -> None:
        self._owner = owner
        self.sink: UpstreamSink | None = sink
        self.head = head
        self.body = body
        self.started_at = started_at
        self.connection: Connection | None = None
        self.paused = False
        self.sent = False

    def pause(self) -> None:
        """Stop reading from the provider until ``resume``."""
        if self.sink is not None and not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self.sink is not None and self.paused:
            self.paused = False
            if self.connection is not None:
                self.connection.resume()

    def abort(self) -> None:
        """Give up: the connection is closed and the sink hears nothing more."""
        if self.sink is not None:
            self.sink = None
            self._owner.aborted(self)

    def fail(self, kind: FailureKind, message: str) -> None:
        """Tell the sink, once."""
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.failed(UpstreamFailure(kind, message, self.sent))


class CallOwner(Protocol):
    """Who gives calls their connections."""

    def aborted(self, call: Call) -> None:
        """Stop whatever happens for this call."""
        ...


class ConnectionOwner(Protocol):
    """Who keeps connections for reuse.

    ``ends_after_chunks``: this provider closes connections after chunked answers, and does not say so. A call
    written before the close is seen would be in doubt, so such a connection is not used again.
    """

    ends_after_chunks: bool

    def released(self, connection: "Connection") -> None:
        """The connection is ready for another call."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The connection is gone."""
        ...


class Connection(asyncio.BaseProtocol):
    """An open HTTP/1.1 connection, with at most one call on it. Made as one of the two kinds below."""

    __slots__ = (
        "_body_seen",
        "_deadlines",
        "_dropped",
        "_idle_s",
        "_last_at",
        "_loop",
        "_owner",
        "_parser",
        "_soonest",
        "_timer",
        "_timer_at",
        "_transport",
        "call",
    )

    def __init__(self, owner: ConnectionOwner, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._deadlines = deadlines
        self._soonest = min(deadlines.first_byte, deadlines.idle, deadlines.total)
        self._loop = loop
        self._parser = ResponseParser()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._last_at = 0.0
        self._idle_s = deadlines.keep_alive
        self._body_seen = False
        self._dropped = False
        self.call: Call | None = None

    # --- driven by the pool ---

    def usable(self) -> bool:
        """Whether a request may be written."""
        return self._transport is not None and not self._transport.is_closing()

    def start(self, call: Call, now: float) -> None:
        """Write the request of ``call``. Only for a usable connection without one; ``now`` is the loop's."""
        transport = self._transport
        if transport is None:
            call.fail(FailureKind.cut, "the connection closed as it opened")
            return
        self.call = call
        call.connection = self
        call.sent = True
        self._parser.reset()
        self._body_seen = False
        self._last_at = now
        body = call.body
        if len(body) <= _JOIN_BYTES_MAX:
            transport.write(call.head + body)
        else:
            transport.write(call.head)
            transport.write(body)
        if call.paused:
            transport.pause_reading()
        # Whatever the stage, no deadline of the call is sooner. The timer is exact when it looks.
        soonest = call.started_at + self._soonest
        if soonest < self._timer_at:
            self._arm(soonest)

    def stay_idle(self, now: float) -> None:
        """Begin the wait for the next call; the connection closes when it takes too long.

        Before the provider would close it: a call written in that moment would be in doubt.
        """
        self._last_at = now
        promised = self._parser.idle_s
        self._idle_s = min(self._deadlines.keep_alive, max(promised - _EARLIER_S, promised / 2))
        due = now + self._idle_s
        if due < self._timer_at:
            self._arm(due)

    def drop(self) -> None:
        """Close at once."""
        self._dropped = True
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again; the idle deadline starts anew."""
        if self._transport is not None and not self._transport.is_closing():
            self._last_at = self._loop.time()
            self._transport.resume_reading()

    def detach(self) -> None:
        """Forget the call and close."""
        self.call = None
        self.drop()

    # --- driven by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # Not checked with isinstance: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse and hand on to the sink. Nothing keeps ``data`` itself."""
        call = self.call
        if call is None:
            self.drop()
            return
        parser = self._parser
        error: ProtocolError | None = None
        head_seen = parser.status
        try:
            parser.feed(data)
        except ProtocolError as caught:
            error = caught
        if not head_seen and parser.status and call.sink is not None:
            call.sink.head(parser.status, parser.headers)
        parts = parser.parts
        if parts:
            chunk = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self._body_seen = True
            self._last_at = self._loop.time()
            if call.sink is not None:
                call.sink.data(chunk)
        if parser.complete or error is not None:
            self._ended(call, error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Resolve the call: a cut, or the end of an unframed body."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        call, self.call = self.call, None
        self._transport = None
        if call is None and not self._dropped and self._parser.chunked:
            self._owner.ends_after_chunks |= self._loop.time() - self._last_at < _AT_ONCE_S
        self._parser.close()
        try:
            if call is not None and call.sink is not None:
                self._resolve_lost(call, exc)
        finally:
            self._owner.lost(self)

    # --- inside ---

    def _ended(self, call: Call, error: ProtocolError | None) -> None:
        if self.call is not call:
            # The sink gave up, or its call was failed, meanwhile.
            return
        if self._parser.complete:
            self._complete(call, reusable=error is None)
        elif error is not None:
            kind = FailureKind.too_large if error.too_large else FailureKind.protocol
            self._fail(call, kind, f"not a valid HTTP response: {error.message}")

    def _resolve_lost(self, call: Call, exc: Exception | None) -> None:
        call.connection = None
        if exc is None and self._parser.ends_with_connection():
            sink, call.sink = call.sink, None
            if sink is not None:
                sink.end()
        else:
            # Also on a reused connection that may merely have been stale: the provider may have read the
            # request and done the work, so a resend would need a reservation of its own (K1).
            stage = "inside the answer" if self._parser.touched else "before it answered"
            call.fail(FailureKind.cut, f"the provider closed the connection {stage}")

    def _complete(self, call: Call, *, reusable: bool) -> None:
        """Free the connection first: the sink may start its next call from inside ``end``."""
        self.call = None
        call.connection = None
        sink, call.sink = call.sink, None
        transport = self._transport
        if (
            reusable
            and self._parser.keep_alive
            and not (self._parser.chunked and self._owner.ends_after_chunks)
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        ):
            if call.paused:
                transport.resume_reading()
            self._owner.released(self)
        else:
            self.drop()
        if sink is not None:
            sink.end()

    def _fail(self, call: Call, kind: FailureKind, message: str) -> None:
        self.call = None
        call.connection = None
        self.drop()
        call.fail(kind, message)

    def _due(self, call: Call) -> tuple[float, FailureKind, str]:
        """Return when the call is too late as things stand, and how that is called."""
        deadlines = self._deadlines
        total = call.started_at + deadlines.total
        if not call.paused:
            if self._body_seen:
                idle = self._last_at + deadlines.idle
                if idle < total:
                    return idle, FailureKind.idle_timeout, f"no byte for {deadlines.idle:g} s"
            else:
                first = self._last_at + deadlines.first_byte
                if first < total:
                    message = f"no byte of an answer within {deadlines.first_byte:g} s"
                    return first, FailureKind.first_byte_timeout, message
        return total, FailureKind.total_timeout, f"no whole answer within {deadlines.total:g} s"

    def _arm(self, due: float) -> None:
        """Set the timer. It may be too early, never too late: then it only looks again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        now = self._loop.time()
        call = self.call
        if call is None:
            due = self._last_at + self._idle_s
            if now >= due:
                self.drop()
                return
        else:
            due, kind, message = self._due(call)
            if now >= due:
                self._fail(call, kind, f"the provider sent {message}")
                return
        self._arm(due)


class PlainConnection(Connection, asyncio.Protocol):
    """A connection without TLS."""

    __slots__ = ()


class TlsConnection(Connection, asyncio.BufferedProtocol):
    """A connection with TLS, which is read into a buffer of the pool: else every read allocates 256 KiB."""

    __slots__ = ("_buffer",)

    def __init__(
        self,
        owner: ConnectionOwner,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
    ) -> None:
        super().__init__(owner, deadlines, loop)
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer: the transport fills it and calls ``buffer_updated`` before any other reads."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(self._buffer[:nbytes])
