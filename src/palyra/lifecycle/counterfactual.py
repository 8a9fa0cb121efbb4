"""What full enforcement of the dry-run policies would have done, on balances that live as if it had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from palyra.budgets.evaluate import Outcome
from palyra.budgets.terms import Mode
from palyra.ledger.account import NEVER_RUN, Balance
from palyra.lifecycle.decision import Counterfactual
from palyra.lifecycle.estimate import Bound
from palyra.lifecycle.weigh import CallCost, Judgement, Reading, evaluate_all, judge


@dataclass(frozen=True, slots=True)
class Shadow:
    """The call under full enforcement. ``would`` says, per policy id, what enforcement adds to reality."""

    judgement: Judgement
    would: Mapping[str, str]

    @property
    def granted(self) -> Bound | None:
        """What the call would have been granted, None if it would not have run."""
        return self.judgement.granted if self.judgement.admitted else None

    def record(self, cost: CallCost) -> Counterfactual:
        """For the decision; cost in nano-USD, 0 for a call that would not have run."""
        granted = self.granted
        clamped = granted is not None and "would_clamp" in self.would.values()
        return Counterfactual(
            would=tuple(f"{policy_id}={what}" for policy_id, what in self.would.items()),
            outcome=self.judgement.verdict.outcome.value,
            cost_bound=0 if granted is None else cost.amounts(None, granted).cost,
            clamped_output_tokens=granted.output_cap if granted is not None and clamped else None,
        )


def shadow_of(readings: Sequence[Reading], cost: CallCost, granted: Bound, mode: Mode) -> Shadow | None:
    """The counterfactual of a call granted ``granted``; None where no policy that binds it runs dry."""
    modes = [mode.at_most(reading.applicable.policy.mode) for reading in readings]
    if Mode.DRY_RUN not in modes:
        return None
    tried = [
        _enforced(reading) for reading, each in zip(readings, modes, strict=True) if each is not Mode.SUGGEST
    ]
    judgement = judge(tried, cost, granted, Mode.ENFORCED)
    would: dict[str, str] = {}
    if judgement.granted is not granted:
        for evaluation in evaluate_all(tried, cost, granted, Mode.ENFORCED):
            if evaluation.outcome is not Outcome.ADMIT:
                would[evaluation.policy_id] = "would_clamp"
    for evaluation in judgement.evaluations:
        if evaluation.outcome is not Outcome.ADMIT:
            would[evaluation.policy_id] = "would_block" if evaluation.outcome is Outcome.DENY else "would_ask"
    return Shadow(judgement, would)


def shadow_amount(reading: Reading, amount: int, cost: CallCost, shadow: Shadow | None) -> int:
    """What the call holds on the shadow balance of one account, or NEVER_RUN."""
    if shadow is None:
        return amount
    granted = shadow.granted
    if granted is None:
        return NEVER_RUN
    policy = reading.applicable.policy
    return min(amount, cost.amounts(policy.unknown_price, granted).amount_of(policy.metric) or 0)


def _enforced(reading: Reading) -> Reading:
    """The same policy on its shadow balance, with nothing capping its mode."""
    balance = reading.balance
    shadow = Balance(balance.shadow_posted, balance.shadow_held, balance.shadow_posted, balance.shadow_held)
    applicable = reading.applicable
    if applicable.policy.mode is not None:
        applicable = applicable._replace(policy=replace(applicable.policy, mode=None))
    return reading._replace(applicable=applicable, balance=shadow)
