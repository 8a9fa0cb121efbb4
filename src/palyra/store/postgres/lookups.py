"""Reading how accounts stand between two commits of one connection, so that it fits what is held here."""

from collections.abc import Sequence
from time import monotonic

from palyra.ledger.account import AccountKey
from palyra.lifecycle.waiting import Wait
from palyra.store.postgres import sql
from palyra.store.postgres.commit import keys_parameters
from palyra.store.postgres.link import Connection
from palyra.store.postgres.share import Shares, Standing


class Lookups:
    """Who waits for which accounts. All who wait are answered by one round trip."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Sequence[AccountKey], Wait]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, keys: Sequence[AccountKey]) -> Wait:
        """Wait for these."""
        wait = Wait()
        self._waiting.append((keys, wait))
        return wait

    async def answer(self, connection: Connection, node: int, shares: Shares) -> None:
        """Read, correct the shares, tell. Raises what asyncpg raises; then everybody still waits."""
        waiting = list(self._waiting)
        keys = list(dict.fromkeys(key for wanted, _ in waiting for key in wanted))
        rows = await connection.fetch(sql.VIEW, node, *keys_parameters(keys))
        now = monotonic()
        found = {row["n"] - 1: row for row in rows}
        for place, key in enumerate(keys):
            share, row = shares.get(key), found.get(place)
            if share is not None:
                share.stand(Standing(*row[1:5]) if row is not None else Standing(0, 0, 0), now)
        self._waiting = self._waiting[len(waiting) :]
        for _, wait in waiting:
            wait.tell()

    def fail(self, error: Exception) -> None:
        """Tell everybody that it cannot be read."""
        waiting, self._waiting = self._waiting, []
        for _, wait in waiting:
            wait.tell(error)
