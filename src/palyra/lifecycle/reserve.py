"""Hold the money, and wait until the hold is on the disk: only then may a byte go upstream (D1)."""

import asyncio

from palyra.core.invariant import unreachable
from palyra.ledger.event import Released
from palyra.lifecycle.decision import CallState, Settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.lifecycle.usual import UsualPlan
from palyra.lifecycle.waiting import Wait

GONE = "the caller went away before the call was sent"


async def reserve(plan: Plan | UsualPlan, claim: IdempotencyClaim | None, engine: Engine) -> None:
    """Hold every amount of the plan, all or none (L5). Raises LedgerUnavailable.

    A caller that is cancelled while it waits leaves nothing held: the hold is released once it is durable.
    """
    durable = Wait()
    shortfall = engine.ledger.reserve(plan.reservation, plan.decision, claim, durable.tell)
    if shortfall is not None:
        unreachable("L1", f"planned within {shortfall.limit}, and {shortfall.account} cannot hold it")
    engine.reserving += 1
    try:
        await durable
    except asyncio.CancelledError:
        durable.then(lambda error: give_back(plan, GONE, engine, client_gone=True) if error is None else None)
        raise
    finally:
        engine.reserving -= 1


def give_back(plan: Plan | UsualPlan, reason: str, engine: Engine, *, client_gone: bool) -> None:
    """Void the hold of a call that never went upstream."""
    now = engine.clock.now()
    settlement = Settlement(
        at=now,
        state=CallState.RELEASED,
        source="none",
        reason=reason,
        usage=None,
        cost=None,
        held=plan.decision.cost_bound,
        client_gone=client_gone,
        total_ms=plan.decision.elapsed_ms(now),
    )
    engine.ledger.release(Released(plan.reservation.id, now, reason), plan.decision, settlement, _ignore)


def _ignore(_error: Exception | None) -> None:
    """Nobody waits for this change; the ledger retries it until it is durable."""
