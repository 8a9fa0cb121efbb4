"""What the budgets say about one call: the table of DESIGN section 4. Pure, and on the hot path.

Five policies are evaluated per call, and their messages are read only when one of them stops it: so values
are small structs, what no call changes is in the ``Binding``, and texts are written on demand.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import structs

from palyra.budgets.binding import Binding
from palyra.budgets.evaluation import (
    NO_ALLOWANCE,
    Allowance,
    Amounts,
    Evaluation,
    Outcome,
    Status,
    limit_of,
    sum_of,
)
from palyra.budgets.policy import Policy
from palyra.budgets.terms import (
    Action,
    Mode,
    Then,
    UnknownPrice,
    format_amount,
)
from palyra.ledger.account import Account, Balance

_OK = Status.OK
_ADMIT = Outcome.ADMIT
_SEVERITY = {status: rank for rank, status in enumerate(Status)}
_OUTCOME_SEVERITY = {outcome: rank for rank, outcome in enumerate(Outcome)}


class ModeChoice(NamedTuple):
    """The mode of a call and where it came from: ``config``, ``caller`` or ``policy:<id>``."""

    mode: Mode
    origin: str


_CONFIGURED = {mode: ModeChoice(mode, "config") for mode in Mode}


class Verdict(NamedTuple):
    """What all policies together say.

    ``status`` is the worst status among those that decide the outcome; ``deciding`` the tightest
    evaluation that stops the call, None if it is admitted; ``would`` what dry_run policies would do.
    """

    outcome: Outcome
    status: Status
    deciding: Evaluation | None
    would: tuple[tuple[str, str], ...]


FINE = Verdict(_ADMIT, _OK, None, ())


def evaluate(
    binding: Binding,
    posted: int,
    held: int,
    amounts: Amounts,
    unknown_price_default: UnknownPrice,
    call_mode: Mode,
    allowance: Allowance = NO_ALLOWANCE,
) -> Evaluation:
    """Evaluate one policy. ``posted`` and ``held`` are the balances of its account.

    More than a limit is over it, exactly the limit is not. For the interval ``request`` the balances
    are ignored. For ``unknown_price = ceiling`` the caller has put the ceiling into ``amounts``.
    """
    cap = binding.mode
    mode = call_mode if cap is None else call_mode.at_most(cap)
    consumed = 0 if binding.each_call else posted + held
    amount = amounts[binding.place]
    status, effect = _judged(binding.policy, consumed, amount, unknown_price_default, allowance)
    return Evaluation(binding, status, effect, mode, consumed, amount, "", allowance)


def evaluate_within(
    bindings: Sequence[Binding],
    balances: Sequence[Balance | Account],
    amounts: Amounts,
    unknown_price_default: UnknownPrice,
    call_mode: Mode,
) -> tuple[Evaluation, ...]:
    """``evaluate`` each, with the common case by itself: the amount is known and within every limit."""
    found: list[Evaluation] = []
    for binding, balance in zip(bindings, balances, strict=True):
        consumed, amount = balance.posted + balance.held, amounts[binding.place]
        if amount is None or consumed + amount > binding.within or binding.mode is not None:
            found.append(
                evaluate(binding, balance.posted, balance.held, amounts, unknown_price_default, call_mode)
            )
        else:
            found.append(Evaluation(binding, _OK, _ADMIT, call_mode, consumed, amount))
    return tuple(found)


def as_degraded(evaluation: Evaluation, before: Evaluation, model: str, *, instead_of: str) -> Evaluation:
    """The evaluation of a call that was moved to ``model``, as its decision shows it.

    ``before`` is the same policy's evaluation of the dearer model, whose id is ``instead_of``. If that
    had to degrade, the status is ``degraded`` and the message says what became of the call; otherwise,
    and where ``model`` does not fit or has no price, ``evaluation`` is returned as it is.
    """
    asked = before.degrade
    if asked is None or not asked.must or evaluation.effect is not _ADMIT or evaluation.amount is None:
        return evaluation
    policy = evaluation.policy
    used = f"{sum_of(before, f' on {instead_of}')}, over the hard limit of {limit_of(policy)}"
    cost = format_amount(policy.metric, evaluation.amount)
    note = f"{evaluation.binding.title}: {used}; the call runs on {model} for {cost}."
    return structs.replace(evaluation, status=Status.DEGRADED, note=note)


def configured(mode: Mode) -> ModeChoice:
    """The mode of a call that nobody tightens or loosens."""
    return _CONFIGURED[mode]


def effective_mode(
    default: Mode, requested: Mode | None, *, may_loosen: bool, evaluations: Iterable[Evaluation] = ()
) -> ModeChoice:
    """The mode of a call: the configured one, then the caller's, then what policies tighten it to.

    A caller may only be stricter unless ``may_loosen``. A policy tightens the mode while its soft
    limit is exceeded or a ``routing_mode`` threshold is reached, and no further than its own ``mode``.
    """
    choice = configured(default)
    if requested is not None and (
        requested.strictness > default.strictness or (may_loosen and requested is not default)
    ):
        choice = ModeChoice(requested, "caller")
    for evaluation in evaluations:
        override = _override(evaluation)
        if override is not None and override.strictness > choice.mode.strictness:
            choice = ModeChoice(override, f"policy:{evaluation.policy.id}")
    return choice


def verdict(evaluations: Sequence[Evaluation]) -> Verdict:
    """Combine all evaluations: the worst outcome, its worst status, and who decided."""
    for evaluation in evaluations:
        if evaluation.status is not _OK:
            return _worst(evaluations)
    return FINE


def _worst(evaluations: Sequence[Evaluation]) -> Verdict:
    outcome, status = Outcome.ADMIT, Status.OK
    worst = (0, 0)
    would: list[tuple[str, str]] = []
    for evaluation in evaluations:
        if evaluation.status is Status.OK:
            continue
        rank = (_OUTCOME_SEVERITY[evaluation.outcome], _SEVERITY[evaluation.status])
        if rank > worst:
            worst, outcome, status = rank, evaluation.outcome, evaluation.status
        doing = evaluation.would
        if doing is not None:
            would.append((evaluation.policy.id, doing))
    deciding = None
    if outcome is not Outcome.ADMIT:
        stopping = [each for each in evaluations if each.outcome is outcome and each.status is status]
        deciding = tightest(stopping) or stopping[0]
    return Verdict(outcome, status, deciding, tuple(would))


def tightest(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The evaluation that has the least share of its hard limit left; None if none has a hard limit."""
    limits = [evaluation.binding.hard_limit for evaluation in evaluations]
    place = least_left(limits, [evaluation.consumed for evaluation in evaluations])
    return None if place is None else evaluations[place]


