"""The one task that writes: it commits whatever has queued up in one round trip (group commit).

One batch is under way at a time, so what the database says of this gateway's slices after a commit is what
the shares have. A batch whose limits have no room any more is refused as a whole and changes nothing: the
calls that do not fit are told so (``Outbid``) and the rest is tried again.

| what fails                     | reservations and other writes | essential writes                        |
|--------------------------------|-------------------------------|-----------------------------------------|
| the database, or the way to it | fail at once                  | are kept, and spooled, until it is back |
| this gateway was declared dead | fail                          | go to the journal of its former number  |
| one write cannot be stored     | only that one fails           | only that one fails, and is logged      |
| one write was overtaken        | only that one fails           | cannot be: they compare with nothing    |

A commit whose answer was lost may have happened. The gateway takes a new term before it looks, so that the
lost commit cannot come later, and the number of its next record tells.
"""

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic

import structlog

from palyra.core.errors import LedgerUnavailable, RulesStale
from palyra.core.limits import JOURNAL_QUEUE_MAX
from palyra.ledger.account import AccountKey
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.waiting import Wait
from palyra.store.chain import Chain
from palyra.store.ledger import resolve
from palyra.store.postgres import sql
from palyra.store.postgres.commit import entries_of
from palyra.store.postgres.flight import Flight, Node, RolledBack, Row
from palyra.store.postgres.link import Connection, is_fenced, is_of_the_data, may_be_repeated
from palyra.store.postgres.lookups import Lookups
from palyra.store.postgres.share import NO_SLICES, Shares, Slicing, Standing
from palyra.store.postgres.tenant import Tenant
from palyra.store.write import Overtaken, Write, superseded

BATCH_MAX = 512
SETTLED_AT_ONCE_MAX = 512
RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)
REPEATS_MAX = 8
CLOSE_S = 5.0
"""How long a closing writer tries to write what it kept, before it leaves that to the spool."""

_log = structlog.get_logger("palyra.store")


