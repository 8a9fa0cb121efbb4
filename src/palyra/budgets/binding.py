"""What binds a policy to a call: the account it is counted on, and all that no call can change of it."""

from collections.abc import Iterable
from typing import NamedTuple, Self

import msgspec

from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import Action, Metric, Mode, ScopeKind, Then
from palyra.budgets.windows import Interval, Window
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey

_NO_LIMIT = 2**63
PLACES = {metric: place for place, metric in enumerate(Metric)}
"""Where the amount of each metric stands in ``evaluate.Amounts``."""


class Degrade(NamedTuple):
    """A wish to move the call to a cheaper model: to a model id or tier, or with None to any cheaper one.

    ``must``: as it is, the call goes over the hard limit, so only a model that fits is of use.
    """

    to: str | None
    must: bool


class BudgetRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The policy, account and limits of an evaluation, as decisions store them.

    Limits in the metric's unit: nano-USD for cost_usd, counts otherwise. New fields go to the end.
    """

    policy_id: str
    policy_version: int
    scope: str
    metric: str
    interval: str
    entity: str
    window_start: int
    window_end: int
    soft_limit: int | None
    hard_limit: int | None


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A policy that binds calls, the entity they are counted on, and the window it holds in.

    Made once for many calls: what each would have to work out again is worked out here. ``place`` is the
    metric's in ``evaluate.Amounts``, ``within`` the most that is still ``ok`` and passes no threshold.
    ``stops_at`` is the hard limit, None where the policy only alerts. ``tightens``, ``notifies`` and
    ``degrades`` say whether it may ever make the mode stricter, warn of a threshold, or ask for a cheaper
    model.
    """

    policy: Policy
    entity: str
    window: Window
    account: AccountKey
    record: BudgetRecord
    place: int
    within: int
    mode: Mode | None
    each_call: bool
    hard_limit: int | None
    stops_at: int | None
    tightens: bool
    notifies: bool
    degrades: bool

    @property
    def title(self) -> str:
        """The budget and whose it is, for people: ``Budget x (principal alice, cost_usd per day)``."""
        policy = self.policy
        return f"Budget {policy.id} ({self._whose()}, {policy.metric.value} per {policy.interval.value})"

    def degrade_at(self, reached: int, *, covered: bool = False) -> Degrade | None:
        """What the policy asks for at this amount, in the metric's unit, of its account with the call.

        ``covered``: an override lets the call go over the hard limit as it is.
        """
        policy = self.policy
        hard = None if covered else self.hard_limit
        if policy.action is Action.DEGRADE and hard is not None and reached > hard:
            return Degrade(policy.degrade_to, must=True)
        # The highest mark that is passed decides; among equal ones, the threshold that comes last.
        mark, asked = 0, None
        soft = policy.soft_limit
        if policy.degrade_to is not None and soft is not None and reached > soft:
            mark, asked = soft, Degrade(policy.degrade_to, must=False)
        for threshold, level in zip(policy.thresholds, policy.levels, strict=True):
            if threshold.then is Then.DEGRADE and mark <= level <= reached:
                mark, asked = level, Degrade(threshold.to or policy.degrade_to, must=False)
        return asked

    def _whose(self) -> str:
        scope, entity = self.policy.scope, self.entity
        if scope.kind is ScopeKind.GLOBAL or not scope.each:
            return str(scope)
        if entity.startswith(UNLABELLED) and scope.kind in (ScopeKind.SESSION, ScopeKind.AGENT):
            return f"calls of {entity[1:]} without {scope.kind.value}"
        return f"{scope.kind.value} {entity}"


class Bindings(msgspec.Struct, frozen=True, gc=False):
    """All policies that bind a call, ordered by policy id, and what they have in common.

    ``capped``: some have a mode of their own. ``tightens``, ``notifies`` and ``degrades``: as in
    ``Binding``, of any of them. ``until``: when other policies may bind, or other windows hold.
    """

    each: tuple[Binding, ...]
    capped: bool
    tightens: bool
    notifies: bool
    degrades: bool
    until: Instant

    @classmethod
    def of(cls, each: Iterable[Binding], until: Instant) -> Self:
        """These bindings, which are in the order of their policy ids."""
        found = tuple(each)
        return cls(
            found,
            any(binding.mode is not None for binding in found),
            any(binding.tightens for binding in found),
            any(binding.notifies for binding in found),
            any(binding.degrades for binding in found),
            until,
        )


def bind(policy: Policy, entity: str, window: Window) -> Binding:
    """The binding of ``policy`` on the account of ``entity`` in ``window``."""
    metric = policy.metric.value
    limits = [limit for limit in (policy.soft_limit, policy.hard_limit) if limit is not None]
    limits += [level - 1 for level in policy.levels]
    return Binding(
        policy=policy,
        entity=entity,
        window=window,
        account=AccountKey(policy.id, metric, entity, window.start),
        record=BudgetRecord(
            policy.id,
            policy.version,
            str(policy.scope),
            metric,
            policy.interval.value,
            entity,
            window.start,
            window.end,
            policy.soft_limit,
            policy.hard_limit,
        ),
        place=PLACES[policy.metric],
        within=min(limits, default=_NO_LIMIT),
        mode=policy.mode,
        each_call=policy.interval is Interval.REQUEST,
        hard_limit=policy.hard_limit,
        stops_at=None if policy.action is Action.ALERT else policy.hard_limit,
        tightens=policy.routing_mode_override is not None or bool(policy.thresholds),
        notifies=any(threshold.then is Then.NOTIFY for threshold in policy.thresholds),
        degrades=policy.action is Action.DEGRADE
        or (policy.degrade_to is not None and policy.soft_limit is not None)
        or any(threshold.then is Then.DEGRADE for threshold in policy.thresholds),
    )
