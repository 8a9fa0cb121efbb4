"""What full enforcement of the dry-run policies would have done, on balances that live as if it had."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from palyra.budgets.binding import Binding, Bindings
from palyra.budgets.evaluation import NO_ALLOWANCE, Allowance, Outcome
from palyra.budgets.terms import Mode
from palyra.ledger.account import NEVER_RUN, Account, Balance
from palyra.lifecycle.decision import Counterfactual
from palyra.lifecycle.estimate import Bound
from palyra.lifecycle.survey import Weighed
from palyra.lifecycle.weigh import CallCost, Judgement, Readings, evaluate_all, judge

_DRY_RUN = Mode.DRY_RUN


class Shadow(NamedTuple):
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


def shadow_of(readings: Readings, cost: CallCost, granted: Bound, mode: Mode) -> Shadow | None:
    """The counterfactual of a call granted ``granted``; None where no policy that binds it runs dry."""
    if mode is not _DRY_RUN and not readings.bindings.capped:
        return None
    modes = [mode.at_most(binding.mode) for binding in readings.bindings.each]
    if _DRY_RUN not in modes:
        return None
    tried = _enforced(readings, modes)
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


def shadow_amount(binding: Binding, amount: int, advised: Weighed, shadow: Shadow) -> int:
    """What the call holds on the shadow balance of one account, or NEVER_RUN.

    ``advised`` is the call on the model that full enforcement would have run it on.
    """
    granted = shadow.granted
    if granted is None or all(each.account != binding.account for each in advised.readings.bindings.each):
        return NEVER_RUN
    return min(amount, advised.cost.amounts(binding.policy.unknown_price, granted)[binding.place] or 0)


def _enforced(readings: Readings, modes: Sequence[Mode]) -> Readings:
    """The policies that are more than suggested, on their shadow balances, with no mode of their own."""
    tried: list[Binding] = []
    balances: list[Balance | Account] = []
    allowances: list[Allowance] = []
    all_allowances = readings.allowances or (NO_ALLOWANCE,) * len(modes)
    for binding, balance, allowance, mode in zip(
        readings.bindings.each, readings.balances, all_allowances, modes, strict=True
    ):
        if mode is not Mode.SUGGEST:
            allowances.append(allowance)
            tried.append(structs.replace(binding, mode=None))
            posted, held = balance.shadow_posted, balance.shadow_held
            balances.append(Balance(posted, held, posted, held))
    return Readings(Bindings.of(tried, readings.bindings.until), balances, allowances)
