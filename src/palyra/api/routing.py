"""The honesty of the router: what its choices saved, against the default and against chance."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from palyra.api.access import READ
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.models import RoutingReportShown
from palyra.core.errors import ModelNotFound
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.route import find_sheet
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model
from palyra.registry.registry import Registry
from palyra.reports.routing import PriceOf, Tally, report_document
from palyra.reports.stretch import read_stretch

DEFAULT_SPAN = "7d"
CALLS_MAX = 200_000
"""So many calls are gone through for one report (V2)."""
READ_NS = 20 * NANOSECONDS
"""And so long: clients wait for 30 seconds."""
PAGE = 500
_AT_ONCE = 50
"""Calls between two turns of the loop, on which other calls wait."""
_MODELS_MAX = 4_096
"""Names of models come from callers: the memory of them is bounded (V2)."""


class EnginePrices:
    """``PriceOf`` by the registry and the price book of an engine, as they are now.

    A model that was taken out of the configuration still has the price that the price book knows of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._registry = engine.registry
        self._models: dict[tuple[str, str | None], Model | None] = {}

    def __call__(
        self, model_id: str, provider: str | None, _endpoint: str, at: Instant, /
    ) -> PriceSheet | None:
        """See ``PriceOf``."""
        registry, prices = self._engine.registry, self._engine.prices
        if registry is not self._registry or len(self._models) >= _MODELS_MAX:
            self._models.clear()
            self._registry = registry
        key = (model_id, provider)
        if key not in self._models:
            self._models[key] = _find(registry, model_id, provider)
        model = self._models[key]
        return None if model is None else find_sheet(model, registry.kind_of(model.provider), prices, at)


class RoutingReport:
    """Handler of ``/models/routing-report``."""

    def __init__(self, deps: ApiDeps, price_of: PriceOf) -> None:
        self._records = deps.records
        self._clock = deps.clock
        self._price_of = price_of

    def install(self, routes: Routes) -> None:
        """Add the route."""
        routes.add(
            "GET", "/models/routing-report", self.routing_report, READ, answer=RoutingReportShown, also=(503,)
        )

    async def routing_report(
        self, since: str | None = None, until: str | None = None, principal: str | None = None
    ) -> Response:
        """What routing saved on the settled calls of [since, until), the last 7 days by default.

        The cost of what ran, of the default alone, of what was recommended, and of the same mix of models
        dealt out at random over the same calls. The newest 200,000 calls are read at most, for 20 seconds.
        """
        start, end = read_stretch(since or DEFAULT_SPAN, until, self._clock.now())
        wanted = DecisionFilter(
            principal=principal, state=CallState.SETTLED, since=start, until=end, limit=PAGE
        )
        tally = Tally(self._price_of)
        truncated = await self._go_through(wanted, tally)
        return JSONResponse(report_document(tally, start, end, principal, truncated=truncated))

    async def _go_through(self, wanted: DecisionFilter, tally: Tally) -> bool:
        """Tally the newest calls, at most CALLS_MAX and for READ_NS; whether there are more of them."""
        last = self._clock.now() + READ_NS
        for _ in range(CALLS_MAX // PAGE):
            page = await self._records.decisions(wanted)
            await _add(tally, page)
            if len(page) < PAGE:
                return False
            wanted = replace(wanted, before=page[-1].decision.request_id)
            if self._clock.now() > last:
                break
        return bool(await self._records.decisions(replace(wanted, limit=1)))


def with_routing_report(price_of: PriceOf) -> Callable[[FastAPI, Routes], None]:
    """What adds the report to ``create_api(deps, more)``."""

    def install(_app: FastAPI, routes: Routes) -> None:
        RoutingReport(routes.deps, price_of).install(routes)

    return install


async def _add(tally: Tally, page: Sequence[StoredDecision]) -> None:
    for first in range(0, len(page), _AT_ONCE):
        for stored in page[first : first + _AT_ONCE]:
            tally.add(stored)
        await asyncio.sleep(0)


def _find(registry: Registry, model_id: str, provider: str | None) -> Model | None:
    """The model of a name, or of this id at a provider; one that nobody lists any more by its id alone."""
    try:
        found = registry.find(model_id if provider is None else f"{provider}/{model_id}")
    except ModelNotFound:
        found = None
    if provider is None or (found is not None and found.provider == provider):
        return found
    known = any(each.id == provider for each in registry.providers)
    return Model(model_id, provider, model_id) if known else None
