"""S1: any order of calls, limits, clocks and restarts leaves the books that a model in a few dicts has."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.records import FakeClock
from fakes.sums import assert_sums_agree, stored_sums
from fakes.till import Till, account, balances, rollup_sums, stored_balances
from harness.new_file import give_file
from palyra.core.instant import Instant
from palyra.ledger.account import EMPTY, NEVER_RUN, AccountKey, Balance, Hold
from palyra.ledger.book import Book
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.pricing.usage import Usage
from palyra.store.memory import MemoryStore
from palyra.store.rebuild import rebuild_file
from palyra.store.sqlite import SqliteStore, verify

ACCOUNTS = (
    account("daily", "alice"),
    account("daily", "bob"),
    account("monthly", "*"),
    account("tokens", "nightly", "total_tokens"),
)
KEYS = ("key-1", "key-2")
AMOUNTS = st.integers(0, 60)
LIMITS = st.none() | st.integers(0, 200)
WANTS = st.lists(
    st.tuples(st.integers(0, len(ACCOUNTS) - 1), AMOUNTS, st.integers(NEVER_RUN, 60)),
    max_size=len(ACCOUNTS),
    unique_by=lambda want: want[0],
)


@dataclass(slots=True)
class Model:
    """What the books should say: four figures an account, and what each call holds or has posted."""

    figures: dict[AccountKey, list[int]] = field(default_factory=dict[AccountKey, list[int]])
    pending: dict[str, Sequence[Hold]] = field(default_factory=dict[str, Sequence[Hold]])
    in_doubt: dict[str, Sequence[Hold]] = field(default_factory=dict[str, Sequence[Hold]])
    counted: dict[str, tuple[int, int, int]] = field(default_factory=dict[str, tuple[int, int, int]])
    claims: dict[str, tuple[str, bool]] = field(default_factory=dict[str, tuple[str, bool]])

    def of(self, key: AccountKey) -> list[int]:
        return self.figures.setdefault(key, [0, 0, 0, 0])

    def fits(self, holds: Sequence[Hold]) -> bool:
        return all(
            hold.limit is None
            or self.of(hold.account)[0] + self.of(hold.account)[1] + hold.amount <= hold.limit
            for hold in holds
        )

    def add(self, hold: Hold, posted: int, held: int) -> None:
        """``posted`` and ``held`` on the real balance; on the shadow what enforcement would have left."""
        figures = self.of(hold.account)
        figures[0] += posted
        figures[1] += held
        if hold.shadow != NEVER_RUN:
            clamp = hold.shadow if hold.shadow < hold.amount else None
            figures[2] += posted if clamp is None else min(posted, clamp)
            figures[3] += hold.shadow if held > 0 else 0
            figures[3] -= hold.shadow if held < 0 else 0


class LedgerMachine(RuleBasedStateMachine):
    """The real ledger over the memory journal."""

    calls = Bundle("calls")
    """Every call that was ever reserved, whatever became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.till = self.open()
        self.model = Model()
        self.limits: dict[AccountKey, int | None] = dict.fromkeys(ACCOUNTS, 100)
        self.replayed = Book()
        self.replayed_events = 0
        self.made = 0

    def open(self) -> Till:
        return Till(MemoryStore(self.clock.now, self.loop), self.clock)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.till.flush())
        self.loop.run_until_complete(assert_sums_agree(self.till.store))
        self.till.close()
        self.loop.close()

    @initialize(limits=st.tuples(*[LIMITS] * len(ACCOUNTS)))
    def set_limits(self, limits: tuple[int | None, ...]) -> None:
        self.limits = dict(zip(ACCOUNTS, limits, strict=True))

    @rule(place=st.integers(0, len(ACCOUNTS) - 1), limit=LIMITS)
    def change_limit(self, place: int, limit: int | None) -> None:
        self.limits[ACCOUNTS[place]] = limit

    @rule(seconds=st.integers(1, 100_000))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(target=calls, wants=WANTS, key=st.none() | st.sampled_from(KEYS))
    def reserve(self, wants: list[tuple[int, int, int]], key: str | None) -> str:
        holds = [
            Hold(ACCOUNTS[place], 2**62, amount, min(shadow, amount), self.limits[ACCOUNTS[place]])
            for place, amount, shadow in wants
        ]
        self.made += 1
        request_id = f"req_{self.made:04}"
        free = key is not None and self.till.store.records.idempotency("alice", key) is None
        claim = IdempotencyClaim("alice", key, bytes(32)) if key is not None and free else None
        shortfall = self.till.reserve(request_id, *holds, claim=claim)
        assert (shortfall is None) == self.model.fits(holds), "L1, L5"
        if shortfall is None:
            self.model.pending[request_id] = holds
            for hold in holds:
                self.model.add(hold, 0, hold.amount)
                posted, held, *_ = self.model.of(hold.account)
                assert hold.limit is None or posted + held <= hold.limit, "L1"
            if claim is not None:
                self.model.claims[claim.key] = request_id, False
        return request_id

    @rule(call=calls, cost=AMOUNTS, tokens=AMOUNTS)
    def settle(self, call: str, cost: int, tokens: int) -> None:
        """Pending: the real usage. In doubt: late. Else a repeat: nothing."""
        self.till.settle(call, cost, usage=Usage(tokens, 0))
        amounts = {"cost_usd": cost, "total_tokens": tokens}
        pending, late = self.model.pending.pop(call, None), self.model.in_doubt.pop(call, None)
        for hold in pending or ():
            self.model.add(hold, amounts[hold.account.metric], -hold.amount)
        for hold in late or ():
            self.take_back(hold)
            self.model.add(hold, amounts[hold.account.metric], 0)
        if pending is not None or late is not None:
            self.model.counted[call] = cost, tokens, 0
            self.finish(call)

    @rule(call=calls)
    def release(self, call: str) -> None:
        self.till.release(call)
        for hold in self.model.pending.get(call, ()):
            self.model.add(hold, 0, -hold.amount)
        if self.model.pending.pop(call, None) is not None:
            self.model.claims = {key: each for key, each in self.model.claims.items() if each[0] != call}

    @rule(call=calls)
    def expire(self, call: str) -> None:
        self.till.expire(call, cost=77, tokens=(88, 99))
        holds = self.model.pending.pop(call, None)
        if holds is not None:
            self.model.in_doubt[call] = holds
            self.model.counted[call] = 77, 88, 99
            self.finish(call)
            for hold in holds:
                self.model.add(hold, hold.amount, -hold.amount)

    @rule(call=consumes(calls), cost=AMOUNTS)
    def settle_twice(self, call: str, cost: int) -> None:
        """L3, without waiting in between."""
        self.settle(call, cost, 1)
        self.till.settle(call, cost + 1, usage=Usage(2, 0))
        self.till.release(call)
        self.till.expire(call)

    @precondition(lambda self: self.model.pending)
    @rule()
    def settle_all(self) -> None:
        """V1: when nothing runs, nothing is held."""
        for call in list(self.model.pending):
            self.settle(call, 1, 1)
        assert all(figures[1] == figures[3] == 0 for figures in self.model.figures.values())

    def take_back(self, hold: Hold) -> None:
        figures = self.model.of(hold.account)
        figures[0] -= hold.amount
        figures[2] -= max(hold.shadow, 0)

    def finish(self, call: str) -> None:
        for key, (request_id, _) in self.model.claims.items():
            if request_id == call:
                self.model.claims[key] = request_id, True

    @invariant()
    def the_books_agree(self) -> None:
        """Everything that must hold after each step, once what was changed is stored."""
        self.loop.run_until_complete(self.till.flush())
        self.the_books_are_the_model()
        self.a_replay_gives_the_books()
        self.the_rollups_are_the_calls()
        self.a_key_has_one_effect()

    def the_books_are_the_model(self) -> None:
        """L1 - L5, L7 on the live balances."""
        assert self.till.errors() == []
        expected = {key: Balance(*figures) for key, figures in self.model.figures.items() if any(figures)}
        assert balances(self.till.store.ledger.book) == expected
        assert {each.id for each in self.till.store.ledger.pending()} == set(self.model.pending)
        assert set(self.till.store.ledger.book.in_doubt) == set(self.model.in_doubt)

    def a_replay_gives_the_books(self) -> None:
        """D3, at every step: each new event of the journal is applied to the replayed book."""
        for event in self.till.events()[self.replayed_events :]:
            self.replayed.apply(event)
            self.replayed_events += 1
        assert balances(self.replayed) == balances(self.till.store.ledger.book)

    def the_rollups_are_the_calls(self) -> None:
        """L2."""
        sums = self.loop.run_until_complete(rollup_sums(self.till.store))
        counted = self.model.counted.values()
        assert sums == (len(counted), *(sum(each[place] for each in counted) for place in range(3)))

    def a_key_has_one_effect(self) -> None:
        """K1."""
        for key, (request_id, finished) in self.model.claims.items():
            entry = self.till.store.records.idempotency("alice", key)
            if entry is None:
                assert finished, "a key in flight is never free"
            else:
                assert (entry.request_id, entry.finished) == (request_id, finished)


