"""Nodes whose gateway is gone: taken over like a restart would, their calls ended, their slices given back.

Also the way by which a call ends whose reservation is in a journal that is not this gateway's any more: its
gateway was declared dead and joined anew, or died and left the end of the call in its spool.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.ledger.event import Expired, Released, Reserved, Settled
from palyra.lifecycle.decision import (
    AnyDecision,
    Decision,
    Settlement,
    StoredDecision,
    read_decision,
    read_settlement,
)
from palyra.lifecycle.expire import in_doubt
from palyra.lifecycle.ports import Done
from palyra.store.page import Audited, read_record
from palyra.store.postgres.ledger import Ending, SharedLedger
from palyra.store.postgres.records import PostgresRecords
from palyra.store.postgres.spool import Leftover, Spool, Spooled
from palyra.store.postgres.tenure import Tenure, release_of
from palyra.store.write import Write

RETRY_S = 0.5
GONE = "the gateway that ran the call is gone"

_log = structlog.get_logger("palyra.store")


class Amend(NamedTuple):
    """What is to be written into another node's journal: the end of a call, or one that was only spooled."""

    event: Ending | Reserved
    decision: AnyDecision
    settlement: Settlement | None
    done: Done
    reserved: Reserved | None = None
    """The reservation, where it is known: a database that lost commits may have lost it."""


