"""Usage: sums from the rollups, which are written in the same commit as the entries (L2)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.usage import UsageList, UsageSummary, UsageTimeline
from palyra.api.usage_activity import UsageActivity
from palyra.api.usage_export import UsageExport
from palyra.api.usage_insights import Insights
from palyra.api.usage_question import Names, figure_of, order_of, top_of, unit_of, zone_of
from palyra.lifecycle.usage import UsageRows
from palyra.reports.stretch import Stretch, read_stretch
from palyra.reports.summary import Period, parse_groups, summary_document
from palyra.reports.usage_buckets import cut, points_of
from palyra.reports.usage_rows import VIEWS, Question, read_cursor, rows_document
from palyra.reports.usage_timeline import timeline_document

PAGE_MAX = 200
SERIES_MAX = 20
_PRINCIPAL = "principal"

Handler = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Listing:
    """One page of a view, as it is asked for."""

    view: str
    since: str | None
    until: str | None
    sort: str
    cursor: str | None
    limit: int
    names: Names

    @property
    def question(self) -> Question:
        """What its cursors are good for."""
        return Question(self.view, self.sort, asdict(self.names))


class Usage:
    """Handlers of ``/usage``. Below viewer, all of them are about the own principal alone."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock
        self._export = UsageExport(deps)
        self._activity = UsageActivity(deps)
        self._insights = Insights(deps)

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/usage/summary", self.usage_summary, OWN, answer=UsageSummary, also=(503,))
        routes.add("GET", "/usage/timeline", self.usage_timeline, OWN, answer=UsageTimeline, also=(503,))
        for view in VIEWS:
            routes.add("GET", f"/usage/{view}", self._lister(view), OWN, answer=UsageList, also=(503,))
        self._export.install(routes)
        self._activity.install(routes)
        self._insights.install(routes)

    async def usage_summary(
        self,
        caller: CallerOf,
        since: str | None = None,
        until: str | None = None,
        group_by: str = "",
        principal: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Response:
        """Sums over [since, until), the last 30 days by default, and what changed against the time before.

        ``since`` and ``until`` are times, or spans such as 24h, 7d and 4w.
        """
        stretch = read_stretch(since, until, self._clock.now())
        groups = parse_groups(group_by)
        own = only_principal(caller)
        if own is not None and groups:
            groups = tuple(dict.fromkeys((*groups, _PRINCIPAL)))
        names = Names(principal, agent, model, provider).of(own)
        running = await self._records.running(names.running)
        now = await self._period(names, stretch, groups)
        before = await self._period(names, stretch.before, ())
        first = await self._records.first_hour()
        return JSONResponse(summary_document(now, before, running, stretch, groups, first))

    async def usage_timeline(
        self,
        caller: CallerOf,
        since: str | None = None,
        until: str | None = None,
        bucket: str = "auto",
        timezone: str = "UTC",
        metric: str = "cost",
        by: str | None = None,
        top: Annotated[int, Query(ge=1, le=SERIES_MAX)] = 5,
        principal: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Response:
        """Usage per hour, day or month of ``timezone``; ``by`` adds a series for each of the largest groups.

        The sums of the buckets are those of the summary. An hour is in the bucket in which it starts.
        """
        stretch = read_stretch(since, until, self._clock.now())
        figure = figure_of(metric)
        largest = top_of(by, figure, top)
        made = cut(stretch, unit_of(bucket), zone_of(timezone))
        wanted = Names(principal, agent, model, provider).of(only_principal(caller)).within(stretch)
        cells = await self._records.usage_series(wanted, made.runs, largest)
        return JSONResponse(timeline_document(cells, made, stretch, timezone, largest, figure))

    async def _period(self, names: Names, stretch: Stretch, groups: Sequence[str]) -> Period:
        totals = await self._records.usage_groups(names.within(stretch), groups)
        latencies = None
        if names.has_latencies:
            latencies = await self._records.all_latencies(*stretch, names.provider, names.model)
        return Period(totals, latencies)

    def _lister(self, view: str) -> Handler:
        async def handler(
            caller: CallerOf,
            since: str | None = None,
            until: str | None = None,
            sort: str = "cost",
            cursor: str | None = None,
            limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
            principal: str | None = None,
            agent: str | None = None,
            model: str | None = None,
            provider: str | None = None,
        ) -> Response:
            names = Names(principal, agent, model, provider).of(only_principal(caller))
            return await self._list(_Listing(view, since, until, sort, cursor, limit, names))

        handler.__name__ = f"usage_{view}"
        handler.__doc__ = f"""The {view} that used something, the largest by ``sort`` first.

        ``next_cursor`` keeps the period: on later pages ``since`` and ``until`` have no effect. With
        ``sort=name`` each row is on exactly one page, whatever is counted meanwhile.
        """
        return handler

    async def _list(self, listing: _Listing) -> Response:
        order = order_of(listing.sort)
        question = listing.question
        stretch = read_stretch(listing.since, listing.until, self._clock.now())
        after = None
        if listing.cursor is not None:
            place = read_cursor(listing.cursor, question)
            stretch, after = place.stretch, (place.figure, place.names)
        spark = points_of(stretch)
        asked = UsageRows(
            wanted=listing.names.within(stretch),
            by=VIEWS[listing.view],
            order=order,
            after=after,
            limit=listing.limit + 1,
            spark=spark,
        )
        page = await self._records.usage_rows(asked)
        return JSONResponse(rows_document(page, question, asked, stretch, spark, listing.limit))
