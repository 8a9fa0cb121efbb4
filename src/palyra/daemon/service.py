"""One process of the service: store, rules, upstream, engine, and the two doors in front of them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, cast

import structlog
import uvicorn

from palyra import __version__
from palyra.api.deps import ApiDeps, Health, Sample
from palyra.api.site import Site
from palyra.budgets.policy import Known, PolicyDefaults
from palyra.config.settings import ProviderSettings, Settings
from palyra.core import limits
from palyra.core.errors import PalyraError
from palyra.core.instant import Instant, isoformat
from palyra.daemon.alerts import Alerting
from palyra.daemon.auditing import Auditor
from palyra.daemon.changes import make_changes
from palyra.daemon.configuration import actor_of, documents_of
from palyra.daemon.http import Asgi, Later, Server, listen, spare_the_collector
from palyra.daemon.models import ModelDesk
from palyra.daemon.parts import (
    endpoint_of,
    make_approvals,
    make_providers,
    make_registry,
    make_rules,
    make_sessions,
    make_sign_ins,
)
from palyra.daemon.storage import Store, close_store
from palyra.daemon.system import SystemClock, TimeSortedIds
from palyra.gateway.door import Door
from palyra.gateway.line import line_factory
from palyra.lifecycle.configured import journal_configuration
from palyra.lifecycle.engine import Engine, Governance, TokenCounter
from palyra.lifecycle.expire import expire_overdue, resolve_leftovers
from palyra.lifecycle.kinds import Kinds
from palyra.lifecycle.plan import LEASE_NS
from palyra.lifecycle.slots import SlotSharing
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.registry.models import names_of
from palyra.routing.breaker import BreakerState
from palyra.store.postgres.store import PostgresStore
from palyra.upstream.meters import make_meter
from palyra.upstream.provider import HttpUpstream
from palyra.upstream.request_head import ProviderKind
from palyra.upstream.tokenizer import OpenAiTokens

SHUTDOWN_S = 20
SWEEP_S = 1.0
FORGET_EVERY_S = 60.0
FORGET_ALERTS_EVERY_S = 3_600.0
FORGET_SIGN_INS_EVERY_S = 3_600.0
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_log = structlog.get_logger("palyra.daemon")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the operator is told at start-up. ``owner_key`` is in clear, and only on the first start."""

    url: str
    owner_key: str | None
    database: str
    providers: tuple[str, ...]
    warnings: tuple[str, ...]


