"""Budgets that are at a limit or will be, each in its own window (W45)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from palyra.api.deps import ApiDeps
from palyra.api.gauges import Gauges, current_of, window_of
from palyra.api.usage_question import GROUPS, Names
from palyra.budgets.policy import Policy
from palyra.budgets.windows import Interval
from palyra.core.instant import Instant
from palyra.lifecycle.standing import AccountStatus
from palyra.reports.hints import PressedBudget, Pressure

POLICIES_MAX = 200
"""So many budgets are looked at (V2), by id; of the own ones, or those of a filter, fewer."""
NAMED_MAX = 20
ACCOUNTS_EACH = 5
SHOWN_MAX = 50
_ORDER = list(Pressure)


class Pressed(NamedTuple):
    """A budget as hints are told of it, and as it is shown."""

    pressed: PressedBudget
    document: Mapping[str, object]


class PressedBudgets:
    """Finds them among the budgets in force."""

    def __init__(self, deps: ApiDeps) -> None:
        self._rules = deps.rules
        self._records = deps.records
        self._gauges = Gauges(deps)

    async def find(self, names: Names, now: Instant) -> list[Pressed]:
        """Those of everybody, or those that bind one of ``names``: the most pressing first."""
        policies = [
            each
            for _, each in sorted(self._rules.snapshot.policies.items())
            if each.live_at(now)
            and each.interval is not Interval.REQUEST
            and (each.soft_limit is not None or each.hard_limit is not None)
        ]
        shown = await (self._of_names(policies, names, now) if _said(names) else self._of_all(policies, now))
        documents = await self._gauges.documents(shown, now)
        found = [
            pressed
            for (policy, accounts), told in zip(shown, documents, strict=True)
            for account, document in zip(accounts, told, strict=True)
            if (pressed := _pressed(policy, account, document)) is not None
        ]
        found.sort(key=_rank)
        return found[:SHOWN_MAX]

    async def _of_all(
        self, policies: Sequence[Policy], now: Instant
    ) -> list[tuple[Policy, Sequence[AccountStatus]]]:
        some = policies[:POLICIES_MAX]
        windows = [window for each in some if (window := window_of(each, now)) is not None]
        standing = await self._records.standing(windows, ACCOUNTS_EACH)
        return [(each, standing[each.id].accounts) for each in some if each.id in standing]

    async def _of_names(
        self, policies: Sequence[Policy], names: Names, now: Instant
    ) -> list[tuple[Policy, Sequence[AccountStatus]]]:
        """The one account of each budget that is about a name."""
        found: list[tuple[Policy, Sequence[AccountStatus]]] = []
        for policy in policies:
            kind = policy.scope.kind.value
            entity = getattr(names, kind) if kind in GROUPS else None
            current = current_of(policy, entity, now) if entity else None
            if current is None or (not policy.scope.each and policy.scope.id != entity):
                continue
            stored = await self._records.accounts(policy.id)
            accounts = [each for each in stored if each.key == current[0]]
            found.append((policy, accounts))
            if len(found) == NAMED_MAX:
                break
        return found


def _said(names: Names) -> bool:
    return any(getattr(names, each) is not None for each in GROUPS)


def _pressed(policy: Policy, account: AccountStatus, document: Mapping[str, object]) -> Pressed | None:
    """None for an account that is well, or that a changed budget left behind."""
    consumed = account.balance.posted + account.balance.held
    hard, soft = policy.hard_limit, policy.soft_limit
    if account.key.metric != policy.metric.value:
        return None
    if hard is not None and consumed >= hard + _extra(document):
        why, limit = Pressure.HARD_LIMIT, hard
    elif hard is not None and document["exhausted_at"] is not None:
        why, limit = Pressure.FORECAST, hard
    elif soft is not None and consumed >= soft:
        why, limit = Pressure.SOFT_LIMIT, soft
    else:
        return None
    pressed = PressedBudget(
        policy_id=policy.id,
        entity=account.key.entity,
        metric=policy.metric.value,
        why=why,
        consumed=consumed,
        limit=limit,
        exhausted_at=cast("str | None", document["exhausted_at"]),
    )
    shown: dict[str, Any] = {
        "policy_id": policy.id,
        "name": policy.name,
        "scope": str(policy.scope),
        "metric": policy.metric.value,
        "interval": policy.interval.value,
        "why": why.value,
        "account": document,
    }
    return Pressed(pressed, shown)


def _extra(document: Mapping[str, object]) -> int:
    """What live overrides put on top of the hard limit."""
    return cast("int", document.get("extra", document.get("extra_nano_usd")) or 0)


def _rank(found: Pressed) -> tuple[int, str, float]:
    pressed = found.pressed
    return _ORDER.index(pressed.why), pressed.exhausted_at or "", -pressed.consumed / max(1, pressed.limit)
