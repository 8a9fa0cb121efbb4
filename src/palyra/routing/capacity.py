"""Slots for calls in flight, per provider and per credential, with a reserve for foreground calls.

Nothing here waits: who does not get a slot may queue a ticket, and whoever changes something (``give_back``,
``leave``, ``set_limit``) then calls ``next_ready`` until it returns None, and wakes the tickets it returns.
A ticket comes out together with its slots, so that no newcomer can take them before its owner wakes.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

TicketT = TypeVar("TicketT", bound=Hashable)

WAITERS_MAX = 10_000
_UNLIMITED = 2**63 - 1
_REMEMBERED_MAX = 1_024


class Priority(StrEnum):
    """Whether a person waits for the call."""

    FOREGROUND = "foreground"
    BACKGROUND = "background"


# A look at a module's name is cheaper than at an enum's, several times in every call.
_FOREGROUND = Priority.FOREGROUND


class LeaseState(StrEnum):
    """What a call would find: slots, none at the moment, or that it has to let others go first."""

    READY = "ready"
    WAITING = "waiting"
    DEFERRED = "deferred"


class HeldUp(StrEnum):
    """Why a call gets no slots now."""

    FOREGROUND_WAITERS_PRESENT = "foreground_waiters_present"
    FOREGROUND_CAPACITY_RESERVED = "foreground_capacity_reserved"
    SHARED_CAPACITY_EXHAUSTED = "shared_capacity_exhausted"


class Preview(msgspec.Struct, frozen=True, gc=False):
    """What ``take`` would find. ``reason`` and ``scope`` (where) are None if ready."""

    state: LeaseState
    reason: HeldUp | None = None
    scope: str | None = None


READY = Preview(LeaseState.READY)


class ScopeLoad(msgspec.Struct, frozen=True, gc=False):
    """One scope at one moment; ``limit`` is None if it has none any more.

    ``deferred_total`` counts what ``take`` refused to background calls so that foreground calls find room,
    ``timed_out_total`` waits that ended because of this scope.
    """

    scope: str
    limit: int | None
    foreground: int
    background: int
    foreground_waiting: int
    background_waiting: int
    deferred_total: int
    timed_out_total: int


class _Slots:
    """The slots of one scope."""

    __slots__ = (
        "background",
        "background_limit",
        "background_waiting",
        "deferred_total",
        "foreground",
        "foreground_waiting",
        "limit",
        "scope",
        "timed_out_total",
    )

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.limit = self.background_limit = _UNLIMITED
        self.foreground = self.background = 0
        self.foreground_waiting = self.background_waiting = 0
        self.deferred_total = self.timed_out_total = 0

    def allow(self, limit: int | None) -> None:
        if limit is None:
            self.limit = self.background_limit = _UNLIMITED
        else:
            self.limit = limit
            self.background_limit = max(1, limit - max(1, limit // 4))

    def holds_up(self, priority: Priority) -> HeldUp | None:
        used = self.foreground + self.background
        if priority is not _FOREGROUND and self.limit != _UNLIMITED:
            if self.foreground_waiting:
                return HeldUp.FOREGROUND_WAITERS_PRESENT
            if self.background >= self.background_limit and used < self.limit:
                return HeldUp.FOREGROUND_CAPACITY_RESERVED
        return HeldUp.SHARED_CAPACITY_EXHAUSTED if used >= self.limit else None

    def queue(self, priority: Priority, change: int) -> None:
        if priority is _FOREGROUND:
            self.foreground_waiting += change
        else:
            self.background_waiting += change

    def load(self) -> ScopeLoad:
        return ScopeLoad(
            self.scope,
            None if self.limit == _UNLIMITED else self.limit,
            self.foreground,
            self.background,
            self.foreground_waiting,
            self.background_waiting,
            self.deferred_total,
            self.timed_out_total,
        )


class Lease:
    """The slots of one call, to be given back once to the ``Capacity`` that gave it; more is harmless."""

    __slots__ = ("_priority", "_slots")

    def __init__(self, slots: tuple[_Slots, ...], priority: Priority) -> None:
        _use(slots, priority, 1)
        self._slots = slots
        self._priority = priority

    def end(self) -> bool:
        """Free the slots; False if there were none. For ``Capacity.give_back``."""
        slots, self._slots = self._slots, ()
        _use(slots, self._priority, -1)
        return bool(slots)


def _use(slots: tuple[_Slots, ...], priority: Priority, change: int) -> None:
    if priority is _FOREGROUND:
        for each in slots:
            each.foreground += change
    else:
        for each in slots:
            each.background += change


_FREE = Lease((), Priority.FOREGROUND)


class _Lane(Generic[TicketT]):
    """Waiters that want the same: they differ in their numbers only, which count arrivals."""

    __slots__ = ("priority", "scopes", "slots", "tickets")

    def __init__(self, scopes: tuple[str, ...], priority: Priority, slots: tuple[_Slots, ...]) -> None:
        self.scopes = scopes
        self.priority = priority
        self.slots = slots
        self.tickets: OrderedDict[TicketT, int] = OrderedDict()

    def number(self) -> int:
        """The first arrival's."""
        return next(iter(self.tickets.values()))

    def fits(self) -> bool:
        return _first_hold_up(self.slots, self.priority) is None

    def count(self, change: int) -> None:
        for each in self.slots:
            each.queue(self.priority, change)


