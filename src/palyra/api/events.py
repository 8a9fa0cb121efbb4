"""The stream that tells pages what changed. It names topics and nothing else, so it may go to everybody."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from palyra.api.access import OWN, SignedInOf
from palyra.api.deps import ApiDeps
from palyra.api.entrance import clear_key
from palyra.api.routes import Routes
from palyra.identity.keys import hash_key
from palyra.lifecycle.listening import Changes, Listener
from palyra.lifecycle.topics import Topic

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 2_000
"""So soon a browser connects again, if the stream breaks off."""
_BEAT = b": nothing changed\n\n"
_HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy must not collect what it should pass on."""

Holds = Callable[[], Awaitable[bool]]


class Events:
    """Handler of ``/events``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the route."""
        routes.add("GET", "/events", self.stream_events, OWN, media=(MEDIA_TYPE,))

    async def stream_events(self, request: Request, signed_in: SignedInOf) -> Response:
        """What changed, as it happens: first ``hello`` with all topics, then ``change`` with those to fetch.

        At most one a second, and a comment every 15 seconds. It ends with the key or the sign-in.
        """
        rules, sign_ins = self._deps.rules, self._deps.sign_ins
        key_sha256 = hash_key(clear_key(request))

        async def holds() -> bool:
            if signed_in is not None:
                return await sign_ins.still_holds(signed_in)
            return key_sha256 in rules.snapshot.subjects

        return _EventStream(self._deps.changes, holds)


class _EventStream(Response):
    """The answer itself listens: however it ends, nobody listens after it."""

    def __init__(self, changes: Changes, holds: Holds) -> None:
        super().__init__(headers=_HEADERS, media_type=MEDIA_TYPE)
        self._changes = changes
        self._holds = holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._changes.listening() as listener, aclosing(_lines(listener, self._holds)) as lines:
            await StreamingResponse(lines, headers=_HEADERS, media_type=MEDIA_TYPE)(scope, receive, send)


async def _lines(listener: Listener, holds: Holds) -> AsyncGenerator[bytes]:
    yield b"retry: %d\n" % RETRY_MS + _event(listener.number, "hello", tuple(Topic))
    while not (told := await listener.next()).is_over and await holds():
        if told.topics:
            yield _event(told.number, "change", told.topics)
        elif told.beats:
            yield _BEAT


def _event(number: int, name: str, topics: Sequence[Topic]) -> bytes:
    data = msgspec.json.encode({"topics": topics})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name.encode(), data)
