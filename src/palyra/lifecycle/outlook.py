"""Which budgets will not last: forecasts of the accounts that are live, from what their hours used so far."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest

import structlog

from palyra.alerts import causes, words
from palyra.alerts.course import Finding
from palyra.alerts.forecast import Forecast, forecast
from palyra.alerts.hourly import HOUR_NS, HourlyUse, hour_number
from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import ScopeKind
from palyra.budgets.windows import Interval
from palyra.core.instant import NANOSECONDS, Instant
from palyra.ledger.account import Account, AccountKey
from palyra.lifecycle.budget_levels import view_of
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.hours import Past, Source, read_past

FORECASTS_MAX = 500
"""So many accounts are looked at (V2): those that are firing, and those nearest to their limits."""
FRESH_NS = 300 * NANOSECONDS
"""A forecast is made anew after this time, or when the account has used a hundredth of its limit."""
READ_SHARE = 20
"""The past is read for at most this part of the time: as much longer as it took, it is left alone."""
_AT_ONCE = 500
"""Accounts between two turns of the loop, on which calls wait."""
_LONG = frozenset({Interval.DAY, Interval.WEEK, Interval.MONTH, Interval.TOTAL})
_GROUPS = {
    ScopeKind.GLOBAL: None,
    ScopeKind.PRINCIPAL: "principal",
    ScopeKind.AGENT: "agent",
    ScopeKind.MODEL: "model",
    ScopeKind.PROVIDER: "provider",
}
"""Scopes whose use the rollups know, by the name of the group."""

_log = structlog.get_logger("palyra.alarms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one account: ``describe`` if it will not last, else ``why`` it is nothing to warn of."""

    cause: str
    describe: Callable[[], Finding] | None = None
    why: str = ""


@dataclass(slots=True)
class _Made:
    """A forecast, when it was made and of what balance."""

    at: Instant
    consumed: int
    limit: int
    forecast: Forecast | None


class Outlook:
    """The forecasts of one process. Between two looks it keeps the past that it read, and what it saw."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._past: dict[Source, Past] = {}
        self._own: dict[AccountKey, _Readings] = {}
        self._made: dict[AccountKey, _Made] = {}
        self._read_hour = -1
        self._read_again = Instant(0)

    async def look(self, now: Instant, is_firing: Callable[[str], bool]) -> list[Outcome]:
        """The accounts with a hard limit in windows of a day and longer. Raises LedgerUnavailable."""
        chosen = await self._choose(now, is_firing)
        await self._learn(chosen, now)
        outcomes: list[Outcome] = []
        for account, policy in chosen:
            outcomes.append(self._outcome(account, policy, now, is_firing))
            await asyncio.sleep(0)
        keys = {account.key for account, _ in chosen}
        self._own = {key: each for key, each in self._own.items() if key in keys}
        self._made = {key: each for key, each in self._made.items() if key in keys}
        return outcomes

    async def _choose(
        self, now: Instant, is_firing: Callable[[str], bool]
    ) -> Sequence[tuple[Account, Policy]]:
        """Those that may run out, the nearest to their limits first."""
        policies = self._engine.rules.snapshot.policies
        found: list[tuple[float, Account, Policy]] = []
        for number, account in enumerate(list(self._engine.ledger.accounts.values()), start=1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            policy = policies.get(account.key.policy_id)
            if policy is None or not _is_of_interest(account, policy, now):
                continue
            limit = policy.hard_limit or 0
            share = 2.0 if is_firing(_cause(account)) else (account.posted + account.held) / limit
            found.append((share, account, policy))
        if len(found) > FORECASTS_MAX:
            _log.warning("not every budget has a forecast", accounts=len(found), forecasts=FORECASTS_MAX)
        return [(account, policy) for _, account, policy in nlargest(FORECASTS_MAX, found, key=_share)]

    async def _learn(self, chosen: Sequence[tuple[Account, Policy]], now: Instant) -> None:
        """The past of the sources, once an hour and for new ones; the accounts of others are read."""
        sources: set[Source] = set()
        for account, policy in chosen:
            source = _source(account, policy)
            if source is None:
                self._own.setdefault(account.key, _Readings()).take(account, now)
            else:
                sources.add(source)
        is_new = hour_number(now) != self._read_hour or not sources <= self._past.keys()
        if sources and is_new and now >= self._read_again:
            self._past = await read_past(self._engine.records, now, sources)
            self._read_hour = hour_number(now)
            self._made.clear()
            end = self._engine.clock.now()
            self._read_again = Instant(end + READ_SHARE * (end - now))

    def _outcome(
        self, account: Account, policy: Policy, now: Instant, is_firing: Callable[[str], bool]
    ) -> Outcome:
        cause, limit = _cause(account), policy.hard_limit or 0
        consumed = account.posted + account.held
        if consumed >= limit:
            return Outcome(cause, why="The budget is exhausted already.")
        made = self._made.get(account.key)
        if (
            made is None
            or made.limit != limit
            or not 0 <= now - made.at < FRESH_NS
            or abs(consumed - made.consumed) * 100 > limit
        ):
            start, end = Instant(account.key.window_start), account.window_end
            seen = forecast(self._hours(account, policy), start, end, now, consumed, limit)
            made = self._made[account.key] = _Made(now, consumed, limit, seen)
        seen = made.forecast
        if seen is None or seen.exhausted_at is None or not seen.threatens(firing=is_firing(cause)):
            return Outcome(cause, why="As use goes on now, the budget lasts until its window ends.")
        view = view_of(
            policy, account.key.entity, Instant(account.key.window_start), account.window_end, consumed
        )
        return Outcome(cause, describe=lambda: words.forecast_exhaustion(view, seen))

    def _hours(self, account: Account, policy: Policy) -> list[HourlyUse]:
        source = _source(account, policy)
        if source is None:
            return self._own[account.key].hours()
        past = self._past.get(source)
        return [] if past is None else past.hours()


class _Readings:
    """What an account used in each hour since the process looks at it."""

    __slots__ = ("_hours", "_last")

    def __init__(self) -> None:
        self._hours: dict[int, int] = {}
        self._last: int | None = None

    def take(self, account: Account, now: Instant) -> None:
        """Read the account."""
        consumed, hour = account.posted + account.held, hour_number(now)
        used = 0 if self._last is None else consumed - self._last
        self._last = consumed
        self._hours[hour] = self._hours.get(hour, 0) + used

    def hours(self) -> list[HourlyUse]:
        """By the hour; what was given back is not below nothing."""
        return [HourlyUse(Instant(hour * HOUR_NS), max(0, used)) for hour, used in self._hours.items()]


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


def _source(account: Account, policy: Policy) -> Source | None:
    """Where the rollups have its use; None where they do not know it."""
    kind, entity = policy.scope.kind, account.key.entity
    if kind not in _GROUPS or (kind is ScopeKind.AGENT and entity.startswith(UNLABELLED)):
        return None
    return Source(_GROUPS[kind], entity, account.key.metric)


def _cause(account: Account) -> str:
    key = account.key
    return causes.forecast_exhaustion(key.policy_id, key.entity, Instant(key.window_start))


def _share(found: tuple[float, Account, Policy]) -> float:
    return found[0]
