"""L1 and A1: whatever is asked, granted, revoked and called in whatever order, no call goes beyond the limit
and what is granted at that moment, but for one call by each grant for one call.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace

from fakes.desks import operator, staff
from fakes.engines import Bench, FakeCall, budget, turns
from palyra.approvals.approval import Approval, GrantKind, State
from palyra.approvals.rules import Offer
from palyra.core.errors import ApprovalClosed, BudgetExceeded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.call import Call
from palyra.lifecycle.flow import Answered

LIMIT = 1
PRINCIPALS = ("alice", "bob")
PLACES = st.integers(0, 3)
T = TypeVar("T")
Change = Callable[[str], Coroutine[Any, Any, Approval]]
Running = tuple["asyncio.Task[Any]", FakeCall]


class OverrideMachine(RuleBasedStateMachine):
    """One budget of LIMIT requests a day that all share, and that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.bench: Bench = self.run(self._make())
        self.desk = staff(self.bench).approvals
        self.running: list[Running] = []
        self.known: dict[str, tuple[str, int]] = {}
        """Every approval that a caller was told of, and the call that asked."""

    async def _make(self) -> Bench:
        return Bench(budget("all", LIMIT, metric="requests", action="approval_required"))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        for task, call in self.running:
            self.run(self._end(task, call, 200))
        self.loop.close()

    # Calls.

    @rule(principal=st.sampled_from(PRINCIPALS), body=st.integers(1, 2), times=st.integers(1, 3))
    def call(self, principal: str, body: int, times: int) -> None:
        for _ in range(times):
            self.one(principal, body, ())

    @rule(place=PLACES, times=st.integers(1, 2), another=st.booleans())
    def retry(self, place: int, times: int, another: bool) -> None:
        """The call that asked, with its approval; or ``another`` one with it."""
        if self.known:
            approval = self.pick(place)
            principal, body = self.known[approval]
            for _ in range(times):
                self.one(principal, body + another, (approval,))

    def one(self, principal: str, body: int, show: tuple[str, ...]) -> None:
        told = self.run(self._call(principal, body, show))
        if told is not None:
            self.known.setdefault(told, (principal, body))

    def pick(self, place: int) -> str:
        """One that was told of; the late ones are the interesting ones."""
        return list(self.known)[-1 - place % len(self.known)]

    async def _call(self, principal: str, body: int, show: tuple[str, ...]) -> str | None:
        bench, before = self.bench, len(self.bench.upstream.calls)
        call = replace(bench.call(principal, max_tokens=body), approvals=show)
        task = bench.start(call)
        await turns(lambda: task.done() or len(bench.upstream.calls) > before)
        if task.done():
            error = task.exception()
            assert isinstance(error, BudgetExceeded)
            return cast("str | None", error.detail["approval_id"])
        self.running.append((task, bench.upstream.calls[-1]))
        await self._check(call)
        return None

    async def _check(self, call: Call) -> None:
        """A call was admitted: within the limit and what is granted to it, or as the one of its grant."""
        stored = await self.bench.store.records.decision(call.request_id)
        assert stored is not None
        singles = [each for each in stored.decision.overrides if each.single_use]
        for each in singles:
            approval = await self.desk.find(each.approvals[0])
            assert approval.principal == stored.decision.principal, "A1"
            used = self.bench.store.ledger.book.balance(approval.single_use)
            assert used.posted + used.held == 1, "A1"
        if not singles:
            now = self.bench.clock.now()
            live = [each for each in self.desk.open if each.live_grant(now) is not None]
            extra = sum(
                each.grant.extra for each in live if each.grant and each.grant.kind is not GrantKind.ONCE
            )
            mine = any(each.principal == stored.decision.principal for each in live)
            account = self.bench.balance("all")
            assert account.posted + account.held <= LIMIT + (extra if mine else 0), "L1"

    @rule(place=st.integers(0, 5), status=st.sampled_from((200, 400)))
    def end(self, place: int, status: int) -> None:
        if self.running:
            task, call = self.running.pop(place % len(self.running))
            self.run(self._end(task, call, status))

    async def _end(self, task: "asyncio.Task[Any]", call: FakeCall, status: int) -> None:
        if status == 200:
            call.answer(1, 1)
        else:
            call.refuse(status)
        answered = await task
        assert isinstance(answered, Answered)

    # People.

    @rule(place=PLACES, amount=st.integers(1, 2), hours=st.integers(1, 3), kind=st.sampled_from(GrantKind))
    def approve(self, place: int, amount: int, hours: int, kind: GrantKind) -> None:
        until = Instant(self.bench.clock.now() + hours * 3_600 * NANOSECONDS)
        offer = Offer(
            kind,
            None if kind is GrantKind.ONCE else amount,
            until if kind is GrantKind.TIMEBOXED else None,
        )
        self.decide(place, lambda approval: self.desk.approve(approval, offer, "", by=operator(self.bench)))

    @rule(place=PLACES)
    def deny(self, place: int) -> None:
        self.decide(place, lambda approval: self.desk.deny(approval, "no", by=operator(self.bench)))

    @rule(place=PLACES)
    def revoke(self, place: int) -> None:
        self.decide(
            place,
            lambda approval: self.desk.revoke(approval, "enough", by=operator(self.bench)),
            State.APPROVED,
        )

    def decide(self, place: int, change: Change, state: State = State.PENDING) -> None:
        """Only what is in ``state`` can become something else, and it does so once (A1)."""
        if not self.known:
            return
        approval = self.pick(place)
        before = self.run(self.desk.find(approval))
        now = self.bench.clock.now()
        over = before.live_grant(now) is None if state is State.APPROVED else before.expires_at <= now
        try:
            after = self.run(change(approval))
        except ApprovalClosed:
            assert before.state is not state or over, "A1"
        else:
            assert before.state is state
            assert not over
            assert after.state is not before.state

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        """Within the day of the budget, so that there is one account to look at."""
        if self.bench.clock.now() % (86_400 * NANOSECONDS) < 20 * 3_600 * NANOSECONDS:
            self.bench.clock.advance(minutes * 60)
        self.run(self.desk.sweep())


def test_no_order_of_calls_and_decisions_goes_beyond_what_was_granted() -> None:
    run_state_machine_as_test(
        OverrideMachine, settings=settings(max_examples=200, stateful_step_count=40, deadline=None)
    )
