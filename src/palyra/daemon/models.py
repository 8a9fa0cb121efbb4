"""What people ask of models: which there are, how they do, and what a call would get. Nothing is held for it.

A daemon and a command without one ask the same object; what only a daemon knows (usage, health, discovery)
is empty without one.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from palyra.budgets.terms import TIERS, Then
from palyra.config.settings import ProviderSettings, Settings
from palyra.core.errors import NotFound, PalyraError
from palyra.core.instant import NANOSECONDS, Instant, isoformat
from palyra.core.invariant import unreachable
from palyra.daemon.parts import endpoint_of
from palyra.daemon.question import Question, call_of, read_question, subject_of
from palyra.identity.keys import Subject
from palyra.lifecycle.admit import decide_now
from palyra.lifecycle.call import Call
from palyra.lifecycle.choice import look_around
from palyra.lifecycle.decision import CallState, RoutingRecord, StoredDecision
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.flow import Repeated, run
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.respond import refusal
from palyra.lifecycle.route import find_sheet
from palyra.lifecycle.survey import Survey
from palyra.lifecycle.waiting import in_task
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model, ModelRole
from palyra.reports.explain import decision_document, money, routing_document
from palyra.reports.models import (
    age_s,
    check_document,
    health_document,
    load_documents,
    model_document,
)
from palyra.upstream.probe import Probe, ProbeState, probe
from palyra.upstream.request_head import ProviderKind

Document = dict[str, Any]
HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Check:
    """A connection test and when it was made."""

    probe: Probe
    at: Instant


@dataclass(slots=True)
class ModelDesk:
    """``engine`` plans and is never asked to reserve; ``live``: it is a daemon's, with calls and balances."""

    settings: Settings
    engine: Engine
    live: bool
    checks: dict[str, Check] = field(default_factory=dict[str, Check])

    def status(self) -> Document:
        """Providers, defaults, failover and what is wrong; credentials are named, never shown."""
        now, registry = self.engine.clock.now(), self.engine.registry
        rules, resilience = self.settings.routing.rules, self.settings.routing.resilience
        models = registry.all_models()
        priced = {id(each) for each in models if self._sheet(each, now) is not None}
        return {
            "live": self.live,
            "source": self.settings.source,
            "default_model": registry.default_model,
            "mode": self.settings.governance.mode.value,
            "routing": {
                "smart": rules.smart.value,
                "candidates": "all" if rules.discovered_too else "configured",
                "failover": rules.failover,
                "sticky_s": rules.sticky_ns // NANOSECONDS,
                "retries": resilience.retries.retries,
                "breaker_failures": resilience.breaker.failures,
                "breaker_open_s": resilience.breaker.open_ns / NANOSECONDS,
            },
            "providers": [self._provider(each, models, priced, now) for each in self.settings.providers],
            "models": len(models),
            "priced": len(priced),
            "prices": {"version": self.engine.prices.version, "own": len(self.settings.prices)},
            "problems": self._problems(now),
        }

    def listing(self) -> Document:
        """Every model that is configured or was discovered."""
        now, registry = self.engine.clock.now(), self.engine.registry
        providers = {each.id: each for each in registry.providers}
        return {
            "live": self.live,
            "items": [
                model_document(
                    registry.name_of(each),
                    each,
                    providers[each.provider],
                    self._sheet(each, now),
                    self.engine.providers,
                    now,
                )
                for each in registry.all_models()
            ],
        }

    async def explain(self, document: Mapping[str, object]) -> Document:
        """The decision that a call would get now; ``document`` is a ``Question``.

        Raises FieldError, and as the call would where it comes to no decision.
        """
        question = read_question(document)
        engine = self.engine
        subject = subject_of(question, engine.rules.snapshot)
        call = call_of(question, engine)
        plan = await in_task(_plan(call, subject, engine))
        error: PalyraError | None = None
        decision = plan.decision
        if not plan.admitted:
            error = refusal(plan, ())
            decision = msgspec.structs.replace(decision, error_code=error.code, message=error.message)
        state = CallState.PENDING if plan.admitted else CallState.DENIED
        document = decision_document(StoredDecision(decision, state, None))
        for name in ("request_id", "state", "settlement", "continues", "key_id", "idempotency_key"):
            document.pop(name)
        return document | {
            "live": self.live,
            "survey": routing_document(_survey(call, subject, engine)),
            "would_run": plan.admitted,
            "error": None if error is None else {"status": error.status, "code": error.code},
        }

    async def test(
        self, provider_id: str | None, timeout_s: float, *, refresh: bool, discover: bool = False
    ) -> Document:
        """Test the connections. A result younger than ``[discovery] health_ttl_s`` is given again.

        ``discover``: take the models that are listed into the registry. Raises NotFound for a provider that
        is not configured.
        """
        chosen = [each for each in self.settings.providers if provider_id in (None, each.id)]
        if not chosen:
            known = ", ".join(each.id for each in self.settings.providers)
            raise NotFound(f"There is no provider {provider_id!r}; configured: {known}.")
        again = refresh or discover
        results = await asyncio.gather(*(self._test(each, timeout_s, refresh=again) for each in chosen))
        if discover:
            for each in chosen:
                self.learn(each)
        ok = all(each["well"] or not each["enabled"] for each in results)
        return {"ok": ok, "live": self.live, "providers": results}

    def learn(self, provider: ProviderSettings) -> None:
        """Take the models that the last test of a provider listed into the registry."""
        check = self.checks[provider.id]
        if check.probe.state is not ProbeState.OK:
            return
        engine = self.engine
        engine.registry = engine.registry.with_discovered(provider.id, check.probe.listed, check.at)

    async def generate(self, provider_id: str | None, clear_key: str) -> list[Document]:
        """Make a call of one output token at each provider with this key: it is held, counted and billed."""
        chosen = [each for each in self.settings.providers if each.enabled and provider_id in (None, each.id)]
        return [await self._generate(each.id, clear_key) for each in chosen]

    async def _generate(self, provider_id: str, clear_key: str) -> Document:
        engine, now = self.engine, self.engine.clock.now()
        model = self._cheapest(provider_id, now)
        if model is None:
            return {"provider": provider_id, "ok": False, "message": "it has no chat model to ask"}
        named = f"{provider_id}/{model.id}"
        try:
            question = Question(prompt="Hi", model=named, max_tokens=1)
            call = msgspec.structs.replace(call_of(question, engine), credential=clear_key)
            answered = await in_task(run(call, engine))
        except PalyraError as error:
            return {"provider": provider_id, "ok": False, "model": model.id, "message": error.message}
        if isinstance(answered, Repeated):
            unreachable("K1", "a question carries no Idempotency-Key")
        settlement, status = answered.exchange.settlement, answered.exchange.status
        return {
            "provider": provider_id,
            "ok": status == HTTP_OK and answered.plan.route.model.provider == provider_id,
            "model": answered.plan.route.model.id,
            "request_id": call.request_id,
            "message": f"it answered {status}",
            "first_byte_ms": None if settlement is None else settlement.first_byte_ms,
            "total_ms": None if settlement is None else settlement.total_ms,
            **money("cost", None if settlement is None else settlement.cost),
        }

    def _cheapest(self, provider_id: str, now: Instant) -> Model | None:
        """The chat model of a provider with the lowest price for output, unpriced ones last."""

        def price(model: Model) -> tuple[bool, Decimal, str]:
            sheet = self._sheet(model, now)
            output = None if sheet is None else sheet.standard.output
            return output is None, output or Decimal(0), model.id

        own = [
            each
            for each in self.engine.registry.all_models()
            if each.provider == provider_id and each.enabled and each.role is ModelRole.CHAT
        ]
        return min(own, key=price, default=None)

    def _provider(
        self, provider: ProviderSettings, models: list[Model], priced: set[int], now: Instant
    ) -> Document:
        engine = self.engine
        own = [each for each in models if each.provider == provider.id]
        known = engine.registry.discovered_at(provider.id)
        check = self.checks.get(provider.id)
        seen = engine.providers.seen(provider.id)
        told = next(each for each in engine.registry.providers if each.id == provider.id)
        return {
            "id": provider.id,
            "display_name": told.display_name,
            "kind": provider.kind.value,
            "enabled": provider.enabled,
            "base_url": provider.base_url,
            "endpoints": sorted(told.endpoints),
            "credential": {
                "reference": provider.credential_ref,
                "present": provider.credential is not None,
                "needed": provider.kind.value != ProviderKind.openai_compatible,
            },
            "models": len(own),
            "priced": sum(id(each) in priced for each in own),
            "discovered_at": None if known is None else isoformat(known),
            "discovery_age_s": None if known is None else age_s(known, now),
            "health": health_document(engine.providers, provider.id, now) if self.live else None,
            "load": load_documents(engine.providers, seen.scopes),
            "check": None if check is None else _shown(provider, check, now, cached=True),
        }

    def _problems(self, now: Instant) -> list[Document]:
        registry = self.engine.registry
        found = [
            _problem("error", f"providers.{each.id}.credential", f"{each.credential_ref} is not set")
            for each in self.settings.providers
            if each.enabled and each.credential is None and each.credential_ref is not None
        ]
        default = registry.default_model
        if default is not None:
            try:
                registry.find(default)
            except PalyraError as error:
                found.append(_problem("error", "governance.default_model", error.message))
        named = [
            (f"models.{model.id}.fallbacks", name)
            for model in registry.all_models()
            for name in model.fallbacks
        ]
        for policy in self.engine.rules.snapshot.policies.values():
            targets = (
                policy.degrade_to,
                *(each.to for each in policy.thresholds if each.then is Then.DEGRADE),
            )
            named += [(f"budgets.{policy.id}.degrade_to", to) for to in targets if to and to not in TIERS]
        for place, name in named:
            try:
                registry.find(name)
            except PalyraError as error:
                found.append(_problem("warning", place, error.message))
        found += [
            _problem("warning", f"models.{each.id}.price", "has no price: under a money budget it is refused")
            for each in registry.all_models()
            if each.enabled and each.origin == "config" and self._sheet(each, now) is None
        ]
        return found

    async def _test(self, provider: ProviderSettings, timeout_s: float, *, refresh: bool) -> Document:
        now = self.engine.clock.now()
        held = self.checks.get(provider.id)
        ttl = int(self.settings.discovery.health_ttl_s * NANOSECONDS)
        if held is not None and not refresh and now - held.at < ttl:
            return _shown(provider, held, now, cached=True)
        fresh = Check(await test_connection(provider, timeout_s), self.engine.clock.now())
        self.checks[provider.id] = fresh
        return _shown(provider, fresh, fresh.at, cached=False)

    def _sheet(self, model: Model, now: Instant) -> PriceSheet | None:
        return find_sheet(model, self.engine.registry.kind_of(model.provider), self.engine.prices, now)


