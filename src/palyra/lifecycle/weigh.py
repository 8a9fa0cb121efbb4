"""One call against the budgets that bind it: read their balances, evaluate them, clamp where that helps."""

from collections.abc import Sequence
from typing import NamedTuple

from palyra.budgets.evaluate import Amounts, Evaluation, Outcome, Status, Verdict, evaluate, verdict
from palyra.budgets.index import Applicable, Attributes, PolicyIndex
from palyra.budgets.terms import Metric, Mode, UnknownPrice
from palyra.budgets.windows import Interval, Window
from palyra.core.instant import Instant
from palyra.ledger.account import EMPTY, AccountKey, Balance
from palyra.lifecycle.call import Ask
from palyra.lifecycle.decision import Labels
from palyra.lifecycle.estimate import Bound, affordable_output, cost_bound
from palyra.lifecycle.ports import Ledger
from palyra.lifecycle.route import Route, sheet_for
from palyra.pricing.sheet import PriceSheet


class Reading(NamedTuple):
    """A policy that binds the call, the account it is counted on, and the balance right now."""

    applicable: Applicable
    window: Window
    account: AccountKey
    balance: Balance


class Judgement(NamedTuple):
    """What the budgets say, and the bound they say it of: ``granted`` is smaller than asked if clamped."""

    evaluations: tuple[Evaluation, ...]
    verdict: Verdict
    granted: Bound

    @property
    def admitted(self) -> bool:
        """Whether the call may run."""
        return self.verdict.outcome is Outcome.ADMIT


class CallCost:
    """What this call costs at most, as policies with different rules for unknown prices see it."""

    __slots__ = ("_ask", "_known", "_route", "default")

    def __init__(self, ask: Ask, route: Route, default: UnknownPrice) -> None:
        self.default = default
        self._ask = ask
        self._route = route
        self._known: dict[tuple[UnknownPrice, int], Amounts] = {}

    def amounts(self, rule: UnknownPrice | None, bound: Bound) -> Amounts:
        """Upper bounds of cost and tokens; the cost is None where the rule knows no price."""
        key = (rule or self.default, bound.output_tokens)
        amounts = self._known.get(key)
        if amounts is None:
            cost = cost_bound(sheet_for(self._route, key[0]), self._ask, bound.input_tokens, key[1])
            amounts = self._known[key] = Amounts(cost, bound.input_tokens, bound.output_tokens)
        return amounts

    def affordable(self, rule: UnknownPrice | None, bound: Bound, available: int) -> int:
        """Output tokens that ``available`` nano-USD pay for after the input."""
        sheet = sheet_for(self._route, rule or self.default)
        return affordable_output(sheet, self._ask, bound.input_tokens, available)

    def billed(self, sheet: PriceSheet | None, bound: Bound) -> int | None:
        """The upper bound in nano-USD at the prices the call is billed at."""
        if sheet is self._route.sheet:
            return self.amounts(None, bound).cost
        return cost_bound(sheet, self._ask, bound.input_tokens, bound.output_tokens)

    def billing_sheet(self, evaluations: Sequence[Evaluation]) -> PriceSheet | None:
        """The prices the call is billed at: its own, or the ceiling where a money budget holds at it."""
        if self._route.sheet is not None:
            return self._route.sheet
        for evaluation in evaluations:
            rule = evaluation.policy.unknown_price or self.default
            if evaluation.metric is Metric.COST_USD and rule is UnknownPrice.CEILING:
                return self._route.ceiling
        return None


def read_balances(
    policies: PolicyIndex, labels: Labels, route: Route, ledger: Ledger, now: Instant
) -> tuple[Reading, ...]:
    """Every policy that binds the call, with the balance of its account in the window of ``now`` (P2)."""
    attributes = Attributes(
        principal=labels.principal,
        provider=route.model.provider,
        model=route.model.id,
        agent=labels.agent,
        session=labels.session,
        parent_session=labels.parent_session,
        tags=labels.tags,
    )
    readings: list[Reading] = []
    for applicable in policies.matching(attributes, now):
        policy = applicable.policy
        window = applicable.windows.at(now)
        account = AccountKey(policy.id, policy.metric.value, applicable.entity, window.start)
        balance = EMPTY if policy.interval is Interval.REQUEST else ledger.balance(account)
        readings.append(Reading(applicable, window, account, balance))
    return tuple(readings)


def evaluate_all(
    readings: Sequence[Reading], cost: CallCost, bound: Bound, mode: Mode
) -> tuple[Evaluation, ...]:
    """Each policy against the call, in the order of the readings."""
    return tuple(
        evaluate(
            applicable,
            window,
            balance.posted,
            balance.held,
            cost.amounts(applicable.policy.unknown_price, bound),
            cost.default,
            mode,
        )
        for applicable, window, _, balance in readings
    )


def judge(readings: Sequence[Reading], cost: CallCost, bound: Bound, mode: Mode) -> Judgement:
    """Evaluate the call as asked; if budgets stop it, evaluate it again at the output they can afford."""
    evaluations = evaluate_all(readings, cost, bound, mode)
    asked = Judgement(evaluations, verdict(evaluations), bound)
    if asked.admitted:
        return asked
    smaller = _clamped(evaluations, cost, bound)
    if smaller is None:
        return asked
    evaluations = evaluate_all(readings, cost, smaller, mode)
    clamped = Judgement(evaluations, verdict(evaluations), smaller)
    return clamped if clamped.admitted else asked


def _clamped(evaluations: Sequence[Evaluation], cost: CallCost, bound: Bound) -> Bound | None:
    """The largest output cap that every policy which stops the call can afford; None if that is too small."""
    granted, least = bound.output_tokens, 1
    for evaluation in evaluations:
        if evaluation.outcome is Outcome.ADMIT:
            continue
        granted = min(granted, _affordable(evaluation, cost, bound))
        least = max(least, evaluation.policy.min_output_tokens)
    cap = granted // bound.choices
    if cap < least or cap >= bound.output_cap:
        return None
    return Bound(bound.input_tokens, cap, bound.choices, cap_is_ours=True)


def _affordable(evaluation: Evaluation, cost: CallCost, bound: Bound) -> int:
    """Output tokens that one policy leaves for the call; 0 where less output is no help."""
    hard = evaluation.hard_limit
    if evaluation.status is Status.UNKNOWN or hard is None:
        return 0
    left = hard - evaluation.consumed
    match evaluation.metric:
        case Metric.COST_USD:
            return cost.affordable(evaluation.policy.unknown_price, bound, left)
        case Metric.TOTAL_TOKENS:
            return left - bound.input_tokens
        case Metric.OUTPUT_TOKENS:
            return left
        case Metric.INPUT_TOKENS | Metric.REQUESTS:
            return 0
