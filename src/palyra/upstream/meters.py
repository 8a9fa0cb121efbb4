"""The right ``UsageMeter`` for an answer."""

from collections.abc import Callable

from palyra.core import limits
from palyra.lifecycle.wire import Endpoint, Reported, UsageMeter
from palyra.pricing.usage import Usage
from palyra.upstream import anthropic, openai
from palyra.upstream.sse import EventReader, SseMeter


def make_meter(endpoint: Endpoint, stream: bool, hide_usage: bool) -> UsageMeter:
    """Return a fresh meter for one answer.

    ``stream`` says that the answer is a stream of events; ``hide_usage`` that we, not the client, asked for
    the usage chunk of a chat or text completion stream (no effect elsewhere).
    """
    if stream:
        reader = _STREAMS.get(endpoint)
        if reader is not None:
            return SseMeter(reader(), hide=hide_usage and reader is openai.ChatStream)
    read, shown = _BODIES[endpoint]
    return BodyMeter(read, shown)


def _read_nothing(body: bytes) -> Reported:
    """Counting tokens is free: its usage is known, and nothing."""
    del body
    return Reported(Usage(input_tokens=0, output_tokens=0))


_STREAMS: dict[Endpoint, Callable[[], EventReader]] = {
    Endpoint.chat_completions: openai.ChatStream,
    Endpoint.completions: openai.ChatStream,
    Endpoint.messages: anthropic.MessageStream,
    Endpoint.responses: openai.ResponseStream,
}
_BODIES: dict[Endpoint, tuple[Callable[[bytes], Reported | None], Callable[[bytes], int]]] = {
    Endpoint.chat_completions: (openai.read_body, openai.shown_in_body),
    Endpoint.completions: (openai.read_body, openai.shown_in_body),
    Endpoint.responses: (openai.read_body, openai.shown_in_body),
    Endpoint.messages: (anthropic.read_body, anthropic.shown_in_body),
    Endpoint.embeddings: (openai.read_embeddings, len),
    Endpoint.count_tokens: (_read_nothing, len),
}


class BodyMeter:
    """A ``UsageMeter`` for a whole body: keeps references to the chunks, parses once, at the end."""

    __slots__ = ("_bytes", "_chunks", "_read", "_reported", "_shown")

    def __init__(self, read: Callable[[bytes], Reported | None], shown: Callable[[bytes], int]) -> None:
        self._read = read
        self._shown = shown
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._reported: Reported | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Note the chunk and return it; past RESPONSE_COLLECT_BYTES_MAX the body is not read any more."""
        self._bytes += len(chunk)
        if self._bytes <= limits.RESPONSE_COLLECT_BYTES_MAX:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return chunk

    def finish(self) -> bytes:
        """Parse what came. Nothing is ever held back."""
        if self._chunks:
            self._reported = self._read(self._body())
        return b""

    def reported(self) -> Reported | None:
        """Return the provider's usage."""
        return self._reported

    def seen_output_bytes(self) -> int:
        """Return the bytes of the content in the body; the body's length if it cannot be read."""
        return self._shown(self._body()) if self._chunks else self._bytes

    def seen_events(self) -> int:
        """Return 0: a body has no events."""
        return 0

    def _body(self) -> bytes:
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]
