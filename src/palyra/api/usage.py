"""Usage: sums from the rollups, which are written in the same commit as the entries (L2)."""

from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.moments import moment
from palyra.api.routes import Routes
from palyra.api.schemas import UsageSummary
from palyra.core.errors import FieldError
from palyra.core.instant import NANOSECONDS, Instant
from palyra.reports.summary import own_totals, parse_groups, summary_document

DEFAULT_SPAN_NS = 30 * 86_400 * NANOSECONDS
_PRINCIPAL = "principal"


class Usage:
    """Handlers of ``/usage``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/usage/summary", self.usage_summary, OWN, answer=UsageSummary)

    async def usage_summary(
        self, caller: CallerOf, since: str | None = None, until: str | None = None, group_by: str = ""
    ) -> Response:
        """Sums over [since, until), the last 30 days by default. Below viewer: of the own principal only."""
        end = moment("until", until) or Instant(self._clock.now() + 1)
        start = moment("since", since)
        if start is None:
            start = Instant(end - DEFAULT_SPAN_NS)
        if start >= end:
            raise FieldError("since", "must be before 'until'.")
        groups = parse_groups(group_by)
        principal = only_principal(caller)
        if principal is None:
            totals = await self._records.usage(start, end, groups)
        else:
            wanted = tuple(dict.fromkeys((*groups, _PRINCIPAL)))
            totals = own_totals(await self._records.usage(start, end, wanted), principal)
            groups = wanted if groups else ()
        return JSONResponse(summary_document(totals, start, end, groups))
