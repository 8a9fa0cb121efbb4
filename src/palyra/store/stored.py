"""Approvals, alerts, notices, configuration and usage as a database has them: both are asked the same.

What gateways go by is read by plain statements; SQLAlchemy loads with the first question of people.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from palyra.alerts.alert import Alert, Notice
from palyra.approvals.approval import Approval
from palyra.core.hours import HourRun
from palyra.core.instant import Instant
from palyra.lifecycle.activity import LatencyCounts, SessionFilter, SessionTotals, TagTotals
from palyra.lifecycle.changes import Change, ChangeFilter
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import AlertFilter, ApprovalFilter, DecisionFilter, NoticeFilter
from palyra.lifecycle.signed_in import SignIn
from palyra.lifecycle.standing import OpenWindow, Standing
from palyra.lifecycle.topics import StoredFigures
from palyra.lifecycle.usage import UsageCell, UsageFilter, UsagePage, UsageRows, UsageTop, UsageTotals
from palyra.store import codec
from palyra.store.page import unpack
from palyra.store.records import JournaledRecords

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class StoredRecords(JournaledRecords):
    """The reading half of what has a version; adapters say how a database is asked."""

    async def _read(self, name: str, *parameters: str | int) -> Sequence[Sequence[Any]]:
        """The rows of a statement of the adapter."""
        raise NotImplementedError

    async def _ask(self, question: "Callable[[Connection], T]") -> T:
        """The answer on a fresh snapshot of what is committed."""
        raise NotImplementedError

    async def open_approvals(self, now: Instant) -> Sequence[Approval]:
        """See ``ApprovalRecords.open_approvals``."""
        return [codec.approval_from(body) for (body,) in await self._read("open_approvals", now)]

    async def approval(self, approval_id: str) -> Approval | None:
        """See ``ApprovalRecords.approval``."""
        rows = await self._read("approval", approval_id)
        return codec.approval_from(rows[0][0]) if rows else None

    async def approvals(self, wanted: ApprovalFilter) -> Sequence[Approval]:
        """See ``ApprovalRecords.approvals``."""

        def question(connection: "Connection") -> Sequence[Approval]:
            from palyra.store import reads

            return reads.list_approvals(connection, wanted)

        return await self._ask(question)

    async def open_alerts(self) -> Sequence[Alert]:
        """See ``AlertRecords.open_alerts``."""
        return [codec.alert_from(body) for (body,) in await self._read("open_alerts")]

    async def alert(self, alert_id: str) -> Alert | None:
        """See ``AlertRecords.alert``."""
        rows = await self._read("alert", alert_id)
        return codec.alert_from(rows[0][0]) if rows else None

    async def alerts(self, wanted: AlertFilter) -> Sequence[Alert]:
        """See ``AlertRecords.alerts``."""

        def question(connection: "Connection") -> Sequence[Alert]:
            from palyra.store import reads

            return reads.list_alerts(connection, wanted)

        return await self._ask(question)

    async def due_notices(self, now: Instant, limit: int, busy: Collection[str] = ()) -> Sequence[Notice]:
        """See ``AlertRecords.due_notices``."""
        left_out = msgspec.json.encode(list(busy)).decode()
        return [codec.notice_from(body) for (body,) in await self._read("due_notices", now, left_out, limit)]

    async def notice(self, notice_id: str) -> Notice | None:
        """See ``AlertRecords.notice``."""
        rows = await self._read("notice", notice_id)
        return codec.notice_from(rows[0][0]) if rows else None

    async def notices(self, wanted: NoticeFilter) -> Sequence[Notice]:
        """See ``AlertRecords.notices``."""

        def question(connection: "Connection") -> Sequence[Notice]:
            from palyra.store import reads

            return reads.list_notices(connection, wanted)

        return await self._ask(question)

    async def configured(self) -> Mapping[str, str]:
        """See ``ConfigRecords.configured``."""
        return {row[0]: row[1] for row in await self._read("configured")}

    async def changes(self, wanted: ChangeFilter) -> Sequence[Change]:
        """See ``ChangeRecords.changes``."""
        from palyra.store import change_reads

        found = await self._ask(lambda connection: change_reads.list_places(connection, wanted))
        pages = await self._read("journal_pages", change_reads.pages_of(found)) if found else ()
        return change_reads.read_changes(found, {(row[0], row[1]): unpack(row[2]) for row in pages})

    async def figures(self, now: Instant) -> StoredFigures:
        """See ``FigureRecords.figures``."""
        ((calls, *others),) = await self._read("figures", now)
        return StoredFigures(calls, tuple(others[:3]), tuple(others[3:]))

    async def sign_in(self, token_sha256: str) -> SignIn | None:
        """See ``SignInRecords.sign_in``."""
        rows = await self._read("sign_in", token_sha256)
        return SignIn(*rows[0]) if rows else None

    async def standing(self, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
        """See ``StandingRecords.standing``."""

        def question(connection: "Connection") -> Mapping[str, Standing]:
            from palyra.store import reads

            return reads.list_standing(connection, windows, most)

        return await self._ask(question)

    async def _found(self, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
        """Calls that have a row."""

        def question(connection: "Connection") -> DecisionsFound:
            from palyra.store import decision_search

            return decision_search.search(connection, wanted, inside)

        return await self._ask(question)

    async def sessions(self, wanted: SessionFilter) -> Sequence[SessionTotals]:
        """See ``ActivityRecords.sessions``."""

        def question(connection: "Connection") -> Sequence[SessionTotals]:
            from palyra.store import activity_reads

            return activity_reads.list_sessions(connection, wanted)

        return await self._ask(question)

    async def session(self, principal: str, session: str) -> SessionTotals | None:
        """See ``ActivityRecords.session``."""

        def question(connection: "Connection") -> SessionTotals | None:
            from palyra.store import activity_reads

            return activity_reads.one_session(connection, principal, session)

        return await self._ask(question)

    async def tags(self, since: Instant, until: Instant, tag: str | None = None) -> Sequence[TagTotals]:
        """See ``ActivityRecords.tags``."""

        def question(connection: "Connection") -> Sequence[TagTotals]:
            from palyra.store import activity_reads

            return activity_reads.sum_tags(connection, since, until, tag)

        return await self._ask(question)

    async def latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Sequence[LatencyCounts]:
        """See ``ActivityRecords.latencies``."""

        def question(connection: "Connection") -> Sequence[LatencyCounts]:
            from palyra.store import activity_reads

            return activity_reads.count_latencies(connection, since, until, provider, model)

        return await self._ask(question)

    async def all_latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Mapping[int, int]:
        """See ``ActivityRecords.all_latencies``."""

        def question(connection: "Connection") -> Mapping[int, int]:
            from palyra.store import activity_reads

            return activity_reads.count_all_latencies(connection, since, until, provider, model)

        return await self._ask(question)

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """See ``Records.usage``."""

        def question(connection: "Connection") -> Sequence[UsageTotals]:
            from palyra.store import usage_reads

            return usage_reads.usage(connection, since, until, group_by)

        return await self._ask(question)

    async def first_hour(self) -> Instant | None:
        """See ``UsageRecords.first_hour``."""

        def question(connection: "Connection") -> Instant | None:
            from palyra.store import usage_reads

            return usage_reads.first_hour(connection)

        return await self._ask(question)

    async def usage_groups(self, wanted: UsageFilter, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """See ``UsageRecords.usage_groups``."""

        def question(connection: "Connection") -> Sequence[UsageTotals]:
            from palyra.store import usage_reads

            return usage_reads.groups(connection, wanted, group_by)

        return await self._ask(question)

    async def usage_series(
        self, wanted: UsageFilter, runs: Sequence[HourRun], top: UsageTop | None = None
    ) -> Sequence[UsageCell]:
        """See ``UsageRecords.usage_series``."""

        def question(connection: "Connection") -> Sequence[UsageCell]:
            from palyra.store import usage_reads

            return usage_reads.series(connection, wanted, runs, top)

        return await self._ask(question)

    async def usage_rows(self, question: UsageRows) -> UsagePage:
        """See ``UsageRecords.usage_rows``."""

        def asked(connection: "Connection") -> UsagePage:
            from palyra.store import usage_reads

            return usage_reads.rows(connection, question)

        return await self._ask(asked)

    async def usage_hours(
        self, wanted: UsageFilter, after: Sequence[str] | None, limit: int
    ) -> Sequence[UsageTotals]:
        """See ``UsageRecords.usage_hours``."""

        def question(connection: "Connection") -> Sequence[UsageTotals]:
            from palyra.store import usage_reads

            return usage_reads.hours(connection, wanted, after, limit)

        return await self._ask(question)
