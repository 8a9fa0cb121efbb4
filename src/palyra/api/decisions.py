"""Decisions: the list, and one explained."""

from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, READ, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.decisions import DecisionPage, DecisionShown
from palyra.budgets.fields import read_usd
from palyra.core.errors import FieldError, NotFound
from palyra.lifecycle.decision import CallState, StoredDecision, next_request_id
from palyra.lifecycle.decision_search import Inside
from palyra.lifecycle.ports import DecisionFilter
from palyra.reports.explain import decision_document, decision_page
from palyra.reports.stretch import read_bounds

PAGE_MAX = 200
CONTINUED_MAX = 8
BEHIND = "~"
"""Greater than all that a request id may go on with."""


class Decisions:
    """Handlers of ``/decisions``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/decisions", self.list_decisions, READ, answer=DecisionPage, also=(503,))
        routes.add(
            "GET", "/decisions/{request_id}", self.get_decision, OWN, answer=DecisionShown, also=(503,)
        )

    async def list_decisions(
        self,
        principal: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        endpoint: str | None = None,
        outcome: str | None = None,
        status: str | None = None,
        route: str | None = None,
        rerouted: bool | None = None,
        min_cost: str | None = None,
        tag: str | None = None,
        request_id: str | None = None,
        state: Annotated[str | None, Query(json_schema_extra={"enum": list(CallState)})] = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Newest first; pass ``next_cursor`` as ``cursor`` for the next page.

        A page looks at 20,000 calls at most, and reads 2,000 of them whole: what ``scanned_until`` tells was
        looked at, and the next page goes on behind it. ``min_cost`` is USD, ``tag`` ``name:value``,
        ``request_id`` how it begins.
        """
        first, before = _range(request_id, cursor)
        now = self._clock.now()
        start, end = read_bounds(since, until, now)
        wanted = DecisionFilter(
            principal=principal,
            agent=agent,
            session=session,
            model=model,
            outcome=outcome,
            state=_state(state),
            since=start,
            until=end,
            before=before,
            limit=limit + 1,
            first=first,
        )
        inside = Inside(
            provider=provider,
            status=status,
            endpoint=endpoint,
            route=route,
            rerouted=rerouted,
            min_cost=read_usd({"min_cost": min_cost}, "min_cost"),
            tag=_tag(tag),
        )
        return JSONResponse(decision_page(await self._records.search_decisions(wanted, inside), limit))

    async def get_decision(self, request_id: str, caller: CallerOf) -> Response:
        """Everything about one call, and in ``continued_as`` about what took it up elsewhere.

        Below viewer, calls of another principal do not exist.
        """
        stored = await self._records.decision(request_id)
        principal = only_principal(caller)
        if stored is None or principal not in (None, stored.decision.labels.principal):
            raise NotFound(f"There is no decision {request_id!r}.")
        document = decision_document(stored)
        document["continued_as"] = [decision_document(each) for each in await self._continued(request_id)]
        return JSONResponse(document)

    async def _continued(self, request_id: str) -> list[StoredDecision]:
        """What took the call up elsewhere, in order."""
        found: list[StoredDecision] = []
        while len(found) < CONTINUED_MAX:
            request_id = next_request_id(request_id)
            stored = await self._records.decision(request_id)
            if stored is None:
                break
            found.append(stored)
        return found


def _range(prefix: str | None, cursor: str | None) -> tuple[str | None, str | None]:
    """The least id that is wanted, and the one that all wanted ones are before."""
    if prefix is None:
        return None, cursor
    end = prefix + BEHIND
    return prefix, end if cursor is None else min(end, cursor)


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, colon, value = text.partition(":")
    if not name or not colon:
        raise FieldError("tag", f"{text!r} is no name:value, such as team:platform.")
    return name, value


def _state(text: str | None) -> CallState | None:
    if text is None:
        return None
    try:
        return CallState(text)
    except ValueError:
        raise FieldError("state", f"{text!r} is not one of: {', '.join(CallState)}.") from None
