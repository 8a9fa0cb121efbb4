"""A scriptable provider: OpenAI and Anthropic wire formats on a loopback port, in a thread with its own loop.

    stub.script = Answer(usage=less(by=10), chunks=5, shape=shapes.crlf)
    stub.script = in_turn(failing(429, retry_after="1"), Answer())
    stub.script = lambda call: Answer(usage=fixed(call.number, 1))

Answers are in ``harness.script``, odd streams in ``harness.shapes``. ``gate`` holds an answer before its
head, ``gates[k]`` before body piece k (``harness.gate``). The stub keeps its own count of the tokens it
reported and of the connections it accepted: the oracle of tests.
"""

import asyncio
import json
import socket
import threading
from contextlib import suppress
from typing import Self, cast

import httptools
import uvloop

from harness.answering import Writer, render
from harness.script import Answer, Call, Script


class Stub:
    """The provider. Use as a context manager; ``script`` may be changed at any time."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or Answer()
        self.models: list[str] = ["stub-model", "stub-embed", "stub-claude"]
        self.calls: list[Call] = []
        self.connections = 0
        self.port = 0
        self._loop = uvloop.new_event_loop()
        self._open: set[_Connection] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stub", daemon=True)

    @property
    def url(self) -> str:
        """Root of the stub; the APIs are under ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    @property
    def generations(self) -> list[Call]:
        """Calls that ask a model to work, without model lists and token counts."""
        return [call for call in self.calls if call.method == "POST" and "count_tokens" not in call.path]

    @property
    def reported_input_tokens(self) -> int:
        """Sum of the input tokens the stub has told its clients."""
        return sum(call.reported_input for call in self.calls if isinstance(call.reported_input, int))

    @property
    def reported_output_tokens(self) -> int:
        """Sum of the output tokens the stub has told its clients."""
        return sum(call.reported_output for call in self.calls if isinstance(call.reported_output, int))

    def start(self) -> Self:
        """Listen on a free loopback port."""
        self._thread.start()
        assert self._ready.wait(10), "the stub did not start"
        return self

    def close(self) -> None:
        """Drop all connections and end the thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        serving = self._loop.create_server(lambda: _Connection(self), sock=listener, backlog=4096)
        server = self._loop.run_until_complete(serving)
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for connection in list(self._open):
                connection.abandon()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()

    def opened(self, connection: "_Connection") -> int:
        """Count a new connection; returns its number."""
        self.connections += 1
        self._open.add(connection)
        return self.connections

    def closed(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)

    def decide(self, call: Call) -> Answer:
        """Record the call and ask the script."""
        self.calls.append(call)
        script = self.script
        return script if isinstance(script, Answer) else script(call)


class _Connection(asyncio.Protocol):
    """One client connection: parses requests, writes answers one after the other."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._current: Call | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._stub.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stub.closed(self)
        if self._current is not None and not self._current.finished:
            self._current.client_gone = True
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abandon()

    def abandon(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        try:
            parsed: object = json.loads(body) if body else {}
        except ValueError:
            parsed = {}
        call = Call(
            number=len(self._stub.calls) + 1,
            connection=self._number,
            method=self._parser.get_method().decode(),
            path=self._target.decode("latin-1"),
            headers=self._headers,
            body=body,
            json=cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {},
        )
        self._current = call
        answer = self._stub.decide(call)
        rendered = render(call, answer, self._stub.models)
        pieces = list(rendered.pieces if answer.raw is None else answer.raw)
        if answer.shape is not None:
            pieces = list(answer.shape(pieces))
        writer = Writer(cast("asyncio.Transport", self._transport), call, answer, rendered, pieces)
        if answer.at_once and len(pieces) <= 1:
            writer.write_at_once()
        else:
            self._task = asyncio.get_running_loop().create_task(writer.write())
