"""The load driver: keeps a number of connections busy, each with one call at a time."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import httptools

WAIT_S = 60.0


@dataclass(slots=True)
class Tally:
    """What came back. ``wanted`` is False once connections should not call again."""

    answered: int = 0
    wanted: bool = True
    wrong: list[str] = field(default_factory=list[str])


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, tally: Tally, ended: "asyncio.Future[None]") -> None:
        self._request = request
        self._tally = tally
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was closed: {exc}")

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            self._end(f"the answer was {status}")
        elif self._transport is not None:
            self._tally.answered += 1
            if self._tally.wanted:
                self._parser = httptools.HttpResponseParser(self)
                self._transport.write(self._request)
            else:
                self._end(None)

    def _end(self, problem: str | None) -> None:
        if self._ended.done():
            return
        if problem is not None:
            self._tally.wrong.append(problem)
        self._ended.set_result(None)
        if self._transport is not None:
            self._transport.close()


def request(port: int, key: str, body: bytes) -> bytes:
    """The bytes of one chat completion."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def drive(port: int, wanted: bytes, connections: int, seconds: float) -> int:
    """Repeat the request on every connection for so long; returns how many were answered.

    AssertionError if any answer was not 200 or a connection broke.
    """
    loop = asyncio.get_running_loop()
    tally = Tally()
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        ended: asyncio.Future[None] = loop.create_future()
        ends.append(ended)
        await loop.create_connection(lambda ended=ended: _Caller(wanted, tally, ended), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    tally.wanted = False
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*ends)
    if tally.wrong:
        raise AssertionError(f"{len(tally.wrong)} calls failed, for example: {tally.wrong[0]}")
    return tally.answered
