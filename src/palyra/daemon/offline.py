"""The engine of the settings alone, for questions that need no daemon: nothing is used, all is well."""

import asyncio

from palyra.budgets.policy import Known
from palyra.config.settings import Settings
from palyra.core.errors import UpstreamFailed
from palyra.daemon.models import ModelDesk
from palyra.daemon.parts import make_providers, make_registry, make_rules, make_sessions
from palyra.daemon.system import SystemClock, TimeSortedIds
from palyra.lifecycle.engine import Engine, Governance
from palyra.lifecycle.wire import UpstreamCall, UpstreamRequest, UpstreamSink
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.store.memory import MemoryStore
from palyra.upstream.meters import make_meter


class _NoUpstream:
    """Without a daemon no call is made: it would be counted nowhere."""

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> UpstreamCall:
        del sink
        raise UpstreamFailed(f"no call to {request.provider_id} is made without a running daemon")

    async def close(self) -> None:
        """There is nothing to close."""


async def offline_desk(settings: Settings) -> ModelDesk:
    """The desk of a configuration: budgets of the file, with nothing used yet."""
    clock, catalog = SystemClock(), GenaiPrices()
    store = MemoryStore(clock.now, asyncio.get_running_loop())
    rules = make_rules(settings, store.records, clock, Known)
    await rules.load()
    engine = Engine(
        clock=clock,
        ids=TimeSortedIds(),
        ledger=store.ledger,
        records=store.records,
        upstream=_NoUpstream(),
        make_meter=make_meter,
        rules=rules,
        registry=make_registry(settings, catalog),
        prices=PriceBook(settings.prices, catalog),
        governance=Governance(settings.governance.mode, settings.governance.unknown_price),
        routing=settings.routing.rules,
        providers=make_providers(settings),
        sessions=make_sessions(settings),
    )
    return ModelDesk(settings, engine, live=False)
