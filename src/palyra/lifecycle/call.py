"""One call as it came in, whatever its wire format: what the path needs to know of it."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from palyra.budgets.terms import Mode
from palyra.lifecycle.wire import Endpoint


class CallBody(Protocol):
    """The request body, parsed once; it can write itself again with the few fields Palyra may change."""

    def rewritten(self, model: str, output_cap: int | None, include_usage: bool) -> bytes:
        """The body for the provider: upstream model name, output cap if not None, usage asked for."""
        ...


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What the body asks for. Token counts are of one choice; ``text_bytes`` bounds the text's tokens."""

    model: str
    stream: bool
    output_cap: int | None
    choices: int
    include_usage: bool
    text_bytes: int
    images: int
    audio: bool
    cache_writes: bool
    web_searches: int
    service_tier: str | None
    hidden_input: bool = False
    """Input that is not in the body (a stored conversation, a file by id): bounded by the context window."""
    plain: bool = False
    """Text in and out and nothing else, at the standard tier."""
    turns: int = 1
    tools: int = 0
    wants_json: bool = False
    """The answer must be JSON."""


class Hints(msgspec.Struct, frozen=True, gc=False):
    """Labels as the client gave them, by header or by the fields the wire formats have."""

    agent: str | None
    session: str | None
    parent_session: str | None
    task_class: str
    tags: Mapping[str, str]
    mode: Mode | None


class Call(msgspec.Struct, frozen=True):
    """A received call. ``headers`` are the end-to-end headers to forward; ``credential`` is in clear."""

    request_id: str
    endpoint: Endpoint
    credential: str | None
    hints: Hints
    ask: Ask
    body: CallBody
    raw_body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    idempotency_key: str | None
    approvals: tuple[str, ...] = ()
    """Ids of approvals that the caller shows."""
    wait_s: int = 0
    """How long the caller waits for a person to decide, where one is asked."""