class DurableMachine(LedgerMachine):
    """The same over SQLite, with restarts, and with the stored balances looked at."""

    def open(self) -> Till:
        self.folder = tempfile.TemporaryDirectory(prefix="palyra-ledger-")
        path = Path(self.folder.name) / "palyra.db"
        give_file(path)
        return Till(SqliteStore(path, self.clock.now, self.loop), self.clock, path)

    def teardown(self) -> None:
        path = self.till.path
        super().teardown()
        if path is not None:
            verify(path)
            written = stored_sums(path)
            rebuild_file(path)
            assert stored_sums(path) == written, "L2: sums made anew are not those that were written"
        self.folder.cleanup()

    @rule()
    def restart(self) -> None:
        path = self.till.path
        assert path is not None
        self.till.store.close()
        self.till.store = SqliteStore(path, self.clock.now, self.loop)
        assert self.till.store.last_instant <= self.clock.now(), "P3"

    @invariant()
    def the_books_agree(self) -> None:
        """D2, D3 on the disk, too."""
        super().the_books_agree()
        assert self.till.path is not None
        assert stored_balances(self.till.path) == balances(self.till.store.ledger.book)


def run(machine: type[LedgerMachine], examples: int, steps: int) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=slow
        ),
    )


@pytest.mark.timeout(600)  # time to find the smallest failing story
def test_any_order_of_calls_leaves_the_books_of_the_model() -> None:
    run(LedgerMachine, examples=100, steps=100)


