"""Limits that gateways keep together: never more in sum, fair, and given back when idle."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import pytest

from fakes.engines import turns
from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import Instant
from palyra.lifecycle import slots
from palyra.lifecycle.ports import SlotGrant
from palyra.lifecycle.slots import SlotSharing, wanted_slots
from palyra.lifecycle.waiting import Wait
from palyra.routing.capacity import Capacity, Lease, Priority, ScopeLoad

SCOPE = "provider p"
FOREGROUND, BACKGROUND = Priority.FOREGROUND, Priority.BACKGROUND


@dataclass
class Pot:
    """The slots of one scope as the database deals them out: never more in sum than ``most``."""

    granted: dict[int, int] = field(default_factory=dict[int, int])
    wanted: dict[int, int] = field(default_factory=dict[int, int])
    down: bool = False

    def claim(self, gateway: int, wanted: int, most: int) -> SlotGrant:
        if self.down:
            raise LedgerUnavailable("down")
        others = sum(each for other, each in self.granted.items() if other != gateway)
        self.wanted[gateway] = wanted
        self.granted[gateway] = granted = min(wanted, most - others)
        rest = [other for other, each in self.wanted.items() if other != gateway and each]
        short = any(self.granted.get(other, 0) < self.wanted[other] for other in rest)
        return SlotGrant(granted, len(rest), short)


@dataclass
class Shared:
    """One gateway's view of the pot."""

    pot: Pot
    gateway: int

    async def claim_slots(self, scope: str, wanted: int, most: int) -> SlotGrant:
        assert scope == SCOPE
        await asyncio.sleep(0)
        return self.pot.claim(self.gateway, wanted, most)

    def look_up(self, principal: str, session: str, found: Callable[[str, Instant], None]) -> Wait:
        raise NotImplementedError

    def keep(
        self,
        principal: str,
        session: str,
        model: str,
        moved: bool,
        sticky_ns: int,
        kept: Callable[[str], None],
    ) -> None:
        raise NotImplementedError


class Gateway:
    """Calls that take slots, or wait for them."""

    def __init__(self, pot: Pot, most: int) -> None:
        self.number = len(pot.granted) + 1
        pot.granted[self.number] = 0
        self.capacity: Capacity[int] = Capacity({SCOPE: most})
        self.woken = 0
        self.leases: list[Lease] = []
        self.sharing = SlotSharing(
            Shared(pot, self.number), cast("Capacity[object]", self.capacity), {SCOPE: most}, self.wake
        )
        self._tickets = count()

    def call(self, priority: Priority = FOREGROUND) -> None:
        """Take a slot, or wait for one."""
        lease = self.capacity.take((SCOPE,), priority)
        if lease is not None:
            self.leases.append(lease)
            return
        self.capacity.wait((SCOPE,), priority, next(self._tickets))
        self.sharing.ask()

    def end(self, calls: int = 1) -> None:
        """So many calls are over."""
        for _ in range(calls):
            self.capacity.give_back(self.leases.pop())
        self.wake()

    def wake(self) -> None:
        self.woken += 1
        while (ready := self.capacity.next_ready()) is not None:
            self.leases.append(ready[1])

    @property
    def load(self) -> ScopeLoad:
        return self.capacity.snapshot()[0]

    @property
    def waiting(self) -> int:
        return self.load.foreground_waiting + self.load.background_waiting


