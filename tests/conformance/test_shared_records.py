"""Approvals and alerts of many gateways on one PostgreSQL: one outcome each, and everybody hears of it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from msgspec import structs

from fakes.gateways import Gateway, join
from fakes.records import NOON, FakeClock
from fakes.stored import LATER, alert, approval, audited, decided, entry, granted, is_superseded, notice
from fakes.till import account, assert_books_agree, hold
from harness import postgres
from harness.daemon import eventually
from palyra.core.errors import RulesStale
from palyra.lifecycle.ports import AlertFilter, ApprovalFilter, AuditEntry
from palyra.store.postgres import sql

ROUNDS = 25


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways on a new database."""
    database = postgres.new_database()
    one = await join(database, FakeClock())
    other = await join(database, FakeClock())
    yield one, other
    await one.store.close()
    await other.store.close()


async def race(*writes: Coroutine[Any, Any, None]) -> list[object]:
    """What became of each: None where it was stored."""
    return await asyncio.gather(*writes, return_exceptions=True)


async def test_of_two_gateways_that_decide_at_once_one_does(pair: tuple[Gateway, Gateway]) -> None:
    one, other = (each.store.records for each in pair)
    for number in range(ROUNDS):
        first = approval(f"apr_{number:02}")
        await one.save_approval(first, None)
        verdicts = granted(first), decided(first)
        outcomes = await race(
            one.save_approval(verdicts[0], entry("approval.approved", first.id)),
            other.save_approval(verdicts[1], entry("approval.denied", first.id)),
        )
        assert sorted(map(is_superseded, outcomes)) == [False, True]
        for records in (one, other):
            assert await records.approval(first.id) == verdicts[outcomes.index(None)]
    found = await audited(pair[0].till)
    assert sorted(ref for _, ref in found) == [f"apr_{number:02}" for number in range(ROUNDS)]


async def test_of_two_gateways_that_ask_at_once_one_makes_the_request(pair: tuple[Gateway, Gateway]) -> None:
    one, other = (each.store.records for each in pair)
    for number in range(ROUNDS):
        outcomes = await race(
            one.save_approval(approval(f"apr_{number:02}a", cause=str(number)), None),
            other.save_approval(approval(f"apr_{number:02}b", cause=str(number)), None),
        )
        assert sorted(map(is_superseded, outcomes)) == [False, True]
    assert len(await one.open_approvals(NOON)) == ROUNDS


async def test_of_two_gateways_that_claim_a_notice_at_once_one_has_it(pair: tuple[Gateway, Gateway]) -> None:
    one, other = (each.store.records for each in pair)
    about = alert()
    notices = [notice(f"ntc_{number:02}", about) for number in range(ROUNDS)]
    await one.save_alert(about, notices, None)
    for each in notices:
        claimed = structs.replace(each, version=2, due_at=LATER)
        outcomes = await race(one.save_notice(claimed), other.save_notice(claimed))
        assert sorted(map(is_superseded, outcomes)) == [False, True]
    assert await other.due_notices(NOON, 100) == []
    assert len(await other.due_notices(LATER, 100)) == ROUNDS


async def test_many_changes_in_opposite_order_all_come_to_an_end(pair: tuple[Gateway, Gateway]) -> None:
    """Commits of both gateways lock the same rows; none waits for ever, none is lost."""
    one, other = (each.store.records for each in pair)
    made = [approval(f"apr_{number:02}") for number in range(20)]
    raised = [alert(f"alr_{number:02}") for number in range(20)]
    await race(*(one.save_approval(each, None) for each in made))
    await race(*(one.save_alert(each, (), None) for each in raised))
    seen_by_one = [structs.replace(each, version=2, count=2) for each in raised]
    seen_by_other = [structs.replace(each, version=2, count=3) for each in reversed(raised)]
    outcomes = await race(
        *(one.save_approval(granted(each), None) for each in made),
        *(one.save_alert(each, (), None) for each in seen_by_one),
        *(other.save_alert(each, (), None) for each in seen_by_other),
        *(other.save_approval(decided(each), None) for each in reversed(made)),
    )
    assert outcomes.count(None) == 40
    assert sum(map(is_superseded, outcomes)) == 40
    assert {each.version for each in await one.approvals(ApprovalFilter(limit=100))} == {2}
    assert {each.version for each in await one.alerts(AlertFilter(limit=100))} == {2}


async def test_calls_go_on_beside_races(pair: tuple[Gateway, Gateway]) -> None:
    """Calls of a commit that was rolled back for another write's sake are held once, and settled once."""
    numbers = itertools.count()
    for gateway in pair:
        assert await gateway.admit(f"warm_{gateway.node}", hold(1, 10_000))
    for number in range(ROUNDS):
        first = approval(f"apr_{number:02}")
        await pair[0].store.records.save_approval(first, None)
        races = [gateway.store.records.save_approval(decided(first), None) for gateway in pair]
        racing = asyncio.gather(*races, return_exceptions=True)
        await asyncio.sleep(0)
        for gateway in pair:
            request_id = f"req_{next(numbers)}"
            assert gateway.till.reserve(request_id, hold(10)) is None
            gateway.till.settle(request_id, 7)
        assert sorted(map(is_superseded, await racing)) == [False, True]
    for gateway in pair:
        await gateway.till.flush()
        assert gateway.till.errors() == []
        gateway.till.settle(f"warm_{gateway.node}", 1)
        await gateway.till.flush()
        await gateway.settle_slices()
    ((posted, held),) = await postgres.rows(
        pair[0].database, "SELECT posted, held FROM balances WHERE policy_id = $1", account().policy_id
    )
    assert (posted, held) == (7 * 2 * ROUNDS + 2, 0)


