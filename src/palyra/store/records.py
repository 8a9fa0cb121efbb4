"""Records over a journal: denials, policies and keys go through the same writer as the money."""

import asyncio
from collections.abc import Callable

from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.lifecycle.decision import CallState, Decision
from palyra.lifecycle.ports import AuditEntry, IdempotencyEntry
from palyra.store import codec
from palyra.store.ledger import Journal, JournaledLedger
from palyra.store.write import RollupDelta, Statement, Write, rollup_key


class JournaledRecords:
    """The writing half of the Records port; adapters add the reading half."""

    def __init__(self, journal: Journal, ledger: JournaledLedger, now: Callable[[], Instant]) -> None:
        self._journal = journal
        self._ledger = ledger
        self._now = now

    def record_denial(self, decision: Decision) -> None:
        """See ``Records.record_denial``."""
        self._journal.append(
            Write(
                decision.at,
                essential=False,
                opened=decision,
                opened_state=CallState.DENIED,
                rollup=(rollup_key(decision), RollupDelta(denied=1)),
            )
        )

    def idempotency(self, principal: str, key: str) -> IdempotencyEntry | None:
        """See ``Records.idempotency``."""
        return self._ledger.idempotency(principal, key, self._now())

    def input_ratio(self, provider: str, model: str) -> float | None:
        """See ``Records.input_ratio``."""
        return self._ledger.input_ratio(provider, model)

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        """See ``Records.save_policy``."""
        text = codec.policy_text(policy)
        await self._audited(Statement("save_policy", (policy.id, policy.version, text)), audit)

    async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
        """See ``Records.delete_policy``."""
        await self._audited(Statement("delete_policy", (policy_id,)), audit)

    async def save_key(self, key: ApiKey, audit: AuditEntry) -> None:
        """See ``Records.save_key``."""
        await self._audited(Statement("save_key", (key.id, key.sha256, codec.key_text(key))), audit)

    async def _audited(self, statement: Statement, audit: AuditEntry) -> None:
        durable = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        write = Write(self._now(), essential=False, statement=statement, done=done)
        write.journal = (audit.kind, audit.ref, audit)
        self._journal.append(write)
        await durable
