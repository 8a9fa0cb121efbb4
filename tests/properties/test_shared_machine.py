"""L1, L2, L3, D3 among gateways: two ledgers, one database, crashes and ends of leases between any two steps.

The model is a dict of calls. A call is admitted if and only if it fits in what is left, where what a dead
gateway has not given back yet counts as taken. After every step the stored balances are the model's, claims
add up, and no limit is passed.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fakes.gateways import Gateway, join
from fakes.records import FakeClock
from fakes.till import account, hold
from harness import postgres
from palyra.core.errors import LedgerUnavailable
from palyra.core.secret import Secret
from palyra.ledger.account import AccountKey
from palyra.store.postgres.share import Slicing
from palyra.store.postgres.verify import verify_shared

LIMIT = 100
PLACES = 3
_examples = itertools.count(1)
T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """What the model knows of a call: who runs it, what it holds, and what was posted."""

    gateway: int
    wants: dict[AccountKey, int]
    state: str = "pending"
    posted: dict[AccountKey, int] = field(default_factory=dict[AccountKey, int])


class SharedMachine(RuleBasedStateMachine):
    """Two places for gateways; a gateway that dies leaves its place to a new one."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.database = _database()
        self.example = next(_examples)
        self.keys = [account(f"budget-{self.example}-{place}") for place in range(PLACES)]
        self.probe = account(f"probe-{self.example}")
        self.gateways: list[Gateway] = []
        self.dead: list[Gateway] = []
        self.model: dict[str, Call] = {}
        self.made = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        for gateway in self.gateways:
            self.run(gateway.store.close())
        self.run(self.end_dead())
        self.loop.close()

    async def end_dead(self) -> None:
        for gateway in self.dead:
            await gateway.let_lease_end()
        gateway = await join(self.database, self.clock)
        await gateway.store.end_the_dead()
        await gateway.store.close()

    @initialize(sliced=st.booleans())
    def open(self, sliced: bool) -> None:
        # Everything counts as hot, so that slices are taken from the first call on.
        self.slicing = Slicing(sliced, seconds=1.0, share=0.3)
        self.gateways = [self.join(), self.join()]

    def join(self) -> Gateway:
        return self.run(join(self.database, self.clock, slicing=self.slicing))

    def taken(self, key: AccountKey) -> int:
        """Of the limit: posted and held, and what dead gateways have of it."""
        return sum(self.standing(call, key) for call in self.model.values())

    @staticmethod
    def standing(call: Call, key: AccountKey) -> int:
        return call.wants.get(key, 0) if call.state == "pending" else call.posted.get(key, 0)

    @rule(
        target=calls,
        place=st.integers(0, 1),
        wants=st.dictionaries(st.integers(0, PLACES - 1), st.integers(0, 40), min_size=1),
    )
    def reserve(self, place: int, wants: dict[int, int]) -> str:
        self.made += 1
        request_id = f"req_{self.example}_{self.made}"
        amounts = {self.keys[number]: amount for number, amount in wants.items()}
        fits = all(self.taken(key) + amount <= LIMIT for key, amount in amounts.items())
        holds = [hold(amount, LIMIT, key) for key, amount in amounts.items()]
        admitted = self.run(self.gateways[place].admit(request_id, *holds))
        if self.dead:
            assert fits or not admitted, "a call was admitted that does not fit"
        else:
            assert admitted == fits
        if admitted:
            self.model[request_id] = Call(self.gateways[place].node, amounts)
        return request_id

    @rule(request_id=consumes(calls), share=st.integers(0, 10))
    def settle(self, request_id: str, share: int) -> None:
        call = self.model.get(request_id)
        gateway = None if call is None else self.gateway_of(call)
        if call is None or gateway is None or call.state != "pending":
            return
        cost = max(call.wants.values()) * share // 10
        gateway.till.settle(request_id, cost)
        self.run(gateway.till.flush())
        call.state, call.posted = "settled", dict.fromkeys(call.wants, cost)

    @rule(request_id=consumes(calls))
    def release(self, request_id: str) -> None:
        call = self.model.get(request_id)
        gateway = None if call is None else self.gateway_of(call)
        if call is None or gateway is None or call.state != "pending":
            return
        gateway.till.release(request_id)
        self.run(gateway.till.flush())
        call.state = "released"

    @rule(place=st.integers(0, 1))
    def crash(self, place: int) -> None:
        """Its place is taken by a new gateway; its calls stay held until its lease ends."""
        dying = self.gateways[place]
        self.run(dying.kill())
        self.dead.append(dying)
        self.gateways[place] = self.join()

    @rule(place=st.integers(0, 1))
    def lease_of_the_dead_ends(self, place: int) -> None:
        for gateway in self.dead:
            self.run(gateway.let_lease_end())
            self.doubt(gateway.node)
        self.run(self.gateways[place].store.end_the_dead())
        self.dead.clear()

    @rule(place=st.integers(0, 1), late=st.integers(0, 40))
    def lease_of_a_living_one_ends(self, place: int, late: int) -> None:
        """As if it had been stopped: it starts anew, and what it settles after that is late."""
        stopped, other = self.gateways[place], self.gateways[1 - place]
        former = stopped.node
        self.run(stopped.let_lease_end())
        self.run(other.store.end_the_dead())
        for gateway in self.dead:
            if gateway.node not in self.run(self.open_nodes()):
                self.doubt(gateway.node)
        self.doubt(former)
        # It may have heard of it before it is asked, and be another one by now.
        assert not self.run(self.is_served(stopped)) or stopped.node != former
        self.run(self.until_anew(stopped, former))
        for request_id, call in self.model.items():
            if call.gateway == former and call.state == "doubt":
                stopped.till.settle(request_id, late)
                self.run(stopped.till.flush())
                call.state, call.posted = "settled", dict.fromkeys(call.wants, late)
                break

    @rule(place=st.integers(0, 1))
    def slices_are_settled(self, place: int) -> None:
        self.run(self.gateways[place].settle_slices())

    @rule(place=st.integers(0, 1))
    def leave_and_join(self, place: int) -> None:
        """In good order, with calls under way: they are left to the others."""
        leaving = self.gateways[place]
        self.run(leaving.store.close())
        self.doubt(leaving.node)
        self.gateways[place] = self.join()
        self.run(self.gateways[place].store.end_the_dead())

    @invariant()
    def the_books_are_those_of_the_model(self) -> None:
        if not self.gateways:
            return
        found = {AccountKey(*row[:4]): row[4:] for row in self.run(self.balances())}
        for key in self.keys:
            posted = sum(call.posted.get(key, 0) for call in self.model.values() if call.state != "pending")
            held = sum(call.wants.get(key, 0) for call in self.model.values() if call.state == "pending")
            stored_posted, stored_held, sliced, claimed = found.get(key, (0, 0, 0, 0))
            assert (stored_posted, stored_held) == (posted, held)
            assert claimed == posted + held + sliced
            assert sliced >= 0
            if not any(call.posted.get(key, 0) > call.wants.get(key, 0) for call in self.model.values()):
                assert claimed <= LIMIT

    async def balances(self) -> list[tuple[Any, ...]]:
        return await postgres.rows(
            self.database,
            "SELECT policy_id, metric, entity, window_start, b.posted, b.held, b.sliced, a.claimed "
            "FROM balances b JOIN accounts a USING (policy_id, metric, entity, window_start) "
            "WHERE policy_id LIKE $1",
            f"budget-{self.example}-%",
        )

    async def open_nodes(self) -> set[int]:
        return {node for (node,) in await postgres.rows(self.database, "SELECT id FROM nodes WHERE is_open")}

    async def is_served(self, gateway: Gateway) -> bool:
        """Whether a call is admitted that holds nothing of the budgets."""
        self.made += 1
        try:
            return await gateway.admit(f"probe_{self.example}_{self.made}", hold(0, 1, self.probe))
        except LedgerUnavailable:
            return False

    async def until_anew(self, gateway: Gateway, former: int) -> None:
        async with asyncio.timeout(10):
            while not gateway.store.writable or gateway.node == former:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def gateway_of(self, call: Call) -> Gateway | None:
        return next((each for each in self.gateways if each.node == call.gateway), None)

    def doubt(self, node: int) -> None:
        """What a gateway held is posted."""
        for call in self.model.values():
            if call.gateway == node and call.state == "pending":
                call.state, call.posted = "doubt", dict(call.wants)


_made: list[str] = []


def _database() -> str:
    """One database for all examples: their accounts have names of their own."""
    if not _made:
        _made.append(postgres.new_database())
    return _made[0]


def test_two_ledgers_on_one_database_keep_the_books_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palyra.store.postgres.share.HOT_CALLS_PER_S", 0.0)
    monkeypatch.setattr("palyra.store.postgres.share.CALLS_PER_SLICE_MIN", 0.0)
    run_state_machine_as_test(
        SharedMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    asyncio.run(verify_shared(Secret(_database())))