@pytest.mark.timeout(600)
def test_any_order_of_calls_and_restarts_leaves_the_books_of_the_model() -> None:
    run(DurableMachine, examples=25, steps=40)


@pytest.mark.soak
def test_any_order_of_calls_leaves_the_books_of_the_model_at_length() -> None:
    run(LedgerMachine, examples=20_000, steps=200)


@pytest.mark.soak
def test_any_order_of_calls_and_restarts_leaves_the_books_of_the_model_at_length() -> None:
    run(DurableMachine, examples=500, steps=100)


def test_the_model_is_not_empty_by_accident() -> None:
    """The machine would agree with a ledger that never admits anything."""
    machine = LedgerMachine()
    machine.set_limits((100, None, 100, 100))
    first = machine.reserve([(0, 60, 60), (2, 60, NEVER_RUN)], "key-1")
    machine.reserve([(0, 41, 0)], None)
    machine.expire(first)
    machine.settle(first, 10, 5)
    machine.the_books_agree()
    assert machine.till.balance(ACCOUNTS[0]) == Balance(10, 0, 10, 0)
    assert machine.till.balance(ACCOUNTS[2]) == Balance(10, 0, 0, 0)
    assert machine.till.balance(ACCOUNTS[1]) == EMPTY
    assert machine.clock.now() > Instant(0)
    machine.teardown()
