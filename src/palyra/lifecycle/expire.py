"""What nobody settled: leases that ran out, and reservations that a crash left behind.

Their amounts are posted as held, in doubt: the provider may have done the work. A later settlement
corrects them.
"""

import asyncio
from collections.abc import Sequence

import structlog

from palyra.core.instant import Instant
from palyra.core.limits import SETTLE_WAIT_S
from palyra.ledger.event import Expired
from palyra.ledger.held import Reservation
from palyra.lifecycle.decision import CallState, Decision, Settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.signals import tell_of_doubt
from palyra.pricing.usage import Usage

_log = structlog.get_logger("palyra.expire")


async def resolve_leftovers(engine: Engine) -> int:
    """At start-up: no process is left that could settle what is pending. Returns how many there were."""
    return await _expire(engine, engine.ledger.pending(), "the process ended before the call was settled")


async def expire_overdue(engine: Engine) -> int:
    """Resolve reservations whose lease ran out (V1). Returns how many there were."""
    now = engine.clock.now()
    overdue = [each for each in engine.ledger.pending() if each.expires_at <= now]
    return await _expire(engine, overdue, "its lease ran out")


async def _expire(engine: Engine, reservations: Sequence[Reservation], reason: str) -> int:
    posted = [await _post(engine, reserved, reason) for reserved in reservations]
    if posted:
        _, waiting = await asyncio.wait(posted, timeout=SETTLE_WAIT_S)
        if waiting:
            # The ledger goes on trying; a daemon that cannot store them takes no new calls either.
            _log.warning("amounts in doubt wait for the disk", waiting=len(waiting))
    return len(posted)


async def _post(engine: Engine, reserved: Reservation, reason: str) -> "asyncio.Future[None]":
    """Post one reservation as held; the future is done when that is on disk."""
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stored = await engine.records.decision(reserved.id)
    if stored is None:
        # The decision is written in the commit of its reservation, so this is a damaged database.
        _log.error("reservation without a decision", request_id=reserved.id)
        durable.set_result(None)
        return durable

    def done(error: Exception | None) -> None:
        if error is not None:
            _log.error("amount in doubt not stored", request_id=reserved.id, reason=str(error))
        if not durable.done():
            durable.set_result(None)

    now = engine.clock.now()
    settlement = in_doubt(stored.decision, now, reason)
    engine.ledger.expire(Expired(reserved.id, now, reason), stored.decision, settlement, done)
    if engine.alarms is not None:
        tell_of_doubt(stored.decision, settlement, engine.alarms)
    _log.warning("reservation in doubt", request_id=reserved.id, reason=reason)
    return durable


def in_doubt(decision: Decision, at: Instant, reason: str) -> Settlement:
    """The settlement of a call that may have run: everything it held, marked as an estimate (L6)."""
    estimate = decision.estimate
    held = decision.cost_bound
    usage = Usage(estimate.input_tokens_bound, estimate.output_tokens_bound) if estimate else None
    return Settlement(
        at=at,
        state=CallState.IN_DOUBT,
        source="estimated",
        reason=reason,
        usage=usage,
        cost=held,
        held=held,
        total_ms=decision.elapsed_ms(at),
    )
