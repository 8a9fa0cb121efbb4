"""How the windows of accounts will go on, made in one place: an alert and a page say the same.

What is read of the rollups is kept for an hour, what is made of it for a few minutes.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import nlargest
from typing import NamedTuple

from palyra.alerts.forecast import Forecast, forecast
from palyra.alerts.hourly import HourlyUse, hour_number
from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import ScopeKind
from palyra.core.hours import HOUR_NS
from palyra.core.instant import NANOSECONDS, Instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.hours import Past, Source, read_past
from palyra.lifecycle.ports import Clock, Records

SHOWN_MAX = 500
"""So many accounts of one answer have a forecast (V2): those nearest to their limits."""
FRESH_NS = 300 * NANOSECONDS
"""A forecast is made anew after this time, or when the account has used a hundredth of its limit."""
READ_SHARE = 20
"""Alerts read the past for at most this part of the time: as much longer as it took, they leave it alone."""
SOURCES_KEPT_MAX = 2_000
"""So many pasts stay in memory, of 5 KB each, beside those that are asked for."""
MADE_KEPT_MAX = 4_000
_GROUPS = {
    ScopeKind.GLOBAL: None,
    ScopeKind.PRINCIPAL: "principal",
    ScopeKind.AGENT: "agent",
    ScopeKind.MODEL: "model",
    ScopeKind.PROVIDER: "provider",
}
"""Scopes whose use the rollups know, by the name of the group."""


class Outset(NamedTuple):
    """An account as it stands: ``consumed`` is posted and held, in the unit of the policy's metric."""

    key: AccountKey
    window_end: Instant
    consumed: int
    policy: Policy

    @property
    def limit(self) -> int:
        """The hard limit, else the soft one."""
        policy = self.policy
        return (policy.soft_limit if policy.hard_limit is None else policy.hard_limit) or 0

    @property
    def source(self) -> Source | None:
        """Where the rollups have its use; None where they do not know it."""
        kind, entity = self.policy.scope.kind, self.key.entity
        if kind not in _GROUPS or (kind is ScopeKind.AGENT and entity.startswith(UNLABELLED)):
            return None
        return Source(_GROUPS[kind], entity, self.key.metric)

    def lasts(self, now: Instant) -> bool:
        """Whether the window is running, and the policy counts in it."""
        same = self.policy.metric.value == self.key.metric
        return same and self.key.window_start <= now < self.window_end and self.policy.live_at(now)


@dataclass(slots=True)
class _Made:
    """A forecast, when it was made and of what: a balance, a limit, and a past that ends with this hour."""

    at: Instant
    consumed: int
    limit: int
    hour: int | None
    forecast: Forecast | None


class Forecasts:
    """The forecasts of one process."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._past: dict[Source, Past] = {}
        self._own: dict[AccountKey, _Readings] = {}
        self._made: dict[AccountKey, _Made] = {}
        self._reading = asyncio.Lock()
        self._read_again = Instant(0)

    async def of_all(self, asked: Sequence[Outset], now: Instant) -> Mapping[AccountKey, Forecast]:
        """The forecasts of accounts for people, as alerts have them; none of those that cannot be told.

        However many are asked for, reading costs at most one rollup question per day of the past and kind of
        scope, once an hour. Raises LedgerUnavailable.
        """
        live = [each for each in asked if each.lasts(now)]
        chosen = nlargest(SHOWN_MAX, live, key=_share)
        await self.learn({each.source for each in chosen if each.source is not None}, now)
        found: dict[AccountKey, Forecast] = {}
        for each in chosen:
            seen = self.of(each, now)
            if seen is not None:
                found[each.key] = seen
            await asyncio.sleep(0)
        return found

    def of(self, account: Outset, now: Instant) -> Forecast | None:
        """The forecast of an account that ``lasts``; None where it cannot be told. Reads nothing."""
        source, limit = account.source, account.limit
        past = None if source is None else self._past.get(source)
        hour = None if past is None else past.end
        made = self._made.get(account.key)
        if (
            made is None
            or (made.limit, made.hour) != (limit, hour)
            or not 0 <= now - made.at < FRESH_NS
            or abs(account.consumed - made.consumed) * 100 > limit
        ):
            start = Instant(account.key.window_start)
            hours = self._hours(account.key) if past is None else past.hours()
            seen = forecast(hours, start, account.window_end, now, account.consumed, limit)
            made = self._made[account.key] = _Made(now, account.consumed, limit, hour, seen)
        return made.forecast

    async def learn(self, sources: AbstractSet[Source], now: Instant, *, patiently: bool = False) -> None:
        """Read the past of those sources that is not known up to this hour.

        ``patiently``: not if it was read a short while ago. Raises LedgerUnavailable.
        """
        if not self._unknown(sources, now) or (patiently and now < self._read_again):
            return
        async with self._reading:
            # Somebody else may have read it while this one waited.
            wanted = self._unknown(sources, now)
            if not wanted:
                return
            began = self._clock.now()
            found = await read_past(self._records, now, wanted)
            end = self._clock.now()
            self._read_again = Instant(end + READ_SHARE * (end - began))
            self._past |= found
            if len(self._past) > SOURCES_KEPT_MAX:
                self._past = {source: self._past[source] for source in sources}

    def take(self, account: AccountKey, consumed: int, now: Instant) -> None:
        """Read an account whose use the rollups do not know."""
        self._own.setdefault(account, _Readings()).take(consumed, now)

    def keep(self, accounts: Iterable[AccountKey], now: Instant) -> None:
        """Forget the readings of all other accounts, and forecasts that are not fresh."""
        kept = set(accounts)
        self._own = {key: each for key, each in self._own.items() if key in kept}
        fresh = {key: each for key, each in self._made.items() if 0 <= now - each.at < FRESH_NS}
        self._made = fresh if len(fresh) <= MADE_KEPT_MAX else {}

    def _unknown(self, sources: AbstractSet[Source], now: Instant) -> set[Source]:
        this = hour_number(now)
        return {each for each in sources if each not in self._past or self._past[each].end != this}

    def _hours(self, account: AccountKey) -> list[HourlyUse]:
        own = self._own.get(account)
        return [] if own is None else own.hours()


class _Readings:
    """What an account used in each hour since the process looks at it."""

    __slots__ = ("_hours", "_last")

    def __init__(self) -> None:
        self._hours: dict[int, int] = {}
        self._last: int | None = None

    def take(self, consumed: int, now: Instant) -> None:
        """Read the account."""
        hour = hour_number(now)
        used = 0 if self._last is None else consumed - self._last
        self._last = consumed
        self._hours[hour] = self._hours.get(hour, 0) + used

    def hours(self) -> list[HourlyUse]:
        """By the hour; what was given back is not below nothing."""
        return [HourlyUse(Instant(hour * HOUR_NS), max(0, used)) for hour, used in self._hours.items()]


def _share(account: Outset) -> float:
    limit = account.limit
    return account.consumed / limit if limit else float(account.consumed > 0)
