"""The HTTP server around the two doors: its socket, its start and its end."""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any

import uvicorn

from palyra.config.settings import Settings
from palyra.core.errors import PalyraError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

COLLECT_EVERY = 50_000


class Later:
    """An ASGI application that is built on a thread; requests that come before it is ready wait for it."""

    def __init__(self, build: Callable[[], Asgi]) -> None:
        self._build = build
        self._built: asyncio.Future[Asgi] = asyncio.get_running_loop().create_future()

    def build(self, on_failure: Callable[[], None], on_success: Callable[[], None]) -> None:
        """Start building. ``on_failure`` is called if that fails: a daemon without its API must not run."""
        self._built = asyncio.get_running_loop().run_in_executor(None, self._build)
        self._built.add_done_callback(lambda built: on_failure() if built.exception() else on_success())

    def raise_failure(self) -> None:
        """Raise what building raised, if it did."""
        if self._built.done() and not self._built.cancelled():
            self._built.result()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        app = await asyncio.shield(self._built)
        await app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn, telling when it listens."""

    def __init__(
        self, config: uvicorn.Config, listening: Callable[[], None], leaving: Callable[[], None]
    ) -> None:
        """``listening`` is told when it listens, ``leaving`` when it is asked to stop."""
        super().__init__(config)
        self._listening = listening
        self._leaving = leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell, then wait for what runs."""
        self._leaving()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self._listening()

    def stop_soon(self) -> None:
        """Ask for a stop."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
        """Ask for a stop; a second Ctrl-C does not wait.

        uvicorn would raise the signal again when it is done, and end the process before the ledger is closed.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def spare_the_collector() -> None:
    """What start-up made lives as long as the process: the collector need not go through it again and again.

    Calls make few cycles, so it need not run often either: a run of the oldest generation is a pause.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 50)


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The listening socket; ``shared``: others may have its port, too. Raises PalyraError if it is taken."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PalyraError(f"cannot listen on {host}:{port}: {error.strerror}; try --port 0") from None
    return listening
