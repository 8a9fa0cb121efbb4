"""The ports ``Records``, ``Ledger`` and ``Clock`` in memory. ``fail`` makes the next write fail."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from palyra.alerts.alert import Alert, Notice
from palyra.approvals.approval import Approval
from palyra.budgets.policy import Policy
from palyra.core.errors import LedgerUnavailable
from palyra.core.hours import HOUR_NS
from palyra.core.instant import NANOSECONDS, Instant
from palyra.identity.keys import ApiKey
from palyra.ledger.account import Account, AccountKey, Balance, Shortfall
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, Released, Settled
from palyra.ledger.held import Held, Reservation
from palyra.lifecycle.changes import Change, ChangeFilter, ChangePlace
from palyra.lifecycle.decision import AnyDecision, CallState, Decision, Settlement, StoredDecision
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import (
    AuditEntry,
    DecisionFilter,
    Done,
    IdempotencyClaim,
    IdempotencyEntry,
)
from palyra.lifecycle.running import RunningFilter, RunningTotals, running_totals
from palyra.lifecycle.signed_in import SignIn
from palyra.lifecycle.standing import AccountStatus, OpenWindow, Standing
from palyra.lifecycle.usage import UsageTotals
from palyra.store.activity_kept import KeptActivity
from palyra.store.changes import (
    alert_change,
    approval_change,
    configured_change,
    notice_change,
    sign_in_changes,
)
from palyra.store.codec import encode
from palyra.store.derived import Derived, counted_call, derived
from palyra.store.kept import Kept, KeptRecords
from palyra.store.memory import matches, newest_changes, standings
from palyra.store.usage_kept import KeptUsage, Rollup
from palyra.store.write import Statement, superseded

NOON = Instant(1_795_435_200 * NANOSECONDS)
"""2026-11-23T12:00:00Z."""


class FakeClock:
    """Stands still until told."""

    def __init__(self, now: Instant = NOON) -> None:
        self.instant = now

    def now(self) -> Instant:
        return self.instant

    def advance(self, seconds: int) -> None:
        self.instant = Instant(self.instant + seconds * NANOSECONDS)


class FakeRecords(KeptRecords, KeptUsage, KeptActivity):
    """Everything that is stored and is not money."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredDecision] = {}
        self.claims: dict[tuple[str, str], IdempotencyEntry] = {}
        self.totals: list[tuple[Instant, UsageTotals]] = []
        self.account_rows: list[AccountStatus] = []
        self.versions: dict[str, list[Policy]] = {}
        self.deleted: set[str] = set()
        self.key_rows: dict[str, ApiKey] = {}
        self.audit: list[AuditEntry] = []
        self.changed: list[Change] = []
        self.ratios: dict[tuple[str, str], float] = {}
        self.kept = Kept()
        self.fail = False

    def record_denial(self, decision: Decision) -> None:
        self.stored[decision.request_id] = StoredDecision(decision, CallState.DENIED, None)

    def idempotency(self, principal: str, key: str) -> IdempotencyEntry | None:
        return self.claims.get((principal, key))

    async def decision(self, request_id: str) -> StoredDecision | None:
        return self.stored.get(request_id)

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        found = [each for each in self.stored.values() if matches(each, wanted)]
        found.sort(key=lambda each: each.decision.request_id, reverse=True)
        return found[: wanted.limit]

    async def search_decisions(self, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
        found = await self.decisions(replace(wanted, limit=1_000_000))
        return DecisionsFound([each for each in found if inside.has(each)][: wanted.limit], None)

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        sums: dict[tuple[str, ...], UsageTotals] = {}
        for at, row in self.totals:
            if since <= at < until:
                names = {"hour": str(at - at % HOUR_NS), **row.group}
                group = tuple(names.get(name, "") for name in group_by)
                named = dict(zip(group_by, group, strict=True))
                before = sums.get(group)
                sums[group] = _add(before, row, named) if before else replace(row, group=named)
        return list(sums.values())

    def _kept_rollups(self) -> list[Rollup]:
        names = ("principal", "agent", "model", "provider")
        return [
            Rollup(
                Instant(at - at % HOUR_NS),
                {"hour": str(at - at % HOUR_NS)} | {name: row.group.get(name, "") for name in names},
                replace(row, group={}),
            )
            for at, row in self.totals
        ]

    def _kept_sums(self) -> Sequence[Derived]:
        found = [counted_call(each.state, each.decision, each.settlement) for each in self.stored.values()]
        return [derived([each for each in found if each is not None])]

    async def running(self, wanted: RunningFilter) -> RunningTotals:
        pending = [each.decision for each in self.stored.values() if each.state is CallState.PENDING]
        return running_totals(pending, wanted)

    def _calls_kept(self) -> int:
        return len(self.stored)

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        return [each for each in self.account_rows if each.key.policy_id == policy_id]

    async def standing(self, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
        return standings(self.account_rows, windows, most)

    async def changes(self, wanted: ChangeFilter) -> Sequence[Change]:
        return newest_changes(self.changed, wanted)

    async def policies(self) -> Sequence[Policy]:
        return [found[-1] for policy_id, found in self.versions.items() if policy_id not in self.deleted]

    async def policy_version(self, policy_id: str) -> int:
        return max((policy.version for policy in self.versions.get(policy_id, ())), default=0)

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        self._write(audit)
        self.versions.setdefault(policy.id, []).append(policy)
        self.deleted.discard(policy.id)

    async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
        self._write(audit)
        self.deleted.add(policy_id)

    async def keys(self) -> Sequence[ApiKey]:
        return list(self.key_rows.values())

    async def save_key(self, key: ApiKey, audit: AuditEntry) -> None:
        self._write(audit)
        self.key_rows[key.id] = key

    def input_ratio(self, provider: str, model: str) -> float | None:
        return self.ratios.get((provider, model))

    async def save_approval(self, approval: Approval, audit: AuditEntry | None) -> None:
        self._write(audit, approval_change(approval))

    async def save_alert(self, alert: Alert, notices: Sequence[Notice], audit: AuditEntry | None) -> None:
        self._write(audit, alert_change(alert), *map(notice_change, notices))

    async def save_notice(self, notice: Notice) -> None:
        self._write(None, notice_change(notice))

    async def drop_old(self, before: Instant) -> None:
        self._write(None, Statement("drop_alerts", (before,)), Statement("drop_notices", (before,)))

    async def record_configured(
        self, name: str, before: str | None, after: str | None, audit: AuditEntry
    ) -> None:
        self._write(audit, configured_change(name, before, after))

    async def save_sign_in(self, sign_in: SignIn, most: int) -> None:
        self._write(None, *sign_in_changes(sign_in, most))

    async def drop_sign_in(self, token_sha256: str) -> None:
        self._write(None, Statement("drop_sign_in", (token_sha256,)))

    async def drop_old_sign_ins(self, now: Instant) -> None:
        self._write(None, Statement("drop_old_sign_ins", (now,)))

    def _write(self, audit: AuditEntry | None, *statements: Statement) -> None:
        if self.fail:
            raise LedgerUnavailable("The disk is full.")
        if not self.kept.run(statements):
            raise superseded()
        if audit is not None:
            self.audit.append(audit)
            place = ChangePlace(NOON + len(self.audit), 0, len(self.audit))
            # As a database has it: JSON, written and read back.
            before, after = msgspec.json.decode(encode((audit.before, audit.after)))
            self.changed.append(Change(place, audit.kind, audit.ref, audit.actor, before, after))


class FakeLedger:
    """The money, on the real book, durable at once."""

    def __init__(self) -> None:
        self.book = Book()

    def balance(self, key: AccountKey) -> Balance:
        return self.book.balance(key)

    @property
    def accounts(self) -> Mapping[AccountKey, Account]:
        return self.book.accounts

    def reserve(
        self, event: Reservation, decision: AnyDecision, claim: IdempotencyClaim | None, done: Done
    ) -> Shortfall | None:
        whole = event.reserved() if isinstance(event, Held) else event
        shortfall = self.book.shortfall(whole.holds)
        if shortfall is None:
            self.book.apply(whole)
            done(None)
        return shortfall

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        self.book.apply(event)
        done(None)

    def release(self, event: Released, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        self.book.apply(event)
        done(None)

    def expire(self, event: Expired, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        self.book.apply(event)
        done(None)

    def pending(self) -> Sequence[Reservation]:
        return list(self.book.pending.values())


def _add(one: UsageTotals, other: UsageTotals, group: Mapping[str, str]) -> UsageTotals:
    names = (
        "requests",
        "denied",
        "estimated",
        "unpriced",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost",
    )
    return UsageTotals(group, *(getattr(one, name) + getattr(other, name) for name in names))
