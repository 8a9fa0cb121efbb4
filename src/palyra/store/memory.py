"""The store in memory: the fake with the same promises, for tests and for trying things out.

It keeps the very writes that SQLite would store and answers questions from them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from palyra.budgets.policy import Policy
from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.ledger.book import Book
from palyra.lifecycle.changes import Change, ChangeFilter, ChangePlace
from palyra.lifecycle.decision import (
    CallState,
    Decision,
    StoredDecision,
    read_decision,
    read_settlement,
)
from palyra.lifecycle.decision_search import DecisionsFound, Inside
from palyra.lifecycle.ports import AuditEntry, DecisionFilter
from palyra.lifecycle.standing import AccountStatus, OpenWindow, Standing
from palyra.lifecycle.usage import CELL, UsageTotals, check_groups
from palyra.store.activity_kept import KeptActivity
from palyra.store.derived import Derived, counted, derived
from palyra.store.history import MemoryHistory
from palyra.store.kept import Kept, KeptRecords
from palyra.store.ledger import JournaledLedger, resolve
from palyra.store.page import AUDITED, Audited, read_record
from palyra.store.records import JournaledRecords, matches, newest, together
from palyra.store.usage_kept import KeptUsage, Rollup
from palyra.store.write import RollupDelta, RollupKey, Write, superseded


class MemoryJournal:
    """Keeps writes in a list; they count as durable on the loop's next turn, or when ``flush`` is called."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.writes: list[Write] = []
        self.kept = Kept()
        self.failure: Exception | None = None
        self._loop = loop

    def accepts(self) -> bool:
        """Always, until a ``failure`` is set."""
        return self.failure is None

    def append(self, write: Write) -> None:
        """Keep one write, or fail it."""
        failure = None if write.essential else self.failure
        if write.flaw is not None:
            failure = LedgerUnavailable(f"this cannot be stored: {write.flaw}")
        if failure is None and not self.kept.run(write.statements):
            failure = superseded()
        if failure is None:
            self.writes.append(write)
        self._loop.call_soon(resolve, [write], failure)


class MemoryStore:
    """Ledger and records in memory."""

    def __init__(self, now: Callable[[], Instant], loop: asyncio.AbstractEventLoop) -> None:
        self.journal = MemoryJournal(loop)
        self.ledger = JournaledLedger(self.journal, Book())
        self.records = MemoryRecords(self.journal, self.ledger, now)
        self.history = MemoryHistory(self.journal.writes)

    @property
    def writable(self) -> bool:
        """Whether a reservation would be accepted now."""
        return self.journal.accepts()

    def close(self) -> None:
        """Nothing to close."""


