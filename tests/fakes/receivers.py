"""Receivers of messages on loopback: a web server and a mail server, and senders that do as they are told."""

import email
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from palyra.alerts.alert import Notice
from palyra.core.address import Reach
from palyra.core.instant import Instant
from palyra.notify.sender import Undelivered


@dataclass(frozen=True, slots=True)
class Received:
    """One request. Names of headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class WebReceiver:
    """Answers every POST with ``status`` and ``extra`` headers, after ``hold`` if that is given."""

    status: int = 204
    extra: dict[str, str] = field(default_factory=dict[str, str])
    hold: Callable[[], None] | None = None
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list[Received])

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                with suppress(OSError):
                    receiver.respond(self)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *args: object, **more: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Write the answer."""
        if self.hold is not None:
            self.hold()
        handler.send_response(self.status)
        for name, value in self.extra.items():
            handler.send_header(name, value)
        if "content-length" not in self.extra:
            handler.send_header("content-length", "0")
        handler.end_headers()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"


class MailReceiver:
    """A mail server that takes everything, or answers every recipient with ``refusal``."""

    def __init__(self, refusal: str | None = None) -> None:
        self.refusal = refusal
        self.mails: list[tuple[list[str], Message]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._controller: Any = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called by the server for each recipient."""
        if self.refusal is not None:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by the server for each mail."""
        assert isinstance(envelope.content, bytes)
        self.mails.append((list(envelope.rcpt_tos), email.message_from_bytes(envelope.content)))
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()


class FakeSender:
    """Remembers what it was given. ``error``: it fails so. ``gate``: it hangs until that is set."""

    reaches = frozenset({Reach.LOOPBACK})
    proxies: frozenset[str] = frozenset()

    def __init__(self, error: str | None = None, gate: threading.Event | None = None) -> None:
        self.error = error
        self.gate = gate
        self.sent: list[str] = []
        self.tried: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def send(self, notice: Notice, now: Instant) -> None:
        """See ``Sender``."""
        with self._lock:
            self.tried.append(notice.id)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.gate is not None:
                assert self.gate.wait(30)
            if self.error is not None:
                raise Undelivered(self.error)
            with self._lock:
                self.sent.append(notice.id)
        finally:
            with self._lock:
                self._at_once -= 1
