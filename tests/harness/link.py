"""A TCP link that a test can cut, freeze or make deaf: between a gateway and its database."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Link:
    """Forwards a loopback port to another one, in a thread with its own loop. Use as a context manager.

    ``cut``: connections end and none comes about. ``freeze``: nothing passes, nothing ends. ``deafen``: what
    is asked arrives, its answers do not. ``heal`` undoes each of them for what comes from then on.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self._state = "open"
        self._flowing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowed = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)

    @property
    def swallowed(self) -> int:
        """Bytes of answers that did not arrive."""
        return self._swallowed

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def url(self, database_url: str) -> str:
        """The URL of a database, over this link."""
        return database_url.replace(f":{self._target}/", f":{self.port}/")

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._run(self._become("cut"))

    def freeze(self) -> None:
        """Let nothing pass."""
        self._run(self._become("frozen"))

    def deafen(self) -> None:
        """Let requests pass, and lose the answers."""
        self._swallowed = 0
        self._run(self._become("deaf"))

    def heal(self) -> None:
        """Let everything pass again. Connections that lost answers end."""
        self._run(self._become("open"))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> int:
        self._flowing.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _become(self, state: str) -> None:
        was, self._state = self._state, state
        if state == "frozen":
            self._flowing.clear()
        else:
            self._flowing.set()
        if state == "cut" or was == "deaf":
            for writer in list(self._writers):
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self._state == "cut":
            writer.transport.abort()
            return
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, to_writer}
        await asyncio.gather(
            self._pump(reader, to_writer, answers=False), self._pump(to_reader, writer, answers=True)
        )
        self._writers -= {writer, to_writer}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if answers and self._state == "deaf":
                    self._swallowed += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()
