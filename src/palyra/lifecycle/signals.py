"""What the path of a call says to the desk of alerts: budgets reached, prices missing, holds that did not do.

Each function looks first whether there is anything to say, and says it as a cause and a way to describe it:
words are made once for an alert, not for every call.
"""

from collections.abc import Callable

from palyra.alerts import causes, words
from palyra.alerts.course import Finding
from palyra.approvals.approval import Approval, State
from palyra.budgets.evaluation import Evaluation, Outcome, Status
from palyra.budgets.terms import Metric, format_amount
from palyra.budgets.windows import Window
from palyra.core.instant import END_OF_TIME, Instant
from palyra.ledger.event import Settled
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.budget_levels import Level, levels_of, view_of
from palyra.lifecycle.decision import AnyDecision, Settlement
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.usual import UsualPlan

_OK, _UNKNOWN = Status.OK, Status.UNKNOWN
_ANY_CALL = Window(Instant(0), END_OF_TIME)
"""In the place of the window of a budget that each call has for itself."""


def tell_of_plan(plan: Plan, alarms: Alarms | None) -> None:
    """What the budgets say of a call: each level that is reached, each limit that leaves no room for it."""
    if alarms is None:
        return
    for evaluation in plan.judgement.evaluations:
        if evaluation.reached > evaluation.binding.within or evaluation.status is not _OK:
            _tell_of_budget(evaluation, plan, alarms)
    if plan.route.sheet is None:
        _tell_of_price(plan, alarms)


def tell_of_overrun(plan: Plan | UsualPlan, event: Settled, alarms: Alarms) -> None:
    """A call used more than was held for it where a limit binds (L4)."""
    model, decision = plan.route.model, plan.decision
    hold = next(
        each
        for each in plan.reservation.holds
        if each.limit is not None and event.amounts.get(each.account.metric, 0) > each.amount
    )
    used = event.amounts[hold.account.metric]

    def describe() -> Finding:
        return words.overrun(
            model.provider,
            model.id,
            decision.request_id,
            hold.account.metric,
            hold.amount,
            used,
            decision.principal,
        )

    alarms.note(causes.overrun(model.provider, model.id), describe)


def tell_of_doubt(
    decision: AnyDecision, settlement: Settlement, alarms: Alarms, *, again: bool = True
) -> None:
    """A call was posted as held, because nobody knows how it ended. Unless ``again`` it is counted only where
    it is the first one.
    """

    def describe() -> Finding:
        held, metric = settlement.cost, words.MONEY
        if held is None:
            usage = settlement.usage
            held = 0 if usage is None else usage.input_tokens + usage.output_tokens
            metric = Metric.TOTAL_TOKENS.value
        return words.unsettled_reservation(
            decision.provider, decision.request_id, metric, held, settlement.reason
        )

    say = alarms.note if again else alarms.ensure
    say(causes.unsettled_reservation(decision.provider), describe)


def tell_of_approval(approval: Approval, alarms: Alarms | None) -> None:
    """Somebody waits for a decision, or does not any more."""
    if alarms is None:
        return
    cause = causes.approval_pending(approval.id)
    if approval.state is State.PENDING:
        alarms.ensure(
            cause,
            lambda: words.approval_pending(
                approval.id,
                approval.policy_id,
                approval.requester,
                approval.metric,
                approval.asked,
                approval.expires_at,
            ),
        )
    else:
        alarms.end(cause, decided_in_words(approval))


def decided_in_words(approval: Approval) -> str:
    """Why nobody waits for it any more, as a sentence."""
    ruling = approval.ruling
    by = "" if ruling is None or ruling.principal is None else f" by {ruling.principal}"
    return f"The request is {approval.state.value}{by}."


def _tell_of_budget(evaluation: Evaluation, plan: Plan, alarms: Alarms) -> None:
    policy, binding = evaluation.policy, evaluation.binding
    start, end = _ANY_CALL if binding.each_call else binding.window
    admitted = plan.admitted
    # What is refused is not on the account; but a budget for each call knows nothing else.
    consumed = evaluation.reached if admitted or binding.each_call else evaluation.consumed

    def told(describe: Callable[[words.BudgetView], Finding]) -> Callable[[], Finding]:
        return lambda: describe(view_of(policy, binding.entity, start, end, consumed))

    for level in levels_of(policy):
        if consumed >= level.amount:
            alarms.note(
                causes.budget_threshold(policy.id, binding.entity, start, level.at), told(_passed(level))
            )
    stops = evaluation.outcome is not Outcome.ADMIT and evaluation.status is not _UNKNOWN
    if stops or (evaluation.status is Status.HARD_LIMIT and admitted):
        effect = _effect(evaluation)
        alarms.note(
            causes.budget_exhausted(policy.id, binding.entity, start),
            told(lambda view: words.budget_exhausted(view, effect, stops_calls=stops)),
        )


def _passed(level: Level) -> Callable[[words.BudgetView], Finding]:
    return lambda view: words.budget_threshold(view, level.at, level.effect)


def _effect(evaluation: Evaluation) -> str:
    if evaluation.outcome is Outcome.ADMIT:
        return "It only alerts: calls still run."
    call = "A call" if evaluation.amount is None else _call_of(evaluation.metric, evaluation.amount)
    if evaluation.outcome is Outcome.ASK:
        return f"{call} has no room and waits for an approval."
    return f"{call} has no room and is refused."


def _call_of(metric: Metric, amount: int) -> str:
    return "A call" if metric is Metric.REQUESTS else f"A call of up to {format_amount(metric, amount)}"


def _tell_of_price(plan: Plan, alarms: Alarms) -> None:
    model = plan.route.model
    refused = any(
        each.status is _UNKNOWN and each.outcome is not Outcome.ADMIT for each in plan.judgement.evaluations
    )
    if not (plan.admitted or refused):
        return
    if refused:
        effect = "The call was refused, because a budget of money binds it."
    elif plan.sheet is not None:
        effect = "Budgets count it at the ceiling, the dearest price of its provider."
    else:
        effect = "The call ran, and no budget of money counts it."
    alarms.note(
        causes.unpriced_model(model.provider, model.id),
        lambda: words.unpriced_model(model.provider, model.id, effect),
    )