class Fleet:
    """Gateways on one pot whose turns come without waiting for the clock."""

    def __init__(self, most: int, gateways: int = 2) -> None:
        self.most = most
        self.pot = Pot()
        self.gateways = [Gateway(self.pot, most) for _ in range(gateways)]
        self._tasks = [asyncio.create_task(each.sharing.run()) for each in self.gateways]

    async def look(self, rounds: int = 3) -> None:
        """Every gateway looks at its slots so often."""
        for _ in range(rounds):
            for each in self.gateways:
                each.sharing.ask()
            for _ in range(10):
                await asyncio.sleep(0)
                self.check()

    def check(self) -> None:
        assert sum(self.pot.granted.values()) <= self.most
        assert sum(len(each.leases) for each in self.gateways) <= self.most
        for each in self.gateways:
            assert len(each.leases) <= self.pot.granted[each.number]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is taken when a test says so."""
    monkeypatch.setattr(slots, "LOOK_S", 3_600.0)


async def test_before_it_has_claimed_a_gateway_lets_nothing_through() -> None:
    fleet = Fleet(4)
    one, _ = fleet.gateways
    assert one.load.limit == 0
    one.call()
    assert (len(one.leases), one.waiting) == (0, 1)
    await fleet.look(1)
    assert (len(one.leases), one.waiting) == (1, 0)
    await fleet.stop()


async def test_a_call_that_waits_is_woken_by_its_own_claim() -> None:
    fleet = Fleet(4)
    one, _ = fleet.gateways
    one.call()
    await turns(lambda: len(one.leases) == 1)
    assert one.woken == 1
    await fleet.stop()


async def test_many_calls_at_two_gateways_never_have_more_slots_than_there_are() -> None:
    fleet = Fleet(5)
    for number in range(40):
        fleet.gateways[number % 2].call(BACKGROUND if number % 5 == 4 else FOREGROUND)
    served = 0
    for _ in range(200):
        await fleet.look(1)
        for each in fleet.gateways:
            if each.leases:
                each.end()
                served += 1
        fleet.check()
        if served == 40:
            break
    assert served == 40
    assert [each.waiting for each in fleet.gateways] == [0, 0]
    await fleet.stop()


async def test_a_busy_gateway_leaves_a_fair_share_to_one_that_comes_later() -> None:
    fleet = Fleet(6)
    one, two = fleet.gateways
    for _ in range(20):
        one.call()
    await fleet.look()
    assert len(one.leases) == 6
    for _ in range(20):
        two.call()
    for _ in range(12):
        await fleet.look(1)
        if one.leases:
            one.end()
    await fleet.look()
    assert (len(one.leases), len(two.leases)) == (3, 3)
    await fleet.stop()


async def test_everybody_has_one_at_least_where_there_are_more_gateways_than_slots() -> None:
    """One call at a time each, in turn: nobody starves."""
    fleet = Fleet(2, gateways=3)
    for each in fleet.gateways:
        for _ in range(4):
            each.call()
    done = {each.number: 0 for each in fleet.gateways}
    for _ in range(100):
        await fleet.look(1)
        for each in fleet.gateways:
            if each.leases:
                each.end()
                done[each.number] += 1
    assert done == dict.fromkeys(done, 4)
    await fleet.stop()


async def test_idle_slots_come_back_to_those_who_need_them() -> None:
    fleet = Fleet(4)
    one, two = fleet.gateways
    for _ in range(4):
        one.call()
    await fleet.look()
    one.end(4)
    await fleet.look()
    assert (fleet.pot.granted[one.number], one.load.limit) == (0, 0)
    for _ in range(4):
        two.call()
    await fleet.look()
    assert len(two.leases) == 4
    await fleet.stop()


async def test_a_gateway_without_calls_asks_nobody() -> None:
    fleet = Fleet(4)
    await fleet.look()
    assert fleet.pot.wanted == {}
    await fleet.stop()


async def test_a_gateway_that_was_declared_dead_starts_with_nothing_and_claims_anew() -> None:
    fleet = Fleet(4)
    one, two = fleet.gateways
    for _ in range(2):
        one.call()
    await fleet.look()
    one.end(2)
    assert one.load.limit == 2
    fleet.pot.granted[one.number] = fleet.pot.wanted[one.number] = 0
    for _ in range(4):
        two.call()
    await turns(lambda: len(two.leases) == 4)

    one.sharing.start_anew()
    assert one.load.limit == 0
    one.call()
    assert (len(one.leases), one.waiting) == (0, 1)

    two.end(4)
    await fleet.look()
    assert len(one.leases) == 1
    await fleet.stop()


async def test_a_ledger_out_of_reach_leaves_what_was_granted() -> None:
    fleet = Fleet(4)
    one, two = fleet.gateways
    one.call()
    await fleet.look()
    fleet.pot.down = True
    two.call()
    one.end()
    await fleet.look()
    one.call()
    assert (len(one.leases), two.waiting) == (1, 1)
    fleet.pot.down = False
    await fleet.look()
    assert len(two.leases) == 1
    await fleet.stop()


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        ((0, 0, 0, 0), 0),
        ((2, 1, 0, 0), 3),
        ((2, 1, 3, 0), 6),
        ((0, 0, 0, 1), 3),
        ((5, 5, 5, 5), 8),
    ],
)
def test_wanted_is_what_runs_and_what_waits_and_room_that_background_work_leaves(
    load: tuple[int, int, int, int], wanted: int
) -> None:
    assert wanted_slots(ScopeLoad(SCOPE, 8, *load, 0, 0), 8) == wanted


@pytest.mark.parametrize("most", [1, 2, 4, 8])
async def test_a_background_call_that_waits_gets_its_slot(most: int) -> None:
    """It may not use the slots that are left to people: enough are claimed that it finds one."""
    fleet = Fleet(most)
    one, _ = fleet.gateways
    one.call(BACKGROUND)
    await fleet.look()
    assert len(one.leases) == 1
    await fleet.stop()
