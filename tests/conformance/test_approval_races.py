"""A1: whoever is first decides, whoever else wants to at that moment; on every store, and among gateways."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import pytest
from msgspec.structs import replace

from fakes.desks import operator, staff, who
from fakes.engines import Bench, budget, turns
from fakes.gateways import Gateway, join
from fakes.records import FakeClock
from fakes.till import Till
from harness.postgres import new_database
from palyra.approvals.approval import Approval, GrantKind, State
from palyra.approvals.rules import Offer
from palyra.core.errors import ApprovalClosed, BudgetExceeded
from palyra.lifecycle.approval_drafts import Wish, draft_up_front
from palyra.lifecycle.approvals import Approvals, ApprovalTerms
from palyra.lifecycle.ports import ApprovalRecords

ROUNDS = 40
ROUNDS_LONG = 1_000
CALLS = 50
AMOUNT = Offer(GrantKind.AMOUNT)
MANY = ApprovalTerms(pending_max=1_000_000)

Outcome = Approval | BaseException | None
Act = Callable[[], Awaitable[Approval | None]]


@dataclass(slots=True)
class Office:
    """Where one gateway decides."""

    bench: Bench
    desk: Approvals

    def approve(self, approval: Approval) -> Act:
        return lambda: self.desk.approve(approval.id, AMOUNT, "", by=operator(self.bench))

    def approve_as_another(self, approval: Approval) -> Act:
        return lambda: self.desk.approve(approval.id, AMOUNT, "", by=operator(self.bench, "olga"))

    def deny(self, approval: Approval) -> Act:
        return lambda: self.desk.deny(approval.id, "", by=operator(self.bench, "olga"))

    async def expire(self) -> None:
        await self.desk.sweep()


def open_office(records: ApprovalRecords, *, shared: bool = False) -> Office:
    bench = Bench(budget("all", 1, metric="requests", scope="principal:*", action="approval_required"))
    return Office(bench, staff(bench, MANY, records, shared=shared).approvals)


@pytest.fixture(params=[ROUNDS, pytest.param(ROUNDS_LONG, marks=pytest.mark.soak)])
def rounds(request: pytest.FixtureRequest) -> int:
    """How often whatever is raced is raced."""
    return cast("int", request.param)


@pytest.fixture
async def offices(till: Till) -> Sequence[Office]:
    """Two desks over one store: with SQLite and in memory the same one twice, as there is one owner."""
    office = open_office(till.store.records)
    return (office, office)


@pytest.fixture
async def gateways() -> AsyncIterator[Sequence[Office]]:
    """The desks of two gateways on one PostgreSQL."""
    database, clock = new_database(), FakeClock()
    stores: list[Gateway] = [await join(database, clock) for _ in range(2)]
    yield [open_office(each.store.records, shared=True) for each in stores]
    for each in stores:
        await each.store.close()


async def ask(office: Office, number: int, *, expire_after_ns: int = 10**15) -> Approval:
    """A request of alice; each for another amount, so that none joins another."""
    bench = office.bench
    policy = bench.engine.rules.snapshot.policies["all"]
    wish = Wish(policy, f"alice-{number}", 1, f"alice-{number}", "")
    draft = draft_up_front(
        wish,
        bench.engine.ledger.balance,
        who(bench, "root"),
        office.desk.new_id(),
        bench.clock.now(),
        expire_after_ns,
    )
    return await office.desk.request(replace(draft, requester="alice"))


async def race(*acts: Act) -> list[Outcome]:
    return list(await asyncio.gather(*(act() for act in acts), return_exceptions=True))


async def check(offices: Sequence[Office], approval: Approval, outcomes: Sequence[Outcome]) -> State:
    """Exactly one came through, everybody agrees on which, and it is what is stored."""
    won = [each for each in outcomes if isinstance(each, Approval)]
    lost = [each for each in outcomes if not isinstance(each, Approval)]
    assert len(won) == 1, outcomes
    assert all(isinstance(each, ApprovalClosed) for each in lost), outcomes
    for office in offices:
        await office.desk.load()
        assert await office.desk.find(approval.id) == won[0]
    return won[0].state


async def approve_against_deny(offices: Sequence[Office], rounds: int) -> set[State]:
    seen: set[State] = set()
    for number in range(rounds):
        approval = await ask(offices[0], number)
        acts = [offices[0].approve(approval), offices[1].deny(approval)]
        outcomes = await race(*(acts if number % 2 else reversed(acts)))
        seen.add(await check(offices, approval, outcomes))
    return seen


async def test_approve_against_deny(offices: Sequence[Office], rounds: int) -> None:
    assert await approve_against_deny(offices, rounds) == {State.APPROVED, State.DENIED}


async def test_approve_against_deny_at_two_gateways(gateways: Sequence[Office], rounds: int) -> None:
    # Which gateway's statement the database takes first is up to the machine, here and below.
    assert await approve_against_deny(gateways, rounds) <= {State.APPROVED, State.DENIED}


async def two_approvers(offices: Sequence[Office], rounds: int) -> set[str | None]:
    seen: set[str | None] = set()
    for number in range(rounds):
        approval = await ask(offices[0], number)
        acts = [offices[0].approve(approval), offices[1].approve_as_another(approval)]
        outcomes = await race(*(acts if number % 2 else reversed(acts)))
        await check(offices, approval, outcomes)
        ruling = (await offices[0].desk.find(approval.id)).ruling
        seen.add(ruling.principal if ruling else None)
    return seen


async def test_two_approvers(offices: Sequence[Office], rounds: int) -> None:
    assert await two_approvers(offices, rounds) == {"root", "olga"}


async def test_two_approvers_at_two_gateways(gateways: Sequence[Office], rounds: int) -> None:
    assert await two_approvers(gateways, rounds) <= {"root", "olga"}


async def approve_against_expiry(offices: Sequence[Office], rounds: int) -> set[State]:
    """The second gateway's clock is at the end of the request already, the first one's just before."""
    seen: set[State] = set()
    for number in range(rounds):
        approval = await ask(offices[0], number, expire_after_ns=1_000)
        await offices[1].desk.load()
        clock = offices[1].bench.clock
        kept = clock.instant

        async def expire(clock: FakeClock = clock, approval: Approval = approval) -> None:
            clock.instant = approval.expires_at
            await offices[1].expire()

        acts: list[Act] = [offices[0].approve(approval), expire]
        outcomes = await race(*(acts if number % 2 else reversed(acts)))
        clock.instant = kept
        await offices[1].desk.load()
        stored = await offices[1].desk.find(approval.id)
        said = [each for each in outcomes if isinstance(each, Approval)]
        if stored.state is State.APPROVED:
            assert said == [stored]
        else:
            assert stored.state is State.EXPIRED
            assert not said
        seen.add(stored.state)
    return seen


async def test_approve_against_expiry(offices: Sequence[Office], rounds: int) -> None:
    assert State.EXPIRED in await approve_against_expiry(offices, rounds)


async def test_approve_against_expiry_at_two_gateways(gateways: Sequence[Office], rounds: int) -> None:
    assert await approve_against_expiry(gateways, rounds) <= {State.APPROVED, State.EXPIRED}


async def test_a_grant_for_one_call_that_fifty_calls_want_at_once_lets_one_through(rounds: int) -> None:
    bench = Bench(budget("all", 1, metric="requests", scope="principal:*", action="approval_required"))
    desk = staff(bench, MANY).approvals
    await bench.answered(bench.call())
    for number in range(rounds):
        call = bench.call(max_tokens=number + 1)
        with pytest.raises(BudgetExceeded) as refused:
            await bench.start(call)
        approval_id = cast("str", refused.value.detail["approval_id"])
        await desk.approve(approval_id, Offer(GrantKind.ONCE), "", by=operator(bench))
        at_provider = len(bench.upstream.calls)

        shown = [replace(bench.call(max_tokens=number + 1), approvals=(approval_id,)) for _ in range(CALLS)]
        running = [bench.start(each) for each in shown]
        await turns(lambda running=running: sum(each.done() for each in running) == CALLS - 1)

        assert len(bench.upstream.calls) == at_provider + 1
        bench.upstream.calls[-1].answer(1, 1)
        await asyncio.gather(*running, return_exceptions=True)
        assert bench.balance("all", "alice").posted == number + 2
