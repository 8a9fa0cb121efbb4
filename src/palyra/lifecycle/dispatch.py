"""The exchange with the provider: it lives on callbacks, ends in exactly one settlement, and needs no client.

A slow client pauses the provider; a gone client lets the answer drain to its usage event, within a deadline
and up to a number of such drains at a time (V2).
"""

import asyncio
from typing import Protocol

from palyra.core.errors import PalyraError, UpstreamFailed, UpstreamTimedOut
from palyra.core.instant import Instant
from palyra.core.limits import (
    DRAIN_S,
    DRAINS_MAX,
    IDEMPOTENCY_REPLAY_BYTES_MAX,
    RESPONSE_COLLECT_BYTES_MAX,
)
from palyra.ledger.event import Released, Settled
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import AttemptRecord, Settlement, call_id_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.idempotency import Header, Replay
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.providers import Attempt
from palyra.lifecycle.respond import answer_headers
from palyra.lifecycle.settle import SUCCESS, Ending, resolve
from palyra.lifecycle.signals import tell_of_doubt, tell_of_overrun
from palyra.lifecycle.usual import UsualPlan
from palyra.lifecycle.waiting import Wait
from palyra.lifecycle.wire import (
    Endpoint,
    FailureKind,
    UpstreamCall,
    UpstreamFailure,
    UpstreamRequest,
    UsageMeter,
)
from palyra.registry.models import ENDPOINT_PATHS
from palyra.routing.capacity import Lease
from palyra.routing.failure import Fault, Reason, fault_of

PATHS = {Endpoint(name): path.removeprefix("/v1").encode() for name, path in ENDPOINT_PATHS.items()}
"""Where each endpoint is at a provider, below the root of its API version."""
LEFT_ALONE = UpstreamFailure(
    FailureKind.refused, "it failed a moment ago and is left alone for a while", sent=False
)
LEFT_ALONE_FAULT = Fault(Reason.UNREACHABLE, provider_fault=False, retry_here=False, elsewhere=True)
_TIMEOUTS = frozenset(
    {
        FailureKind.connect_timeout,
        FailureKind.first_byte_timeout,
        FailureKind.idle_timeout,
        FailureKind.total_timeout,
    }
)


def dispatch(
    call: Call,
    plan: Plan | UsualPlan,
    engine: Engine,
    *,
    keep: bool,
    lease: Lease | None = None,
    earlier: tuple[AttemptRecord, ...] = (),
) -> "Exchange":
    """Send the call upstream. From here on it settles itself, whatever becomes of the client.

    ``keep``: a repeat of the call may ask for the same answer, so keep it while it passes. ``lease`` are its
    slots at the provider, ``earlier`` the tries before this one under the same reservation.
    """
    endpoint = call.endpoint
    ask = call.ask
    hide_usage = ask.stream and not ask.include_usage
    model = plan.route.model
    meter = engine.make_meter(endpoint, ask.stream, hide_usage)
    exchange = Exchange(plan, engine, meter, keep, lease, earlier)
    exchange.start(
        UpstreamRequest(
            provider_id=model.provider,
            method=b"POST",
            path=PATHS[endpoint],
            headers=call.headers,
            body=call.body.rewritten(model.upstream_name, plan.output_cap, ask.stream),
        )
    )
    return exchange


class AnswerReader(Protocol):
    """Who reads a stream. After ``end`` or ``broken`` nothing more is called."""

    def chunk(self, data: bytes) -> None:
        """Take the next bytes; never empty."""
        ...

    def end(self) -> None:
        """Note that the answer is complete."""
        ...

    def broken(self, error: PalyraError) -> None:
        """Note that the provider broke off: the client must see a broken answer, too."""
        ...


