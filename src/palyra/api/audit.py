"""The audit trail: who changed which rules, and the proof that nothing in the journal was changed."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response, StreamingResponse

from palyra.api.access import OPERATE, READ
from palyra.api.cursors import read_place, write_place
from palyra.api.deps import ApiDeps, AuditOutcome
from palyra.api.routes import Routes
from palyra.api.schemas.changes import AuditPage, AuditVerified
from palyra.core.errors import FieldError
from palyra.core.fields import closest
from palyra.core.instant import Instant, isoformat
from palyra.lifecycle.changes import ChangeFilter
from palyra.reports.change_documents import change_document
from palyra.reports.changes import KINDS
from palyra.reports.stretch import read_bounds

PAGE_MAX = 200
MEDIA_TYPE = "application/x-ndjson"


class Audit:
    """Handlers of ``/audit``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/audit", self.list_changes, READ, answer=AuditPage, also=(503,))
        routes.add("POST", "/audit/verify", self.verify_audit, OPERATE, answer=AuditVerified, also=(429, 503))
        routes.add("GET", "/audit/export", self.export_audit, OPERATE, media=(MEDIA_TYPE,), also=(429, 503))

    async def list_changes(
        self,
        kind: str | None = None,
        ref: str | None = None,
        by: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Changes of budgets, keys, approvals, alerts, prices and settings, newest first.

        ``kind`` is such as ``policy`` or ``policy.updated``, ``ref`` the id of the object, ``by`` the id of
        the key that did it, or ``config``; ``since`` and ``until`` are times or spans such as ``7d``. Pass
        ``next_cursor`` as ``cursor`` for the next page.
        """
        if kind is not None and kind.partition(".")[0] not in KINDS:
            raise FieldError(
                "kind", f"{kind!r} is none.{closest(kind, KINDS)} There are: {', '.join(KINDS)}."
            )
        start, end = read_bounds(since, until, self._deps.clock.now())
        wanted = ChangeFilter(
            kind=kind,
            ref=ref,
            actor=by,
            since=start,
            until=end,
            before=read_place(cursor),
            limit=limit + 1,
        )
        found = await self._deps.records.changes(wanted)
        whose = self._deps.rules.principal_of
        return JSONResponse(
            {
                "items": [change_document(each, whose) for each in found[:limit]],
                "next_cursor": write_place(found[limit - 1].place) if len(found) > limit else None,
            }
        )

    async def verify_audit(self) -> Response:
        """Replay the whole journal: its chain must be whole, and its sums must be the balances.

        Calls go on meanwhile. It takes some seconds for each million calls; one runs at a time.
        """
        return JSONResponse(_verified(await self._deps.audit.verify()))

    async def export_audit(self, since: str | None = None, until: str | None = None) -> Response:
        """The journal for auditors, as ``palyra audit export`` writes it: JSON lines, a page each.

        ``since`` and ``until`` choose whole pages. A file without its last line broke off and is not whole.
        """
        now = self._deps.clock.now()
        start, end = read_bounds(since, until, now)
        chunks = self._deps.audit.export(now, start, end)
        # What fails at the start is a problem with a status, and no file that breaks off.
        first = await anext(chunks)

        async def whole() -> AsyncIterator[bytes]:
            try:
                yield first
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()

        headers = {
            "content-disposition": f'attachment; filename="{_file_name(now)}"',
            "cache-control": "no-store",
        }
        return StreamingResponse(whole(), media_type=MEDIA_TYPE, headers=headers)


def _verified(outcome: AuditOutcome) -> dict[str, object]:
    flaw = outcome.flaw
    return {
        "ok": flaw is None,
        "records": outcome.records,
        "accounts": outcome.accounts,
        "head": outcome.head,
        "heads": [
            {"node": int(node or 0), "head": head}
            for node, _, head in (word.rpartition(":") for word in outcome.head.split())
        ],
        "problem": None
        if flaw is None
        else {
            "detail": flaw.detail,
            "invariant": flaw.invariant,
            "node": flaw.node,
            "record": flaw.record,
        },
        "took_ms": outcome.took_ms,
    }


def _file_name(now: Instant) -> str:
    return f"palyra-audit-{isoformat(now)[:10]}.jsonl"
