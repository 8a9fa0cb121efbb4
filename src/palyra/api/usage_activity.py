"""Usage by session and tag, and how long calls took: read from sums, whatever the number of calls."""

from dataclasses import replace
from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, READ, CallerOf, only_principal
from palyra.api.decisions import BEHIND
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.activity import UsageLatencies, UsageSession, UsageSessions, UsageTags
from palyra.api.usage_question import Names
from palyra.core.errors import FieldError, NotFound
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.lifecycle.activity import SessionFilter, SessionOrder, SessionPlace
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import DecisionFilter
from palyra.reports.explain import decision_page
from palyra.reports.stretch import read_stretch
from palyra.reports.usage_activity import (
    latencies_document,
    read_cursor,
    session_document,
    sessions_document,
    tags_document,
)
from palyra.reports.usage_session import models_of, timeline_of

PAGE_MAX = 200
TIMELINE_CALLS = 2_000
"""So many calls of a session are gone through (V2)."""


class UsageActivity:
    """Handlers of ``/usage/sessions``, ``/usage/tags`` and ``/usage/latencies``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock

    def install(self, routes: Routes) -> None:
        """Add the routes. Tags and latencies are those of everybody, so they take a viewer."""
        session = "/usage/sessions/{session:path}"
        routes.add("GET", "/usage/sessions", self.list_sessions, OWN, answer=UsageSessions, also=(503,))
        routes.add("GET", session, self.get_session, OWN, answer=UsageSession, also=(503,))
        routes.add("GET", "/usage/tags", self.usage_tags, READ, answer=UsageTags, also=(503,))
        routes.add("GET", "/usage/latencies", self.usage_latencies, READ, answer=UsageLatencies, also=(503,))

    async def list_sessions(
        self,
        caller: CallerOf,
        since: str | None = None,
        until: str | None = None,
        sort: str = "newest",
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        principal: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Response:
        """Sessions with calls in the period, those with the newest call or the ``dearest`` first.

        With ``agent``, ``model`` or ``provider``: those with a call of it. The figures are those of the whole
        session. ``next_cursor`` keeps the period.
        """
        order = _order_of(sort)
        names = Names(principal, agent, model, provider).of(only_principal(caller))
        stretch, after = read_stretch(since, until, self._clock.now()), None
        if cursor is not None:
            stretch, place = read_cursor(cursor, sort)
            after = SessionPlace(*place)
        wanted = SessionFilter(
            names.principal,
            names.agent,
            names.model,
            names.provider,
            *stretch,
            order=order,
            after=after,
            limit=limit + 1,
        )
        found = await self._records.sessions(wanted)
        return JSONResponse(sessions_document(found, wanted, stretch, limit))

    async def get_session(
        self,
        session: str,
        caller: CallerOf,
        principal: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """A session of ``principal`` (the own one by default): its sums, and its calls, newest first.

        ``timeline`` and ``models`` are of its newest 2,000 calls, on every page.
        """
        own = only_principal(caller)
        names = Names(principal, None, None, None).of(own)
        whose = names.principal or caller.principal
        if len(session) > LABEL_CHARS_MAX:
            raise NotFound("There is no such session.")
        found = await self._records.session(whose, session)
        if found is None:
            raise NotFound(f"{whose!r} has no session {session!r} with a call that is over.")
        wanted = DecisionFilter(
            principal=whose,
            session=session,
            before=found.last_call + BEHIND,
            first=found.first_call,
            limit=TIMELINE_CALLS + 1,
        )
        newest = await self._records.search_decisions(wanted, Inside())
        page = DecisionsFound(newest.items[: limit + 1], newest.scanned)
        if cursor is not None:
            later = replace(wanted, before=min(cursor, found.last_call + BEHIND), limit=limit + 1)
            page = await self._records.search_decisions(later, Inside())
        calls = newest.items[:TIMELINE_CALLS]
        truncated = newest.scanned is not None or len(newest.items) > TIMELINE_CALLS
        return JSONResponse(
            {
                "session": session_document(found),
                "timeline": timeline_of(calls, truncated=truncated),
                "models": models_of(calls),
                **decision_page(page, limit),
            }
        )

    async def usage_tags(
        self, since: str | None = None, until: str | None = None, tag: str | None = None
    ) -> Response:
        """Sums per value of a tag, or of all tags. A call counts for each of its tags."""
        stretch = read_stretch(since, until, self._clock.now())
        return JSONResponse(tags_document(await self._records.tags(*stretch, tag), stretch))

    async def usage_latencies(self, since: str | None = None, until: str | None = None) -> Response:
        """How long calls took, by model and provider: quantiles that are at most an eighth off."""
        stretch = read_stretch(since, until, self._clock.now())
        return JSONResponse(latencies_document(await self._records.latencies(*stretch), stretch))


def _order_of(text: str) -> SessionOrder:
    try:
        return SessionOrder(text)
    except ValueError:
        raise FieldError("sort", f"{text!r} is not one of: {', '.join(SessionOrder)}.") from None
