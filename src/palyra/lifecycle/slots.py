"""Limits on calls in flight that several gateways keep together: each has some of the slots at a time.

A gateway claims as many slots as it has calls under way and waiting, and gives back those that stand idle.
What is dealt out never adds up to more than the limit, so nobody has to ask before a call that finds a slot.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from palyra.core.errors import LedgerUnavailable
from palyra.lifecycle.ports import SharedRouting
from palyra.routing.capacity import Capacity, ScopeLoad

LOOK_S = 0.25
"""How long idle slots are kept, and how long a gateway that has too few waits before it asks again."""

_log = structlog.get_logger("palyra.slots")


class SlotSharing:
    """Keeps the slots of one gateway in step with its calls. ``most`` is the limit of each scope.

    ``changed`` is called after a limit changed: a call that waits may run now.
    """

    def __init__(
        self,
        shared: SharedRouting,
        capacity: Capacity[object],
        most: Mapping[str, int],
        changed: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._capacity = capacity
        self._most = dict(most)
        self._changed = changed
        self._told = asyncio.Event()
        self._begun = 0
        self._granted = dict.fromkeys(most, 0)
        self._fair: dict[str, int] = {}
        """The share of each scope of which another gateway had too few."""
        for scope in most:
            capacity.set_limit(scope, 0)

    def ask(self) -> None:
        """A call found no slot: claim more at once."""
        self._told.set()

    def start_anew(self) -> None:
        """The gateway was declared dead: others may have its slots."""
        self._begun += 1
        for scope in self._most:
            self._granted[scope] = 0
            self._capacity.set_limit(scope, 0)
        self._told.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), LOOK_S)
            self._told.clear()
            for load in self._capacity.snapshot():
                most = self._most.get(load.scope)
                if most is None:
                    continue
                try:
                    await self._claim(load, most)
                except LedgerUnavailable as error:
                    # What was granted stands: nobody else can claim it meanwhile either.
                    _log.warning("slots cannot be claimed", scope=load.scope, reason=error.message)

    async def _claim(self, load: ScopeLoad, most: int) -> None:
        scope, had = load.scope, self._granted[load.scope]
        wanted = wanted_slots(load, most)
        if scope in self._fair:
            # What is in use stays until its calls are over; no more than the share is used anew.
            wanted = min(wanted, max(load.foreground + load.background, self._fair[scope]))
        if not wanted and not had:
            return
        begun = self._begun
        grant = await self._shared.claim_slots(scope, wanted, most)
        if begun != self._begun:
            # That was granted to the gateway that was declared dead meanwhile.
            return
        granted = self._granted[scope] = grant.granted
        if grant.short:
            self._fair[scope] = max(1, most // (grant.sharers + 1))
        else:
            self._fair.pop(scope, None)
        self._capacity.set_limit(scope, min(granted, self._fair.get(scope, granted)))
        if granted > had:
            self._changed()


def wanted_slots(load: ScopeLoad, most: int) -> int:
    """Slots for what is under way and what waits, at most ``most``."""
    wanted = load.foreground + load.background + load.foreground_waiting + load.background_waiting
    if load.background_waiting:
        # Background calls leave some slots of a gateway to others of it: those have to be there, too.
        wanted += max(1, most // 4)
    return min(wanted, most)
