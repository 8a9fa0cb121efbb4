"""Gateways as stores in this process: made, killed without a word, and admitting calls as the path does."""

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path

from fakes.records import FakeClock
from fakes.till import Till
from harness import postgres
from harness.daemon import eventually
from palyra.core.errors import Outbid
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.ledger.account import Hold
from palyra.lifecycle.waiting import Wait
from palyra.store.postgres.share import Slicing
from palyra.store.postgres.store import PostgresStore, Scale

TRIES_MAX = 50
_holders = itertools.count(1)


@dataclass(slots=True)
class Gateway:
    """One gateway. ``till`` makes calls on its store."""

    till: Till
    store: PostgresStore
    database: str
    """The URL that leads straight to the database."""

    @property
    def node(self) -> int:
        """Its number now."""
        return self.store.node

    async def admit(self, request_id: str, *holds: Hold) -> bool:
        """Reserve as the path does: on balances read now, and refused only after a recall."""
        accounts = [(hold.account, Instant(hold.window_end)) for hold in holds]
        others = self.store.others
        unread = others.unread(accounts)
        if unread:
            await told(others.read(unread))
        for _ in range(TRIES_MAX):
            if self.till.reserve(request_id, *holds) is not None:
                await told(others.recall(accounts))
                if self.till.reserve(request_id, *holds) is not None:
                    return False
            await self.till.flush()
            error = self.till.told[-1].error
            if error is None:
                return True
            if not isinstance(error, Outbid):
                raise error
        raise AssertionError(f"{request_id} was outbid {TRIES_MAX} times")

    async def settle_slices(self) -> None:
        """Bring all slices in order, and wait for it."""
        await told(self.store.give_back())

    async def kill(self) -> None:
        """What a crash leaves: nothing is written, nothing is given back, the lease runs on."""
        await self.store.abandon()

    async def let_lease_end(self) -> None:
        """As if the time of the lease had passed."""
        await postgres.rows(
            self.database,
            "UPDATE nodes SET lease_until = now() - interval '1 second' WHERE id = $1",
            self.node,
        )


async def join(
    database: str,
    clock: FakeClock,
    *,
    over: str | None = None,
    slicing: Slicing = Slicing(),  # noqa: B008 (it does not change)
    lease_s: float = 60.0,
    spool: Path | None = None,
) -> Gateway:
    """A new gateway; ``over`` is the URL it uses if that is not ``database``."""
    holder = f"gateway-{next(_holders)}"
    scale = Scale(holder, holder, lease_s, slicing, spool)
    store = await PostgresStore.open(Secret(over or database), clock.now, scale)
    return Gateway(Till(store, clock, url=database), store, database)


async def told(wait: Wait) -> None:
    """Wait for it, in a task. Raises what it is told."""
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    wait.then(lambda error: None if done.done() else done.set_result(error))
    error = await done
    if error is not None:
        raise error


async def is_down(gateway: Gateway) -> None:
    """Wait until it has noticed that its database is out of reach."""
    await eventually(lambda: not gateway.store.writable, "the gateway to notice")


async def is_up(gateway: Gateway) -> None:
    """Wait until it can write again."""
    await eventually(lambda: gateway.store.writable, "the gateway to come back")
