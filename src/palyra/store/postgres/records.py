"""The Records port on PostgreSQL. Reads see what every gateway has stored, and what each has under way."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import AuditEntry, DecisionFilter
from palyra.lifecycle.running import RunningFilter, RunningTotals, running_totals
from palyra.lifecycle.standing import AccountStatus
from palyra.store import codec
from palyra.store.postgres import sql
from palyra.store.postgres.elsewhere import Elsewhere
from palyra.store.postgres.ledger import SharedLedger
from palyra.store.postgres.reading import Reading
from palyra.store.postgres.writer import PostgresWriter
from palyra.store.records import matches, newest, stored_decision, together
from palyra.store.stored import StoredRecords
from palyra.store.write import Statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class PostgresRecords(StoredRecords):
    """Reads run on connections of their own, never on the writer's."""

    def __init__(
        self, writer: PostgresWriter, ledger: SharedLedger, now: Callable[[], Instant], reading: Reading
    ) -> None:
        super().__init__(writer, ledger, now)
        self._writer = writer
        self._rules_version: int | None = None
        """As they were read; None before that."""
        self._reading = reading
        self._elsewhere = Elsewhere(reading)

    async def _read(self, name: str, *parameters: str | int) -> Sequence[Sequence[Any]]:
        return await self._reading.rows(sql.READ[name], *parameters)

    async def _ask(self, question: "Callable[[Connection], T]") -> T:
        return await self._reading.ask(question)

    async def decision(self, request_id: str) -> StoredDecision | None:
        """See ``Records.decision``."""
        call = self._ledger.open_call(request_id)
        if call is not None:
            return StoredDecision(call.decision.whole(), CallState.PENDING, None)
        rows = await self._reading.rows(sql.DECISION, request_id)
        if rows:
            return stored_decision(*rows[0])
        elsewhere = await self._pending_elsewhere()
        return next((each for each in elsewhere if each.decision.request_id == request_id), None)

    # SQLAlchemy loads with the first question of people: calls and start-up need none.

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        """See ``Records.decisions``."""

        def question(connection: "Connection") -> Sequence[StoredDecision]:
            from palyra.store import reads

            return reads.list_decisions(connection, wanted)

        pending = await self._all_pending(wanted)
        return newest(wanted, pending, await self._reading.ask(question))

    async def search_decisions(self, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
        """See ``DecisionSearch.search_decisions``."""
        pending = await self._all_pending(wanted)
        return together(wanted, inside, pending, await self._found(wanted, inside))

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        """See ``Records.accounts``."""

        def question(connection: "Connection") -> Sequence[AccountStatus]:
            from palyra.store import reads

            return reads.list_accounts(connection, policy_id)

        return await self._reading.ask(question)

    async def policies(self) -> Sequence[Policy]:
        """See ``Records.policies``. What is read from here on is of this version of the rules, or newer."""
        ((self._rules_version,),) = await self._reading.rows(sql.RULES_VERSION)
        return [codec.policy_from(text) for (text,) in await self._reading.rows(sql.POLICIES)]

    async def policy_version(self, policy_id: str) -> int:
        """See ``Records.policy_version``."""
        ((version,),) = await self._reading.rows(sql.POLICY_VERSION, policy_id)
        return version

    async def keys(self) -> Sequence[ApiKey]:
        """See ``Records.keys``."""
        return [codec.key_from(text) for (text,) in await self._reading.rows(sql.KEYS)]

    def _statement(self, name: str, *parameters: str | int | None) -> Statement:
        """A change of the rules as they were read: one that another gateway made since then is not undone."""
        return Statement(name, parameters, self._rules_version)

    async def _audited(self, statement: Statement, audit: AuditEntry) -> None:
        await super()._audited(statement, audit)
        if statement.after is not None:
            self._rules_version = statement.after + 1

    async def running(self, wanted: RunningFilter) -> RunningTotals:
        """See ``RunningRecords.running``."""
        calls = [*self._ledger.open_calls, *await self._elsewhere.calls(self._writer.node.id)]
        return running_totals([call.decision for call in calls], wanted)

    async def ended(self, request_ids: Sequence[str]) -> set[str]:
        """Those of the calls that are over."""
        return {request_id for (request_id,) in await self._reading.rows(sql.ENDED, list(request_ids))}

    async def _all_pending(self, wanted: DecisionFilter) -> list[StoredDecision]:
        pending = self._pending(wanted)
        if wanted.state in (None, CallState.PENDING):
            pending += [each for each in await self._pending_elsewhere() if matches(each, wanted)]
        return pending

    async def _pending_elsewhere(self) -> list[StoredDecision]:
        """The calls that other gateways have under way."""
        calls = await self._elsewhere.calls(self._writer.node.id)
        return [StoredDecision(call.decision.whole(), CallState.PENDING, None) for call in calls]
