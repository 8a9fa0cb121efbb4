"""One call of the month: what its caller asks for, and what the provider is going to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from palyra.lifecycle.call import Ask, Call, Hints
from palyra.lifecycle.wire import Endpoint, FailureKind, UpstreamFailure

JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]
CACHE_BLOCK = 128
"""Providers cache whole blocks of so many tokens."""


class Tokens(NamedTuple):
    """What a call will use, if it may."""

    fresh: int
    """Input that the provider has not seen before."""
    cached: int
    written: int
    """Put into the cache: of providers that bill for it."""
    output: int
    thinking: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none: a status of the provider."""

    status: int
    kind: str = "server_error"


@dataclass(frozen=True, slots=True)
class Break:
    """The transport fails, before the head or, if ``after_head``, after it."""

    kind: FailureKind
    after_head: bool = False

    def failure(self) -> UpstreamFailure:
        """As the transport tells of it."""
        return UpstreamFailure(self.kind, _BREAKS[self.kind], sent=self.kind is not FailureKind.refused)


Fault = Refusal | Break
_BREAKS = {
    FailureKind.first_byte_timeout: "no answer within 60 s",
    FailureKind.cut: "the connection was closed by the provider",
    FailureKind.refused: "the connection was refused",
}


@dataclass(slots=True)
class Script:
    """``faults`` are how the first tries end; the one after them is answered. It is the body of its call,
    too: ``rewritten`` is told what goes upstream.
    """

    name: bytes
    """Its body as the provider gets it: tells one call from another."""
    tokens: Tokens
    first_ms: int
    tokens_per_s: int
    stream: bool
    endpoint: Endpoint
    faults: Sequence[Fault] = ()
    tries: int = 0
    model: str = ""
    cap: int | None = None
    waits: bool = field(default=False)
    """It is with the provider."""
    over: bool = False

    def rewritten(self, model: str, output_cap: int | None, include_usage: bool) -> bytes:
        """See ``CallBody.rewritten``."""
        del include_usage
        self.model = model
        if output_cap is not None:
            self.cap = output_cap if self.cap is None else min(self.cap, output_cap)
        return self.name

    def fault(self) -> Fault | None:
        """How this try ends, None if it is answered."""
        self.tries += 1
        return self.faults[self.tries - 1] if self.tries <= len(self.faults) else None

    def output(self) -> int:
        """Tokens of the answer: what the call needs, or its cap."""
        return self.tokens.output if self.cap is None else min(self.tokens.output, self.cap)

    def last_ms(self) -> int:
        """Milliseconds until the answer is whole."""
        return self.first_ms + self.output() * 1_000 // self.tokens_per_s

    def answer(self) -> bytes:
        """The body of the provider's answer in its wire format, or the last events of a stream."""
        usage = self._usage()
        if self.endpoint is not Endpoint.messages:
            body: dict[str, object] = {"model": self.model, "usage": usage}
            if self.endpoint is Endpoint.chat_completions:
                body["choices"] = []
            return _event(body) + b"data: [DONE]\n\n" if self.stream else msgspec.json.encode(body)
        if not self.stream:
            return msgspec.json.encode({"type": "message", "model": self.model, "usage": usage})
        start = {"type": "message_start", "message": {"model": self.model, "usage": usage}}
        delta = {"type": "message_delta", "usage": {"output_tokens": usage["output_tokens"]}}
        return b"".join(
            b"event: %b\n%b" % (str(event["type"]).encode(), _event(event))
            for event in (start, delta, {"type": "message_stop"})
        )

    def _usage(self) -> dict[str, object]:
        tokens, output = self.tokens, self.output()
        thinking = min(tokens.thinking, output)
        if self.endpoint is Endpoint.messages:
            return {
                "input_tokens": tokens.fresh,
                "cache_read_input_tokens": tokens.cached,
                "cache_creation_input_tokens": tokens.written,
                "output_tokens": output,
            }
        total = tokens.fresh + tokens.cached + tokens.written
        usage: dict[str, object] = {
            "prompt_tokens": total,
            "completion_tokens": output,
            "total_tokens": total + output,
        }
        if tokens.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": tokens.cached}
        if thinking:
            usage["completion_tokens_details"] = {"reasoning_tokens": thinking}
        return usage


def refusal_body(refusal: Refusal) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({"error": {"type": refusal.kind, "message": "the demo's provider says no"}})


def make_call(
    script: Script, request_id: str, credential: str, ask: Ask, hints: Hints, content: bytes
) -> Call:
    """The call that carries a script. ``content`` tells what it asks for from what others do."""
    return Call(
        request_id=request_id,
        endpoint=script.endpoint,
        credential=credential,
        hints=hints,
        ask=ask,
        body=script,
        raw_body=content,
        headers=(),
        idempotency_key=None,
    )


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(document)