async def test_connection(provider: ProviderSettings, timeout_s: float) -> Probe:
    """Ask one provider for its models. Raises FieldError for a URL that is not allowed."""
    if not provider.enabled:
        return Probe(ProbeState.DISABLED, "it is disabled in the configuration")
    if provider.credential is None and provider.credential_ref is not None:
        return Probe(ProbeState.MISSING_CREDENTIAL, f"{provider.credential_ref} is not set")
    return await probe(endpoint_of(provider), timeout_s)


async def _plan(call: Call, subject: Subject, engine: Engine) -> Plan:
    """What the path would decide on current balances, and reserve."""
    policies = engine.rules.snapshot.index
    await engine.sessions.refresh(subject.principal, call.hints.session, engine.clock.now())
    return await decide_now(lambda: make_plan(call, subject, policies, engine, engine.clock.now()), engine)


def _survey(call: Call, subject: Subject, engine: Engine) -> RoutingRecord:
    """How every candidate looks, also where a call leaves nothing to choose."""
    policies, now = engine.rules.snapshot.index, engine.clock.now()
    return look_around(Survey(call, subject, policies, engine, now))


def _shown(provider: ProviderSettings, check: Check, now: Instant, *, cached: bool) -> Document:
    found = check.probe
    fields = {
        "enabled": provider.enabled,
        "state": found.state.value,
        "well": found.state.is_well,
        "message": found.message,
        "status": found.status,
        "connect_ms": found.connect_ms,
        "first_byte_ms": found.first_byte_ms,
        "total_ms": found.total_ms,
        "models": [each.id for each in found.listed],
        "cached": cached,
    }
    return check_document(provider.id, fields, check.at, now)


def _problem(severity: str, field: str, message: str) -> Document:
    return {"severity": severity, "field": field, "message": message}