class Daemon:
    """Builds every object, starts and stops them in order, holds no logic of its own."""

    def __init__(self, settings: Settings, store: Store, clock: SystemClock) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        clock.not_before(store.last_instant)
        self._catalog = GenaiPrices()
        self._upstream = HttpUpstream({each.id: endpoint_of(each) for each in settings.providers})
        self._rules = make_rules(settings, self._store.records, self._clock, self._known)
        self.engine = Engine(
            clock=self._clock,
            ids=TimeSortedIds(),
            ledger=self._store.ledger,
            records=self._store.records,
            upstream=self._upstream,
            make_meter=make_meter,
            rules=self._rules,
            registry=make_registry(settings, self._catalog),
            prices=PriceBook(settings.prices, self._catalog),
            governance=Governance(settings.governance.mode, settings.governance.unknown_price),
            others=store.others,
            token_counter=_token_counter(settings),
            routing=settings.routing.rules,
            providers=make_providers(settings),
            sessions=make_sessions(settings),
        )
        self._alerting = Alerting(settings, store, self.engine)
        self.engine.alarms = self._alerting.alarms
        self.engine.approvals = self._approvals = make_approvals(settings, store, self._rules, self.engine)
        self._sign_ins = make_sign_ins(settings, store.records, self._rules, clock)
        self._auditor = Auditor(settings.server.database)
        self._models = ModelDesk(settings, self.engine, live=True)
        self._changes = make_changes(store.records, self._rules, self._approvals, self._models)
        self._background: list[asyncio.Task[None]] = []
        self._sharing = self._share()
        self._owner_key: str | None = None

    async def start(self) -> None:
        """Rules in force, leftovers of the last run resolved, models discovered."""
        if isinstance(self._store, PostgresStore):
            self._store.on_rules = self._rules.reload
            self._store.on_rejoin = self._start_anew
            self._store.on_approvals = self._approvals.load
            self._store.on_doubt = self._alerting.doubt
        await self._rules.load()
        self._owner_key = await self._rules.ensure_owner_key(self._settings.auth.owner_key)
        await self._journal_configuration()
        await self._alerting.alarms.load()
        await resolve_leftovers(self.engine)
        await self._approvals.load()
        await self._discover_all()
        self._background = [
            asyncio.create_task(_every(SWEEP_S, self._sweep)),
            asyncio.create_task(_every(SWEEP_S, self._approvals.sweep)),
            asyncio.create_task(_every(self._settings.discovery.ttl_s, self._discover_all)),
            asyncio.create_task(_every(FORGET_EVERY_S, self._forget)),
            asyncio.create_task(_every(self._settings.alerts.check_s, self._alerting.check)),
            asyncio.create_task(_every(FORGET_ALERTS_EVERY_S, self._alerting.forget)),
            asyncio.create_task(_every(FORGET_SIGN_INS_EVERY_S, self._sign_ins.tidy)),
            asyncio.create_task(self._alerting.delivery.run()),
        ]
        if self._sharing is not None:
            self._background.append(asyncio.create_task(self._sharing.run()))

    async def _journal_configuration(self) -> None:
        documents, actor = documents_of(self._settings, self._catalog), actor_of(self._settings)
        await journal_configuration(self._store.records, documents, actor)

    async def run(self, announce: Callable[[Announcement], None]) -> None:
        """Accept calls until a signal asks to stop; then finish what is running, within a bound."""
        listening = listen(self._settings, shared=self._settings.server.workers > 1)
        host, port = self._settings.server.host, listening.getsockname()[1]
        scheme = "https" if self._settings.server.tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{shown}:{port}"
        self._approvals.address = self._settings.server.public_url or url
        control_plane = Later(self._control_plane)
        server = Server(
            self._uvicorn_config(control_plane),
            listening=lambda: announce(self._announcement(url)),
            leaving=self._leave,
        )
        control_plane.build(on_failure=server.stop_soon, on_success=spare_the_collector)
        await server.serve(sockets=[listening])
        control_plane.raise_failure()

    async def stop(self) -> None:
        """End what is left, in the reverse order of its making: every hold is settled or stays on disk."""
        for task in self._background:
            task.cancel()
        await self._upstream.close()
        await self._alerting.stop()
        self._auditor.stop()
        await close_store(self._store)

    def _leave(self) -> None:
        """Those who wait go first: calls for a decision, pages for a change, people for a check."""
        self._approvals.leave()
        self._changes.leave()
        self._auditor.leave()

    def _start_anew(self) -> None:
        """The store began with new accounts: what was prepared points at the old ones."""
        self.engine.kinds = Kinds()
        if self._sharing is not None:
            self._sharing.start_anew()

    def _share(self) -> SlotSharing | None:
        """Keep slots and sessions together with other gateways, where there are any."""
        shared = self._store.routing
        self.engine.sessions.shared = shared
        return None if shared is None else self.engine.providers.share(shared)

    def _announcement(self, url: str) -> Announcement:
        return Announcement(
            url=url,
            owner_key=self._owner_key,
            database=str(self._settings.server.database),
            providers=tuple(each.id for each in self._settings.providers),
            warnings=self._warnings(),
        )

    def _warnings(self) -> tuple[str, ...]:
        policies = self._rules.snapshot.policies.values()
        found: list[str] = []
        if not policies:
            found.append("no budget is in force: every call is admitted and only counted")
        found += [
            f"provider {each.id} has no credential ({each.credential_ref})"
            for each in self._settings.providers
            if each.credential is None and each.kind != ProviderKind.openai_compatible
        ]
        return tuple(found)

    def _known(self) -> Known:
        """What scopes may name; models are open where a provider of a published price list is configured."""
        keys = self._rules.snapshot.keys.values()
        open_catalog = any(each.kind != ProviderKind.openai_compatible for each in self._settings.providers)
        models = frozenset(name for model in self.engine.registry.all_models() for name in names_of(model))
        return Known(
            providers=frozenset(each.id for each in self._settings.providers),
            models=None if open_catalog else models,
            principals=frozenset(key.principal for key in keys),
            tags=None,
        )

    def _control_plane(self) -> Asgi:
        """The API. FastAPI loads here, on a thread, while calls are served already."""
        from palyra.api.app import create_api
        from palyra.api.routing import EnginePrices, with_routing_report
        from palyra.api.simulate import with_simulation

        defaults = PolicyDefaults(self._settings.governance.timezone)
        return create_api(
            ApiDeps(
                rules=self._rules,
                records=self._store.records,
                ledger=self._store.ledger,
                clock=self._clock,
                approvals=self._approvals,
                alarms=self._alerting.alarms,
                outbox=self._alerting.outbox,
                forecasts=self._alerting.forecasts,
                prices=self._list_prices,
                models=self._models,
                audit=self._auditor,
                health=self._health,
                samples=self._samples,
                hosts=_allowed_hosts(self._settings),
                version=__version__,
                sign_ins=self._sign_ins,
                changes=self._changes,
                site=Site(self._settings.server.public_url, self._settings.server.behind_proxy),
            ),
            (
                with_routing_report(EnginePrices(self.engine)),
                with_simulation(self._store.history, self.engine, defaults),
            ),
        )

    def _uvicorn_config(self, control_plane: Asgi) -> uvicorn.Config:
        server = self._settings.server
        return uvicorn.Config(
            control_plane,
            http=cast("type[asyncio.Protocol]", line_factory(Door(self.engine, server.max_body_bytes))),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(limits.KEEP_ALIVE_S),
            timeout_graceful_shutdown=SHUTDOWN_S,
            backlog=4096,
            ssl_certfile=server.tls_cert,
            ssl_keyfile=server.tls_key,
        )

    def _health(self) -> Health:
        if self._store.writable:
            return Health(writable=True)
        return Health(writable=False, reason="the ledger cannot be written")

    def _samples(self) -> list[Sample]:
        engine, book = self.engine, self._store.ledger.book
        gauges = (
            ("palyra_calls_in_flight", "Calls with a provider right now.", engine.in_flight),
            ("palyra_calls_draining", "Answers being read on after their client left.", engine.draining),
            ("palyra_reservations_pending", "Reservations that hold money.", len(book.pending)),
            (
                "palyra_reservations_in_doubt",
                "Reservations posted as held, of all gateways.",
                self._store.in_doubt,
            ),
            ("palyra_accounts", "Accounts in memory.", len(book.accounts)),
        )
        samples = [Sample(name, "gauge", text, {}, float(value)) for name, text, value in gauges]
        return [*samples, *self._provider_samples(), *self._alerting.samples()]

    def _provider_samples(self) -> list[Sample]:
        """How each provider does, as the calls of this gateway see it."""
        providers, now = self.engine.providers, self._clock.now()
        samples: list[Sample] = []
        for each in self._settings.providers:
            seen, labels = providers.seen(each.id), {"provider": each.id}
            is_open = float(providers.breaker_state(each.id, now) is not BreakerState.CLOSED)
            samples += [
                Sample("palyra_provider_attempts", "counter", "Tries at a provider.", labels, seen.attempts),
                Sample("palyra_provider_faults", "counter", "Tries that failed.", labels, seen.faults),
                Sample(
                    "palyra_provider_left_alone", "gauge", "1 while its breaker is open.", labels, is_open
                ),
            ]
        for load in providers.loads():
            labels, used = {"scope": load.scope}, float(load.foreground + load.background)
            waiting = float(load.foreground_waiting + load.background_waiting)
            samples += [
                Sample("palyra_slots_in_use", "gauge", "Calls that hold a slot.", labels, used),
                Sample("palyra_slots_waiting", "gauge", "Calls that wait for a slot.", labels, waiting),
            ]
        return samples

    def _list_prices(self) -> Mapping[str, object]:
        items = [
            {
                "provider": each.provider,
                "model": each.model,
                "valid_from": None if each.valid_from is None else isoformat(each.valid_from),
                "valid_until": None if each.valid_until is None else isoformat(each.valid_until),
                "source": each.source,
                "prices": dict(each.prices),
                "when": each.when,
            }
            for each in self.engine.prices.entries()
        ]
        return {"version": self.engine.prices.version, "items": items}

    async def _sweep(self) -> None:
        await expire_overdue(self.engine)

    async def _forget(self) -> None:
        self._store.forget(Instant(self._clock.now() - LEASE_NS))

    async def _discover_all(self) -> None:
        await asyncio.gather(*(self._discover(each) for each in self._settings.providers))

    async def _discover(self, provider: ProviderSettings) -> None:
        if not (provider.enabled and provider.discover):
            return
        try:
            models = await self._upstream.discover(provider.id, self._settings.discovery.timeout_s)
        except PalyraError as error:
            _log.warning("models not discovered", provider=provider.id, reason=error.message)
            return
        # The registry stays the same one if nothing new was learned, and with it what calls prepared.
        registry = self.engine.registry
        self.engine.registry = registry.with_discovered(provider.id, models, self._clock.now())


async def _every(seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Repeat ``work`` until cancelled; one failure is logged and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 (a background job outlives any single failure)
            _log.exception("background work failed")


def _token_counter(settings: Settings) -> TokenCounter | None:
    """Counts OpenAI's tokens where the extra ``tokens`` is installed and such a provider is configured."""
    if all(each.kind != ProviderKind.openai for each in settings.providers):
        return None
    try:
        return OpenAiTokens()
    except ImportError:
        return None


def _allowed_hosts(settings: Settings) -> frozenset[str]:
    server = settings.server
    if server.behind_proxy and not server.allowed_hosts:
        return frozenset({"*"})
    return LOOPBACK_HOSTS | {server.host} | set(server.allowed_hosts)
