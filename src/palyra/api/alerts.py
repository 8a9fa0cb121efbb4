"""Alerts: what is wrong, who has seen it, what became of the messages about it. Reading changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.alerts.alert import Alert, AlertState, Kind, NoticeState
from palyra.api.access import OPERATE, OWN, READ, CallerOf, only_principal
from palyra.api.bodies import NOTE_CHARS_MAX, AlertAcknowledgement, MessageTest
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.routes import Routes
from palyra.api.schemas.alerts import AlertPage, AlertShown, NoticePage, NoticeShown, TestedTargets
from palyra.budgets.fields import as_choice
from palyra.core.errors import FieldError, NotFound
from palyra.core.fields import kind_of, refuse_unknown
from palyra.lifecycle.ports import AlertFilter, NoticeFilter
from palyra.reports.alerts import alert_document, notice_document

PAGE_MAX = 200


class Alerts:
    """Handlers of ``/alerts``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._records = deps.records

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/alerts", self.list_alerts, OWN, answer=AlertPage, also=(503,))
        routes.add("GET", "/alerts/notices", self.list_notices, READ, answer=NoticePage, also=(503,))
        routes.add(
            "POST",
            "/alerts/notices/{notice_id}/retry",
            self.retry_notice,
            OPERATE,
            answer=NoticeShown,
            also=(409, 503),
        )
        routes.add(
            "POST",
            "/alerts/test",
            self.test_messages,
            OPERATE,
            body=MessageTest,
            answer=TestedTargets,
            also=(404, 409, 503),
        )
        routes.add(
            "GET",
            "/alerts/{alert_id}",
            self.get_alert,
            OWN,
            answer=AlertShown,
            also=(503,),
            headers=("ETag",),
        )
        routes.add(
            "POST",
            "/alerts/{alert_id}/acknowledge",
            self.acknowledge_alert,
            OPERATE,
            body=AlertAcknowledgement,
            answer=AlertShown,
            also=(409, 503),
            headers=("ETag",),
        )

    async def list_alerts(
        self,
        caller: CallerOf,
        state: str | None = None,
        acknowledged: bool | None = None,
        kind: str | None = None,
        policy_id: str | None = None,
        principal: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Newest first; pass ``next_cursor`` as ``cursor`` for the next page.

        Below viewer: those of the own principal.
        """
        wanted = AlertFilter(
            state=None if state is None else as_choice(AlertState, state, "state"),
            acknowledged=acknowledged,
            kind=None if kind is None else as_choice(Kind, kind, "kind"),
            policy_id=policy_id,
            principal=only_principal(caller) or principal,
            before=cursor,
            limit=limit + 1,
        )
        mine = principal in (None, wanted.principal)
        found: Sequence[Alert] = await self._records.alerts(wanted) if mine else ()
        items = [alert_document(each) for each in found[:limit]]
        return _page(items, found[limit - 1].id if len(found) > limit else None)

    async def get_alert(self, alert_id: str, caller: CallerOf) -> Response:
        """One alert; ``ETag`` is its version. Below viewer, those of others do not exist."""
        alert = await self._records.alert(alert_id)
        if alert is None or only_principal(caller) not in (None, alert.principal):
            raise NotFound(f"There is no alert {alert_id!r}.")
        return _shown(alert)

    async def acknowledge_alert(self, alert_id: str, request: Request, caller: CallerOf) -> Response:
        """Say that somebody has seen it. The first who does stays; it still ends by itself."""
        document = await read_document(request, self._deps.body_bytes_max)
        refuse_unknown(document, ("note",), "an acknowledgement")
        return _shown(await self._deps.alarms.acknowledge(alert_id, _note(document), by=caller))

    async def list_notices(
        self,
        state: str | None = None,
        target: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """What was sent, waits to be sent, or is given up, newest first."""
        wanted = NoticeFilter(
            state=None if state is None else as_choice(NoticeState, state, "state"),
            target=target,
            before=cursor,
            limit=limit + 1,
        )
        found = await self._records.notices(wanted)
        items = [notice_document(each) for each in found[:limit]]
        return _page(items, found[limit - 1].id if len(found) > limit else None)

    async def retry_notice(self, notice_id: str) -> Response:
        """Send a message that was given up after all. One on its way is left as it is."""
        return JSONResponse(notice_document(await self._deps.outbox.retry(notice_id)))

    async def test_messages(self, request: Request, caller: CallerOf) -> Response:
        """Send a test message to one target, or to all; how each fares is among the notices."""
        document = await read_document(request, self._deps.body_bytes_max)
        refuse_unknown(document, ("target",), "a test")
        sent = await self._deps.outbox.test(_optional_text(document, "target"), caller.principal)
        return JSONResponse({"notices": [notice_document(each) for each in sent]})


def _shown(alert: Alert) -> Response:
    return JSONResponse(alert_document(alert), headers={"ETag": f'"{alert.version}"'})


def _page(items: list[dict[str, object]], next_cursor: str | None) -> Response:
    return JSONResponse({"items": items, "next_cursor": next_cursor})


def _note(document: Mapping[str, object]) -> str:
    note = _optional_text(document, "note") or ""
    if len(note) > NOTE_CHARS_MAX:
        raise FieldError("note", f"is longer than {NOTE_CHARS_MAX} characters; say less.")
    return note


def _optional_text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise FieldError(name, f"must be text, not {kind_of(value)}.")
    return value
