"""What routing shares among gateways: slots at providers, and which model a session runs on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import SlotGrant
from palyra.lifecycle.waiting import Wait
from palyra.store.postgres import sql
from palyra.store.postgres.reading import Reading

SESSION_KEPT_NS = 24 * 3_600 * NANOSECONDS
"""No session is sticky for longer than that."""

_log = structlog.get_logger("palyra.store")


class SharedRouting:
    """See ``lifecycle.ports.SharedRouting``. ``node`` is the number of this gateway, as it is now."""

    def __init__(self, reading: Reading, node: Callable[[], int], now: Callable[[], Instant]) -> None:
        self._reading = reading
        self._node = node
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    async def claim_slots(self, scope: str, wanted: int, most: int) -> SlotGrant:
        """See ``SharedRouting.claim_slots``."""
        ((granted, sharers, short),) = await self._reading.rows(
            sql.CLAIM_SLOTS, self._node(), scope, wanted, most
        )
        return SlotGrant(granted, sharers, short)

    def look_up(self, principal: str, session: str, found: Callable[[str, Instant], None]) -> Wait:
        """See ``SharedRouting.look_up``."""
        wait = Wait()
        self._start(self._look_up(principal, session, found, wait))
        return wait

    def keep(
        self,
        principal: str,
        session: str,
        model: str,
        moved: bool,
        sticky_ns: int,
        kept: Callable[[str], None],
    ) -> None:
        """See ``SharedRouting.keep``."""
        self._start(self._keep(principal, session, model, moved, sticky_ns, kept))

    async def tidy(self) -> None:
        """Drop what says nothing any more."""
        await self._reading.rows(sql.DROP_DEAD_SLOTS)
        await self._reading.rows(sql.DROP_OLD_SESSION_MODELS, self._now() - SESSION_KEPT_NS)

    async def _look_up(
        self, principal: str, session: str, found: Callable[[str, Instant], None], wait: Wait
    ) -> None:
        try:
            for model, at in await self._reading.rows(sql.SESSION_MODEL, principal, session):
                found(model, Instant(at))
        except LedgerUnavailable:
            # A call need not fail because nobody knows where its session ran.
            _log.warning("the model of a session cannot be looked up")
        finally:
            wait.tell()

    async def _keep(
        self,
        principal: str,
        session: str,
        model: str,
        moved: bool,
        sticky_ns: int,
        kept: Callable[[str], None],
    ) -> None:
        now = self._now()
        try:
            ((winner,),) = await self._reading.rows(
                sql.KEEP_SESSION_MODEL, principal, session, model, now, moved, now - sticky_ns
            )
        except LedgerUnavailable:
            _log.warning("the model of a session cannot be stored")
        else:
            kept(winner)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
