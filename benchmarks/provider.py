"""The upstream of every end-to-end run: answers at once, or streams a chunk per tick. A process of its own.

``python -m benchmarks.provider`` prints its port and serves until it is ended.
"""

import asyncio
from typing import cast

import httptools
import uvloop

from benchmarks.scene import ANSWER, MODEL

CHUNKS = 100
"""Content chunks of one stream; a role chunk, a finish chunk and the usage chunk come on top."""
TICK_S = 0.01

_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LIST = b'{"object":"list","data":[{"id":"%s","object":"model"}]}' % MODEL.encode()
_MODELS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_LIST),
    _LIST,
)
_START = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795431004,'
    b'"model":"bench-model",'
)


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event), event)


_CHUNK = _framed(
    _START + b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}\n\n'
)
_FINISH = _framed(_START + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n')
_USAGE = _framed(
    _START
    + b'"choices":[],"usage":{"prompt_tokens":250,"completion_tokens":%d,"total_tokens":%d}}\n\n'
    % (CHUNKS, 250 + CHUNKS)
)
_END = _FINISH + _USAGE + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection: a request after the other."""

    def __init__(self, streaming: dict["Connection", int]) -> None:
        self._streaming = streaming
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop streaming to it."""
        del exc
        self._streaming.pop(self, None)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        """Keep the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        if self._parser.get_method() == b"GET":
            self.write(_MODELS)
        elif b'"stream": true' in (body := b"".join(self._body)) or b'"stream":true' in body:
            self.write(_HEAD)
            self._streaming[self] = CHUNKS
        else:
            self.write(_WHOLE)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None:
            self._transport.write(data)


async def serve() -> None:
    """Listen, print the port, tick."""
    streaming: dict[Connection, int] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(streaming), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while True:
        await asyncio.sleep(TICK_S)
        for connection, left in list(streaming.items()):
            if left:
                streaming[connection] = left - 1
                connection.write(_CHUNK)
            else:
                del streaming[connection]
                connection.write(_END)


if __name__ == "__main__":
    uvloop.run(serve())
