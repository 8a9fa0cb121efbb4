"""The shared store of one gateway: joins, watches, helps the dead to their end, and leaves.

| every          | what                                                                        |
|----------------|-----------------------------------------------------------------------------|
| ``WATCH_S``    | rules, approvals that changed, slices that others ask for (also on NOTIFY)  |
| ``FOLD_S``     | slices brought in order: spent amounts posted, what is too much given back  |
| a third of the lease | a commit, even of nothing, so that nobody takes this gateway for dead |
| half of the lease    | gateways whose lease ran out: taken over, ended, closed               |
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Self

import structlog

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.ledger.account import AccountKey
from palyra.ledger.event import Reserved
from palyra.lifecycle.decision import AnyDecision, Decision, Settlement
from palyra.lifecycle.ports import Done
from palyra.lifecycle.waiting import Wait
from palyra.store.postgres import sql
from palyra.store.postgres.history import PostgresHistory
from palyra.store.postgres.ledger import Ending
from palyra.store.postgres.link import Connection, connect
from palyra.store.postgres.others import PostgresOthers
from palyra.store.postgres.partitions import ensure_partitions
from palyra.store.postgres.reading import Reading
from palyra.store.postgres.records import PostgresRecords
from palyra.store.postgres.retention import drop_old_months
from palyra.store.postgres.revision import check_server, connect_patiently
from palyra.store.postgres.routing import SharedRouting
from palyra.store.postgres.share import Slicing
from palyra.store.postgres.spool import Spool
from palyra.store.postgres.succession import Amend, Succession
from palyra.store.postgres.tenure import Tenure
from palyra.store.write import Write

WATCH_S = 0.25
FOLD_S = 1.0
LEASE_S = 10.0
TIDY_EVERY_S = 60.0
PARTITIONS_EVERY_S = 6 * 3600.0
RETAIN_EVERY_S = 600.0
RETRY_S = 0.5

_log = structlog.get_logger("palyra.store")


class Scale(NamedTuple):
    """How a gateway shares the ledger. ``name`` is how people see it; ``holder`` is unique to the process."""

    name: str
    holder: str
    lease_s: float = LEASE_S
    slicing: Slicing = Slicing()
    spool: Path | None = None
    months_kept: int | None = None


class PostgresStore:
    """Ledger and records on a shared PostgreSQL. ``open`` it on the loop that will use it."""

    def __init__(self, url: Secret, now: Callable[[], Instant], scale: Scale, spool: Spool | None) -> None:
        self._url = url
        self._now = now
        self._scale = scale
        self._spool = spool
        self._tenure = self._make_tenure(self._evicted, spool)
        self.ledger = self._tenure.ledger
        self._reading = Reading(url, scale.name)
        self.records = PostgresRecords(self._tenure.writer, self.ledger, now, self._reading)
        self.history = PostgresHistory(self._reading.rows)
        self.others = PostgresOthers(self._tenure.writer, self.ledger, self._reading)
        self.routing = SharedRouting(self._reading, lambda: self.node, now)
        self.last_instant = Instant(0)
        self.in_doubt = 0
        """Calls posted as held, of all gateways, as counted last."""
        self.rules_version = 0
        self.on_rules: Callable[[], Awaitable[None]] | None = None
        """Called when policies or keys changed, here or elsewhere."""
        self.approvals_version = 0
        self.on_approvals: Callable[[], Awaitable[None]] | None = None
        """Called when an approval was made or changed, here or elsewhere; again if it fails."""
        self.on_doubt: Callable[[Decision, Settlement], None] | None = None
        """Called when a call of a gateway that died is posted as held."""
        self.on_rejoin: Callable[[], None] | None = None
        """Called when the gateway was declared dead and starts anew: nothing prepared before holds."""
        self._tasks: list[asyncio.Task[None]] = []
        self._succession = Succession(self._make_tenure, self.records, now, self._doubtful)
        self._listening: Connection | None = None
        self._told = asyncio.Event()
        self._rejoining: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: Secret, now: Callable[[], Instant], scale: Scale) -> Self:
        """Join. Raises PalyraError where the database is not there, or not at the right revision."""
        await check_server(url)
        store = cls(url, now, scale, await _spool_of(url, scale))
        store.last_instant = await store._tenure.join()
        await store._make_partitions()
        store.rules_version, store.approvals_version = await store._read_versions()
        await store._tidy()
        store._tasks = [
            asyncio.create_task(_every(WATCH_S, store._watch, store._told)),
            asyncio.create_task(_every(FOLD_S, store._fold)),
            asyncio.create_task(_every(scale.lease_s / 3, store._renew)),
            asyncio.create_task(_every(scale.lease_s / 2, store.end_the_dead)),
            asyncio.create_task(_every(TIDY_EVERY_S, store._tidy)),
            asyncio.create_task(_every(PARTITIONS_EVERY_S, store._make_partitions)),
            asyncio.create_task(_every(RETAIN_EVERY_S, store._retain)),
            asyncio.create_task(store._succession.recover(store._spool)),
        ]
        return store

    @property
    def writable(self) -> bool:
        """Whether a reservation would be accepted now."""
        return self._tenure.writer.accepts()

    @property
    def node(self) -> int:
        """The number of this gateway."""
        return self._tenure.node.id

    @property
    def commits(self) -> int:
        """How many round trips were made to commit."""
        return self._tenure.writer.commits

    async def close(self) -> None:
        """Write what is queued, give every slice back, leave."""
        for task in self._tasks:
            task.cancel()
        if self._rejoining is not None:
            self._rejoining.cancel()
        left: Sequence[Write] = ()
        with suppress(Exception):
            left = await self._tenure.leave()
        if self._spool is not None:
            self._spool.close(keep=bool(left))
        await self._succession.close(self._scale.lease_s)
        if self._listening is not None:
            self._listening.terminate()
        await self._reading.close()

    async def abandon(self) -> None:
        """Drop everything at once, as a crash would: the lease ends by itself, and others end the calls."""
        for task in self._tasks:
            task.cancel()
        await self._tenure.writer.abandon()
        if self._spool is not None:
            self._spool.close(keep=True)
        if self._listening is not None:
            self._listening.terminate()
        await self._reading.close()

    def give_back(self) -> Wait:
        """Bring every slice in order now; told when that is committed."""
        self._tenure.writer.settle_accounts([share.account.key for share in self.ledger.shares], renew=True)
        return self._tenure.writer.read_after_commit()

    def forget(self, now: Instant) -> None:
        """Drop accounts whose window is over."""
        self.ledger.forget_ended(now)

    async def end_the_dead(self) -> int:
        """Take over every gateway whose lease ran out, and end what it left. Returns how many there were."""
        ended = 0
        for (node,) in await self._reading.rows(sql.DEAD):
            if node != self.node:
                ended += await self._succession.end(node, [])
        return ended

    # What this gateway does every now and then.

    async def _watch(self) -> None:
        self._told.clear()
        await self._listen()
        version, approvals_version = await self._read_versions()
        if version != self.rules_version:
            if self.on_rules is not None:
                await self.on_rules()
            self.rules_version = version
        if approvals_version != self.approvals_version:
            if self.on_approvals is not None:
                await self.on_approvals()
            self.approvals_version = approvals_version
        recalled: list[AccountKey] = []
        for policy_id, metric, entity, window_start, seconds in await self._reading.rows(
            sql.RECALLED, self.node
        ):
            share = self.ledger.shares.get(AccountKey(policy_id, metric, entity, window_start))
            if share is not None:
                share.tight_until = monotonic() + seconds
                recalled.append(share.account.key)
        if recalled:
            self._tenure.writer.settle_accounts(recalled)

    async def _listen(self) -> None:
        """Hear of changes at once; where that is not to be had (a pooler in between), looking is enough."""
        if self._listening is None or self._listening.is_closed():
            with suppress(Exception):
                self._listening = await connect(self._url, self._scale.name)
                await self._listening.add_listener("palyra", self._heard)

    def _heard(self, *_: object) -> None:
        self._told.set()

    async def _fold(self) -> None:
        unsettled = self.ledger.shares.unsettled
        if unsettled:
            self._tenure.writer.settle_accounts(tuple(unsettled))

    async def _renew(self) -> None:
        self._tenure.writer.settle_accounts((), renew=True)

    async def _make_partitions(self) -> None:
        connection = await connect_patiently(self._url, self._scale.name)
        try:
            await ensure_partitions(connection, self._now())
        finally:
            await connection.close()

    async def _retain(self) -> None:
        """Drop what is too old. Where somebody reads it, the next attempt may find it free."""
        if self._scale.months_kept is not None:
            await self.drop_old_months(self._scale.months_kept)

    async def drop_old_months(self, months: int) -> list[str]:
        """Keep so many whole months before this one. Returns what was dropped."""
        connection = await connect_patiently(self._url, self._scale.name)
        try:
            return await drop_old_months(connection, self._now(), months)
        finally:
            await connection.close()

    async def _tidy(self) -> None:
        """Drop rows that say nothing any more, and count what people should look at."""
        await self._reading.rows(sql.DROP_OLD_CLAIMS, self._now())
        await self._reading.rows(sql.DROP_EMPTY_SLICES, self.node)
        ((self.in_doubt,),) = await self._reading.rows(sql.COUNT_IN_DOUBT)
        await self.routing.tidy()

    async def _read_versions(self) -> tuple[int, int]:
        ((version, approvals_version),) = await self._reading.rows(sql.VERSIONS)
        return version, approvals_version

    def _doubtful(self, decision: Decision, settlement: Settlement) -> None:
        if self.on_doubt is not None:
            self.on_doubt(decision, settlement)

    # When another gateway took this one for dead.

    def _evicted(self, kept: Sequence[Write]) -> None:
        node = self.node
        _log.error("this gateway was declared dead; it joins anew", node=node)
        self.ledger.leave(node)
        self._succession.keep(node, kept)
        self._rejoining = asyncio.get_running_loop().create_task(self._rejoin(node))

    async def _rejoin(self, former: int) -> None:
        while True:
            try:
                await self._tenure.join()
                break
            except Exception as error:  # noqa: BLE001 (whatever it is, it is tried again)
                _log.warning("cannot join", reason=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)
        if self.on_rejoin is not None:
            self.on_rejoin()
        self._succession.start(former)

    def _make_tenure(
        self, on_evicted: Callable[[Sequence[Write]], None], spool: Spool | None = None
    ) -> Tenure:
        scale = self._scale
        return Tenure(
            self._url,
            scale.name,
            scale.holder,
            scale.slicing,
            scale.lease_s,
            now=self._now,
            elsewhere=self._elsewhere,
            on_evicted=on_evicted,
            spool=spool,
        )

    def _elsewhere(
        self,
        node: int,
        reserved: Reserved,
        event: Ending,
        decision: AnyDecision,
        settlement: Settlement,
        done: Done,
    ) -> None:
        self._succession.end_call(node, Amend(event, decision, settlement, done, reserved))


async def _spool_of(url: Secret, scale: Scale) -> Spool | None:
    """The spool of this process for this ledger: that of another one must not be written here."""
    if scale.spool is None:
        return None
    connection = await connect(url, scale.name)
    try:
        ledger = await connection.fetchval(sql.LEDGER)
    finally:
        await connection.close()
    return Spool(scale.spool / ledger, scale.holder.replace("/", "_"))


async def _every(
    seconds: float, work: Callable[[], Awaitable[object]], told: asyncio.Event | None = None
) -> None:
    """Repeat ``work``, also when ``told``, until cancelled; one failure is logged and does not end it."""
    while True:
        if told is None:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), seconds)
        try:
            await work()
        except LedgerUnavailable:
            await asyncio.sleep(seconds)
        except Exception:  # noqa: BLE001 (a background job outlives any single failure)
            _log.exception("background work on the shared ledger failed")