class Exchange:
    """One answer on its way: sink of the provider on one side, ``answered`` and a reader on the other.

    A stream goes to its reader chunk by chunk; every other answer is collected, and is whole once
    ``answered`` returns. A try that failed before its first byte, and that may go better a second time or
    elsewhere, has a ``fault``: it waits for ``supersede`` or ``conclude``.
    """

    __slots__ = (
        "_attempt",
        "_began_at",
        "_buffered",
        "_chunks",
        "_client_gone",
        "_drain_deadline",
        "_earlier",
        "_ended",
        "_ended_at",
        "_engine",
        "_failure",
        "_head_at",
        "_held_back",
        "_kept",
        "_kept_bytes",
        "_lease",
        "_meter",
        "_on_disk",
        "_paused",
        "_plan",
        "_reader",
        "_ready",
        "_upstream",
        "_verdict",
        "fault",
        "headers",
        "settlement",
        "status",
        "streams",
    )

    def __init__(
        self,
        plan: Plan | UsualPlan,
        engine: Engine,
        meter: UsageMeter,
        keep: bool,
        lease: Lease | None = None,
        earlier: tuple[AttemptRecord, ...] = (),
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._meter = meter
        self._upstream: UpstreamCall | None = None
        self._reader: AnswerReader | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._kept: list[bytes] | None = [] if keep else None
        self._kept_bytes = 0
        self._paused = False
        self._ended = False
        self._client_gone = False
        self._failure: UpstreamFailure | None = None
        self._drain_deadline: asyncio.TimerHandle | None = None
        self._began_at = self._ended_at = engine.clock.now()
        self._head_at: Instant | None = None
        self._attempt: Attempt | None = None
        self._lease = lease
        self._earlier = earlier
        self._held_back = b""
        self._on_disk = False
        self._ready = Wait()
        self._verdict: Fault | None = None
        self.fault: Fault | None = None
        self.status: int | None = None
        self.headers: list[Header] = []
        self.streams = False
        self.settlement: Settlement | None = None

    def start(self, request: UpstreamRequest) -> None:
        """Send the request, unless the provider is to be left alone since the call was planned."""
        engine = self._engine
        engine.in_flight += 1
        self._attempt = engine.providers.begin(self._plan.route.model, self._began_at)
        if self._attempt is None:
            asyncio.get_running_loop().call_soon(self.failed, LEFT_ALONE)
        else:
            self._upstream = engine.upstream.send(request, self)

    @property
    def acknowledged(self) -> Settlement | None:
        """The settlement once it is on disk (D2); before, nobody may be told of it."""
        return self.settlement if self._on_disk else None

    # The provider's side.

    def head(self, status: int, headers: list[Header]) -> None:
        """Status and headers arrived."""
        self._head_at = self._engine.clock.now()
        self.status = status
        self.headers = headers
        if status in SUCCESS and _is_stream(headers):
            self.streams = True
            self._ready.tell()
            if self._reader is None and not self._client_gone:
                self.pause()

    def data(self, chunk: bytes) -> None:
        """Body bytes arrived."""
        passed = self._meter.feed(chunk)
        if self._kept is not None:
            self._keep(passed)
        if self._client_gone or not passed:
            return
        if self._reader is not None:
            self._reader.chunk(passed)
            return
        self._chunks.append(passed)
        self._buffered += len(passed)
        if self._buffered > RESPONSE_COLLECT_BYTES_MAX:
            self._give_up(UpstreamFailure(FailureKind.too_large, "the answer is too large", sent=True))

    def end(self) -> None:
        """The answer is complete."""
        self._finish(None)

    def failed(self, failure: UpstreamFailure) -> None:
        """The answer will not be complete."""
        self._finish(failure)

    # The client's side.

    async def answered(self) -> None:
        """Wait for the head of a stream, for a fault after which something is left to try, or for everything
        else to be complete and settled on disk (D2).

        Raises UpstreamFailed or UpstreamTimedOut if the provider gave no whole answer.
        """
        await self._ready
        if not self.streams and self._failure is not None and self.fault is None:
            raise error_of(self._failure, self._plan.decision.provider)

    def body(self) -> bytes:
        """A collected answer, whole."""
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def read_by(self, reader: "AnswerReader") -> None:
        """Hand a stream on: what came already, and from now on every chunk as it comes, then how it ended."""
        self._reader = reader
        self.resume()
        chunks, self._chunks = self._chunks, []
        for chunk in chunks:
            reader.chunk(chunk)
        if self._ended:
            self._tell_end(reader)

    def pause(self) -> None:
        """The client does not keep up: take nothing more from the provider until ``resume``."""
        if self._upstream is not None and not self._paused:
            self._paused = True
            self._upstream.pause()

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._upstream is not None and self._paused:
            self._paused = False
            self._upstream.resume()

    def abandon(self) -> None:
        """The client is gone: drain the answer to its usage, within bounds, or give it up."""
        if self.fault is not None:
            self._client_gone = True
            self.conclude()
        if self._ended or self._client_gone:
            return
        self._client_gone = True
        self._reader = None
        self._chunks.clear()
        self.resume()
        if self._engine.draining >= DRAINS_MAX:
            self._give_up(None)
            return
        self._engine.draining += 1
        self._drain_deadline = asyncio.get_running_loop().call_later(DRAIN_S, self._give_up, None)

    def _give_up(self, failure: UpstreamFailure | None) -> None:
        if self._ended:
            return
        if self._upstream is not None:
            self._upstream.abort()
        self._finish(failure)

    # Its end.

    def attempts(self, then: str) -> tuple[AttemptRecord, ...]:
        """The tries so far, this one included; ``then`` is what comes of its fault."""
        decision, verdict = self._plan.decision, self._verdict
        model = self._plan.route.model
        record = AttemptRecord(
            model.provider,
            model.id,
            decision.elapsed_ms(self._began_at),
            decision.elapsed_ms(self._ended_at),
            self.status,
            "ok" if verdict is None else verdict.reason.value,
            "" if self._failure is None else self._failure.message,
            then,
        )
        return (*self._earlier, record)

    def conclude(self, then: str = "") -> None:
        """Settle a try that failed: nothing more is tried under its reservation."""
        if self.fault is not None:
            self.fault = None
            self._ready = Wait()
            self._conclude(then)

    def _finish(self, failure: UpstreamFailure | None) -> None:
        """The one place where an exchange ends. It is settled, unless something is left to try."""
        if self._ended:
            return
        self._ended = True
        self._failure = failure
        engine = self._engine
        engine.in_flight -= 1
        if self._drain_deadline is not None:
            self._drain_deadline.cancel()
            self._drain_deadline = None
            engine.draining -= 1
        self._held_back = self._meter.finish()
        self._ended_at = engine.clock.now()
        if self._lease is not None:
            engine.providers.give_back(self._plan.route.model.provider, self._lease)
        verdict = self._judge()
        if (
            verdict is not None
            and (verdict.retry_here or verdict.elsewhere)
            and (self.status is None or self.status not in SUCCESS)
            and not self._client_gone
        ):
            self.fault = verdict
            self._ready.tell()
        else:
            self._conclude("")

    def _judge(self) -> Fault | None:
        """Whether the provider failed; it is remembered for the calls to come."""
        attempt, failure, status = self._attempt, self._failure, self.status
        providers = self._engine.providers
        if attempt is None:
            self._verdict = LEFT_ALONE_FAULT
        elif failure is None and status is None:
            # Given up by us.
            providers.abandoned(attempt)
        elif failure is None and status in SUCCESS:
            providers.succeeded(attempt, self._head_at or self._ended_at)
        else:
            self._verdict = fault_of(
                status,
                None if failure is None else failure.kind.value,
                sent=failure is None or failure.sent,
                headers=self.headers,
                body=self.body(),
                now=self._ended_at,
            )
            if self._verdict is None:
                providers.succeeded(attempt, self._head_at or self._ended_at)
            else:
                told = f"it answered {status}" if failure is None else failure.message
                providers.failed(attempt, self._verdict, told, self._ended_at)
        return self._verdict

    def _conclude(self, then: str) -> None:
        held_back = self._held_back
        self._settle(then)
        if self._kept is not None:
            self._keep_answer(held_back)
        if not self._ready.told:
            # Also when the disk has been full for too long or has failed, the answer goes out, without its
            # cost: the hold stays on disk until the settle or a restart resolves it.
            self._engine.patience.bound(self._ready)
        reader = self._reader
        if reader is None:
            if held_back and not self._client_gone:
                self._chunks.append(held_back)
            return
        if held_back:
            reader.chunk(held_back)
        self._tell_end(reader)

    def _tell_end(self, reader: "AnswerReader") -> None:
        if self._failure is None:
            reader.end()
        else:
            reader.broken(error_of(self._failure, self._plan.decision.provider))

    def _keep(self, passed: bytes) -> None:
        """Keep a part of the answer for a repeat of the call, unless the whole is too large for that."""
        self._kept_bytes += len(passed)
        if self._kept is not None and self._kept_bytes <= IDEMPOTENCY_REPLAY_BYTES_MAX:
            self._kept.append(passed)
        else:
            self._kept = None

    def _keep_answer(self, held_back: bytes) -> None:
        status = self.status
        if self._kept is None or self._failure is not None or status is None or status not in SUCCESS:
            return
        headers = answer_headers(self._plan, self.headers, self.settlement)
        body = b"".join((*self._kept, held_back))
        self._engine.replays.keep(
            call_id_of(self._plan.decision.request_id), Replay(status, tuple(headers), body)
        )

    def _settle(self, then: str) -> None:
        reported = self._meter.reported()
        known = reported is not None and reported.input_known and reported.output_known
        ending = Ending(
            at=self._ended_at,
            status=self.status,
            reported=reported,
            seen_output_bytes=0 if known else self._meter.seen_output_bytes(),
            failure=self._failure,
            client_gone=self._client_gone,
            first_byte_ms=None if self._head_at is None else self._plan.decision.elapsed_ms(self._head_at),
            attempts=self.attempts(then) if self._verdict is not None or self._earlier else (),
        )
        event, settlement = resolve(self._plan, ending)
        self.settlement = settlement
        decision, ledger, alarms = self._plan.decision, self._engine.ledger, self._engine.alarms
        if isinstance(event, Settled):
            ledger.settle(event, decision, settlement, self._settled)
            if settlement.overrun and alarms is not None:
                tell_of_overrun(self._plan, event, alarms)
        elif isinstance(event, Released):
            ledger.release(event, decision, settlement, self._settled)
        else:
            ledger.expire(event, decision, settlement, self._settled)
            if alarms is not None:
                tell_of_doubt(decision, settlement, alarms)

    def _settled(self, error: Exception | None) -> None:
        self._on_disk = error is None
        self._ready.tell()


def _is_stream(headers: list[Header]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.startswith(b"text/event-stream")
    return False


def error_of(failure: UpstreamFailure, provider: str) -> PalyraError:
    """The error that a caller is told for an answer that is missing or broken."""
    message = f"provider {provider} gave no whole answer: {failure.message}"
    return UpstreamTimedOut(message) if failure.kind in _TIMEOUTS else UpstreamFailed(message)
