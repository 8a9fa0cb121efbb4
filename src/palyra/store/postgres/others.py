"""Learning what the other gateways did: reading how accounts stand, asking for slices that are not used."""

import asyncio
from collections.abc import Sequence
from time import monotonic

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.ports import IdempotencyClaim, IdempotencyEntry
from palyra.lifecycle.waiting import Wait
from palyra.store.postgres import sql
from palyra.store.postgres.commit import keys_parameters
from palyra.store.postgres.ledger import SharedLedger
from palyra.store.postgres.reading import Reading
from palyra.store.postgres.share import Share
from palyra.store.postgres.writer import PostgresWriter

RECALL_S = 0.5
"""How long a call waits for the others to give back what they do not need, before it is refused."""
LOOK_S = 0.01
TIGHT_S = 5.0
"""How long after a recall nobody takes a slice of the account."""
DEAF_S = 1.0
"""Slices that did not come back in time belong to a gateway that may be dead: not asked for again so soon."""

STALE_S = 1.0
"""A balance that was read longer ago is read again before a call is planned on it."""

Accounts = Sequence[tuple[AccountKey, Instant]]


class PostgresOthers:
    """See ``Others``. Recalls are made one at a time, each for all the calls that came before it began."""

    def __init__(self, writer: PostgresWriter, ledger: SharedLedger, reading: Reading) -> None:
        self._writer = writer
        self._ledger = ledger
        self._reading = reading
        self._wanted: list[tuple[Accounts, Wait]] = []
        self._recaller: asyncio.Task[None] | None = None
        self._deaf: dict[AccountKey, float] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def unread(self, accounts: Accounts) -> Accounts:
        """See ``Others.unread``. While nothing can be read, what is known has to do."""
        if self._writer.is_down:
            return ()
        shares, oldest = self._ledger.shares, monotonic() - STALE_S
        return [each for each in accounts if (share := shares.get(each[0])) is None or share.read_at < oldest]

    def read(self, accounts: Accounts) -> Wait:
        """See ``Others.read``."""
        for key, window_end in accounts:
            self._ledger.shares.at(key, window_end)
        return self._writer.read([key for key, _ in accounts])

    def recall(self, accounts: Accounts) -> Wait:
        """See ``Others.recall``."""
        wait = Wait()
        self._wanted.append((accounts, wait))
        if self._recaller is None:
            self._recaller = asyncio.get_running_loop().create_task(self._recall_all())
        return wait

    def look_up(self, claim: IdempotencyClaim) -> Wait:
        """See ``Others.look_up``."""
        wait = Wait()
        task = asyncio.get_running_loop().create_task(self._look_up(claim, wait))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)
        return wait

    async def _look_up(self, claim: IdempotencyClaim, wait: Wait) -> None:
        try:
            rows = await self._reading.rows(sql.CLAIM, claim.principal, claim.key)
        except LedgerUnavailable as error:
            wait.tell(error)
            return
        entry = None
        if rows:
            request_id, fingerprint, finished, expires_at = rows[0]
            entry = IdempotencyEntry(
                request_id, bytes.fromhex(fingerprint), bool(finished), Instant(expires_at)
            )
        self._ledger.know(claim.principal, claim.key, entry)
        wait.tell()

    async def _recall_all(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, []
                error: Exception | None
                try:
                    error = await self._recall(dict(pair for accounts, _ in wanted for pair in accounts))
                except Exception as failure:  # noqa: BLE001 (calls wait for it)
                    error = LedgerUnavailable(f"balances cannot be read: {failure}; retry shortly")
                for _, wait in wanted:
                    wait.tell(error)
        finally:
            self._recaller = None

    async def _recall(self, accounts: dict[AccountKey, Instant]) -> Exception | None:
        """Read accounts; where others have slices to spare, ask for them and wait. Returns what failed."""
        end: float | None = None
        while True:
            error = await _told(self.read(list(accounts.items())))
            if error is not None:
                return error
            now = monotonic()
            hidden = [share for key in accounts if (share := self._hiding(key, now)) is not None]
            if not hidden:
                return None
            if end is None:
                end = now + RECALL_S
                error = await self._ask_for([share.account.key for share in hidden])
                if error is not None:
                    return error
            elif now > end:
                self._deaf.update({share.account.key: now + DEAF_S for share in hidden})
                return None
            await asyncio.sleep(LOOK_S)

    def _hiding(self, key: AccountKey, now: float) -> Share | None:
        """The account if others have something of it that they do not use, and could be asked for it."""
        share = self._ledger.shares.get(key)
        if share is None or share.free_elsewhere <= 0:
            return None
        if self._deaf.get(key, 0.0) > now:
            return None
        self._deaf.pop(key, None)
        return share

    async def _ask_for(self, keys: Sequence[AccountKey]) -> Exception | None:
        for key in keys:
            share = self._ledger.shares.get(key)
            if share is not None:
                share.tight_until = monotonic() + TIGHT_S
        try:
            await self._reading.rows(sql.RECALL, *keys_parameters(keys), TIGHT_S)
        except LedgerUnavailable as error:
            return error
        return None


async def _told(wait: Wait) -> Exception | None:
    """How something went, for a task."""
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    wait.then(lambda error: None if told.done() else told.set_result(error))
    return await told