async def test_every_gateway_hears_of_a_changed_approval(pair: tuple[Gateway, Gateway]) -> None:
    heard = [0, 0]
    counting = [counter(heard, 0), counter(heard, 1)]
    for gateway, count in zip(pair, counting, strict=True):
        gateway.store.on_approvals = count
    await pair[0].store.records.save_approval(approval(), None)
    await eventually(lambda: min(heard) >= 1, "both to hear of it")
    before = list(heard)
    await pair[1].store.records.save_approval(decided(approval()), None)
    await eventually(lambda: heard[0] > before[0] and heard[1] > before[1], "both to hear of the next")
    assert pair[0].store.approvals_version == pair[1].store.approvals_version == 2


async def test_what_changed_is_told_with_the_commit(pair: tuple[Gateway, Gateway]) -> None:
    """Nobody has to look for it; of alerts nobody is told."""
    heard: list[str] = []

    def hear(_connection: object, _process: int, _channel: str, told: object) -> None:
        heard.append(str(told))

    listening = await asyncpg.connect(pair[0].database)
    await listening.add_listener("palyra", hear)
    records = pair[0].store.records
    await records.save_alert(alert(), (), None)
    await records.save_approval(approval(), None)
    await records.delete_policy("none", AuditEntry("policy.deleted", "none", "key-1", None, None))
    await eventually(lambda: len(heard) >= 2, "what is told")
    await listening.close()
    assert heard == ["approvals", "rules"]


async def test_a_gateway_that_could_not_listen_is_told_again(pair: tuple[Gateway, Gateway]) -> None:
    tries: list[int] = []

    async def failing_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("not now")

    pair[0].store.on_approvals = failing_once
    await pair[1].store.records.save_approval(approval(), None)
    await eventually(lambda: pair[0].store.approvals_version == 1, "it to be told again")
    assert len(tries) == 2


async def test_only_approvals_raise_their_version_and_only_rules_theirs(
    pair: tuple[Gateway, Gateway],
) -> None:
    async def versions() -> tuple[int, int]:
        ((rules, approvals),) = await postgres.rows(pair[0].database, sql.VERSIONS)
        return rules, approvals

    records, about = pair[0].store.records, alert()
    before = await versions()
    await records.save_alert(about, (made := notice("ntc_1", about),), None)
    await records.save_notice(structs.replace(made, version=2))
    await records.record_configured("key/ci", None, "{}", entry("config.changed", "key/ci"))
    await records.drop_old(LATER)
    assert await versions() == before
    await records.save_approval(approval(), None)
    assert await versions() == (before[0], before[1] + 1)
    await records.delete_policy("none", AuditEntry("policy.deleted", "none", "key-1", None, None))
    assert await versions() == (before[0] + 1, before[1] + 1)


async def test_a_superseded_approval_raises_no_version(pair: tuple[Gateway, Gateway]) -> None:
    await pair[0].store.records.save_approval(approval(), None)
    (outcome,) = await race(pair[1].store.records.save_approval(approval(), None))
    assert is_superseded(outcome)
    assert await postgres.rows(pair[0].database, sql.VERSIONS) == [(0, 1)]


async def test_rules_that_were_read_before_an_approval_can_be_changed_after_it(
    pair: tuple[Gateway, Gateway],
) -> None:
    one, other = (each.store.records for each in pair)
    deleted = AuditEntry("policy.deleted", "none", "key-1", None, None)
    for records in (one, other):
        await records.policies()
    await other.save_approval(approval(), None)
    await one.delete_policy("none", deleted)
    with pytest.raises(RulesStale):
        await other.delete_policy("none", deleted)


async def test_rules_and_approvals_in_one_commit_fail_apart(pair: tuple[Gateway, Gateway]) -> None:
    """Stale rules do not take an approval with them, nor the other way round."""
    one, other = (each.store.records for each in pair)
    deleted = AuditEntry("policy.deleted", "none", "key-1", None, None)
    await one.policies()
    await other.delete_policy("none", deleted)
    await one.save_approval(first := approval(), None)
    outcomes = await race(
        one.save_approval(granted(first), entry("approval.approved", first.id)),
        one.delete_policy("none", deleted),
        one.save_approval(decided(first), entry("approval.denied", first.id)),
    )
    assert [type(each) for each in outcomes[:2]] == [type(None), RulesStale]
    assert is_superseded(outcomes[2])
    assert await other.approval(first.id) == granted(first)
    await assert_books_agree(pair[0].till)


def counter(heard: list[int], place: int) -> Callable[[], Coroutine[Any, Any, None]]:
    async def count() -> None:
        heard[place] += 1

    return count