def least_left(limits: Sequence[int | None], consumed: Sequence[int]) -> int | None:
    """Where the least share of its limit is left; None if there is no limit."""
    shares = [
        -1.0 if limit is None else used / limit if used < limit else 1.0
        for limit, used in zip(limits, consumed, strict=True)
    ]
    most = max(shares, default=-1.0)
    return None if most < 0 else shares.index(most)


def _judged(
    policy: Policy,
    consumed: int,
    amount: int | None,
    unknown_price_default: UnknownPrice,
    allowance: Allowance,
) -> tuple[Status, Outcome]:
    hard, soft = policy.hard_limit, policy.soft_limit
    reached = consumed + (amount or 0)
    over_hard = hard is not None and reached > hard
    covered = hard is not None and reached <= hard + allowance.extra
    if amount is None:
        return _unknown(policy, unknown_price_default, over_hard=over_hard and not covered)
    if over_hard:
        if covered or amount <= allowance.once:
            return Status.OVERRIDE_APPLIED, Outcome.ADMIT
        return _over_hard(policy.action)
    if soft is not None and reached > soft:
        return Status.SOFT_LIMIT, Outcome.ADMIT
    return Status.OK, Outcome.ADMIT


def _over_hard(action: Action) -> tuple[Status, Outcome]:
    match action:
        case Action.ALERT:
            return Status.HARD_LIMIT, Outcome.ADMIT
        case Action.APPROVAL_REQUIRED:
            return Status.APPROVAL_REQUIRED, Outcome.ASK
        case _:
            # block; or degrade, for this model: whoever plans the call looks for a cheaper one that fits.
            return Status.BLOCKED, Outcome.DENY


def _unknown(policy: Policy, default: UnknownPrice, *, over_hard: bool) -> tuple[Status, Outcome]:
    rule = default if policy.unknown_price is None else policy.unknown_price
    if rule is not UnknownPrice.ALLOW:
        # Under "ceiling" an amount that is still unknown had no ceiling either.
        return Status.UNKNOWN, Outcome.DENY
    if over_hard and policy.action is not Action.ALERT:
        return _over_hard(policy.action)
    return Status.UNKNOWN, Outcome.ADMIT


def _override(evaluation: Evaluation) -> Mode | None:
    policy = evaluation.policy
    if policy.routing_mode_override is None and not policy.thresholds:
        return None
    fallback = policy.routing_mode_override
    candidates = [fallback] if evaluation.over_soft else []
    candidates += [
        fallback if threshold.to is None else Mode(threshold.to)
        for threshold in evaluation.passed
        if threshold.then is Then.ROUTING_MODE
    ]
    wanted = [mode for mode in candidates if mode is not None]
    return wanted[0].strictest(*wanted[1:]).at_most(policy.mode) if wanted else None
