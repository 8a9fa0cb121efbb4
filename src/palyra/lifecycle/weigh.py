"""One call against the budgets that bind it: read their balances, evaluate them, clamp where that helps."""

from collections.abc import Sequence

import msgspec

from palyra.budgets.binding import Bindings
from palyra.budgets.evaluate import Verdict, evaluate, evaluate_within, verdict
from palyra.budgets.evaluation import (
    NO_ALLOWANCE,
    Allowance,
    Amounts,
    Evaluation,
    Outcome,
    Status,
    amounts_of,
)
from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.terms import Metric, Mode, UnknownPrice
from palyra.core.instant import Instant
from palyra.ledger.account import EMPTY, Account, Balance
from palyra.lifecycle.call import Ask, Call
from palyra.lifecycle.decision import Labels
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import Bound, affordable_output, cost_bound
from palyra.lifecycle.route import Route, sheet_for
from palyra.pricing.sheet import PriceSheet

_ADMIT = Outcome.ADMIT
_NOTHING = amounts_of(None, 0, 0)


class Readings(msgspec.Struct, frozen=True, gc=False):
    """The policies that bind the call, and the balance of each: to be read before anything can move it."""

    bindings: Bindings
    balances: list[Balance | Account]
    allowances: Sequence[Allowance] | None = None
    """What overrides allow the call beyond each limit; None where nothing is granted to anybody."""


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What the budgets say, and the bound they say it of: ``granted`` is smaller than asked if clamped."""

    bindings: Bindings
    evaluations: tuple[Evaluation, ...]
    verdict: Verdict
    granted: Bound

    @property
    def admitted(self) -> bool:
        """Whether the call may run."""
        return self.verdict.outcome is _ADMIT

    @property
    def message(self) -> str:
        """Why the call may not run; empty if it may."""
        deciding = self.verdict.deciding
        return "" if deciding is None else deciding.message

    def marked(self, evaluations: tuple[Evaluation, ...]) -> "Judgement":
        """The same with evaluations that say how the call came to be admitted."""
        return Judgement(self.bindings, evaluations, verdict(evaluations), self.granted)


class CallCost:
    """What this call costs at most, as policies with different rules for unknown prices see it."""

    __slots__ = ("_amounts", "_ask", "_bound", "_others", "_route", "default", "is_known")

    def __init__(self, ask: Ask, route: Route, default: UnknownPrice) -> None:
        self.default = default
        self.is_known = route.sheet is not None
        """Whether the price is known, so that no rule for unknown prices matters."""
        self._ask = ask
        self._route = route
        self._bound: Bound | None = None
        self._amounts = _NOTHING
        self._others: dict[tuple[UnknownPrice, int], Amounts] | None = None

    @property
    def ask(self) -> Ask:
        """What is asked for, as far as its cost goes by it."""
        return self._ask

    def usual(self, bound: Bound) -> Amounts:
        """Upper bounds for policies without a rule of their own; for all, where the price is known."""
        if self._bound is not bound:
            self._amounts = self._at_most(self.default, bound)
            self._bound = bound
        return self._amounts

    def amounts(self, rule: UnknownPrice | None, bound: Bound) -> Amounts:
        """Upper bounds of cost and tokens; the cost is None where the rule knows no price."""
        if rule is None or self.is_known:
            return self.usual(bound)
        if self._others is None:
            self._others = {}
        key = (rule, bound.output_tokens)
        amounts = self._others.get(key)
        if amounts is None:
            amounts = self._others[key] = self._at_most(rule, bound)
        return amounts

    def _at_most(self, rule: UnknownPrice, bound: Bound) -> Amounts:
        tokens, output = bound.input_tokens, bound.output_tokens
        sheet = self._route.sheet or sheet_for(self._route, rule)
        return amounts_of(cost_bound(sheet, self._ask, tokens, output), tokens, output)

    def compared(self, bound: Bound) -> int | None:
        """The dearest bill of these tokens at the model's own prices."""
        return cost_bound(self._route.sheet, self._ask, bound.input_tokens, bound.output_tokens)

    def affordable(self, rule: UnknownPrice | None, bound: Bound, available: int) -> int:
        """Output tokens that ``available`` nano-USD pay for after the input."""
        sheet = sheet_for(self._route, rule or self.default)
        return affordable_output(sheet, self._ask, bound.input_tokens, available)

    def billed(self, sheet: PriceSheet | None, bound: Bound) -> int | None:
        """The upper bound in nano-USD at the prices the call is billed at."""
        if sheet is self._route.sheet:
            return self.usual(bound).cost
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
    policies: PolicyIndex, labels: Labels, route: Route, call: Call, engine: Engine, now: Instant
) -> Readings:
    """Every policy that binds the call, with the balance of its account in the window of ``now`` (P2)."""
    model = route.model
    attributes = Attributes(
        labels.principal,
        model.provider,
        model.id,
        labels.agent,
        labels.session,
        labels.parent_session,
        labels.tags,
    )
    bindings = policies.matching(attributes, now)
    accounts, grants = engine.ledger.accounts, engine.grants
    account = accounts.get
    # Nothing is ever posted for a window that is one call: its account is always empty.
    balances = [account(each.account) or EMPTY for each in bindings.each]
    if not grants:
        return Readings(bindings, balances)
    allowances = [grants.allowance(each, call, labels.principal, accounts, now) for each in bindings.each]
    return Readings(bindings, balances, allowances)


def evaluate_all(readings: Readings, cost: CallCost, bound: Bound, mode: Mode) -> tuple[Evaluation, ...]:
    """Each policy against the call, in the order of the readings."""
    bindings, balances = readings.bindings.each, readings.balances
    usual, default, allowances = cost.usual(bound), cost.default, readings.allowances
    if cost.is_known and allowances is None:
        return evaluate_within(bindings, balances, usual, default, mode)
    return tuple(
        evaluate(
            binding,
            balance.posted,
            balance.held,
            cost.amounts(binding.policy.unknown_price, bound),
            default,
            mode,
            allowance,
        )
        for binding, balance, allowance in zip(
            bindings, balances, allowances or (NO_ALLOWANCE,) * len(bindings), strict=True
        )
    )


def judge(readings: Readings, cost: CallCost, bound: Bound, mode: Mode) -> Judgement:
    """Evaluate the call as asked; if budgets stop it, evaluate it again at the output they can afford."""
    evaluations = evaluate_all(readings, cost, bound, mode)
    asked = Judgement(readings.bindings, evaluations, verdict(evaluations), bound)
    if asked.admitted:
        return asked
    smaller = _clamped(evaluations, cost, bound)
    if smaller is None:
        return asked
    evaluations = evaluate_all(readings, cost, smaller, mode)
    clamped = Judgement(readings.bindings, evaluations, verdict(evaluations), smaller)
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
    return Bound.of(bound.input_tokens, cap, bound.choices, cap_is_ours=True)


def _affordable(evaluation: Evaluation, cost: CallCost, bound: Bound) -> int:
    """Output tokens that one policy leaves for the call; 0 where less output is no help."""
    most = evaluation.most
    if evaluation.status is Status.UNKNOWN or most is None:
        return 0
    left = most - evaluation.consumed
    match evaluation.metric:
        case Metric.COST_USD:
            return cost.affordable(evaluation.policy.unknown_price, bound, left)
        case Metric.TOTAL_TOKENS:
            return left - bound.input_tokens
        case Metric.OUTPUT_TOKENS:
            return left
        case Metric.INPUT_TOKENS | Metric.REQUESTS:
            return 0
