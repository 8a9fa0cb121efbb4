"""What the budgets say about one call: the table of DESIGN section 4. Pure, and on the hot path.

Five policies are evaluated per call, and their messages are read only when one of them stops it: so values
are small structs, what no call changes is in the ``Binding``, and texts are written on demand.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import structs

from palyra.budgets.binding import PLACES, Binding, Degrade
from palyra.budgets.policy import Policy
from palyra.budgets.terms import (
    Action,
    Metric,
    Mode,
    Then,
    Threshold,
    UnknownPrice,
    amount_fields,
    format_amount,
)
from palyra.budgets.windows import Interval, Window
from palyra.core.instant import isoformat
from palyra.ledger.account import Account, Balance


class Status(StrEnum):
    """What the numbers of one policy say, whatever the mode."""

    OK = "ok"
    SOFT_LIMIT = "soft_limit"
    HARD_LIMIT = "hard_limit"
    OVERRIDE_APPLIED = "override_applied"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    APPROVAL_REQUIRED = "approval_required"
    BLOCKED = "blocked"


class Outcome(StrEnum):
    """What becomes of the call. ``deny`` beats ``ask`` beats ``admit``."""

    ADMIT = "admit"
    ASK = "ask"
    DENY = "deny"


_OK = Status.OK
_ADMIT = Outcome.ADMIT
_ENFORCED = Mode.ENFORCED
_SEVERITY = {status: rank for rank, status in enumerate(Status)}
_OUTCOME_SEVERITY = {outcome: rank for rank, outcome in enumerate(Outcome)}


class Amounts(NamedTuple):
    """What this call would hold in each metric, in the order of ``binding.PLACES``.

    Nano-USD (None: not computable, which is not zero, L6), upper bounds of tokens, and one request.
    """

    cost: int | None
    total_tokens: int
    input_tokens: int
    output_tokens: int
    requests: int

    def amount_of(self, metric: Metric) -> int | None:
        """The amount in the unit of ``metric``; None if it cannot be computed."""
        return self[PLACES[metric]]


_Row = tuple[int | None, int, int, int, int]
_amounts: Callable[[type[Amounts], _Row], Amounts] = tuple[object, ...].__new__


def amounts_of(cost: int | None, input_tokens: int, output_tokens: int) -> Amounts:
    """The amounts of one call: nano-USD or None, and tokens."""
    return _amounts(Amounts, (cost, input_tokens + output_tokens, input_tokens, output_tokens, 1))


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """One policy against one call. Amounts are in the unit of the policy's metric.

    ``effect`` is what the policy asks for where it is enforced; ``mode`` is how far it reaches for
    this call, ``outcome`` what it therefore does. ``amount`` is None if unknown. ``note`` is the message
    where there is more to tell than these numbers (see ``as_degraded``).
    """

    binding: Binding
    status: Status
    effect: Outcome
    mode: Mode
    consumed: int
    amount: int | None
    note: str = ""

    @property
    def policy(self) -> Policy:
        """The policy that was evaluated."""
        return self.binding.policy

    @property
    def policy_id(self) -> str:
        """Id of the policy."""
        return self.binding.policy.id

    @property
    def policy_version(self) -> int:
        """Version of the policy that was evaluated."""
        return self.binding.policy.version

    @property
    def entity(self) -> str:
        """Whose account it is."""
        return self.binding.entity

    @property
    def window(self) -> Window:
        """The window that is counted."""
        return self.binding.window

    @property
    def scope(self) -> str:
        """The scope as it is written: ``principal:*``."""
        return self.binding.record.scope

    @property
    def metric(self) -> Metric:
        """What is counted."""
        return self.binding.policy.metric

    @property
    def interval(self) -> Interval:
        """How long it is counted."""
        return self.binding.policy.interval

    @property
    def soft_limit(self) -> int | None:
        """Soft limit in the metric's unit."""
        return self.binding.policy.soft_limit

    @property
    def hard_limit(self) -> int | None:
        """Hard limit in the metric's unit."""
        return self.binding.policy.hard_limit

    @property
    def projected(self) -> int | None:
        """What is consumed once this call holds its amount; None if that is unknown."""
        return None if self.amount is None else self.consumed + self.amount

    @property
    def reached(self) -> int:
        """What is consumed with this call, as far as its amount is known."""
        return self.consumed + (self.amount or 0)

    @property
    def remaining(self) -> int | None:
        """What the hard limit leaves before this call, at least 0; None without a hard limit."""
        hard = self.policy.hard_limit
        return None if hard is None else max(0, hard - self.consumed)

    @property
    def outcome(self) -> Outcome:
        """What the policy does to the call: its effect where enforced, else ``admit``."""
        return self.effect if self.mode is _ENFORCED else _ADMIT

    @property
    def would(self) -> str | None:
        """In dry_run, what enforcement would have done: ``would_block``, ``would_ask`` or None."""
        if self.mode is not Mode.DRY_RUN or self.effect is Outcome.ADMIT:
            return None
        return "would_block" if self.effect is Outcome.DENY else "would_ask"

    @property
    def passed(self) -> tuple[Threshold, ...]:
        """The thresholds that the account reaches with this call."""
        policy = self.policy
        if not policy.thresholds:
            return ()
        reached = self.reached
        return tuple(
            threshold
            for threshold, level in zip(policy.thresholds, policy.levels, strict=True)
            if reached >= level
        )

    @property
    def over_soft(self) -> bool:
        """True if the call takes the account above the soft limit, whatever the hard limit says."""
        soft = self.policy.soft_limit
        return soft is not None and self.reached > soft

    @property
    def degrade(self) -> Degrade | None:
        """What the policy asks for by its numbers, whatever the mode; None if not for a cheaper model."""
        binding = self.binding
        return binding.degrade_at(self.reached) if binding.degrades else None

    @property
    def message(self) -> str:
        """One sentence for the caller: the numbers, and what to do next."""
        return self.note or _message(self)

    def under(self, call_mode: Mode) -> "Evaluation":
        """The same evaluation for a call in another mode."""
        return structs.replace(self, mode=call_mode.at_most(self.binding.mode))


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
) -> Evaluation:
    """Evaluate one policy. ``posted`` and ``held`` are the balances of its account.

    More than a limit is over it, exactly the limit is not. For the interval ``request`` the balances
    are ignored. For ``unknown_price = ceiling`` the caller has put the ceiling into ``amounts``.
    """
    cap = binding.mode
    mode = call_mode if cap is None else call_mode.at_most(cap)
    consumed = 0 if binding.each_call else posted + held
    amount = amounts[binding.place]
    status, effect = _judged(binding.policy, consumed, amount, unknown_price_default)
    return Evaluation(binding, status, effect, mode, consumed, amount)


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
    used = f"{_sum(before, f' on {instead_of}')}, over the hard limit of {_limit(policy)}"
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


