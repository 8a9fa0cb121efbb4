"""Decisions: the list, and one explained."""

from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, READ, CallerOf, only_principal
from palyra.api.decision_schemas import DecisionPage, DecisionShown
from palyra.api.deps import ApiDeps
from palyra.api.moments import moment
from palyra.api.routes import Routes
from palyra.core.errors import FieldError, NotFound
from palyra.lifecycle.decision import CallState, StoredDecision, next_request_id
from palyra.lifecycle.ports import DecisionFilter
from palyra.reports.explain import decision_document, decision_page

PAGE_MAX = 200
CONTINUED_MAX = 8


class Decisions:
    """Handlers of ``/decisions``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records

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
        outcome: str | None = None,
        state: Annotated[str | None, Query(json_schema_extra={"enum": list(CallState)})] = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Newest first; pass ``next_cursor`` as ``cursor`` for the next page."""
        wanted = DecisionFilter(
            principal=principal,
            agent=agent,
            session=session,
            model=model,
            outcome=outcome,
            state=_state(state),
            since=moment("since", since),
            until=moment("until", until),
            before=cursor,
            limit=limit + 1,
        )
        return JSONResponse(decision_page(await self._records.decisions(wanted), limit))

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


def _state(text: str | None) -> CallState | None:
    if text is None:
        return None
    try:
        return CallState(text)
    except ValueError:
        raise FieldError("state", f"{text!r} is not one of: {', '.join(CallState)}.") from None