class MemoryRecords(KeptRecords, KeptUsage, KeptActivity, JournaledRecords):
    """The Records port over the kept writes."""

    def __init__(self, journal: MemoryJournal, ledger: JournaledLedger, now: Callable[[], Instant]) -> None:
        super().__init__(journal, ledger, now)
        self._journaled = journal
        self.kept = journal.kept
        self._book = ledger.book
        self._policies: dict[str, Policy] = {}
        self._versions: dict[str, int] = {}
        self._keys: dict[str, ApiKey] = {}

    async def decision(self, request_id: str) -> StoredDecision | None:
        """See ``Records.decision``."""
        stored = self._stored().get(request_id)
        call = self._ledger.open_call(request_id)
        if stored is None and call is not None:
            return StoredDecision(call.decision.whole(), CallState.PENDING, None)
        return stored

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        """See ``Records.decisions``."""
        stored = [each for each in self._stored().values() if matches(each, wanted)]
        return newest(wanted, self._pending(wanted), stored)

    async def search_decisions(self, wanted: DecisionFilter, inside: Inside) -> DecisionsFound:
        """See ``DecisionSearch.search_decisions``."""
        stored = [each for each in self._stored().values() if matches(each, wanted) and inside.has(each)]
        return together(wanted, inside, self._pending(wanted), DecisionsFound(stored, None))

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        """See ``Records.usage``."""
        check_groups(group_by)
        sums: dict[tuple[str, ...], RollupDelta] = {} if group_by else {(): RollupDelta()}
        for key, delta in self._rollups():
            if since <= key.hour < until:
                group = tuple(str(getattr(key, name)) for name in group_by)
                sums[group] = sums.get(group, RollupDelta()).plus(delta)
        ordered = sorted(sums.items(), key=lambda item: (-item[1].cost, item[0]))
        return [
            UsageTotals(dict(zip(group_by, group, strict=True)), *total[:10], *total[12:])
            for group, total in ordered
        ]

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        """See ``Records.accounts``."""
        found = [each for each in self._accounts() if each.key.policy_id == policy_id]
        return sorted(found, key=lambda each: (-each.key.window_start, each.key.entity))

    async def standing(self, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
        """See ``StandingRecords.standing``."""
        return standings(self._accounts(), windows, most)

    async def policies(self) -> Sequence[Policy]:
        """See ``Records.policies``."""
        return [self._policies[policy_id] for policy_id in sorted(self._policies)]

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        """See ``Records.save_policy``."""
        if policy.version <= self._versions.get(policy.id, 0):
            raise LedgerUnavailable(f"version {policy.version} of {policy.id} is stored already")
        await super().save_policy(policy, audit)
        self._policies[policy.id] = policy
        self._versions[policy.id] = policy.version

    async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
        """See ``Records.delete_policy``."""
        await super().delete_policy(policy_id, audit)
        self._policies.pop(policy_id, None)

    async def policy_version(self, policy_id: str) -> int:
        """See ``Records.policy_version``."""
        return self._versions.get(policy_id, 0)

    async def keys(self) -> Sequence[ApiKey]:
        """See ``Records.keys``."""
        return [self._keys[key_id] for key_id in sorted(self._keys)]

    async def save_key(self, key: ApiKey, audit: AuditEntry) -> None:
        """See ``Records.save_key``."""
        await super().save_key(key, audit)
        self._keys[key.id] = key

    async def changes(self, wanted: ChangeFilter) -> Sequence[Change]:
        """See ``ChangeRecords.changes``."""
        lines = [write.line for write in self._journaled.writes if write.line is not None]
        audited = (
            (record, read_record(line)) for record, line in enumerate(lines, 1) if line.startswith(AUDITED)
        )
        return newest_changes(
            [
                Change(
                    ChangePlace(each.at, 0, record), each.kind, each.ref, each.actor, each.before, each.after
                )
                for record, each in audited
                if isinstance(each, Audited)
            ],
            wanted,
        )

    def _accounts(self) -> list[AccountStatus]:
        return [
            AccountStatus(key, account.window_end, account.balance())
            for key, account in self._book.accounts.items()
        ]

    def _kept_rollups(self) -> list[Rollup]:
        return [
            Rollup(
                Instant(key.hour),
                {name: str(getattr(key, name)) for name in CELL},
                UsageTotals({}, *delta[:10], *delta[12:]),
            )
            for key, delta in self._rollups()
        ]

    def _stored(self) -> dict[str, StoredDecision]:
        found: dict[str, StoredDecision] = {}
        decisions: dict[str, Decision] = {}
        for write in self._journaled.writes:
            call, state = write.call, write.state
            if call is None or state is None:
                continue
            if state in (CallState.PENDING, CallState.DENIED):
                decisions[call.id] = read_decision(write.document)
            if state is CallState.DENIED:
                found[call.id] = StoredDecision(decisions[call.id], state, None)
            elif state is not CallState.PENDING:
                end = read_settlement(write.document)
                found[call.id] = StoredDecision(decisions[call.id], state, end)
        return found

    def _calls_kept(self) -> int:
        return sum(1 for write in self._journaled.writes if write.call is not None)

    def _kept_sums(self) -> Sequence[Derived]:
        return [derived(counted([write])) for write in self._journaled.writes]

    def _rollups(self) -> list[tuple[RollupKey, RollupDelta]]:
        return [write.rollup for write in self._journaled.writes if write.rollup is not None]


def standings(
    accounts: Iterable[AccountStatus], windows: Sequence[OpenWindow], most: int
) -> Mapping[str, Standing]:
    """See ``StandingRecords.standing``: those of ``accounts``."""
    wanted = {(each.policy_id, each.metric, each.start) for each in windows}
    found: dict[str, list[AccountStatus]] = {}
    for each in accounts:
        if (each.key.policy_id, each.key.metric, each.key.window_start) in wanted:
            found.setdefault(each.key.policy_id, []).append(each)

    def order(each: AccountStatus) -> tuple[int, str]:
        return -(each.balance.posted + each.balance.held), each.key.entity

    return {
        policy_id: Standing(sorted(some, key=order)[:most], len(some)) for policy_id, some in found.items()
    }


def newest_changes(changes: Iterable[Change], wanted: ChangeFilter) -> list[Change]:
    """See ``ChangeRecords.changes``: those of ``changes``."""
    found = [
        each
        for each in changes
        if wanted.kind in (None, each.kind, each.kind.partition(".")[0])
        and wanted.ref in (None, each.ref)
        and wanted.actor in (None, each.actor)
        and (wanted.since is None or wanted.since <= each.place.at)
        and (wanted.until is None or each.place.at < wanted.until)
        and (wanted.before is None or each.place < wanted.before)
    ]
    return sorted(found, key=lambda each: each.place, reverse=True)[: wanted.limit]