class Capacity(Generic[TicketT]):
    """Counts the slots of scopes that have a limit; scopes without one never hold anything up.

    A scope is the key of a provider or a credential. A call names its scopes as a tuple and gets a slot of
    each or none at all. Background calls get at most limit - max(1, limit // 4) slots of a scope, but 1 of 1,
    and none while a foreground call waits for the scope. Tickets are the caller's: any hashable object.
    """

    __slots__ = ("_lanes", "_number", "_remembered", "_scopes", "_waiting")

    def __init__(self, limits: Mapping[str, int | None]) -> None:
        self._scopes: dict[str, _Slots] = {}
        self._lanes: dict[tuple[tuple[str, ...], Priority], _Lane[TicketT]] = {}
        self._waiting: dict[TicketT, _Lane[TicketT]] = {}
        self._remembered: dict[tuple[str, ...], tuple[_Slots, ...]] = {}
        self._number = 0
        for scope, limit in limits.items():
            self.set_limit(scope, limit)

    def preview(self, scopes: tuple[str, ...], priority: Priority) -> Preview:
        """Return what ``take`` would find. Changes nothing."""
        if not self._scopes:
            return READY
        return self._judge(self._slots_of(scopes), priority)

    def take(self, scopes: tuple[str, ...], priority: Priority) -> Lease | None:
        """Take a slot of every scope, or of none: None then, and ``preview`` says why."""
        if not self._scopes:
            return _FREE
        slots = self._slots_of(scopes)
        found = self._judge(slots, priority)
        if found is READY:
            return Lease(slots, priority) if slots else _FREE
        if found.state is LeaseState.DEFERRED:
            for each in slots:
                each.deferred_total += each.scope == found.scope
        return None

    def give_back(self, lease: Lease) -> bool:
        """Free the slots of a lease. True if that may have made a waiter ready: see ``next_ready``."""
        return lease.end() and bool(self._waiting)

    def wait(self, scopes: tuple[str, ...], priority: Priority, ticket: TicketT) -> bool:
        """Queue a ticket; False if 10 000 wait already. Raises ValueError for a ticket that waits already."""
        if ticket in self._waiting:
            raise ValueError("a ticket waits once")
        if len(self._waiting) >= WAITERS_MAX:
            return False
        lane = self._lanes.get((scopes, priority))
        if lane is None:
            lane = _Lane[TicketT](scopes, priority, self._slots_of(scopes))
            self._lanes[scopes, priority] = lane
        self._number += 1
        lane.tickets[ticket] = self._number
        lane.count(1)
        self._waiting[ticket] = lane
        return True

    def leave(self, ticket: TicketT, *, timed_out: bool = False) -> bool:
        """Take a ticket out of the queue; ``timed_out`` if it waited too long.

        False if it does not wait: ``next_ready`` has returned it, and its lease must be given back. When a
        foreground call leaves, background calls may become ready: see ``next_ready``.
        """
        lane = self._waiting.get(ticket)
        if lane is None:
            return False
        self._remove(lane, ticket)
        if timed_out:
            found = _first_hold_up(lane.slots, lane.priority)
            for each in lane.slots:
                each.timed_out_total += found is not None and each.scope == found.scope
        return True

    def next_ready(self) -> tuple[TicketT, Lease] | None:
        """Take the next waiter out of the queue together with its slots; None if none can have them.

        Foreground first, then the order of arrival; a waiter for a full scope holds up only those that need
        the same scope. Call it until it returns None.
        """
        best: _Lane[TicketT] | None = None
        for lane in self._lanes.values():
            if (best is None or _precedes(lane, best)) and lane.fits():
                best = lane
        if best is None:
            return None
        ticket = next(iter(best.tickets))
        self._remove(best, ticket)
        return ticket, Lease(best.slots, best.priority)

    def set_limit(self, scope: str, limit: int | None) -> None:
        """Change a limit: 0 lets nothing through, None removes it. Raises ValueError below 0.

        Calls in flight keep their slots, also above a lower limit. Those that began while a scope never had
        a limit are not counted. A higher limit may make waiters ready: see ``next_ready``.
        """
        if limit is not None and limit < 0:
            raise ValueError("a limit must not be negative")
        slots = self._scopes.get(scope)
        if slots is None:
            if limit is None:
                return
            slots = self._scopes[scope] = _Slots(scope)
            self._remembered.clear()
            for lane in self._lanes.values():
                lane.count(-len(lane.tickets))
                lane.slots = self._slots_of(lane.scopes)
                lane.count(len(lane.tickets))
        slots.allow(limit)

    def snapshot(self) -> tuple[ScopeLoad, ...]:
        """Return every scope that has or had a limit."""
        return tuple(each.load() for each in self._scopes.values())

    def _slots_of(self, scopes: tuple[str, ...]) -> tuple[_Slots, ...]:
        found = self._remembered.get(scopes)
        if found is None:
            known = self._scopes
            found = tuple(known[scope] for scope in dict.fromkeys(scopes) if scope in known)
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[scopes] = found
        return found

    def _judge(self, slots: tuple[_Slots, ...], priority: Priority) -> Preview:
        found = _first_hold_up(slots, priority)
        if found is not None:
            return found
        if self._waiting:
            # Slots are free that a waiter has not been given yet: they are not for a newcomer.
            for lane in self._lanes.values():
                if lane.priority is priority and lane.fits():
                    for each in lane.slots:
                        if each in slots:
                            return Preview(LeaseState.WAITING, HeldUp.SHARED_CAPACITY_EXHAUSTED, each.scope)
        return READY

    def _remove(self, lane: _Lane[TicketT], ticket: TicketT) -> None:
        del self._waiting[ticket]
        del lane.tickets[ticket]
        lane.count(-1)
        if not lane.tickets:
            del self._lanes[lane.scopes, lane.priority]


def _precedes(lane: _Lane[TicketT], other: _Lane[TicketT]) -> bool:
    if lane.priority is not other.priority:
        return lane.priority is Priority.FOREGROUND
    return lane.number() < other.number()


def _first_hold_up(slots: tuple[_Slots, ...], priority: Priority) -> Preview | None:
    """Return what holds a call up, None if nothing does. Deferred comes before waiting."""
    waiting: Preview | None = None
    for each in slots:
        reason = each.holds_up(priority)
        if reason is HeldUp.SHARED_CAPACITY_EXHAUSTED:
            waiting = waiting or Preview(LeaseState.WAITING, reason, each.scope)
        elif reason is not None:
            return Preview(LeaseState.DEFERRED, reason, each.scope)
    return waiting
