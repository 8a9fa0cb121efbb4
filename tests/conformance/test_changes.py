"""Who changed which rules, on every store: found without going through the journal."""

import pytest

from fakes.records import NOON
from fakes.till import Till, hold
from palyra.core.errors import Superseded
from palyra.core.instant import Instant
from palyra.lifecycle.changes import ChangeFilter
from palyra.lifecycle.ports import AuditEntry

DOCUMENT = {"hard_limit": "5.00", "größe": "☃", "quoted": '["audit","x"]'}


async def change(till: Till, kind: str, ref: str, actor: str = "key-1") -> None:
    """Journal a change, a second after the one before."""
    till.clock.advance(1)
    text = f'"{till.clock.now()}"'
    known = await till.store.records.configured()
    audit = AuditEntry(kind, ref, actor, {"version": 1}, DOCUMENT)
    await till.store.records.record_configured(f"{kind}/{ref}", known.get(f"{kind}/{ref}"), text, audit)


async def listed(till: Till, **wanted: object) -> list[str]:
    found = await till.store.records.changes(ChangeFilter(**wanted))  # pyright: ignore[reportArgumentType]
    return [f"{each.kind} {each.ref} {each.actor}" for each in found]


async def some(till: Till) -> None:
    await change(till, "policy.created", "daily")
    await change(till, "key.created", "key-7")
    await change(till, "policy.updated", "daily", "config")
    await change(till, "policy.created", "policies")


async def test_changes_are_read_back_as_they_were_journaled_newest_first(till: Till) -> None:
    await some(till)

    assert await listed(till) == [
        "policy.created policies key-1",
        "policy.updated daily config",
        "key.created key-7 key-1",
        "policy.created daily key-1",
    ]
    newest = (await till.store.records.changes(ChangeFilter(limit=1)))[0]
    assert (newest.before, newest.after) == ({"version": 1}, DOCUMENT)
    assert newest.place.at == till.clock.now()


async def test_changes_are_found_by_kind_object_actor_and_time(till: Till) -> None:
    await some(till)
    second = Instant(NOON + 2_000_000_000)

    assert len(await listed(till, kind="policy")) == 3
    assert await listed(till, kind="policy.updated") == ["policy.updated daily config"]
    assert await listed(till, kind="polic") == []
    assert len(await listed(till, ref="daily")) == 2
    assert await listed(till, actor="config", ref="daily") == ["policy.updated daily config"]
    assert len(await listed(till, since=second)) == 3
    assert await listed(till, until=second) == ["policy.created daily key-1"]


async def test_pages_of_changes_are_stable_while_more_come(till: Till) -> None:
    await some(till)
    records = till.store.records
    first = await records.changes(ChangeFilter(limit=2))
    await change(till, "policy.deleted", "daily")

    rest = await records.changes(ChangeFilter(limit=9, before=first[-1].place))

    assert [each.kind for each in (*first, *rest)] == [
        "policy.created",
        "policy.updated",
        "key.created",
        "policy.created",
    ]
    assert len({each.place for each in (*first, *rest)}) == 4
    assert await records.changes(ChangeFilter(before=rest[-1].place)) == []


async def test_a_change_among_calls_is_found(till: Till) -> None:
    for number in range(40):
        till.reserve(f"req_{number:02}", hold(1))
        if number % 13 == 5:
            await change(till, "key.revoked", f"key-{number}")
    for number in range(40):
        till.release(f"req_{number:02}")

    assert await listed(till, kind="key") == [f"key.revoked key-{number} key-1" for number in (31, 18, 5)]


async def test_a_change_that_lost_a_race_is_not_there(till: Till) -> None:
    audit = AuditEntry("policy.updated", "daily", "key-1", None, None)
    with pytest.raises(Superseded):
        await till.store.records.record_configured("policy/daily", "other", "mine", audit)

    assert await listed(till) == []
