"""One gateway's tenure of one node: from joining or taking over, to leaving or being evicted."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.ledger.book import Book
from palyra.ledger.event import Released
from palyra.lifecycle.decision import CallState, Settlement
from palyra.store.chain import Chain
from palyra.store.postgres import sql
from palyra.store.postgres.flight import Node
from palyra.store.postgres.ledger import Elsewhere, SharedLedger
from palyra.store.postgres.link import Connection, check_durable, connect
from palyra.store.postgres.restore import restore
from palyra.store.postgres.share import Shares, Slicing
from palyra.store.postgres.spool import Spool
from palyra.store.postgres.writer import PostgresWriter
from palyra.store.write import Write

SKEW_S = 2.0
NEVER_SENT = "the caller was told that the ledger failed; the call was never sent"

_log = structlog.get_logger("palyra.store")


class Tenure:
    """Ledger and writer of one node. ``holder`` is unique to the process: it proves whose the node is."""

    def __init__(
        self,
        url: Secret,
        name: str,
        holder: str,
        slicing: Slicing,
        lease_s: float,
        *,
        now: Callable[[], Instant],
        elsewhere: Elsewhere,
        on_evicted: Callable[[Sequence[Write]], None],
        spool: Spool | None = None,
    ) -> None:
        self._url = url
        self._name = name
        self._holder = holder
        self._lease_s = lease_s
        self._now = now
        self._on_evicted = on_evicted
        self._spool = spool
        self._spools = spool is not None
        self.writer = PostgresWriter(self, slicing, lease_s)
        self.ledger = SharedLedger(self.writer, elsewhere)

    @property
    def node(self) -> Node:
        """The node of this tenure."""
        return self.writer.node

    async def join(self) -> Instant:
        """Begin as a new node; returns the last instant that any journal knows."""
        connection = await self._connect()
        await check_durable(connection)
        last, database_now = await connection.fetchrow(sql.LAST_INSTANT)
        ahead_s = (self._now() - database_now) / NANOSECONDS
        if abs(ahead_s) > SKEW_S:
            _log.warning("this clock and the database's differ; windows are cut by this one", ahead_s=ahead_s)
        row = await connection.fetchrow(sql.JOIN, self._name, self._holder, self._lease_s)
        metered = await connection.fetch(sql.METERED)
        book = Book()
        shares = Shares(book)
        self.ledger.begin(book, shares)
        self.ledger.restore((), (tuple(each) for each in metered), (), ())
        self.writer.begin(connection, Node(*row), Chain(None, 0, ()), shares)
        return Instant(last)

    async def take_over(self, node_id: int) -> bool:
        """Begin as a node whose gateway is gone, with what it left; False if it is not gone."""
        connection = await self._connect()
        row = await connection.fetchrow(sql.TAKE_OVER, node_id, self._holder, self._lease_s)
        if row is None:
            await connection.close()
            return False
        node = Node(*row)
        found = await restore(connection, node)
        self.ledger.begin(found.book, found.shares)
        self.ledger.restore(found.claims, (), found.in_doubt, found.pending)
        self.writer.begin(connection, node, found.chain, found.shares)
        return True

    async def attach(self, node: Node) -> tuple[Connection, Node | None]:
        """See ``Tenant.attach``."""
        connection = await self._connect()
        row = await connection.fetchrow(sql.REATTACH, node.id, self._holder, self._lease_s)
        return connection, None if row is None else Node(*row)

    def orphaned(self, write: Write) -> None:
        """See ``Tenant.orphaned``."""
        if write.call is not None:
            released = release_of(write, self._now())
            self.ledger.release(released[0], write.call.decision, released[1], _ignore)

    def evicted(self, kept: Sequence[Write]) -> None:
        """See ``Tenant.evicted``."""
        self._on_evicted(kept)

    @property
    def spools(self) -> bool:
        """See ``Tenant.spools``."""
        return self._spools

    def retained(self, writes: Sequence[Write]) -> None:
        """See ``Tenant.retained``."""
        spool = self._spool
        if spool is None or not writes:
            return

        def told(error: Exception | None) -> None:
            if error is None:
                _tell_spooled(writes)
                return
            _log.error("calls cannot be spooled; they wait for the database", reason=str(error))
            self._spools = False
            self.writer.refuse([write for write in writes if write.state is CallState.PENDING])

        spool.keep(self.node.id, writes, told)

    def recovered(self) -> None:
        """See ``Tenant.recovered``."""
        if self._spool is not None:
            self._spool.clear()
            self._spools = True

    async def leave(self) -> Sequence[Write]:
        """Give every slice back and close; what is still pending is left to whoever takes the node over.

        Returns the essential writes that could not be written.
        """
        self.writer.settle_accounts([share.account.key for share in self.ledger.shares])
        left = await self.writer.close()
        with suppress(Exception):  # the lease ends by itself
            connection = await self._connect()
            try:
                await connection.execute(sql.DROP_EMPTY_SLICES, self.node.id)
                if await connection.fetchval(sql.LEAVE, self.node.id, self._holder) is None:
                    await connection.execute(sql.ABANDON, self.node.id, self._holder)
            finally:
                await connection.close()
        return left

    async def _connect(self) -> Connection:
        return await connect(self._url, self._name)


def release_of(write: Write, now: Instant) -> tuple[Released, Settlement]:
    """The end of a reservation that was stored although its caller was told that it was not."""
    call = write.call
    request_id = call.id if call is not None else ""
    held = call.decision.cost_bound if call is not None else None
    settlement = Settlement(
        at=now,
        state=CallState.RELEASED,
        source="none",
        reason=NEVER_SENT,
        usage=None,
        cost=None,
        held=held,
        total_ms=0,
    )
    return Released(request_id, now, NEVER_SENT), settlement


def _tell_spooled(writes: Sequence[Write]) -> None:
    """What is on our disk is not lost any more: whoever waits for it may go on (D2)."""
    for write in writes:
        done, write.done = write.done, None
        if done is not None:
            done(None)


def _ignore(_error: Exception | None) -> None:
    """Nobody waits for this change."""
