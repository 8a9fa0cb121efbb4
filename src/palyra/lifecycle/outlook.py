"""Which budgets will not last: forecasts of the accounts that are live, from what their hours used so far."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest

import structlog

from palyra.alerts import causes, words
from palyra.alerts.course import Finding
from palyra.budgets.policy import Policy
from palyra.budgets.windows import Interval
from palyra.core.instant import Instant
from palyra.ledger.account import Account, AccountKey
from palyra.lifecycle.budget_levels import view_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.forecasts import Forecasts, Outset

FORECASTS_MAX = 500
"""So many accounts are looked at (V2): those that are firing, and those nearest to their limits."""
_AT_ONCE = 500
"""Accounts between two turns of the loop, on which calls wait."""
_LONG = frozenset({Interval.DAY, Interval.WEEK, Interval.MONTH, Interval.TOTAL})

_log = structlog.get_logger("palyra.alarms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one account: ``describe`` if it will not last, else ``why`` it is nothing to warn of."""

    cause: str
    describe: Callable[[], Finding] | None = None
    why: str = ""


class Outlook:
    """The look of alerts at the forecasts of one process."""

    def __init__(self, engine: Engine, forecasts: Forecasts) -> None:
        self._engine = engine
        self._forecasts = forecasts

    async def look(self, now: Instant, is_firing: Callable[[str], bool]) -> list[Outcome]:
        """The accounts with a hard limit in windows of a day and longer. Raises LedgerUnavailable."""
        chosen = await self._choose(now, is_firing)
        forecasts = self._forecasts
        for each in chosen:
            if each.source is None:
                forecasts.take(each.key, each.consumed, now)
        sources = {each.source for each in chosen if each.source is not None}
        await forecasts.learn(sources, now, patiently=True)
        outcomes: list[Outcome] = []
        for each in chosen:
            outcomes.append(self._outcome(each, now, is_firing))
            await asyncio.sleep(0)
        forecasts.keep((each.key for each in chosen), now)
        return outcomes

    async def _choose(self, now: Instant, is_firing: Callable[[str], bool]) -> Sequence[Outset]:
        """Those that may run out, the nearest to their limits first."""
        policies = self._engine.rules.snapshot.policies
        found: list[tuple[float, Outset]] = []
        for number, account in enumerate(list(self._engine.ledger.accounts.values()), start=1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            policy = policies.get(account.key.policy_id)
            if policy is None or not _is_of_interest(account, policy, now):
                continue
            each = Outset(account.key, account.window_end, account.posted + account.held, policy)
            share = 2.0 if is_firing(_cause(each.key)) else each.consumed / each.limit
            found.append((share, each))
        if len(found) > FORECASTS_MAX:
            _log.warning("not every budget has a forecast", accounts=len(found), forecasts=FORECASTS_MAX)
        return [each for _, each in nlargest(FORECASTS_MAX, found, key=_share)]

    def _outcome(self, account: Outset, now: Instant, is_firing: Callable[[str], bool]) -> Outcome:
        key, consumed = account.key, account.consumed
        cause = _cause(key)
        if consumed >= account.limit:
            return Outcome(cause, why="The budget is exhausted already.")
        seen = self._forecasts.of(account, now)
        if seen is None or seen.exhausted_at is None or not seen.threatens(firing=is_firing(cause)):
            return Outcome(cause, why="As use goes on now, the budget lasts until its window ends.")
        view = view_of(account.policy, key.entity, Instant(key.window_start), account.window_end, consumed)
        return Outcome(cause, describe=lambda: words.forecast_exhaustion(view, seen))


def _is_of_interest(account: Account, policy: Policy, now: Instant) -> bool:
    return (
        policy.hard_limit is not None
        and policy.interval in _LONG
        and policy.metric.value == account.key.metric
        and account.key.window_start <= now < account.window_end
        and policy.live_at(now)
        and account.posted + account.held > 0
        and policy.hard_limit > 0
    )


def _cause(key: AccountKey) -> str:
    return causes.forecast_exhaustion(key.policy_id, key.entity, Instant(key.window_start))


def _share(found: tuple[float, Outset]) -> float:
    return found[0]
