"""L1 and A1: whatever is asked, granted, revoked and called in whatever order, no call goes beyond the limit
and what is granted at that moment, but for one call by each grant for one call.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace

from fakes.desks import operator, staff
from fakes.engines import Bench, FakeCall, budget, turns
from palyra.approvals.approval import GrantKind, State
from palyra.approvals.rules import Offer
from palyra.core.errors import ApprovalClosed, BudgetExceeded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.call import Call
from palyra.lifecycle.flow import Answered

LIMIT = 3
PRINCIPALS = ("alice", "bob")
T = TypeVar("T")
Running = tuple["asyncio.Task[Any]", FakeCall]


class OverrideMachine(RuleBasedStateMachine):
    """One budget of LIMIT requests a day that all share, and that asks."""

    approvals = Bundle("approvals")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.bench: Bench = self.run(self._make())
        self.desk = staff(self.bench).approvals
        self.running: list[Running] = []

    async def _make(self) -> Bench:
        return Bench(budget("all", LIMIT, metric="requests", action="approval_required"))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        for task, call in self.running:
            self.run(self._end(task, call, 200))
        self.loop.close()

    # Calls.

    @rule(
        target=approvals,
        principal=st.sampled_from(PRINCIPALS),
        body=st.integers(1, 3),
        show=st.lists(approvals, max_size=2),
    )
    def call(self, principal: str, body: int, show: list[str]) -> str:
        return self.run(self._call(principal, body, tuple(each for each in show if each)))

    async def _call(self, principal: str, body: int, show: tuple[str, ...]) -> str:
        bench, before = self.bench, len(self.bench.upstream.calls)
        call = replace(bench.call(principal, max_tokens=body), approvals=show)
        task = bench.start(call)
        await turns(lambda: task.done() or len(bench.upstream.calls) > before)
        if task.done():
            error = task.exception()
            assert isinstance(error, BudgetExceeded)
            return cast("str | None", error.detail["approval_id"]) or ""
        self.running.append((task, bench.upstream.calls[-1]))
        await self._check(call)
        return ""

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

    @rule(
        approval=approvals, amount=st.integers(1, 3), hours=st.integers(1, 3), kind=st.sampled_from(GrantKind)
    )
    def approve(self, approval: str, amount: int, hours: int, kind: GrantKind) -> None:
        until = Instant(self.bench.clock.now() + hours * 3_600 * NANOSECONDS)
        offer = Offer(
            kind,
            None if kind is GrantKind.ONCE else amount,
            until if kind is GrantKind.TIMEBOXED else None,
        )
        self.decide(approval, lambda: self.desk.approve(approval, offer, "", by=operator(self.bench)))

    @rule(approval=approvals)
    def deny(self, approval: str) -> None:
        self.decide(approval, lambda: self.desk.deny(approval, "no", by=operator(self.bench)))

    @rule(approval=approvals)
    def revoke(self, approval: str) -> None:
        self.decide(
            approval, lambda: self.desk.revoke(approval, "enough", by=operator(self.bench)), State.APPROVED
        )

    def decide(self, approval: str, change: Any, state: State = State.PENDING) -> None:
        """Only what is in ``state`` can become something else, and it does so once (A1)."""
        if not approval:
            return
        before = self.run(self.desk.find(approval))
        now = self.bench.clock.now()
        over = before.live_grant(now) is None if state is State.APPROVED else before.expires_at <= now
        try:
            after = self.run(change())
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
        OverrideMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
