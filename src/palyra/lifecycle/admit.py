"""Plan and hold, on a ledger that this process has alone or shares with other gateways.

Alone, what the balances say is so, and one plan is enough. Among others a balance may be older than what
they did since: one that was not read for a while is read first; a call is refused or cut short only by
balances read after it came, when the others had the time to give back what they do not need; and a hold for
which another gateway was faster is planned again.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from palyra.budgets.evaluation import Outcome
from palyra.core.errors import LedgerUnavailable, Outbid
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.lifecycle.reserve import reserve
from palyra.lifecycle.usual import UsualPlan

PLANS_MAX = 32
"""So often a call is planned anew before it gives way to gateways that are faster again and again (V2)."""


P = TypeVar("P", bound=Plan | UsualPlan | None)


async def admit(decide: Callable[[], P], claim: IdempotencyClaim | None, engine: Engine) -> P:
    """The plan that ``decide`` makes: its amounts are held, unless it is refused or there is none.

    ``decide`` is asked again whenever balances were read since. Raises LedgerUnavailable.
    """
    for _ in range(PLANS_MAX):
        plan = await decide_now(decide, engine)
        if plan is None or not plan.admitted:
            return plan
        try:
            await reserve(plan, claim, engine)
        except Outbid:
            continue
        return plan
    raise LedgerUnavailable("other gateways use up the same budgets faster than this one; retry shortly")


async def decide_now(decide: Callable[[], P], engine: Engine) -> P:
    """What ``decide`` says on balances that are current, and before it refuses on all that can be had."""
    others = engine.others
    plan = decide()
    if others is None or plan is None:
        return plan
    unread = others.unread(_accounts(plan))
    if unread:
        await others.read(unread)
        plan = decide()
    if isinstance(plan, Plan) and not (plan.judgement.admitted and plan.decision.clamp is None):
        await others.recall(_short_accounts(plan))
        plan = decide()
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
    if isinstance(plan, UsualPlan):
        return [(each.account, each.window[1]) for each in plan.prepared.bindings.each]
    judgement = plan.judgement
    counted = [(each.account, each.window[1]) for each in judgement.bindings.each if not each.each_call]
    uses = [each.single_use for each in judgement.evaluations]
    used_up = [(use.account, use.ends) for use in uses if use is not None]
    return [*counted, *used_up]