class Succession:
    """Ends nodes, one at a time each, and tries again until it is done."""

    def __init__(
        self,
        make_tenure: Callable[[Callable[[Sequence[Write]], None]], Tenure],
        records: PostgresRecords,
        now: Callable[[], Instant],
        on_doubt: Callable[[Decision, Settlement], None],
    ) -> None:
        """``on_doubt`` is told of each call that nobody is left to end."""
        self._on_doubt = on_doubt
        self._make_tenure = make_tenure
        self._records = records
        self._now = now
        self._waiting: dict[int, list[Amend]] = {}
        self._ending: dict[int, asyncio.Task[None]] = {}
        self._busy: set[int] = set()
        """Nodes that this process has taken over right now."""

    def keep(self, node: int, writes: Sequence[Write]) -> None:
        """Remember what a node that was lost had not written; ``start`` writes it."""
        amends = [self._amend_of(write) for write in writes]
        self._waiting.setdefault(node, []).extend(each for each in amends if each is not None)

    def end_call(self, node: int, amend: Amend) -> None:
        """End one call in the journal of a node."""
        self._waiting.setdefault(node, []).append(amend)
        self.start(node)

    def start(self, node: int) -> None:
        """Begin to write what waits for a node, if it is not being done."""
        if node not in self._ending and self._waiting.get(node):
            task = asyncio.get_running_loop().create_task(self._end_patiently(node))
            self._ending[node] = task
            task.add_done_callback(lambda _: self._ending.pop(node, None))

    async def end(self, node: int, amends: Sequence[Amend]) -> bool:
        """Take a node over, end calls as ``amends`` says and all others in doubt, give its slices back.

        False if it is not to be had yet, or not all could be written.
        """
        if node in self._busy:
            return False
        self._busy.add(node)
        try:
            return await self._end(node, amends)
        finally:
            self._busy.discard(node)

    async def _end(self, node: int, amends: Sequence[Amend]) -> bool:
        tenure = self._make_tenure(_ignore_writes)
        calls = [amend.event.id for amend in amends]
        try:
            if not await tenure.take_over(node):
                return False
            ended = await self._records.ended(calls) if calls else set[str]()
        except Exception as error:  # noqa: BLE001 (the database went away: it is tried again)
            _log.warning("cannot take a node over", node=node, reason=str(error) or type(error).__name__)
            return False
        for amend in amends:
            _write(tenure.ledger, amend, is_known=amend.event.id in ended)
        known = {amend.event.id for amend in amends}
        doubtful = self._end_in_doubt(tenure.ledger, known)
        left = await tenure.leave()
        _log.info("ended a node", node=node, calls=len(known), in_doubt=doubtful, left=len(left))
        return not left

    async def recover(self, spool: Spool | None) -> None:
        """Write what processes that died left on this disk."""
        for leftover in spool.leftovers() if spool is not None else ():
            stored = False
            try:
                await self._recover(leftover)
                stored = True
            finally:
                leftover.release(stored=stored)

    async def close(self, patience_s: float) -> None:
        """Wait for what is being ended, within a bound: what is left is left to the spool or a successor."""
        tasks = list(self._ending.values())
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        for task in tasks:
            task.cancel()

    async def _end_patiently(self, node: int) -> None:
        while amends := self._waiting.pop(node, []):
            await self._until_ended(node, amends)

    async def _until_ended(self, node: int, amends: Sequence[Amend]) -> None:
        while not await self.end(node, amends):  # noqa: ASYNC110 (a lease ends without a word)
            await asyncio.sleep(RETRY_S)

    def _end_in_doubt(self, ledger: SharedLedger, known: set[str]) -> int:
        """Nobody is left who could say how these calls ended: they are posted as held (L6)."""
        count = 0
        for reserved in ledger.pending():
            call = ledger.open_call(reserved.id)
            if reserved.id in known or call is None:
                continue
            decision, now = call.decision.whole(), self._now()
            settlement = in_doubt(decision, now, GONE)
            ledger.expire(Expired(reserved.id, now, GONE), decision, settlement, _ignore)
            self._on_doubt(decision, settlement)
            _log.warning("reservation in doubt", request_id=reserved.id, reason=GONE)
            count += 1
        return count

    def _amend_of(self, write: Write) -> Amend | None:
        """What a kept write would have said."""
        call = write.call
        if call is None or write.line is None:
            return None
        event = read_record(write.line)
        if isinstance(event, Audited):
            return None
        if not isinstance(event, Reserved):
            return Amend(event, call.decision, read_settlement(write.document), write.done or _ignore)
        if write.essential:
            return Amend(event, call.decision, None, write.done or _ignore)
        # Its caller was told that it failed, and nobody knows whether it was stored.
        released, settlement = release_of(write, self._now())
        return Amend(released, call.decision, settlement, _ignore)

    async def _recover(self, leftover: Leftover) -> None:
        by_node: dict[int, list[Amend]] = {}
        for spooled in leftover.writes:
            amends = by_node.setdefault(spooled.node, [])
            amend = await self._amend_of_spooled(spooled, amends)
            if amend is not None:
                amends.append(amend)
        for node, amends in by_node.items():
            await self._until_ended(node, amends)
        _log.warning("spool of a dead process written", file=leftover.path.name, writes=len(leftover.writes))

    async def _amend_of_spooled(self, spooled: Spooled, before: Sequence[Amend]) -> Amend | None:
        event = read_record(bytes(spooled.event))
        if isinstance(event, Audited):
            return None
        if isinstance(event, Reserved):
            return Amend(event, read_decision(bytes(spooled.document)), None, _ignore)
        decision = next((each.decision for each in before if each.event.id == event.id), None)
        if decision is None:
            stored = await self._read_patiently(event.id)
            decision = None if stored is None else stored.decision
        if decision is None:
            _log.error("a spooled end has no call", request_id=event.id)
            return None
        return Amend(event, decision, read_settlement(bytes(spooled.document)), _ignore)

    async def _read_patiently(self, request_id: str) -> StoredDecision | None:
        while True:
            try:
                return await self._records.decision(request_id)
            except LedgerUnavailable:
                await asyncio.sleep(RETRY_S)


def _write(ledger: SharedLedger, amend: Amend, *, is_known: bool) -> None:
    """Write one amendment. Of a call that is over the first outcome stands, but for late truth (L3, L7)."""
    event, decision, settlement, done, reserved = amend
    is_known = is_known or ledger.open_call(event.id) is not None or event.id in ledger.book.in_doubt
    if isinstance(event, Reserved):
        reserved = event
    if reserved is not None and not is_known:
        ledger.restore_call(reserved, decision, done if reserved is event else _ignore)
    if isinstance(event, Reserved):
        return
    if settlement is None:
        return
    if isinstance(event, Settled):
        ledger.settle(event, decision, settlement, done)
    elif isinstance(event, Released):
        ledger.release(event, decision, settlement, done)
    else:
        ledger.expire(event, decision, settlement, done)


def _ignore(_error: Exception | None) -> None:
    """Nobody waits for this change."""


def _ignore_writes(_writes: Sequence[Write]) -> None:
    """A successor that is itself taken for dead leaves everything to the next one."""
