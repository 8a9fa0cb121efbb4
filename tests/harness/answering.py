"""Writing one answer of the stub onto a connection: whole, late, in odd pieces, or broken off."""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from harness import wire
from harness.script import Answer, Call
from harness.wire import Figures, Rendered, Wording

_RENDERERS: Mapping[tuple[str, bool], Callable[[Wording], Rendered]] = {
    ("/v1/chat/completions", False): wire.chat,
    ("/v1/chat/completions", True): wire.chat_stream,
    ("/v1/completions", False): wire.completion,
    ("/v1/completions", True): wire.completion_stream,
    ("/v1/responses", False): wire.responses,
    ("/v1/responses", True): wire.responses_stream,
    ("/v1/messages", False): wire.messages,
    ("/v1/messages", True): wire.messages_stream,
}


def render(call: Call, answer: Answer, models: Sequence[str]) -> Rendered:
    """The body of ``answer`` in the wire format of the call's path."""
    if answer.body is not None:
        return Rendered(answer.content_type or "application/json", (answer.body,))
    path = call.path.partition("?")[0]
    wording = Wording(
        model=answer.model or str(call.json.get("model", "stub-model")),
        words=[answer.word] * answer.chunks,
        figures=answer.usage(call),
        include_usage=call.include_usage if answer.include_usage is None else answer.include_usage,
        done=answer.done,
        message_start=answer.message_start,
        usage_in_finish_chunk=answer.usage_in_finish_chunk,
        service_tier=answer.service_tier,
        finish_reason=answer.finish_reason,
    )
    renderer = _RENDERERS.get((path, call.stream))
    if call.method == "POST" and renderer is not None:
        return renderer(wording)
    return _render_other(call, path, wording, models)


def _render_other(call: Call, path: str, wording: Wording, models: Sequence[str]) -> Rendered:
    match call.method, path:
        case "POST", "/v1/messages/count_tokens":
            return Rendered("application/json", (wire.dumps({"input_tokens": len(call.body)}),))
        case "POST", "/v1/embeddings":
            return wire.embeddings(wording, call.json)
        case "GET", "/v1/models":
            return wire.models(models)
        case _:
            body = wire.failure(path, 404, f"the stub has no {call.method} {path}")
            return Rendered("application/json", (body,), status=404)


class Writer:
    """Writes one answer, as told: head, pieces, and every way to go wrong."""

    def __init__(
        self,
        transport: asyncio.Transport,
        call: Call,
        answer: Answer,
        rendered: Rendered,
        pieces: Sequence[bytes],
    ) -> None:
        self._transport = transport
        self._call = call
        self._answer = answer
        self._rendered = rendered
        self._pieces = pieces
        self._written: list[bytes] = []
        framing = answer.framing
        if framing == "auto":
            streamed = rendered.content_type == "text/event-stream" or answer.raw is not None
            framing = "chunked" if streamed else "length"
        self._framing = framing

    def _head(self) -> bytes:
        status = self._rendered.status or self._answer.status
        content_type = self._answer.content_type or self._rendered.content_type
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", "x-request-id: stub"]
        lines += [f"{name}: {value}" for name, value in self._answer.headers]
        match self._framing:
            case "length":
                lines.append(f"content-length: {sum(map(len, self._pieces))}")
            case "chunked":
                lines.append("transfer-encoding: chunked")
            case _:
                lines.append("connection: close")
        self._call.status = status
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _framed(self, piece: bytes) -> bytes:
        if self._framing != "chunked":
            return piece
        return b"%x\r\n%s\r\n" % (len(piece), piece)

    def write_at_once(self) -> None:
        """A whole answer in one write."""
        end = b"0\r\n\r\n" if self._framing == "chunked" else b""
        body = b"".join(self._framed(piece) for piece in self._pieces if piece)
        self._note(whole=True)
        self._transport.write(self._head() + body + end)

    async def write(self) -> None:
        """An answer with waits, cuts and stalls."""
        answer = self._answer
        await self._wait_before_head()
        if answer.cut_before_head:
            return await self._cut()
        self._transport.write(self._head())
        for number, piece in enumerate(self._pieces):
            if number in answer.gates:
                await answer.gates[number].passed()
            if await self._broke_off_before(number, piece):
                return None
            if answer.between_s:
                await asyncio.sleep(answer.between_s)
            if number == len(self._pieces) - 1 and self._ends_well:
                self._note(whole=True)
            self._put(piece)
            await flushed(self._transport)
        if await self._broke_off_before(len(self._pieces), b""):
            return None
        return self._end()

    async def _wait_before_head(self) -> None:
        answer = self._answer
        if answer.gate is not None:
            await answer.gate.passed()
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.stall_before_head:
            await forever()

    @property
    def _ends_well(self) -> bool:
        answer = self._answer
        return (
            answer.stall_after is None and answer.cut_after_pieces is None and answer.cut_after_bytes is None
        )

    async def _broke_off_before(self, number: int, piece: bytes) -> bool:
        answer = self._answer
        if answer.stall_after == number:
            self._note(whole=False)
            await forever()
        if answer.cut_after_pieces == number:
            await self._cut()
            return True
        if answer.cut_after_bytes is not None:
            room = answer.cut_after_bytes - sum(map(len, self._written))
            if room < len(piece) or (room == 0 and not piece):
                self._put(piece[:room])
                await self._cut()
                return True
        return False

    def _put(self, piece: bytes) -> None:
        if piece:
            self._written.append(piece)
            self._transport.write(self._framed(piece))

    def _end(self) -> None:
        self._note(whole=True)
        match self._framing:
            case "chunked":
                self._transport.write(b"0\r\n\r\n")
            case "close":
                self._transport.close()
            case _:
                pass

    async def _cut(self) -> None:
        self._note(whole=False)
        await flushed(self._transport)
        if self._answer.cut == "reset":
            raw = cast("socket.socket", self._transport.get_extra_info("socket"))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def _note(self, *, whole: bool) -> None:
        """Keep the figures that have been told, and that the call is over for the stub."""
        call, figures = self._call, self._answer.usage(self._call)
        call.finished = True
        if not isinstance(figures, Figures) or self._answer.raw is not None:
            return
        sent = b"" if whole else b"".join(self._written)
        for marker in self._rendered.markers:
            if whole or marker.text in sent:
                call.reported_input = figures.input if marker.input else call.reported_input
                call.reported_output = figures.output if marker.output else call.reported_output


async def forever() -> None:
    """Wait until the stub is closed."""
    await asyncio.get_running_loop().create_future()


async def flushed(transport: asyncio.Transport) -> None:
    """Wait until the transport has handed everything to the kernel."""
    await asyncio.sleep(0)
    # A transport says through its protocol when it is empty only above a high-water mark; asking is simpler.
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
