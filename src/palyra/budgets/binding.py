"""What binds a policy to a call: the account it is counted on, and all that no call can change of it."""

from collections.abc import Iterable
from typing import Self

import msgspec

from palyra.budgets.policy import Policy
from palyra.budgets.terms import Action, Metric, Mode, Then
from palyra.budgets.windows import Interval, Window
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey

_NO_LIMIT = 2**63
PLACES = {metric: place for place, metric in enumerate(Metric)}
"""Where the amount of each metric stands in ``evaluate.Amounts``."""


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
    ``stops_at`` is the hard limit, None where the policy only alerts. ``tightens`` and
    ``notifies`` say whether it may ever make the mode stricter, or warn of a threshold.
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


class Bindings(msgspec.Struct, frozen=True, gc=False):
    """All policies that bind a call, ordered by policy id, and what they have in common.

    ``capped``: some have a mode of their own. ``tightens`` and ``notifies``: as in ``Binding``, of any of
    them. ``until``: when other policies may bind, or other windows hold.
    """

    each: tuple[Binding, ...]
    capped: bool
    tightens: bool
    notifies: bool
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
    )
