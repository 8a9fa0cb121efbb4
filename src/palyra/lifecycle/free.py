"""Calls that cost nothing at the provider: authenticated, routed and forwarded, with nothing to hold."""

import asyncio
from collections.abc import Sequence

from palyra.core.errors import Overloaded, ProviderUnavailable, UpstreamFailed
from palyra.core.limits import RESPONSE_COLLECT_BYTES_MAX
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.call import Call
from palyra.lifecycle.dispatch import PATHS, Header, error_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.idempotency import Replay
from palyra.lifecycle.providers import Attempt
from palyra.lifecycle.route import asked_model
from palyra.lifecycle.waiting import Wait
from palyra.lifecycle.wire import UpstreamCall, UpstreamFailure, UpstreamRequest
from palyra.registry.models import Model
from palyra.routing.failure import Fault, fault_of

KEPT_HEADERS = frozenset({b"content-type", b"retry-after"})


async def count_tokens(call: Call, engine: Engine) -> Replay:
    """Ask the provider to count tokens, or another that has the same model. Raises as a billed call would."""
    subject = authenticate(call.credential, engine.rules.snapshot)
    asked = asked_model(call.ask.model, call.endpoint, subject, engine.registry)
    if engine.full:
        raise Overloaded("too many calls are in flight; retry in a moment")
    answer: _Collected | None = None
    for model in _places(call, asked, engine):
        attempt = engine.providers.begin(model, engine.clock.now())
        if attempt is not None:
            answer = await _ask(call, attempt, engine)
            if answer.fault is None or not answer.fault.elsewhere:
                break
    if answer is None:
        told = f"provider {asked.provider!r} fails and is left alone for a while"
        raise ProviderUnavailable(told)
    if answer.failure is not None:
        raise error_of(answer.failure, answer.model.provider)
    told_of = (
        (b"x-palyra-request-id", call.request_id.encode()),
        (b"x-palyra-model", answer.model.id.encode()),
    )
    kept = tuple(header for header in answer.headers if header[0] in KEPT_HEADERS)
    return Replay(answer.status, (*kept, *told_of), b"".join(answer.body))


def _places(call: Call, asked: Model, engine: Engine) -> Sequence[Model]:
    """Where the model is: at the provider that was asked for, then at the others."""
    if not engine.routing.failover or call.ask.model == f"{asked.provider}/{asked.id}":
        return [asked]
    return [asked, *engine.registry.elsewhere(asked, call.endpoint.value)]


async def _ask(call: Call, attempt: Attempt, engine: Engine) -> "_Collected":
    """One try; the provider's breaker learns of it."""
    model = attempt.model
    answer = _Collected(model)
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
        engine.providers.abandoned(attempt)
        raise
    finally:
        engine.in_flight -= 1
    answer.judge(attempt, engine)
    return answer


class _Collected:
    """A small answer, whole."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.fault: Fault | None = None
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

    def judge(self, attempt: Attempt, engine: Engine) -> None:
        """Note whether the provider failed."""
        now, failure = engine.clock.now(), self.failure
        self.fault = fault_of(
            self.status or None,
            None if failure is None else failure.kind.value,
            sent=failure is None or failure.sent,
            headers=self.headers,
            body=b"".join(self.body),
            now=now,
        )
        if self.fault is None:
            engine.providers.succeeded(attempt, now)
        else:
            told = f"it answered {self.status}" if failure is None else failure.message
            engine.providers.failed(attempt, self.fault, told, now)
