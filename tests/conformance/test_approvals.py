"""What the port ``ApprovalRecords`` promises, on every store."""

import asyncio

import pytest
from msgspec import structs

from fakes.records import NOON
from fakes.stored import (
    LATER,
    approval,
    audited,
    decided,
    entry,
    granted,
    is_superseded,
    reopen,
)
from fakes.till import Till, assert_books_agree, hold
from palyra.approvals.approval import Approval, Grant, GrantKind, Risk, Ruling, State
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import LedgerUnavailable, Superseded
from palyra.core.instant import Instant
from palyra.lifecycle.ports import ApprovalFilter

FULL = approval(
    "apr_9",
    State.REVOKED,
    version=4,
    risk=Risk.HIGH,
    principal=None,
    occurrences=7,
    agent="größe ☃",
    session="run-7",
    model="stub-model",
    request_id="req_1",
    fingerprint="f1",
    reason='"quoted"\n\\',
    grant=Grant(GrantKind.ONCE, 20, LATER),
    ruling=Ruling(NOON, "bob", "key-2", "go on"),
    revocation=Ruling(Instant(NOON + 1), None, None, "the policy was edited"),
    used_by="req_2",
)


def policy() -> Policy:
    document = {"id": "daily", "scope": "global", "metric": "cost_usd", "interval": "day"}
    return parse_policy(
        {**document, "hard_limit": "5.00"}, defaults=PolicyDefaults(), version=1, actor="key-1", origin="api"
    )


async def save(till: Till, *made: Approval) -> None:
    for each in made:
        await till.store.records.save_approval(each, entry("approval.saved", each.id))


async def save_at_once(till: Till, *made: Approval) -> list[object]:
    """What became of each: None where it was stored."""
    return await asyncio.gather(
        *(till.store.records.save_approval(each, entry("approval.saved", each.id)) for each in made),
        return_exceptions=True,
    )


async def test_an_approval_is_read_back_as_it_was_saved(till: Till) -> None:
    versions = [structs.replace(FULL, version=version) for version in (1, 2, 3)]
    await save(till, *versions, FULL)
    assert await till.store.records.approval("apr_9") == FULL
    assert await till.store.records.approvals(ApprovalFilter()) == [FULL]


async def test_an_unknown_one_is_none(till: Till) -> None:
    records = till.store.records
    assert await records.approval("apr_9") is None
    assert await records.approvals(ApprovalFilter()) == []
    assert await records.open_approvals(NOON) == []