class PostgresWriter:
    """Takes writes on the loop, commits them on one connection, and tells of them on the loop."""

    def __init__(self, tenant: Tenant, slicing: Slicing, lease_s: float) -> None:
        self._tenant = tenant
        self._slicing = slicing
        self._lease_s = lease_s
        self._connection: Connection | None = None
        self._queue: list[Write] = []
        self._kept: list[Write] = []
        """Essential writes that the database could not take: they come before all others."""
        self._lost: Flight | None = None
        """The commit whose answer never came."""
        self._settling: dict[AccountKey, None] = {}
        self._lookups = Lookups()
        self._after: list[Wait] = []
        self._renew = False
        self._bell = asyncio.Event()
        self._closing = False
        self._ended = False
        self._down = False
        self._evicted = False
        self._overdue = 0
        """Writes that waited for the database and are not stored yet."""
        self._task: asyncio.Task[None] | None = None
        self.commits = 0

    def begin(self, connection: Connection, node: Node, chain: Chain, shares: Shares) -> None:
        """Write for this node from now on."""
        self._connection, self._node, self._chain, self._shares = connection, node, chain, shares
        connection.add_termination_listener(self._disconnected)
        self._down = False
        self._evicted = False
        self._lost = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._bell.set()

    @property
    def node(self) -> Node:
        """The node that this writer writes for."""
        return self._node

    def accepts(self) -> bool:
        """Whether a new reservation would be written now."""
        return not (self._closing or self._down) and len(self._queue) < JOURNAL_QUEUE_MAX

    @property
    def spools(self) -> bool:
        """Whether the database is out of reach, and what is essential is spooled meanwhile."""
        return self._down and not (self._closing or self._evicted) and self._tenant.spools

    @property
    def is_down(self) -> bool:
        """Whether the database is out of reach."""
        return self._down

    def append(self, write: Write) -> None:
        """Queue one write. After ``close``, or where a new reservation would be refused, others fail (V2)."""
        if self._closing or not (write.essential or self.accepts()):
            error = LedgerUnavailable("the ledger takes no writes right now; retry shortly")
            asyncio.get_running_loop().call_soon(_resolve, [write], error)
            return
        self._queue.append(write)
        if self._down:
            self._tenant.retained([write])
        self._bell.set()

    def read(self, keys: Sequence[AccountKey]) -> Wait:
        """Read how accounts stand, between two commits. Told with LedgerUnavailable if that fails."""
        wait = self._lookups.add(keys)
        if self._closing or self._down:
            self._lookups.fail(LedgerUnavailable("the ledger cannot be read right now; retry shortly"))
        self._bell.set()
        return wait

    def settle_accounts(self, keys: Iterable[AccountKey], *, renew: bool = False) -> None:
        """Bring slices in order with the next commits: post what they hold, give back what is too much.

        ``renew`` makes a commit even of nothing, which renews the lease.
        """
        self._settling.update(dict.fromkeys(keys))
        self._renew = self._renew or renew
        self._bell.set()

    def refuse(self, writes: Sequence[Write]) -> None:
        """Take reservations back that could not be kept anywhere; their callers are told."""
        refused = {id(write) for write in writes}
        waiting = [write for write in (*self._kept, *self._queue) if id(write) in refused]
        self._kept = [write for write in self._kept if id(write) not in refused]
        self._queue = [write for write in self._queue if id(write) not in refused]
        _resolve(waiting, LedgerUnavailable("the database of the ledger cannot be reached; retry shortly"))

    def read_after_commit(self) -> Wait:
        """Told when the next commit is over, however it went."""
        wait = Wait()
        self._after.append(wait)
        self._bell.set()
        return wait

    async def abandon(self) -> None:
        """Stop in the middle of whatever it is."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> Sequence[Write]:
        """Write what is queued, then stop; returns the essential writes that could not be written."""
        self._closing = True
        self._bell.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=CLOSE_S)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
        left = [write for write in (*self._kept, *self._queue) if write.essential]
        _resolve([*self._kept, *self._queue], LedgerUnavailable("the ledger is closed"))
        self._kept, self._queue = [], []
        self._lookups.fail(LedgerUnavailable("the ledger is closed"))
        if self._connection is not None and not self._connection.is_closed():
            self._connection.terminate()
        return left

    async def _run(self) -> None:
        while not self._ended:
            if self._evicted or not self._has_work():
                if self._closing:
                    return
                self._bell.clear()
                await self._bell.wait()
                continue
            try:
                await (self._reattach() if self._down else self._turn())
            except Exception:  # noqa: BLE001 (a task that dies would leave every call waiting)
                _log.exception("the writer of the ledger failed")
                self._go_down(None)

    def _has_work(self) -> bool:
        return bool(
            self._down
            or self._queue
            or self._kept
            or self._settling
            or self._lookups
            or self._renew
            or self._after
        )

    async def _turn(self) -> None:
        """Answer who wants to read, then make one commit."""
        if self._lookups:
            try:
                await self._lookups.answer(self._connected(), self._node.id, self._shares)
            except Exception as error:  # noqa: BLE001 (the connection is of no use any more)
                self._go_down(error)
                return
        await self._gather()
        room = BATCH_MAX - len(self._kept)
        batch, self._queue = [*self._kept, *self._queue[:room]], self._queue[room:]
        self._kept = []
        settling = list(self._settling)[:SETTLED_AT_ONCE_MAX]
        for key in settling:
            del self._settling[key]
        self._renew = False
        after, self._after = self._after, []
        try:
            await self._commit(batch, settling)
        except Exception as error:
            self._go_down(error, batch)
            raise
        for wait in after:
            wait.tell()

    async def _gather(self) -> None:
        """Let a turn of the loop bring more writes to this commit, until one brings none."""
        seen = -1
        while seen < len(self._queue) < BATCH_MAX:
            seen = len(self._queue)
            await asyncio.sleep(0)

    async def _commit(self, batch: list[Write], settling: list[AccountKey]) -> None:
        """Commit a batch without the writes that turn out not to be possible."""
        for _ in range(REPEATS_MAX + len(batch)):
            batch = self._without_flaws(batch)
            slicing = NO_SLICES if self._closing else self._slicing
            entries = entries_of(batch, self._shares, settling, slicing, monotonic())
            flight = Flight(batch, self._chain.chapter(batch), entries)
            try:
                self.commits += 1
                rows = await flight.send(
                    self._connected(), self._node, self._chain.next_seq, self._lease_s, self._slicing.share
                )
            except Exception as error:  # noqa: BLE001 (sorted out below, and nothing is lost)
                if may_be_repeated(error):
                    continue
                await self._sort_out(flight, settling, error)
                return
            short = [row for row in rows if row.short]
            if not short:
                self._landed(flight, rows)
                return
            batch = self._without_outbid(flight, short)
            if not batch and not settling:
                return
        self._go_down(None, batch)

    def _connected(self) -> Connection:
        if self._connection is None:
            raise ConnectionError("there is no connection")
        return self._connection

    def _landed(self, flight: Flight, rows: Sequence[Row]) -> None:
        self._chain.follow(flight.batch, flight.chapter)
        now = monotonic()
        for entry in flight.entries:
            entry.share.advance(entry.change)
        if self._overdue:
            self._overdue = max(0, self._overdue - len(flight.batch))
            if not self._overdue:
                self._tenant.recovered()
        for row in rows:
            flight.entries[row.n - 1].share.stand(
                Standing(row.posted, row.shadow_posted, row.claimed),
                now,
                given=row.given,
                folded=row.folded,
                shadow_folded=row.shadow_folded,
            )
        for entry in flight.entries:
            self._shares.note(entry.share)
        _resolve(flight.batch, None)

    def _without_flaws(self, batch: list[Write]) -> list[Write]:
        flawed = [write for write in batch if write.flaw is not None]
        for write in flawed:
            _resolve([write], LedgerUnavailable(f"this cannot be stored: {write.flaw}"))
        return [write for write in batch if write.flaw is None] if flawed else batch

    def _without_outbid(self, flight: Flight, short: Sequence[Row]) -> list[Write]:
        """Take the calls out that do not fit, and tell them."""
        out = flight.outbid(short, monotonic())
        for write, error in out:
            _resolve([write], error)
        refused = {id(write) for write, _ in out}
        return [write for write in flight.batch if id(write) not in refused]

    async def _sort_out(self, flight: Flight, settling: list[AccountKey], error: Exception) -> None:
        """A commit failed: which of its writes is to blame, if any."""
        if isinstance(error, RolledBack):
            await self._commit(self._without_outbid(flight, error.rows), settling)
        elif isinstance(error, Overtaken):
            _resolve(error.writes, superseded())
            await self._commit(error.rest(flight.batch), settling)
        elif is_fenced(error):
            self._lost = flight
            self._evict()
        elif not (is_of_the_data(error) or isinstance(error, RulesStale)):
            self._go_down(error, flight.batch, flight)
        elif len(flight.batch) == 1 and isinstance(error, RulesStale):
            _resolve(flight.batch, error)
        elif len(flight.batch) == 1:
            _log.error("a write cannot be stored", essential=flight.batch[0].essential, reason=str(error))
            _resolve(flight.batch, LedgerUnavailable(f"this cannot be stored: {error}"))
        elif flight.batch:
            for write in flight.batch:  # the others must not suffer for it
                if self._down:
                    self._keep([write])
                else:
                    await self._commit([write], [])

    def _go_down(
        self, error: Exception | None, batch: Sequence[Write] = (), flight: Flight | None = None
    ) -> None:
        """The database cannot be reached, or does not do what it should."""
        if not self._down:
            _log.warning("the database is not available", reason=str(error) or type(error).__name__)
        self._down = True
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        down = LedgerUnavailable("the database of the ledger cannot be reached; retry shortly")
        self._lookups.fail(down)
        if flight is not None:
            self._lost = flight
            for write in flight.batch:
                if not write.essential:
                    _tell(write, down)
            self._tenant.retained([write for write in flight.batch if write.essential])
        else:
            self._keep(batch)
        waiting, self._queue = self._queue, []
        self._keep(waiting)

    def _keep(self, writes: Sequence[Write]) -> None:
        kept = [write for write in writes if write.essential]
        self._kept.extend(kept)
        self._tenant.retained(kept)
        error = LedgerUnavailable("the database of the ledger cannot be reached; retry shortly")
        _resolve([write for write in writes if not write.essential], error)

    def _disconnected(self, connection: object) -> None:
        """Notice at once that the database went away, also when there is nothing to write."""
        if connection is self._connection and not self._closing:
            self._renew = True
            self._bell.set()

    async def _reattach(self) -> None:
        """Try to reach the database until it is there, then find out what became of the last commit."""
        for attempt in range(1_000_000):
            if self._closing:
                self._give_up()
                return
            try:
                self._connection, node = await self._tenant.attach(self._node)
                self._connection.add_termination_listener(self._disconnected)
                break
            except Exception:  # noqa: BLE001 (whatever it is, it is tried again)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        else:
            return
        if node is None:
            self._evict()
            return
        try:
            await self._read_slices(self._connection, node)
        except Exception as error:  # noqa: BLE001 (it went away again)
            self._go_down(error)
            return
        if self._evicted:
            return
        self._down = False
        self._overdue = len(self._kept) + len(self._queue)
        if not self._overdue:
            self._tenant.recovered()
        _log.info("the database is available again", node=node.id)

    async def _read_slices(self, connection: Connection, node: Node) -> None:
        """Take over what the database says: of the commit whose answer was lost, and of every slice."""
        rows = await connection.fetch(sql.OWN_SLICES, node.id)
        flight, self._lost = self._lost, None
        if flight is not None:
            self._learn(flight, node)
        self._node = node
        if node.next_seq != self._chain.next_seq:
            _log.error("the database has lost commits that it had acknowledged", node=node.id)
            self._evict()
            return
        found = {AccountKey(*row[:4]): row for row in rows}
        for share in self._shares:
            row = found.get(share.account.key)
            share.own(*(row[5:9] if row is not None else (0, 0, 0, 0)))
            self._settling[share.account.key] = None

    def _learn(self, flight: Flight, node: Node) -> None:
        page = flight.chapter.page
        if page is not None:
            is_stored = node.next_seq == page.follows
        else:
            is_stored = flight.chapter.documents is not None and node.next_page > flight.chapter.number
        reservations = [write for write in flight.batch if not write.essential]
        if is_stored:
            self._chain.follow(flight.batch, flight.chapter)
            for entry in flight.entries:
                entry.share.advance(entry.change)
            _resolve(flight.batch, None)
            for write in reservations:
                if write.state is CallState.PENDING:
                    self._tenant.orphaned(write)
            return
        error = LedgerUnavailable("the database of the ledger could not be reached; retry")
        _resolve(reservations, error)
        self._kept = [*(write for write in flight.batch if write.essential), *self._kept]

    def _evict(self) -> None:
        """Somebody else has the node: nothing can be written in its name any more."""
        flight, self._lost = self._lost, None
        batch = flight.batch if flight is not None else []
        error = LedgerUnavailable("this gateway was declared dead and starts anew; retry shortly")
        waiting, self._queue, kept, self._kept = self._queue, [], self._kept, []
        for write in batch:
            if not write.essential:
                _tell(write, error)
        _resolve([write for write in waiting if not write.essential], error)
        self._down = self._evicted = True
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        self._settling.clear()
        self._lookups.fail(error)
        essential = [write for write in (*batch, *kept, *waiting) if write.essential]
        doubtful = [write for write in batch if write.state is CallState.PENDING]
        self._tenant.evicted([*doubtful, *essential])

    def _give_up(self) -> None:
        """The end, without the database: what is kept goes to whoever asked for the end."""
        flight, self._lost = self._lost, None
        if flight is not None:
            self._kept = [*(write for write in flight.batch if write.essential), *self._kept]
        self._down = False
        self._settling.clear()
        self._renew = False
        self._ended = True


def _resolve(writes: Sequence[Write], error: Exception | None) -> None:
    """Tell every write how it went, once. What a callback raises is its owner's bug, not the database's."""
    try:
        resolve(writes, error)
    except ExceptionGroup as failures:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "callbacks of the ledger failed", "exception": failures}
        )
    for write in writes:
        write.landed = write.done = None


def _tell(write: Write, error: Exception) -> None:
    """Tell a caller now; what is to be undone is undone when it is known whether it was stored."""
    done, write.done = write.done, None
    if done is not None:
        done(error)
