"""The versions of a budget, from the journal: who made each, when, and what it changed."""

from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import READ
from palyra.api.cursors import read_place, write_place
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.changes import PolicyHistory
from palyra.core.errors import NotFound
from palyra.lifecycle.changes import ChangeFilter
from palyra.reports.change_documents import version_document

PAGE_MAX = 200


class BudgetHistory:
    """Handler of ``/budgets/{policy_id}/history``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the route."""
        routes.add(
            "GET",
            "/budgets/{policy_id}/history",
            self.budget_history,
            READ,
            answer=PolicyHistory,
            also=(503,),
        )

    async def budget_history(
        self,
        policy_id: str,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Its versions, newest first, also of a budget that was deleted.

        Pass ``next_cursor`` as ``cursor`` for the next page.
        """
        wanted = ChangeFilter(kind="policy", ref=policy_id, before=read_place(cursor), limit=limit + 1)
        found = await self._deps.records.changes(wanted)
        rules = self._deps.rules
        if not found and cursor is None and policy_id not in rules.snapshot.policies:
            raise NotFound(f"There is no budget {policy_id!r}, and never was.")
        return JSONResponse(
            {
                "items": [version_document(each, rules.principal_of) for each in found[:limit]],
                "next_cursor": write_place(found[limit - 1].place) if len(found) > limit else None,
            }
        )