class TestFirstWriterWins:
    async def test_a_version_replaces_the_one_before_it(self, till: Till) -> None:
        first = approval()
        await save(till, first, denied := decided(first))
        assert await till.store.records.approvals(ApprovalFilter()) == [denied]

    @pytest.mark.parametrize("version", [1, 2, 4])
    async def test_any_other_version_is_refused_and_leaves_no_trace(self, till: Till, version: int) -> None:
        first = approval()
        await save(till, first, denied := decided(first))
        with pytest.raises(Superseded):
            await save(till, structs.replace(granted(first), version=version))
        assert await till.store.records.approval(first.id) == denied
        assert await audited(till) == [("approval.saved", first.id)] * 2

    async def test_a_later_version_of_what_was_never_stored_is_refused(self, till: Till) -> None:
        with pytest.raises(Superseded):
            await save(till, decided(approval()))
        assert await till.store.records.approval("apr_1") is None

    async def test_of_many_decisions_at_once_exactly_one_is_made(self, till: Till) -> None:
        for number in range(5):
            await save(till, first := approval(f"apr_{number}"))
            rivals = [decided(first, by=f"user-{rival}") for rival in range(20)]
            outcomes = await save_at_once(till, *rivals)
            landed = [made for made, outcome in zip(rivals, outcomes, strict=True) if outcome is None]
            assert len(landed) == 1
            assert sum(map(is_superseded, outcomes)) == len(rivals) - 1
            assert await till.store.records.approval(first.id) == landed[0]
        assert len(await audited(till)) == 2 * 5

    async def test_who_was_first_may_go_on_in_the_same_commit(self, till: Till) -> None:
        await save(till, first := approval())
        won, lost = granted(first), decided(first, by="carol")
        revoked = decided(won, State.REVOKED)
        outcomes = await save_at_once(till, won, lost, revoked, decided(lost, State.REVOKED, by="carol"))
        assert [is_superseded(each) for each in outcomes] == [False, True, False, True]
        assert await till.store.records.approval(first.id) == revoked

    async def test_the_one_that_is_stored_is_still_there_after_a_restart(self, till: Till) -> None:
        await save(till, first := approval(), other := approval("apr_2"))
        outcomes = await save_at_once(till, denied := decided(first), granted(first))
        assert [is_superseded(each) for each in outcomes] == [False, True]
        await reopen(till)
        assert await till.store.records.approvals(ApprovalFilter()) == [other, denied]
        with pytest.raises(Superseded):
            await save(till, granted(first))

    async def test_calls_of_the_same_commit_are_durable_all_the_same(self, till: Till) -> None:
        await save(till, first := approval())
        await save(till, decided(first))
        till.reserve("req_1", hold(10))
        till.settle("req_1", 7)
        refused = asyncio.create_task(save(till, granted(first)))
        await asyncio.sleep(0)
        till.reserve("req_2", hold(20))
        with pytest.raises(Superseded):
            await refused
        await till.flush()
        assert till.errors() == []
        await assert_books_agree(till)
        assert till.balance().posted == 7
        assert till.balance().held == 20
        till.settle("req_2", 15)
        await till.flush()
        assert till.errors() == []
        await assert_books_agree(till)

    async def test_a_write_that_cannot_be_stored_and_one_that_is_late_fail_apart(self, till: Till) -> None:
        await save(till, first := approval())
        records = till.store.records
        await records.save_policy(policy(), entry("policy.created", "daily"))
        outcomes = await asyncio.gather(
            records.save_approval(won := granted(first), None),
            records.save_policy(policy(), entry("policy.created", "daily")),
            records.save_approval(decided(first), None),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [type(None), LedgerUnavailable, Superseded]
        assert await records.approval(first.id) == won

    async def test_who_gives_up_waiting_does_not_undo_a_decision(self, till: Till) -> None:
        await save(till, first := approval())
        saving = asyncio.create_task(save(till, denied := decided(first)))
        await asyncio.sleep(0)
        saving.cancel()
        await save(till, approval("apr_2"))
        assert await till.store.records.approval(first.id) == denied


class TestOnePendingPerCause:
    async def test_of_many_requests_at_once_exactly_one_is_made(self, till: Till) -> None:
        rivals = [approval(f"apr_{number:02}", cause="same") for number in range(20)]
        outcomes = await save_at_once(till, *rivals)
        assert outcomes.count(None) == 1
        assert sum(map(is_superseded, outcomes)) == len(rivals) - 1
        (stored,) = await till.store.records.open_approvals(NOON)
        assert stored == rivals[outcomes.index(None)]

    async def test_a_decided_one_makes_room_for_the_next(self, till: Till) -> None:
        await save(till, first := approval(cause="same"), decided(first))
        await save(till, second := approval("apr_2", cause="same"))
        with pytest.raises(Superseded):
            await save(till, approval("apr_3", cause="same"))
        await save(till, approval("apr_3", State.VOID, cause="same"), granted(second))
        assert await till.store.records.approval("apr_2") == granted(second)

    async def test_a_pending_one_may_be_asked_for_again(self, till: Till) -> None:
        await save(till, first := approval(cause="same"))
        again = structs.replace(first, version=2, occurrences=2, asked_at=LATER)
        await save(till, again)
        assert await till.store.records.approval(first.id) == again

    async def test_none_can_become_pending_beside_another(self, till: Till) -> None:
        await save(till, first := approval(cause="same"), denied := decided(first))
        await save(till, second := approval("apr_2", cause="same"))
        outcomes = await save_at_once(
            till, structs.replace(first, version=3), other := approval("apr_3"), granted(second)
        )
        assert [is_superseded(each) for each in outcomes] == [True, False, False]
        records = till.store.records
        assert await records.approval(first.id) == denied
        assert await records.approval("apr_3") == other


class TestReading:
    async def test_open_ones_are_those_that_something_can_come_of(self, till: Till) -> None:
        pending = approval("apr_1"), approval("apr_2", expires_at=Instant(NOON - 1))
        for number, end in enumerate((Instant(NOON - 1), NOON, Instant(NOON + 1)), 3):
            await save(till, made := approval(f"apr_{number}"), granted(made, end))
        for number, state in enumerate((State.DENIED, State.EXPIRED, State.VOID), 6):
            await save(till, made := approval(f"apr_{number}"), decided(made, state))
        await save(till, made := approval("apr_9"), won := granted(made), decided(won, State.REVOKED))
        await save(till, *reversed(pending))
        found = await till.store.records.open_approvals(NOON)
        assert [each.id for each in found] == ["apr_1", "apr_2", "apr_5"]
        assert list(found[:2]) == list(pending)
        found = await till.store.records.open_approvals(Instant(NOON + 1))
        assert [each.id for each in found] == ["apr_1", "apr_2"]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (ApprovalFilter(), ["apr_4", "apr_3", "apr_2", "apr_1"]),
            (ApprovalFilter(state=State.PENDING), ["apr_4", "apr_2"]),
            (ApprovalFilter(state=State.DENIED), ["apr_1"]),
            (ApprovalFilter(state=State.EXPIRED), []),
            (ApprovalFilter(requester="bob"), ["apr_2"]),
            (ApprovalFilter(policy_id="weekly"), ["apr_4"]),
            (ApprovalFilter(requester="alice", state=State.PENDING), ["apr_4"]),
            (ApprovalFilter(requester="nobody"), []),
            (ApprovalFilter(before="apr_3"), ["apr_2", "apr_1"]),
            (ApprovalFilter(limit=1), ["apr_4"]),
            (ApprovalFilter(requester="alice", before="apr_4", limit=1), ["apr_3"]),
        ],
    )
    async def test_they_are_found_by_what_they_are(
        self, till: Till, wanted: ApprovalFilter, found: list[str]
    ) -> None:
        await save(till, first := approval("apr_1"), decided(first))
        await save(till, approval("apr_2", requester="bob"))
        await save(till, third := approval("apr_3"), granted(third))
        await save(till, approval("apr_4", policy_id="weekly"))
        assert [each.id for each in await till.store.records.approvals(wanted)] == found

    async def test_pages_have_no_gap_and_no_repeat_while_more_are_made(self, till: Till) -> None:
        for number in range(10, 20):
            await save(till, approval(f"apr_{number}"))
        seen: list[str] = []
        newer = iter(range(20, 40))
        while page := await till.store.records.approvals(
            ApprovalFilter(before=seen[-1] if seen else None, limit=3)
        ):
            seen += [each.id for each in page]
            await save(till, approval(f"apr_{next(newer)}"))
        assert seen == [f"apr_{number}" for number in reversed(range(10, 20))]


class TestTheJournal:
    async def test_a_change_is_in_the_chain_with_who_made_it(self, till: Till) -> None:
        records, first = till.store.records, approval()
        await records.save_approval(first, entry("approval.requested", first.id))
        await records.save_approval(decided(first), entry("approval.denied", first.id))
        assert await audited(till) == [("approval.requested", first.id), ("approval.denied", first.id)]

    async def test_a_change_that_nobody_is_to_hear_of_is_stored_without_a_line(self, till: Till) -> None:
        first = approval()
        await till.store.records.save_approval(first, None)
        with pytest.raises(Superseded):
            await till.store.records.save_approval(first, None)
        await save(till, denied := decided(first))
        assert await audited(till) == [("approval.saved", first.id)]
        await reopen(till)
        assert await till.store.records.approval(first.id) == denied
