"""What the port ``ConfigRecords`` promises, on every store."""

import asyncio

import pytest

from fakes.stored import audited, entry, is_superseded, reopen
from fakes.till import Till
from palyra.core.errors import Superseded

NAME = "policy/daily"


async def record(till: Till, before: str | None, after: str | None, name: str = NAME) -> None:
    await till.store.records.record_configured(name, before, after, entry("config.changed", name))


async def test_a_document_is_recorded_replaced_and_removed(till: Till) -> None:
    records = till.store.records
    assert await records.configured() == {}
    await record(till, None, '{"limit":1}')
    await record(till, None, '"☃"', "price/openai/gpt-4o")
    assert await records.configured() == {NAME: '{"limit":1}', "price/openai/gpt-4o": '"☃"'}
    await record(till, '{"limit":1}', '{"limit":2}')
    await record(till, '"☃"', None, "price/openai/gpt-4o")
    await reopen(till)
    assert await till.store.records.configured() == {NAME: '{"limit":2}'}
    assert await audited(till) == [
        ("config.changed", NAME),
        ("config.changed", "price/openai/gpt-4o"),
        ("config.changed", NAME),
        ("config.changed", "price/openai/gpt-4o"),
    ]


@pytest.mark.parametrize(("before", "after"), [(None, "3"), ("2", "3"), ("2", None)])
async def test_where_something_else_is_recorded_nothing_changes(
    till: Till, before: str | None, after: str | None
) -> None:
    await record(till, None, "1")
    with pytest.raises(Superseded):
        await record(till, before, after)
    assert await till.store.records.configured() == {NAME: "1"}
    assert await audited(till) == [("config.changed", NAME)]


@pytest.mark.parametrize("after", ["3", None])
async def test_where_nothing_is_recorded_nothing_is_replaced(till: Till, after: str | None) -> None:
    with pytest.raises(Superseded):
        await record(till, "2", after)
    assert await till.store.records.configured() == {}


async def test_of_two_starts_at_once_one_records_the_change(till: Till) -> None:
    await record(till, None, "1")
    outcomes = await asyncio.gather(*(record(till, "1", "2") for _ in range(5)), return_exceptions=True)
    assert outcomes.count(None) == 1
    assert sum(map(is_superseded, outcomes)) == 4
    assert len(await audited(till)) == 2


async def test_nothing_in_the_place_of_nothing_is_no_change(till: Till) -> None:
    with pytest.raises(ValueError, match="policy/daily"):
        await record(till, None, None)
    assert await audited(till) == []
