"""Records over a journal: denials, rules, approvals and alerts go through the same writer as the money."""

import asyncio
from collections.abc import Callable, Sequence

from palyra.alerts.alert import Alert, Notice
from palyra.approvals.approval import Approval
from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.lifecycle.decision import (
    CallState,
    Decision,
    StoredDecision,
    read_decision,
    read_settlement,
)
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import AuditEntry, DecisionFilter, IdempotencyEntry
from palyra.lifecycle.running import RunningFilter, RunningTotals, running_totals
from palyra.lifecycle.signed_in import SignIn
from palyra.store import codec
from palyra.store.changes import (
    alert_change,
    approval_change,
    configured_change,
    notice_change,
    sign_in_changes,
)
from palyra.store.ledger import Journal, JournaledLedger, write_down
from palyra.store.page import Audited, unpack
from palyra.store.write import Filed, Statement, Write, denial_delta, rollup_key


class JournaledRecords:
    """The writing half of the Records port; adapters add the reading half."""

    def __init__(self, journal: Journal, ledger: JournaledLedger, now: Callable[[], Instant]) -> None:
        self._journal = journal
        self._ledger = ledger
        self._now = now

    def record_denial(self, decision: Decision) -> None:
        """See ``Records.record_denial``."""
        write = Write(
            decision.at,
            False,
            call=Filed(decision.request_id, decision),
            state=CallState.DENIED,
            rollup=(rollup_key(decision), denial_delta(decision)),
        )
        write_down(write, None, decision)
        self._journal.append(write)

    def idempotency(self, principal: str, key: str) -> IdempotencyEntry | None:
        """See ``Records.idempotency``."""
        return self._ledger.idempotency(principal, key, self._now())

    def input_ratio(self, provider: str, model: str) -> float | None:
        """See ``Records.input_ratio``."""
        return self._ledger.input_ratio(provider, model)

    async def running(self, wanted: RunningFilter) -> RunningTotals:
        """See ``RunningRecords.running``."""
        return running_totals([call.decision for call in self._ledger.open_calls], wanted)

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        """See ``Records.save_policy``."""
        text = codec.policy_text(policy)
        await self._audited(self._statement("save_policy", policy.id, policy.version, text), audit)

    async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
        """See ``Records.delete_policy``."""
        await self._audited(self._statement("delete_policy", policy_id), audit)

    async def save_key(self, key: ApiKey, audit: AuditEntry) -> None:
        """See ``Records.save_key``."""
        await self._audited(self._statement("save_key", key.id, key.sha256, codec.key_text(key)), audit)

    async def save_approval(self, approval: Approval, audit: AuditEntry | None) -> None:
        """See ``ApprovalRecords.save_approval``."""
        await self._written((approval_change(approval),), audit)

    async def save_alert(self, alert: Alert, notices: Sequence[Notice], audit: AuditEntry | None) -> None:
        """See ``AlertRecords.save_alert``."""
        await self._written((alert_change(alert), *map(notice_change, notices)), audit)

    async def save_notice(self, notice: Notice) -> None:
        """See ``AlertRecords.save_notice``."""
        await self._written((notice_change(notice),), None)

    async def drop_old(self, before: Instant) -> None:
        """See ``AlertRecords.drop_old``."""
        old = Statement("drop_alerts", (before,)), Statement("drop_notices", (before,))
        await self._written(old, None)

    async def record_configured(
        self, name: str, before: str | None, after: str | None, audit: AuditEntry
    ) -> None:
        """See ``ConfigRecords.record_configured``. Raises ValueError where nothing is to be recorded."""
        await self._written((configured_change(name, before, after),), audit)

    async def save_sign_in(self, sign_in: SignIn, most: int) -> None:
        """See ``SignInRecords.save_sign_in``."""
        await self._written(sign_in_changes(sign_in, most), None)

    async def drop_sign_in(self, token_sha256: str) -> None:
        """See ``SignInRecords.drop_sign_in``."""
        await self._written((Statement("drop_sign_in", (token_sha256,)),), None)

    async def drop_old_sign_ins(self, now: Instant) -> None:
        """See ``SignInRecords.drop_old_sign_ins``."""
        await self._written((Statement("drop_old_sign_ins", (now,)),), None)

    def _statement(self, name: str, *parameters: str | int | None) -> Statement:
        return Statement(name, parameters)

    async def _audited(self, statement: Statement, audit: AuditEntry) -> None:
        """Change the rules."""
        await self._written((statement,), audit)

    async def _written(self, statements: tuple[Statement, ...], audit: AuditEntry | None) -> None:
        """Run statements and note them in the journal, in one commit. Returns when it is durable."""
        durable = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        now = self._now()
        write = Write(now, False, statements=statements, done=done)
        if audit is not None:
            line = Audited(audit.kind, audit.ref, now, audit.actor, audit.before, audit.after)
            write_down(write, line, None)
        self._journal.append(write)
        await durable

    def _pending(self, wanted: DecisionFilter) -> list[StoredDecision]:
        """The calls that are asked for and have no row yet. To be read before the rows are."""
        if wanted.state not in (None, CallState.PENDING):
            return []
        pending = (
            StoredDecision(call.decision.whole(), CallState.PENDING, None) for call in self._ledger.open_calls
        )
        return [each for each in pending if matches(each, wanted)]


def newest(
    wanted: DecisionFilter, pending: Sequence[StoredDecision], stored: Sequence[StoredDecision]
) -> list[StoredDecision]:
    """One list of both, the newest first. A call that ended in between is there once, with its end."""
    found = {each.decision.request_id: each for each in (*pending, *stored)}
    return [found[request_id] for request_id in sorted(found, reverse=True)[: wanted.limit]]


def together(
    wanted: DecisionFilter, inside: Inside, pending: Sequence[StoredDecision], stored: DecisionsFound
) -> DecisionsFound:
    """The same of a search: calls that run and are behind its end are left to a later page."""
    scanned = stored.scanned
    reached = [
        each
        for each in pending
        if inside.has(each) and (scanned is None or each.decision.request_id > scanned.request_id)
    ]
    items = newest(wanted, reached, stored.items)
    return DecisionsFound(items, None if len(items) == wanted.limit else scanned)


def matches(stored: StoredDecision, wanted: DecisionFilter) -> bool:
    """Whether a decision is among those that were asked for."""
    decision: Decision = stored.decision
    labels = decision.labels
    pairs: tuple[tuple[object, object], ...] = (
        (wanted.principal, labels.principal),
        (wanted.agent, labels.agent or ""),
        (wanted.session, labels.session or ""),
        (wanted.model, decision.model),
        (wanted.outcome, decision.outcome),
        (wanted.state, stored.state),
    )
    return (
        all(want is None or want == have for want, have in pairs)
        and (wanted.since is None or decision.at >= wanted.since)
        and (wanted.until is None or decision.at < wanted.until)
        and (wanted.before is None or decision.request_id < wanted.before)
        and (wanted.first is None or decision.request_id >= wanted.first)
    )


def stored_decision(
    state: str, place: int, page: bytes, end_place: int | None, end_page: bytes | None
) -> StoredDecision:
    """A row of the calls with the pages that it leads to."""
    end = None
    if end_page is not None and end_place is not None:
        end = read_settlement(unpack(end_page)[end_place])
    return StoredDecision(read_decision(unpack(page)[place]), CallState(state), end)
