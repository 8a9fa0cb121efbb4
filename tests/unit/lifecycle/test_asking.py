"""Calls that a budget stops until somebody lets them run."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from msgspec.structs import replace

from fakes.desks import operator, staff, who
from fakes.engines import Bench, budget, turns
from palyra.approvals.approval import Approval, GrantKind, State
from palyra.approvals.rules import Offer
from palyra.core.errors import ApprovalRequired, BudgetExceeded, InvalidApiKey, LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.identity.keys import Grant
from palyra.lifecycle.approval_drafts import Wish, draft_up_front
from palyra.lifecycle.approvals import ApprovalTerms
from palyra.lifecycle.call import Call
from palyra.lifecycle.flow import Answered, Repeated

ONCE = Offer(GrantKind.ONCE)
HOUR = 3_600 * NANOSECONDS
MOMENTS = range(-12, 13)
"""Turns of the loop by which a decision comes later than a call: some in the middle of its asking."""

Task = asyncio.Task[Answered | Repeated]


def calls(limit: int, **more: object) -> dict[str, object]:
    """A budget of so many calls a day for each principal, which asks."""
    return budget("calls", limit, metric="requests", scope="principal:*", action="approval_required", **more)


async def refused(bench: Bench, call: Call) -> ApprovalRequired:
    with pytest.raises(ApprovalRequired) as raised:
        await bench.start(call)
    return raised.value


def shown(call: Call, *approvals: str, wait_s: int = 0) -> Call:
    return replace(call, approvals=approvals, wait_s=wait_s)


def detail(error: BudgetExceeded) -> dict[str, Any]:
    return error.detail


async def spent(bench: Bench, **fields: object) -> None:
    """One call, so that a budget of one is used up."""
    await bench.answered(bench.call(**cast("Any", fields)))


async def test_a_stopped_call_makes_a_request_that_names_it() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)

    error = await refused(bench, bench.call())

    (approval,) = desk.approvals.open
    assert detail(error)["approval_id"] == approval.id
    assert detail(error)["approval_url"].endswith(f"/console/approvals?id={approval.id}")
    assert f"x-palyra-approval: {approval.id}" in error.message
    assert (approval.state, approval.requester, approval.entity) == (State.PENDING, "alice", "alice")
    assert (approval.limit, approval.consumed, approval.amount, approval.asked) == (1, 1, 1, 1)
    assert await bench.store.records.approval(approval.id) == approval


async def test_the_same_call_joins_its_request_and_another_makes_its_own() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)

    first = await refused(bench, bench.call())
    again = await refused(bench, bench.call())
    other = await refused(bench, bench.call(max_tokens=65))

    assert detail(first)["approval_id"] == detail(again)["approval_id"] != detail(other)["approval_id"]
    assert [each.occurrences for each in desk.approvals.open] == [2, 1]
    await desk.approvals.sweep()
    stored = await bench.store.records.approval(detail(first)["approval_id"])
    assert stored is not None
    assert stored.occurrences == 2


async def test_a_request_that_is_too_old_before_the_next_sweep_is_asked_anew() -> None:
    bench = Bench(calls(1))
    desk = staff(bench, ApprovalTerms(expire_after_ns=HOUR))
    await spent(bench)
    first = detail(await refused(bench, bench.call()))["approval_id"]
    bench.clock.advance(2 * 3_600)

    again = detail(await refused(bench, bench.call()))["approval_id"]

    assert again != first
    assert [(each.id, each.state) for each in desk.approvals.open] == [(again, State.PENDING)]
    expired = await bench.store.records.approval(first)
    assert expired is not None
    assert expired.state is State.EXPIRED


async def test_an_approved_call_runs_once_with_its_approval_and_never_again() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, ONCE, "fine", by=operator(bench))

    await refused(bench, shown(bench.call(max_tokens=65), approval_id))
    answered = await bench.answered(shown(bench.call(), approval_id))
    again = await refused(bench, shown(bench.call(), approval_id))

    decision = answered.plan.decision.whole()
    assert [each.approvals for each in decision.overrides] == [(approval_id,)]
    assert decision.overrides[0].single_use
    assert bench.balance("calls", "alice").posted == 2
    assert "used up" in again.message
    assert detail(again)["approval_id"] != approval_id
    await turns(lambda: any(each.used_by is not None for each in desk.told))


async def test_without_its_header_a_call_does_not_use_what_was_approved() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, ONCE, "", by=operator(bench))

    await refused(bench, bench.call())


async def test_somebody_elses_approval_is_of_no_use_and_not_known() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    await spent(bench, principal="bob")
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, ONCE, "", by=operator(bench))

    error = await refused(bench, shown(bench.call("bob"), approval_id))

    assert f"{approval_id} is not known" in error.message


async def test_a_released_call_leaves_its_single_grant_unused() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, ONCE, "", by=operator(bench))

    running = bench.start(shown(bench.call(), approval_id))
    (await bench.at_provider(2)).refuse(400)
    await running
    answered = await bench.answered(shown(bench.call(), approval_id))

    assert isinstance(answered, Answered)


async def test_an_amount_lets_that_much_through_and_not_more() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, Offer(GrantKind.AMOUNT, 3), "", by=operator(bench))

    for _ in range(3):
        await bench.answered(bench.call())
    await refused(bench, bench.call())
    assert bench.balance("calls", "alice").posted == 4


async def test_on_a_shared_budget_only_those_who_were_granted_something_use_it() -> None:
    bench = Bench(budget("all", 1, metric="requests", action="approval_required"))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, Offer(GrantKind.AMOUNT, 1), "", by=operator(bench))

    await refused(bench, bench.call("bob"))
    await bench.answered(bench.call())


async def test_a_time_lets_calls_through_until_it_is_over() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    until = Instant(bench.clock.now() + HOUR)
    await desk.approvals.approve(approval_id, Offer(GrantKind.TIMEBOXED, 9, until), "", by=operator(bench))

    await bench.answered(bench.call())
    bench.clock.advance(3_600)
    await refused(bench, bench.call())


async def test_a_revoked_grant_lets_nothing_through_any_more() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.approve(approval_id, Offer(GrantKind.AMOUNT, 9), "", by=operator(bench))
    await bench.answered(bench.call())

    await desk.approvals.revoke(approval_id, "enough", by=operator(bench))

    await refused(bench, bench.call())


async def test_a_denied_call_is_told_so_and_does_not_ask_again() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    approval_id = detail(await refused(bench, bench.call()))["approval_id"]
    await desk.approvals.deny(approval_id, "too dear", by=operator(bench))

    with pytest.raises(BudgetExceeded, match=r"denied by root.*too dear") as raised:
        await bench.start(bench.call())

    assert raised.value.code == "budget_exceeded"
    assert detail(raised.value)["approval_id"] == approval_id
    assert not desk.approvals.open
    bench.clock.advance(24 * 3_600)
    await desk.approvals.sweep()


async def test_too_many_requests_of_one_principal_are_refused_without_one() -> None:
    bench = Bench(calls(1))
    desk = staff(bench, ApprovalTerms(pending_max=2))
    await spent(bench)
    await spent(bench, principal="bob")

    errors = [await refused(bench, bench.call(max_tokens=tokens)) for tokens in (1, 2, 3)]

    assert detail(errors[2])["approval_id"] is None
    assert "too many" in errors[2].message.lower()
    assert len(desk.approvals.open) == 2
    assert detail(await refused(bench, bench.call("bob")))["approval_id"] is not None


async def test_a_caller_that_waits_goes_on_when_somebody_approves() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    running = bench.start(shown(bench.call(), wait_s=60))
    await turns(lambda: desk.approvals.waiting == 1)
    (approval,) = desk.approvals.open

    await desk.approvals.approve(approval.id, ONCE, "", by=operator(bench))
    (await bench.at_provider(2)).answer(1, 1)
    answered = cast("Answered", await running)

    assert desk.approvals.waiting == 0
    assert answered.plan.decision.whole().overrides[0].approvals == (approval.id,)


async def test_a_caller_that_waits_is_told_of_a_denial_and_of_the_end_of_its_time() -> None:
    bench = Bench(calls(1))
    desk = staff(bench, ApprovalTerms(wait_max_s=0))
    await spent(bench)
    await refused(bench, shown(bench.call(max_tokens=1), wait_s=60))

    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    running = bench.start(shown(bench.call(), wait_s=60))
    await turns(lambda: desk.approvals.waiting == 1)
    await desk.approvals.deny(desk.approvals.open[-1].id, "no", by=operator(bench))
    with pytest.raises(BudgetExceeded, match="denied by root"):
        await running


async def test_a_waiting_call_is_decided_anew_with_the_key_of_then() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    rules, root = bench.engine.rules, who(bench, "root")
    key, clear = await rules.create_key(Grant("carol"), issuer=root)
    call = replace(bench.call(), credential=clear)
    running = bench.start(call)
    (await bench.at_provider(2)).answer(1, 1)
    await running
    running = bench.start(shown(call, wait_s=60))
    await turns(lambda: desk.approvals.waiting == 1)

    await rules.revoke_key(key.id, by=root)
    await desk.approvals.approve(desk.approvals.open[0].id, ONCE, "", by=root)

    with pytest.raises(InvalidApiKey):
        await running


async def test_a_caller_that_goes_away_while_it_waits_leaves_the_request_open() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    running = bench.start(shown(bench.call(), wait_s=60))
    await turns(lambda: desk.approvals.waiting == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert desk.approvals.waiting == 0
    assert [each.state for each in desk.approvals.open] == [State.PENDING]
    assert bench.balance("calls", "alice").held == 0


async def test_a_stopping_daemon_answers_the_calls_that_wait_and_keeps_their_requests() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    running = bench.start(shown(bench.call(), wait_s=60))
    await turns(lambda: desk.approvals.waiting == 1)

    desk.approvals.leave()

    with pytest.raises(ApprovalRequired):
        await running
    stored = await bench.store.records.open_approvals(bench.clock.now())
    assert [each.state for each in stored] == [State.PENDING]


async def test_two_budgets_that_ask_are_asked_one_after_the_other() -> None:
    both = (calls(1), budget("all", 1, metric="requests", action="approval_required"))
    bench = Bench(*both)
    desk = staff(bench)
    await spent(bench)
    running = bench.start(shown(bench.call(), wait_s=60))
    for number in (1, 2):
        await turns(lambda number=number: len(desk.approvals.open) == number and desk.approvals.waiting == 1)
        pending = [each for each in desk.approvals.open if each.state is State.PENDING]
        await desk.approvals.approve(pending[0].id, ONCE, "", by=operator(bench))

    (await bench.at_provider(2)).answer(1, 1)
    answered = cast("Answered", await running)
    assert len(answered.plan.decision.whole().overrides) == 2


async def test_a_blocked_call_asks_nobody_but_an_override_up_front_lets_it_run() -> None:
    bench = Bench(budget("hard", 1, metric="requests", scope="principal:*"))
    desk = staff(bench)
    await spent(bench)
    with pytest.raises(BudgetExceeded) as raised:
        await bench.start(bench.call())
    assert detail(raised.value)["approval_id"] is None

    policy = bench.engine.rules.snapshot.policies["hard"]
    alice = who(bench, "alice")
    wish = Wish(policy, "alice", 1, "alice", "one more")
    terms = desk.approvals.terms
    draft = draft_up_front(
        wish, bench.engine.ledger.balance, alice, "apr_x", bench.clock.now(), terms.expire_after_ns
    )
    made = await desk.approvals.request(draft)
    await desk.approvals.approve(made.id, Offer(GrantKind.AMOUNT), "", by=operator(bench))

    await bench.answered(bench.call())
    with pytest.raises(BudgetExceeded):
        await bench.start(bench.call())


async def test_where_the_request_cannot_be_stored_the_call_is_told_that_the_ledger_is_away() -> None:
    bench = Bench(calls(1))
    desk = staff(bench)
    await spent(bench)
    bench.store.journal.failure = LedgerUnavailable("the disk is full")

    with pytest.raises(LedgerUnavailable):
        await bench.start(bench.call())

    assert not desk.approvals.open


async def test_a_dry_run_asks_nobody() -> None:
    bench = Bench(calls(1, mode="dry_run"))
    desk = staff(bench)
    await spent(bench)
    await bench.answered(bench.call())
    assert not desk.approvals.open


async def overlapping(bench: Bench, call: Call, ruling: Coroutine[Any, Any, Approval], moment: int) -> Task:
    """Start a call, and decide so many turns of the loop later, or earlier. The call may run on."""
    deciding: asyncio.Task[Approval] | None = asyncio.create_task(ruling) if moment < 0 else None
    for _ in range(-moment):
        await asyncio.sleep(0)
    running = bench.start(call)
    for _ in range(moment):
        await asyncio.sleep(0)
    await (ruling if deciding is None else deciding)
    return running


async def test_a_call_that_shows_what_is_approved_at_that_moment_runs_or_is_told_of_that_approval() -> None:
    ran: set[bool] = set()
    for moment in MOMENTS:
        bench = Bench(calls(1))
        desk = staff(bench)
        await spent(bench)
        approval_id = detail(await refused(bench, bench.call()))["approval_id"]

        ruling = desk.approvals.approve(approval_id, ONCE, "", by=operator(bench))
        running = await overlapping(bench, shown(bench.call(), approval_id), ruling, moment)
        await turns(lambda running=running, bench=bench: running.done() or len(bench.upstream.calls) == 2)

        assert {each.id for each in desk.told} == {approval_id}, f"asked anew at {moment}"
        ran.add(not running.done())
        if running.done():
            assert detail(cast("BudgetExceeded", running.exception()))["approval_id"] == approval_id
        else:
            bench.upstream.calls[-1].answer(1, 1)
            await running
    assert ran == {True, False}


async def test_an_amount_that_is_granted_at_that_moment_is_not_asked_for_once_more() -> None:
    for moment in MOMENTS:
        bench = Bench(calls(1))
        desk = staff(bench)
        await spent(bench)
        approval_id = detail(await refused(bench, bench.call()))["approval_id"]

        ruling = desk.approvals.approve(approval_id, Offer(GrantKind.AMOUNT, 9), "", by=operator(bench))
        running = await overlapping(bench, bench.call(), ruling, moment)
        await turns(lambda running=running, bench=bench: running.done() or len(bench.upstream.calls) == 2)

        assert {each.id for each in desk.told} == {approval_id}, f"asked anew at {moment}"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_caller_that_begins_to_wait_while_somebody_approves_goes_on() -> None:
    for moment in MOMENTS:
        bench = Bench(calls(1))
        desk = staff(bench)
        await spent(bench)
        approval_id = detail(await refused(bench, bench.call()))["approval_id"]

        ruling = desk.approvals.approve(approval_id, Offer(GrantKind.AMOUNT), "", by=operator(bench))
        running = await overlapping(bench, shown(bench.call(), wait_s=60), ruling, moment)

        (await bench.at_provider(2)).answer(1, 1)
        await running


async def test_a_caller_that_begins_to_wait_while_somebody_denies_is_told() -> None:
    for moment in MOMENTS:
        bench = Bench(calls(1))
        desk = staff(bench)
        await spent(bench)
        approval_id = detail(await refused(bench, bench.call()))["approval_id"]

        ruling = desk.approvals.deny(approval_id, "no", by=operator(bench))
        running = await overlapping(bench, shown(bench.call(), wait_s=60), ruling, moment)

        await turns(running.done)
        assert "denied by root" in str(running.exception())
