"""The connections to one provider: reuse, a bound on their number, a bounded queue for the rest."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from palyra.core import limits
from palyra.lifecycle.wire import FailureKind, UpstreamSink
from palyra.upstream.connection import Call, Connection, PlainConnection, TlsConnection
from palyra.upstream.deadlines import Deadlines
from palyra.upstream.guard import ProviderUrl

_CLOSE_S = 5.0
_TLS_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PoolSize:
    """Counts. ``connections`` are open or being opened, ``waiting`` are calls in the queue."""

    connections: int = limits.UPSTREAM_CONNECTIONS_MAX
    waiting: int = limits.CALLS_IN_FLIGHT_MAX


class Pool:
    """Sends calls to one provider. Lives on one event loop."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_connections",
        "_context",
        "_deadlines",
        "_empty",
        "_idle",
        "_loop",
        "_opening",
        "_size",
        "_url",
        "_waiting",
        "_waiting_timer",
        "ends_after_chunks",
    )

    def __init__(
        self,
        url: ProviderUrl,
        context: ssl.SSLContext | None,
        deadlines: Deadlines,
        size: PoolSize,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._url = url
        self._context = context
        self._deadlines = deadlines
        self._size = size
        self._loop = loop
        self._buffer = memoryview(bytearray(_TLS_READ_BYTES if context else 0))
        # A dict is an ordered set here: last in, first out keeps few connections warm.
        self._idle: dict[Connection, None] = {}
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Call] = deque()
        self._waiting_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.ends_after_chunks = False
        self._empty: asyncio.Future[None] | None = None

    def send(self, head: bytes, body: bytes, sink: UpstreamSink) -> Call:
        """Send a request whose head is complete. Failures come later through ``sink.failed``."""
        now = self._loop.time()
        call = Call(self, sink, head, body, now)
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable():
                connection.start(call, now)
                return call
        if self._closed:
            self._loop.call_soon(call.fail, FailureKind.local, "the gateway is shutting down")
        elif self._has_room() or len(self._waiting) - len(self._opening) < self._size.waiting:
            self._waiting.append(call)
            self._watch_waiting()
            self._fill()
        else:
            message = f"more than {self._size.waiting} calls wait for a connection to the provider"
            self._loop.call_soon(call.fail, FailureKind.local, message)
        return call

    async def close(self) -> None:
        """End everything: calls get ``failed``, then every socket and task is gone."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().fail(FailureKind.local, "the gateway is shutting down")
        if self._waiting_timer is not None:
            self._waiting_timer.cancel()
            self._waiting_timer = None
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in list(self._connections):
            connection.drop()
        if self._connections:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=_CLOSE_S)

    # --- for Call ---

    def aborted(self, call: Call) -> None:
        """Close what the call uses; its place goes to the next in the queue."""
        if call.connection is not None:
            connection, call.connection = call.connection, None
            connection.detach()
        else:
            # It stays in the queue until its turn: without its weight.
            call.body = b""

    # --- for Connection ---

    def released(self, connection: Connection) -> None:
        """Give the connection to the longest waiting call, or keep it."""
        if self._closed:
            connection.drop()
            return
        now = self._loop.time()
        call = self._next_waiting()
        if call is not None:
            connection.start(call, now)
        else:
            self._idle[connection] = None
            connection.stay_idle(now)

    def lost(self, connection: Connection) -> None:
        """Forget the connection; its place goes to the next in the queue."""
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._fill()
        if self._empty is not None and not self._connections and not self._empty.done():
            self._empty.set_result(None)

    # --- inside ---

    def _has_room(self) -> bool:
        return len(self._connections) + len(self._opening) < self._size.connections

    def _next_waiting(self) -> Call | None:
        while self._waiting:
            call = self._waiting.popleft()
            if call.sink is not None:
                return call
        return None

    def _fill(self) -> None:
        """Open a connection for each waiting call. Which of them gets it is decided when it is open."""
        while self._waiting and self._waiting[0].sink is None:
            self._waiting.popleft()
        while not self._closed and self._has_room() and len(self._opening) < len(self._waiting):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _watch_waiting(self) -> None:
        """One timer for the queue: it is in order of arrival, so its head is always the first to be late."""
        if self._waiting_timer is None and self._waiting:
            due = self._waiting[0].started_at + self._deadlines.connect
            self._waiting_timer = self._loop.call_at(due, self._expire_waiting)

    def _expire_waiting(self) -> None:
        self._waiting_timer = None
        self._fail_late()
        self._watch_waiting()

    def _fail_late(self) -> None:
        latest = self._loop.time() - self._deadlines.connect
        message = f"no connection to {self._url.authority} was open and free in {self._deadlines.connect:g} s"
        while self._waiting and (self._waiting[0].started_at <= latest or self._waiting[0].sink is None):
            self._waiting.popleft().fail(FailureKind.connect_timeout, message)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "opening a connection failed", "exception": error})
        self._fill()

    async def _open(self) -> None:
        try:
            connection = await self._connect()
        except TimeoutError as error:
            if error.errno is None:
                # Ours: the call that it was opened for is late by now, others may still get a connection.
                self._fail_late()
            else:
                message = f"no connection to {self._url.authority}: {error.strerror}"
                self._fail_next(FailureKind.connect_timeout, message)
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
            self._fail_next(FailureKind.tls, f"TLS with {self._url.authority}: {reason}")
        except (OSError, ValueError) as error:
            # ValueError: a host name that the resolver's encoding does not accept.
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._fail_next(FailureKind.refused, f"no connection to {self._url.authority}: {reason}")
        else:
            self.released(connection)

    def _fail_next(self, kind: FailureKind, message: str) -> None:
        """One connection was opened for each waiting call, so each that fails takes one with it."""
        call = self._next_waiting()
        if call is not None:
            call.fail(kind, message)

    async def _connect(self) -> Connection:
        hosts = self._url.connect_hosts
        async with asyncio.timeout(self._deadlines.connect):
            for host in hosts[:-1]:
                try:
                    return await self._connect_to(host)
                except ConnectionRefusedError:
                    continue
            return await self._connect_to(hosts[-1])

    async def _connect_to(self, host: str) -> Connection:
        tls = self._context is not None
        _, connection = await self._loop.create_connection(
            self._new_connection,
            host,
            self._url.port,
            ssl=self._context,
            server_hostname=self._url.host if tls else None,
        )
        if not connection.usable():
            raise ConnectionResetError("closed as it opened")
        self._connections.add(connection)
        return connection

    def _new_connection(self) -> Connection:
        if self._context is None:
            return PlainConnection(self, self._deadlines, self._loop)
        return TlsConnection(self, self._deadlines, self._loop, self._buffer)
