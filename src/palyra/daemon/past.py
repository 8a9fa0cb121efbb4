"""The daemon's parts on a clock that is moved by hand: what happens there is written down as the past.

Rules, budgets, ledger, desks and checks are the real ones. Whoever drives them moves the clock, answers for
the providers, and decides for people.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Self

from msgspec import structs

from palyra.budgets.policy import Known, PolicyDefaults
from palyra.config.settings import Settings
from palyra.core.instant import Instant
from palyra.daemon.configuration import actor_of, documents_of
from palyra.daemon.parts import make_providers, make_registry, make_sessions
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.checks import Checks
from palyra.lifecycle.configured import journal_configuration
from palyra.lifecycle.engine import Engine, Governance
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.signals import tell_of_approval
from palyra.lifecycle.wire import Upstream
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.routing.backoff import Retries
from palyra.store.past import PastStore
from palyra.upstream.meters import make_meter

_MILLISECOND = 1_000_000


class MovedClock:
    """Says what it was set to."""

    __slots__ = ("at",)

    def __init__(self, at: Instant) -> None:
        self.at = at

    def now(self) -> Instant:
        """See ``Clock.now``."""
        return self.at

    def move(self, at: Instant) -> None:
        """Go on to ``at``; never back (P3)."""
        self.at = max(self.at, at)


class PastIds:
    """Ids as the daemon makes them, UUIDv7 behind a prefix, of the time that the clock shows."""

    def __init__(self, clock: MovedClock, random: Random) -> None:
        self._clock = clock
        self._bits = random.getrandbits
        self._last = (0, 0)

    def request_id(self) -> str:
        """See ``Ids.request_id``."""
        return self.new("req")

    def new(self, prefix: str) -> str:
        """The next id; ids of one millisecond are in order, too."""
        milliseconds = self._clock.at // _MILLISECOND
        before, number = self._last
        number = number + 1 if milliseconds == before else 0
        self._last = milliseconds, number
        high = milliseconds << 16 | 0x7000 | number & 0xFFF
        return f"{prefix}_{high:016x}{0x8 << 60 | self._bits(60):016x}"


class Past:
    """Everything of one daemon. Make it in a running loop, with ``begin``; ``close`` it there."""

    def __init__(
        self, settings: Settings, database: Path, clock: MovedClock, upstream: Upstream, random: Random
    ) -> None:
        self.clock = clock
        self.settings = settings
        self._ids = ids = PastIds(clock, random)
        self._catalog = GenaiPrices()
        self._store = PastStore(database, clock.now, asyncio.get_running_loop())
        self.records = records = self._store.records
        self.rules = self._make_rules()
        self.engine = Engine(
            clock=clock,
            ids=ids,
            ledger=self._store.ledger,
            records=records,
            upstream=upstream,
            make_meter=make_meter,
            rules=self.rules,
            registry=make_registry(settings, self._catalog),
            prices=PriceBook(settings.prices, self._catalog),
            governance=Governance(settings.governance.mode, settings.governance.unknown_price),
            random=random.random,
            routing=settings.routing.rules,
            providers=make_providers(_at_once(settings)),
            sessions=make_sessions(settings),
        )
        self.alarms = Alarms(records, clock, ids.new)
        self.engine.alarms = self.alarms
        self.approvals = self._make_approvals()
        self.engine.approvals = self.approvals
        providers = [each.id for each in settings.providers if each.enabled]
        self._checks = Checks(self.engine, self.alarms, providers, lambda: self._store.in_doubt)

    @classmethod
    async def begin(
        cls, settings: Settings, database: Path, clock: MovedClock, upstream: Upstream, random: Random
    ) -> tuple[Self, str]:
        """A new ledger at ``database``, and the owner key that its first start gave, in clear.

        It is made whatever ``settings`` say. Raises FileExistsError where there is a ledger.
        """
        past = cls(settings, database, clock, upstream, random)
        try:
            await past.rules.load()
            owner_key = await past._own()
            documents = documents_of(settings, past._catalog)
            await journal_configuration(past.records, documents, actor_of(settings))
        except BaseException:
            past.close()
            raise
        return past, owner_key

    async def _own(self) -> str:
        owner_key = await self.rules.ensure_owner_key(None)
        if owner_key is None:
            raise RuntimeError("a new ledger gave no owner key")
        return owner_key

    async def look(self) -> None:
        """What a daemon does every few seconds: sweep approvals, look for what is wrong or over."""
        await self.approvals.sweep()
        await self._checks.run()

    async def glance(self) -> None:
        """The same without forecasts, spikes and shifts, which take a quarter of a second."""
        await self.approvals.sweep()
        await self._checks.glance()

    async def settled(self) -> None:
        """Wait until every alert that was raised or ended is stored."""
        await self.alarms.settled()

    def close(self) -> None:
        """Bring everything to the disk."""
        self._store.close()

    def _make_rules(self) -> Rules:
        settings = self.settings
        return Rules(
            records=self.records,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
            new_id=lambda: self._ids.new("key"),
            file_policies=settings.budgets,
            file_keys=settings.keys,
            known=Known,
            defaults=PolicyDefaults(timezone=settings.governance.timezone),
        )

    def _make_approvals(self) -> Approvals:
        publish: Callable[[Grants], None] = self._publish
        return Approvals(
            self.records,
            self.rules,
            self.clock,
            new_id=lambda: self._ids.new("apr"),
            publish=publish,
            terms=self.settings.approvals,
            tell=lambda approval: tell_of_approval(approval, self.alarms),
        )

    def _publish(self, grants: Grants) -> None:
        self.engine.grants = grants


def _at_once(settings: Settings) -> Settings:
    """The same, without a wait before a second try: nothing but the clock moves on."""
    resilience = settings.routing.resilience
    retries = Retries(resilience.retries.retries, base_ns=0, cap_ns=0)
    routing = replace(settings.routing, resilience=structs.replace(resilience, retries=retries))
    return replace(settings, routing=routing)