def evaluation_to_dict(evaluation: Evaluation) -> dict[str, object]:
    """The evaluation as JSON for decisions and errors; money as nano-USD beside USD."""
    metric = evaluation.metric
    shown: dict[str, object] = {
        "policy_id": evaluation.policy_id,
        "policy_version": evaluation.policy_version,
        "scope": evaluation.scope,
        "metric": metric.value,
        "interval": evaluation.interval.value,
        "entity": evaluation.entity,
        "window_start": isoformat(evaluation.window.start),
        "window_end": isoformat(evaluation.window.end),
        "status": evaluation.status.value,
        "outcome": evaluation.outcome.value,
        "mode": evaluation.mode.value,
        "would": evaluation.would,
        "thresholds_passed": [str(threshold.at) for threshold in evaluation.passed],
        "message": evaluation.message,
    }
    for name in ("consumed", "amount", "projected", "soft_limit", "hard_limit", "remaining"):
        shown |= amount_fields(metric, name, getattr(evaluation, name))
    return shown


def _judged(
    policy: Policy, consumed: int, amount: int | None, unknown_price_default: UnknownPrice
) -> tuple[Status, Outcome]:
    hard, soft = policy.hard_limit, policy.soft_limit
    reached = consumed + (amount or 0)
    over_hard = hard is not None and reached > hard
    if amount is None:
        return _unknown(policy, unknown_price_default, over_hard=over_hard)
    if over_hard:
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


def _message(evaluation: Evaluation) -> str:
    title = evaluation.binding.title
    if evaluation.amount is None:
        return f"{title}: {_sum(evaluation)}, and {_unknown_advice(evaluation)}."
    return f"{title}: {_sum(evaluation)}, {_advice(evaluation)}."


def _sum(evaluation: Evaluation, where: str = "") -> str:
    metric = evaluation.metric
    consumed = format_amount(metric, evaluation.consumed)
    if evaluation.amount is None:
        return f"{consumed} used"
    amount, reached = format_amount(metric, evaluation.amount), format_amount(metric, evaluation.reached)
    return f"{consumed} used and {amount} for this call{where} make {reached}"


def _unknown_advice(evaluation: Evaluation) -> str:
    if evaluation.effect is Outcome.ADMIT:
        return "the cost of this call is unknown and not counted; add a price for the model"
    if evaluation.status is Status.UNKNOWN:
        return (
            "the cost of this call cannot be computed; add a price for the model, or set unknown_price of "
            "the budget to 'ceiling' or 'allow'"
        )
    return "the limit is exceeded already" + _relief(evaluation)


def _advice(evaluation: Evaluation) -> str:
    policy = evaluation.policy
    match evaluation.status:
        case Status.OK:
            return f"within the limit of {_limit(policy)}"
        case Status.SOFT_LIMIT:
            soft = format_amount(policy.metric, policy.soft_limit or 0)
            return f"over the soft limit of {soft}; calls still run"
        case Status.HARD_LIMIT:
            return f"over the hard limit of {_limit(policy)}; it only alerts, calls still run"
        case _:
            return f"over the hard limit of {_limit(policy)}{_relief(evaluation)}"


def _limit(policy: Policy) -> str:
    """The hard limit, or the soft one where there is no hard one."""
    limit = policy.soft_limit if policy.hard_limit is None else policy.hard_limit
    return format_amount(policy.metric, limit or 0)


def _relief(evaluation: Evaluation) -> str:
    policy = evaluation.policy
    degrades = policy.action is Action.DEGRADE
    if degrades and evaluation.mode is not _ENFORCED:
        return "; where enforced, the call moves to a cheaper model that fits, or is stopped"
    ways = ["ask for less output"] if policy.metric is not Metric.REQUESTS else []
    if policy.interval not in (Interval.REQUEST, Interval.TOTAL):
        ways.insert(0, f"wait until {isoformat(evaluation.window.end)}")
    last = "have an approval" if evaluation.status is Status.APPROVAL_REQUIRED else "have hard_limit raised"
    told = ", and no cheaper model fits; " if degrades else "; "
    return told + (", ".join([*ways, f"or {last}"]) if ways else last)
