"""Calls that cost nothing at the provider: authenticated, routed and forwarded, with nothing to hold."""

import asyncio

from palyra.core.errors import Overloaded, UpstreamFailed
from palyra.core.limits import RESPONSE_COLLECT_BYTES_MAX
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.call import Call
from palyra.lifecycle.dispatch import PATHS, Header, error_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.idempotency import Replay
from palyra.lifecycle.route import asked_model
from palyra.lifecycle.waiting import Wait
from palyra.lifecycle.wire import UpstreamCall, UpstreamFailure, UpstreamRequest

KEPT_HEADERS = frozenset({b"content-type", b"retry-after"})


async def count_tokens(call: Call, engine: Engine) -> Replay:
    """Ask the provider to count tokens. Raises PalyraError as a billed call would."""
    subject = authenticate(call.credential, engine.rules.snapshot)
    model = asked_model(call.ask.model, call.endpoint, subject, engine.registry)
    if engine.full:
        raise Overloaded("too many calls are in flight; retry in a moment")
    answer = _Collected()
    answer.call = engine.upstream.send(
        UpstreamRequest(
            provider_id=model.provider,
            method=b"POST",
            path=PATHS[call.endpoint],
            headers=call.headers,
            body=call.body.rewritten(model.upstream_name, None, include_usage=False),
        ),
        answer,
    )
    engine.in_flight += 1
    try:
        await answer.complete
    except asyncio.CancelledError:
        answer.call.abort()
        raise
    finally:
        engine.in_flight -= 1
    if answer.failure is not None:
        raise error_of(answer.failure, model.provider)
    told = (b"x-palyra-request-id", call.request_id.encode()), (b"x-palyra-model", model.id.encode())
    kept = tuple(header for header in answer.headers if header[0] in KEPT_HEADERS)
    return Replay(answer.status, (*kept, *told), b"".join(answer.body))


class _Collected:
    """A small answer, whole."""

    def __init__(self) -> None:
        self.complete = Wait()
        self.call: UpstreamCall | None = None
        self.status = 0
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.failure: UpstreamFailure | None = None
        self._size = 0

    def head(self, status: int, headers: list[Header]) -> None:
        self.status, self.headers = status, headers

    def data(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= RESPONSE_COLLECT_BYTES_MAX:
            self.body.append(chunk)
        elif not self.complete.told:
            if self.call is not None:
                self.call.abort()
            self.complete.tell(UpstreamFailed("the provider's answer is too large"))

    def end(self) -> None:
        self.complete.tell()

    def failed(self, failure: UpstreamFailure) -> None:
        self.failure = failure
        self.complete.tell()
