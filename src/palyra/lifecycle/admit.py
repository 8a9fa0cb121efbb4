"""Plan and hold, on a ledger that this process has alone or shares with other gateways.

Alone, what the balances say is so, and one plan is enough. Among others a balance may be older than what
they did since: one that was not read for a while is read first; a call is refused or cut short only by
balances read after it came, when the others had the time to give back what they do not need; and a hold for
which another gateway was faster is planned again.
"""

from collections.abc import Sequence

from palyra.budgets.evaluate import Outcome
from palyra.budgets.index import PolicyIndex
from palyra.core.errors import LedgerUnavailable, Outbid
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.ledger.account import AccountKey
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.lifecycle.reserve import reserve
from palyra.lifecycle.usual import UsualPlan, plan_call

PLANS_MAX = 32
"""So often a call is planned anew before it gives way to gateways that are faster again and again (V2)."""


async def admit(
    call: Call, subject: Subject, policies: PolicyIndex, claim: IdempotencyClaim | None, engine: Engine
) -> Plan | UsualPlan:
    """The plan of the call: its amounts are held, unless it is refused. Raises LedgerUnavailable."""
    for _ in range(PLANS_MAX):
        plan = await _plan_on_current_balances(call, subject, policies, engine)
        if not plan.admitted:
            return plan
        try:
            await reserve(plan, claim, engine)
        except Outbid:
            continue
        return plan
    raise LedgerUnavailable("other gateways use up the same budgets faster than this one; retry shortly")


async def _plan_on_current_balances(
    call: Call, subject: Subject, policies: PolicyIndex, engine: Engine
) -> Plan | UsualPlan:
    others = engine.others
    plan = plan_call(call, subject, policies, engine, engine.clock.now())
    if others is None:
        return plan
    unread = others.unread(_accounts(plan))
    if unread:
        await others.read(unread)
        plan = plan_call(call, subject, policies, engine, engine.clock.now())
    if isinstance(plan, Plan) and not (plan.admitted and plan.decision.clamp is None):
        await others.recall(_short_accounts(plan))
        plan = plan_call(call, subject, policies, engine, engine.clock.now())
    return plan


def _short_accounts(plan: Plan) -> Sequence[tuple[AccountKey, Instant]]:
    """Those of them that stop the call, or cut it short: what others have of the rest is no help."""
    clamp = plan.decision.clamp
    return [
        (each.binding.account, each.binding.window[1])
        for each in plan.judgement.evaluations
        if not each.binding.each_call
        and (each.outcome is not Outcome.ADMIT or (clamp is not None and each.policy_id == clamp.policy_id))
    ]


def _accounts(plan: Plan | UsualPlan) -> Sequence[tuple[AccountKey, Instant]]:
    """The accounts that the call counts on, each with the end of its window."""
    bindings = plan.prepared.bindings if isinstance(plan, UsualPlan) else plan.judgement.bindings
    return [(each.account, each.window[1]) for each in bindings.each if not each.each_call]
