"""``/usage/insights``: what a period amounts to, and what to do about it. Reading changes nothing (W43)."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from starlette.responses import JSONResponse, Response

from palyra.alerts.alert import AlertState
from palyra.api.access import OWN, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.pressed import PressedBudgets
from palyra.api.routes import Routes
from palyra.api.schemas.insights import UsageInsights
from palyra.api.usage_question import Names
from palyra.core.hours import DAY_NS, HALF_DAY_NS, HourRun, next_hour
from palyra.core.instant import Instant
from palyra.lifecycle.decision_search import Inside
from palyra.lifecycle.ports import AlertFilter, DecisionFilter
from palyra.lifecycle.usage import UsageFigure, UsageRows, UsageTotals
from palyra.reports.hints import AgentDay, ProviderSight, Sight
from palyra.reports.insights import (
    MIX_MAX,
    Found,
    Sampled,
    could_save,
    insights_document,
    providers_of,
    unpriced_models,
)
from palyra.reports.routing import percent
from palyra.reports.stretch import Stretch, read_stretch

DECISIONS_MAX = 500
"""So many calls are read for the routes (V2)."""
ALERTS_MAX = 12
AGENTS_MAX = 200
"""So many agents are compared with the week before."""
_WEEK = 7


class Insights:
    """Handler of ``/usage/insights``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock
        self._desk = deps.models
        self._budgets = PressedBudgets(deps)

    def install(self, routes: Routes) -> None:
        """Add the route."""
        routes.add("GET", "/usage/insights", self.usage_insights, OWN, answer=UsageInsights, also=(503,))

    async def usage_insights(
        self,
        caller: CallerOf,
        since: str | None = None,
        until: str | None = None,
        principal: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Response:
        """What the usage of [since, until) amounts to: prices, health, routes, budgets, alerts, hints.

        Budgets are told of in their own windows, whatever the period. Below viewer all is of the own
        principal, and ``health`` is empty.
        """
        now = self._clock.now()
        stretch = read_stretch(since, until, now)
        own = only_principal(caller)
        names = Names(principal, agent, model, provider).of(own)
        models = await self._records.usage_groups(names.within(stretch), ("model", "provider"))
        health = [] if own is not None else self._health(models, provider)
        sampled = await self._sampled(names, stretch)
        budgets = await self._budgets.find(names, now)
        wanted = AlertFilter(state=AlertState.FIRING, principal=names.principal, limit=ALERTS_MAX)
        found = Found(
            stretch=stretch,
            models=models,
            principals=await self._dearest(names, stretch, "principal"),
            agents=await self._dearest(names, stretch, "agent"),
            sampled=sampled,
            health=health,
            budgets=[each.document for each in budgets],
            alerts=await self._records.alerts(wanted),
        )
        sight = Sight(
            requests=sum(each.requests for each in models),
            denied=sum(each.denied for each in models),
            estimated=sum(each.estimated for each in models),
            unpriced=sum(each.unpriced for each in models),
            unpriced_models=[
                (each.group["model"], each.group["provider"]) for each in unpriced_models(models)
            ],
            budgets=[each.pressed for each in budgets],
            providers=providers_of(models, health),
            agents=await self._agents(names, now),
            calls=len(sampled.calls),
            could_save=could_save(sampled.calls),
        )
        return JSONResponse(insights_document(found, sight))

    async def _sampled(self, names: Names, stretch: Stretch) -> Sampled:
        """The newest calls of the period, as far as one bounded search finds them."""
        wanted = DecisionFilter(
            principal=names.principal,
            agent=names.agent,
            model=names.model,
            since=stretch.since,
            until=stretch.until,
            limit=DECISIONS_MAX + 1,
        )
        found = await self._records.search_decisions(wanted, Inside(provider=names.provider))
        partly = len(found.items) > DECISIONS_MAX or found.scanned is not None
        return Sampled(found.items[:DECISIONS_MAX], partly)

    async def _dearest(self, names: Names, stretch: Stretch, by: str) -> Sequence[UsageTotals]:
        asked = UsageRows(names.within(stretch), (by,), UsageFigure.COST, None, MIX_MAX)
        return [each.sums for each in (await self._records.usage_rows(asked)).rows]

    async def _agents(self, names: Names, now: Instant) -> list[AgentDay]:
        """The dearest agents of the last day, beside the week before it."""
        yesterday = Instant(now - DAY_NS)
        last = await self._dearest(names, Stretch(yesterday, Instant(now + 1)), "agent")
        week = Stretch(Instant(yesterday - _WEEK * DAY_NS), yesterday)
        first = next_hour(week.since)
        # Whole half-days are read at once; so the days of the week begin at most eleven hours early.
        days = HourRun(Instant(first - first % HALF_DAY_NS), DAY_NS, _WEEK + 1, 0)
        asked = UsageRows(names.within(week), ("agent",), UsageFigure.COST, None, AGENTS_MAX, days)
        page = await self._records.usage_rows(asked)
        before = {each.sums.group["agent"]: each for each in page.rows}
        # One that is not on a full page cost less than all that are.
        least = page.rows[-1] if len(page.rows) == AGENTS_MAX else None
        found: list[AgentDay] = []
        for each in last:
            agent = each.group["agent"]
            row = before.get(agent, least)
            if agent and row is not None:
                found.append(AgentDay(agent, each.cost, row.sums.cost, _WEEK - min(row.spark, default=_WEEK)))
        return found

    def _health(self, models: Sequence[UsageTotals], only: str | None) -> list[Mapping[str, object]]:
        """How providers do; without ``only``, all of them."""
        status = cast("Sequence[Mapping[str, Any]]", self._desk.status()["providers"])
        called = {each.provider: each for each in providers_of(models, ())}
        return [
            _provider(each, called.get(each["id"], ProviderSight(each["id"], 0, 0)))
            for each in status
            if only in (None, each["id"])
        ]


def _provider(told: Mapping[str, Any], calls: ProviderSight) -> dict[str, object]:
    seen = cast("Mapping[str, Any] | None", told["health"])
    health: Mapping[str, Any] = seen or {}
    return {
        "provider": told["id"],
        "kind": told["kind"],
        "enabled": told["enabled"],
        "state": _state(told, seen),
        "breaker": health.get("breaker"),
        "retry_at": health.get("retry_at"),
        "first_byte_ms": health.get("first_byte_ms"),
        "last_ok_at": health.get("last_ok_at"),
        "last_fault": health.get("last_fault"),
        "requests": calls.requests,
        "failed": calls.failed,
        "error_percent": percent(calls.failed, calls.requests + calls.failed),
    }


def _state(told: Mapping[str, Any], health: Mapping[str, Any] | None) -> str:
    if not told["enabled"]:
        return "disabled"
    if health is None:
        return "unknown"
    if health["breaker"] != "closed":
        return health["breaker"]
    return "cooling" if health["cooldowns"] else "ok"
