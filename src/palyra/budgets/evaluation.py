"""One policy against one call: the amounts, what they come to, and what a person is told of it.

On the hot path: values are small structs, what no call changes is in the ``Binding``, and texts are written
on demand.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import structs

from palyra.budgets.binding import Binding, Degrade
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Action, Metric, Mode, Threshold, format_amount
from palyra.budgets.windows import Interval, Window
from palyra.core.instant import Instant, isoformat
from palyra.ledger.account import AccountKey


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


_ADMIT = Outcome.ADMIT
_ENFORCED = Mode.ENFORCED


class Amounts(NamedTuple):
    """What this call would hold in each metric, in the order of ``binding.PLACES``.

    Nano-USD (None: not computable, which is not zero, L6), upper bounds of tokens, and one request.
    """

    cost: int | None
    total_tokens: int
    input_tokens: int
    output_tokens: int
    requests: int


_Row = tuple[int | None, int, int, int, int]
_amounts: Callable[[type[Amounts], _Row], Amounts] = tuple[object, ...].__new__


def amounts_of(cost: int | None, input_tokens: int, output_tokens: int) -> Amounts:
    """The amounts of one call: nano-USD or None, and tokens."""
    return _amounts(Amounts, (cost, input_tokens + output_tokens, input_tokens, output_tokens, 1))


class SingleUse(NamedTuple):
    """An approval that lets one call through: who holds the one request of ``account`` is that call.

    The account is of no use from ``ends`` on.
    """

    approval_id: str
    account: AccountKey
    ends: Instant


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What overrides let one call do beyond the hard limit of one policy, in the unit of its metric.

    With the call its account may stand at the limit and ``extra`` more, which ``overrides`` granted (ids of
    approvals). Or it is the one call that ``single_use`` lets through, wherever the account stands, as long
    as it holds no more than ``once``.
    """

    extra: int = 0
    overrides: tuple[str, ...] = ()
    once: int = -1
    single_use: SingleUse | None = None


NO_ALLOWANCE = Allowance()


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
    allowance: Allowance = NO_ALLOWANCE

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
    def most(self) -> int | None:
        """Where the account may stand: the hard limit and what overrides add to it; None without a limit."""
        hard = self.policy.hard_limit
        return None if hard is None else hard + self.allowance.extra

    @property
    def remaining(self) -> int | None:
        """What limit and overrides leave before this call, at least 0; None without a hard limit."""
        most = self.most
        return None if most is None else max(0, most - self.consumed)

    @property
    def single_use(self) -> SingleUse | None:
        """The override for this call alone, if it runs by one: it is then used up."""
        most = self.most
        if self.status is not Status.OVERRIDE_APPLIED or most is None or self.reached <= most:
            return None
        return self.allowance.single_use

    @property
    def overrides(self) -> tuple[str, ...]:
        """The approvals that the call needs to run; none while it is within the hard limit."""
        if self.status is not Status.OVERRIDE_APPLIED:
            return ()
        single_use = self.single_use
        return self.allowance.overrides if single_use is None else (single_use.approval_id,)

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
        if not binding.degrades:
            return None
        return binding.degrade_at(self.reached, covered=self.status is Status.OVERRIDE_APPLIED)

    @property
    def message(self) -> str:
        """One sentence for the caller: the numbers, and what to do next."""
        return self.note or _message(self)

    def under(self, call_mode: Mode) -> "Evaluation":
        """The same evaluation for a call in another mode."""
        return structs.replace(self, mode=call_mode.at_most(self.binding.mode))


def _message(evaluation: Evaluation) -> str:
    title = evaluation.binding.title
    if evaluation.amount is None:
        return f"{title}: {sum_of(evaluation)}, and {_unknown_advice(evaluation)}."
    return f"{title}: {sum_of(evaluation)}, {_advice(evaluation)}."


def sum_of(evaluation: Evaluation, where: str = "") -> str:
    """What was used and what the call adds, for people; ``where`` says on which model."""
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
            return f"within the limit of {limit_of(policy)}"
        case Status.SOFT_LIMIT:
            soft = format_amount(policy.metric, policy.soft_limit or 0)
            return f"over the soft limit of {soft}; calls still run"
        case Status.HARD_LIMIT:
            return f"over the hard limit of {limit_of(policy)}; it only alerts, calls still run"
        case Status.OVERRIDE_APPLIED:
            by = ", ".join(evaluation.overrides)
            return f"over the hard limit of {limit_of(policy)}; {by} lets the call run"
        case _:
            return f"over the hard limit of {limit_of(policy)}{_relief(evaluation)}"


def limit_of(policy: Policy) -> str:
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
