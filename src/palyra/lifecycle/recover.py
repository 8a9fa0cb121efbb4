"""What is done when a provider fails before its first byte: the call is tried again, there or elsewhere.

A second try at the same model runs under the same reservation, where the first cannot be billed. A model
elsewhere costs something else, so it has a reservation of its own: that of the failed try is resolved first
(released, or posted in doubt where the provider may bill it), and the budgets are asked anew. The caller has
one id for all of it; the reservations are ``req_1``, ``req_1.2``, ``req_1.3``.
"""

import asyncio
from dataclasses import dataclass

from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Mode
from palyra.core.errors import LedgerUnavailable, PalyraError
from palyra.core.instant import NANOSECONDS
from palyra.identity.keys import Subject
from palyra.lifecycle.admit import admit
from palyra.lifecycle.call import Call
from palyra.lifecycle.choice import has_stand_in
from palyra.lifecycle.decision import AttemptRecord
from palyra.lifecycle.dispatch import Exchange, dispatch
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.plan import Plan, plan_elsewhere, priority_of
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.lifecycle.reserve import GONE, give_back
from palyra.lifecycle.signals import tell_of_plan
from palyra.lifecycle.survey import Survey
from palyra.lifecycle.usual import UsualPlan
from palyra.lifecycle.waiting import Wait
from palyra.registry.models import Model
from palyra.routing.backoff import delay_ns
from palyra.routing.capacity import Lease
from palyra.routing.choose import Health
from palyra.routing.failure import Fault, Reason

MOVES_MAX = 3
"""So many further models a call is taken to (V2)."""
PATIENCE_NS = NANOSECONDS
"""A provider that asks for more time than this is left at once, where there is another."""
_LEFT_AT_ONCE = frozenset(
    {Reason.UNREACHABLE, Reason.TLS, Reason.TIMEOUT, Reason.CUT, Reason.GARBAGE, Reason.AUTH, Reason.QUOTA}
)


async def attempt(
    call: Call,
    plan: Plan | UsualPlan,
    engine: Engine,
    *,
    keep: bool,
    earlier: tuple[AttemptRecord, ...] = (),
) -> Exchange:
    """Send a call that is reserved, and wait for what ``Exchange.answered`` waits for.

    Raises what that raises, and CapacityDeferred; the reservation is resolved then.
    """
    provider_id = plan.route.model.provider
    lease = await _slots(call, plan, engine) if engine.providers.is_limited(provider_id) else None
    exchange = dispatch(call, plan, engine, keep=keep, lease=lease, earlier=earlier)
    try:
        await exchange.answered()
    except asyncio.CancelledError:
        exchange.abandon()
        raise
    return exchange


async def _slots(call: Call, plan: Plan | UsualPlan, engine: Engine) -> Lease:
    """The slots of the call at its provider; without them its reservation is given back."""
    engine.pausing += 1
    try:
        return await engine.providers.lease(plan.route.model.provider, priority_of(call.hints.task_class))
    except PalyraError:
        give_back(plan, "no free slot at the provider", engine, client_gone=False)
        raise
    except asyncio.CancelledError:
        give_back(plan, GONE, engine, client_gone=True)
        raise
    finally:
        engine.pausing -= 1


@dataclass(slots=True)
class Recovery:
    """One call whose first try failed. ``plan`` is the one that it runs under now."""

    call: Call
    subject: Subject
    policies: PolicyIndex
    claim: IdempotencyClaim | None
    engine: Engine
    plan: Plan | UsualPlan

    async def go_on(self, exchange: Exchange) -> Exchange:
        """Try until an answer stands or nothing is left to try. Raises as ``Exchange.answered`` does."""
        tried, retries = [self.plan.route.model], 0
        while (fault := exchange.fault) is not None:
            can_move = fault.elsewhere and len(tried) <= MOVES_MAX and self._has_stand_in(tried)
            delay = self._delay(fault, retries)
            if delay is not None and not (can_move and _is_left_at_once(fault)):
                retries += 1
                exchange = await self._again(exchange, delay)
                continue
            moved = await self._elsewhere(exchange, tried) if can_move else None
            if moved is None:
                exchange.conclude()
                await exchange.answered()
                break
            tell_of_plan(moved, self.engine.alarms)
            self.plan, retries = moved, 0
            tried.append(moved.route.model)
            exchange = await attempt(self.call, moved, self.engine, keep=self.claim is not None)
        return exchange

    def _delay(self, fault: Fault, retries: int) -> int | None:
        """Nanoseconds before a second try at the same model; None where there is to be none."""
        engine = self.engine
        health = engine.providers.health(self.plan.route.model, engine.clock.now())
        if not fault.retry_here or health is Health.OPEN:
            return None
        return delay_ns(retries, engine.random(), fault.retry_after_ns, engine.providers.resilience.retries)

    async def _again(self, exchange: Exchange, delay: int) -> Exchange:
        engine = self.engine
        engine.pausing += 1
        try:
            await _pause(delay)
        except asyncio.CancelledError:
            exchange.abandon()
            raise
        finally:
            engine.pausing -= 1
        earlier = exchange.attempts("retry")
        return await attempt(self.call, self.plan, engine, keep=self.claim is not None, earlier=earlier)

    async def _elsewhere(self, exchange: Exchange, tried: list[Model]) -> Plan | None:
        """Resolve what failed, and hold the call on another model; None where none may serve it."""
        engine = self.engine
        failed = self.plan.decision.whole()
        exchange.conclude("failover")

        def decide() -> Plan | None:
            now = engine.clock.now()
            return plan_elsewhere(self.call, self.subject, self.policies, engine, now, failed, tried)

        try:
            return await admit(decide, self.claim, engine)
        except LedgerUnavailable:
            # What the failed provider said is the better answer.
            return None

    def _has_stand_in(self, tried: list[Model]) -> bool:
        now = self.engine.clock.now()
        survey = Survey(self.call, self.subject, self.policies, self.engine, now, tried[0])
        return has_stand_in(survey, Mode(self.plan.decision.whole().mode), tried)


def _is_left_at_once(fault: Fault) -> bool:
    return fault.reason in _LEFT_AT_ONCE or (fault.retry_after_ns or 0) > PATIENCE_NS


async def _pause(nanoseconds: int) -> None:
    over = Wait()
    timer = asyncio.get_running_loop().call_later(nanoseconds / NANOSECONDS, over.tell)
    try:
        await over
    finally:
        timer.cancel()
