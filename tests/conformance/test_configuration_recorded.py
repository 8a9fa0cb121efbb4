"""The configuration is journaled once on every store, however many gateways start with it."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from fakes.stored import audited, reopen
from fakes.till import Till
from palyra.lifecycle.configured import AT_ONCE, Document, journal_configuration


def file(limit: str, count: int = 3) -> dict[str, Document]:
    """Some budgets and what there is one of."""
    budgets: dict[str, Document] = {f"policy/b{number:03}": {"hard_limit": limit} for number in range(count)}
    return {**budgets, "governance": {"mode": "enforced"}}


async def start(till: Till, documents: Mapping[str, Document]) -> int:
    return len(await journal_configuration(till.store.records, documents, "config"))


async def test_a_start_records_what_changed_since_the_one_before(till: Till) -> None:
    assert await start(till, file("5")) == 4
    await reopen(till)
    assert await start(till, file("5")) == 0
    assert await start(till, file("6", 2)) == 3
    assert (await audited(till))[4:] == [
        ("policy.updated", "b000"),
        ("policy.updated", "b001"),
        ("policy.deleted", "b002"),
    ]


async def test_of_starts_at_once_with_one_file_one_records_each_object(till: Till) -> None:
    documents = file("5", AT_ONCE + 10)
    recorded = await asyncio.gather(*(start(till, documents) for _ in range(4)))
    assert sum(recorded) == len(documents)
    assert set(Counter(await audited(till)).values()) == {1}


async def test_starts_at_once_with_different_files_come_to_an_end(till: Till) -> None:
    files = [file(str(limit)) for limit in range(5)]
    await asyncio.gather(*(start(till, each) for each in files))
    configured = await till.store.records.configured()
    assert configured.keys() == files[0].keys()
    counts = Counter(ref for _, ref in await audited(till))
    assert counts.pop("governance") == 1
    assert all(1 <= count <= len(files) for count in counts.values()), "no start writes a name twice"
