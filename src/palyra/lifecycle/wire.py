"""The port to providers: what the path of a call needs from an upstream, and nothing of how it works.

``Upstream`` carries bytes, ``UsageMeter`` reads the usage that a provider reports inside them.
Everything here is called on the event loop's thread.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from palyra.pricing.usage import Usage


class Endpoint(StrEnum):
    """A wire format of the data plane."""

    chat_completions = "chat_completions"
    completions = "completions"
    responses = "responses"
    embeddings = "embeddings"
    messages = "messages"
    count_tokens = "count_tokens"


class FailureKind(StrEnum):
    """Why a call has no whole answer."""

    local = "local"
    """Palyra itself has no place for the call; the provider was not asked."""
    refused = "refused"
    tls = "tls"
    connect_timeout = "connect_timeout"
    first_byte_timeout = "first_byte_timeout"
    idle_timeout = "idle_timeout"
    total_timeout = "total_timeout"
    cut = "cut"
    protocol = "protocol"
    too_large = "too_large"


class UpstreamFailure(msgspec.Struct, frozen=True, gc=False):
    """A call that ended without a whole answer.

    ``sent`` is True if request bytes may have reached the provider: it may bill this call. ``message``
    is fit for an operator and carries no credential.
    """

    kind: FailureKind
    message: str
    sent: bool


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    """One request to a provider.

    ``path`` is relative to the API's version root (``b"/chat/completions"``). ``headers`` are the
    end-to-end headers to forward; the adapter drops hop-by-hop ones and adds host, credential,
    content-length and the provider's fixed headers.
    """

    provider_id: str
    method: bytes
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class UpstreamSink(Protocol):
    """Receives one answer: ``head``, any number of ``data``, then exactly one of ``end`` and ``failed``.

    ``failed`` may come at any point, also before ``head``; never from inside ``Upstream.send``.
    After ``UpstreamCall.abort`` nothing more is called.
    """

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the final status and the end-to-end headers; names are lower-case."""
        ...

    def data(self, chunk: bytes) -> None:
        """Take body bytes, transfer coding removed; never empty."""
        ...

    def end(self) -> None:
        """Note that the answer is complete."""
        ...

    def failed(self, failure: UpstreamFailure) -> None:
        """Note that the answer will not be complete."""
        ...


class UpstreamCall(Protocol):
    """A call in flight."""

    def pause(self) -> None:
        """Stop ``data`` until ``resume``. Idle and first-byte deadlines stop too, the total one does not."""
        ...

    def resume(self) -> None:
        """Undo ``pause``."""
        ...

    def abort(self) -> None:
        """Give the call up and close its connection. Does nothing after the end."""
        ...


class Upstream(Protocol):
    """All providers of a process."""

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> UpstreamCall:
        """Start a call. Every failure, also one known at once, arrives later through ``sink.failed``."""
        ...

    async def close(self) -> None:
        """End every connection; calls in flight get ``failed``."""
        ...


class Reported(msgspec.Struct, frozen=True, gc=False):
    """Usage as the provider reported it.

    ``input_known`` / ``output_known`` are False where the provider did not give (all of) that side, as
    in a broken stream: the figure in ``usage`` is then a lower bound and must be completed by an
    estimate (invariant L6). ``service_tier`` and ``model`` are the provider's words, None if not given.
    """

    usage: Usage
    service_tier: str | None = None
    model: str | None = None
    input_known: bool = True
    output_known: bool = True


class UsageMeter(Protocol):
    """Reads usage from the body of one answer. Nothing in it raises on what a provider sends."""

    def feed(self, chunk: bytes) -> bytes:
        """Take body bytes; return what goes to the client now: the same object unless usage is hidden."""
        ...

    def finish(self) -> bytes:
        """Call once, after the last ``feed``, also on a cut: return bytes still held back."""
        ...

    def reported(self) -> Reported | None:
        """Return the provider's usage, None if it gave none that can be believed. Valid after ``finish``."""
        ...

    def seen_output_bytes(self) -> int:
        """Return a bound on the bytes of generated content seen so far; never below the tokens seen.

        It is not free: ask only where the usage is not known.
        """
        ...

    def seen_events(self) -> int:
        """Return how many stream events were seen so far; 0 for a body that is no stream."""
        ...
