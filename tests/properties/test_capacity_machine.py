"""Capacity against a model that keeps one plain list of calls in flight and one of waiters.

After each step: no grant passed a limit or the foreground's reserve, waiters came out foreground first and
in order, nobody who fits is left waiting, and the counts are the model's. At the end everything drains.
"""

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from palyra.routing.capacity import Capacity, Lease, LeaseState, Priority

SCOPES = ("p", "q", "p1", "p2")
WANTS = st.sampled_from([("p",), ("p", "p1"), ("p", "p2"), ("q",), ("p1", "q"), ("free",), ("p", "free")])
LIMITS = st.none() | st.integers(0, 5)
PRIORITIES = st.sampled_from(Priority)


@dataclass(slots=True, eq=False)
class Call:
    scopes: tuple[str, ...]
    priority: Priority
    number: int
    lease: Lease | None = None


class CapacityMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.inside: list[Call] = []
        self.queue: list[Call] = []
        self.number = 0

    @initialize(limits=st.fixed_dictionaries({scope: st.integers(0, 5) for scope in SCOPES}))
    def start(self, limits: dict[str, int | None]) -> None:
        # Each scope has a limit at first: what began before a first limit is not counted.
        self.limits = limits
        self.capacity = Capacity[Call](limits)

    def used(self, scope: str, priority: Priority | None = None) -> int:
        return sum(scope in call.scopes and priority in (None, call.priority) for call in self.inside)

    def fits(self, call: Call) -> bool:
        return all(self.fits_in(call, scope) for scope in call.scopes)

    def fits_in(self, call: Call, scope: str) -> bool:
        limit = self.limits.get(scope)
        if limit is None:
            return True
        if call.priority is Priority.BACKGROUND:
            if any(scope in other.scopes for other in self.queue if other.priority is Priority.FOREGROUND):
                return False
            share = 1 if limit == 1 else limit - max(1, limit // 4)
            if self.used(scope, Priority.BACKGROUND) >= share:
                return False
        return self.used(scope) < limit

    def call(self, scopes: tuple[str, ...], priority: Priority) -> Call:
        self.number += 1
        return Call(scopes, priority, self.number)

    def drain(self) -> None:
        while True:
            order = sorted(self.queue, key=lambda call: (call.priority is Priority.BACKGROUND, call.number))
            expected = next((call for call in order if self.fits(call)), None)
            granted = self.capacity.next_ready()
            assert (granted[0] if granted else None) is expected
            if granted is None:
                return
            call, call.lease = granted[0], granted[1]
            self.queue.remove(call)
            self.inside.append(call)

    @rule(calls=st.lists(st.tuples(WANTS, PRIORITIES, st.booleans()), min_size=1, max_size=4))
    def arrive(self, calls: list[tuple[tuple[str, ...], Priority, bool]]) -> None:
        for scopes, priority, patient in calls:
            self.arrive_one(scopes, priority, patient)

    def arrive_one(self, scopes: tuple[str, ...], priority: Priority, patient: bool) -> None:
        call = self.call(scopes, priority)
        fits = self.fits(call)
        assert (self.capacity.preview(scopes, priority).state is LeaseState.READY) == fits
        call.lease = self.capacity.take(scopes, priority)
        assert (call.lease is not None) == fits
        if fits:
            self.inside.append(call)
        elif patient:
            assert self.capacity.wait(scopes, priority, call)
            self.queue.append(call)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), twice=st.booleans())
    def finish(self, data: st.DataObject, twice: bool) -> None:
        call = data.draw(st.sampled_from(self.inside))
        self.inside.remove(call)
        assert call.lease is not None
        for _ in range(1 + twice):
            self.capacity.give_back(call.lease)
        self.drain()

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), timed_out=st.booleans())
    def leave(self, data: st.DataObject, timed_out: bool) -> None:
        call = data.draw(st.sampled_from(self.queue))
        self.queue.remove(call)
        assert self.capacity.leave(call, timed_out=timed_out)
        assert not self.capacity.leave(call)
        self.drain()

    @rule(scope=st.sampled_from(SCOPES), limit=LIMITS)
    def change(self, scope: str, limit: int | None) -> None:
        self.limits[scope] = limit
        self.capacity.set_limit(scope, limit)
        self.drain()

    @invariant()
    def counts_are_the_models(self) -> None:
        for load in self.capacity.snapshot():
            waiting = [call.priority for call in self.queue if load.scope in call.scopes]
            assert load.limit == self.limits[load.scope]
            assert load.foreground == self.used(load.scope, Priority.FOREGROUND)
            assert load.background == self.used(load.scope, Priority.BACKGROUND)
            assert load.foreground_waiting == waiting.count(Priority.FOREGROUND)
            assert load.background_waiting == waiting.count(Priority.BACKGROUND)

    def teardown(self) -> None:
        if not hasattr(self, "capacity"):
            return
        for scope in SCOPES:
            self.limits[scope] = 1
            self.capacity.set_limit(scope, 1)
        self.drain()
        while self.inside:
            call = self.inside.pop()
            assert call.lease is not None
            self.capacity.give_back(call.lease)
            self.drain()
        assert not self.queue, "a waiter never got its slots"
        for load in self.capacity.snapshot():
            assert not load.foreground + load.background + load.foreground_waiting + load.background_waiting


CapacityMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestCapacityMachine = CapacityMachine.TestCase
