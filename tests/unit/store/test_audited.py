"""The changes of rules in a journal are found among its calls."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.records import NOON
from fakes.till import Till, hold
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import AuditEntry
from palyra.store import codec
from palyra.store.audited import ChangesFound, Found, Wanted
from palyra.store.export import Request, export_file

DAY_S = 24 * 3600


async def worked(path: Path) -> Path:
    """Six changes on three days, and calls between them that talk of changes."""
    till = Till.on_disk(path)
    for number, (kind, ref) in enumerate(
        [
            ("policy.created", "daily"),
            ("policy.created", "weekly"),
            ("key.created", "ci"),
            ("policy.updated", "daily"),
            ("approval.approved", "apr_1"),
            ("policy.deleted", "daily"),
        ]
    ):
        till.reserve(f'["audit","{number}"', hold(100))
        audit = AuditEntry(kind, ref, "key-1", None, {"number": number, "list": ["audit", "x"]})
        await till.store.records.delete_policy("none", audit)
        await till.flush()
        if number % 2:
            till.clock.advance(DAY_S)
    till.close()
    return path


def found(path: Path, wanted: Wanted) -> tuple[int, Sequence[Found]]:
    reader = ChangesFound(wanted)
    export_file(path, Request("palyra.db", NOON, wanted.since), reader.read)
    return reader.matching, reader.newest


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(), [5, 4, 3, 2, 1, 0]),
        (Wanted(kind="policy"), [5, 3, 1, 0]),
        (Wanted(kind="policy.created"), [1, 0]),
        (Wanted(kind="pol"), []),
        (Wanted(ref="daily"), [5, 3, 0]),
        (Wanted(kind="policy.updated", ref="daily"), [3]),
        (Wanted(since=Instant(NOON + DAY_S * NANOSECONDS)), [5, 4, 3, 2]),
        (Wanted(since=Instant(NOON + DAY_S * NANOSECONDS + 1)), [5, 4]),
    ],
)
async def test_the_wanted_ones_the_newest_first(tmp_path: Path, wanted: Wanted, numbers: list[int]) -> None:
    matching, newest = found(await worked(tmp_path / "palyra.db"), wanted)
    assert [each.change.after and each.change.after["number"] for each in newest] == numbers
    assert matching == len(numbers)


async def test_no_more_than_the_limit_and_how_many_there_are(tmp_path: Path) -> None:
    path = await worked(tmp_path / "palyra.db")
    matching, newest = found(path, Wanted(limit=2))
    assert (matching, [each.change.ref for each in newest]) == (6, ["daily", "apr_1"])


async def test_each_says_where_it_stands(tmp_path: Path) -> None:
    path = await worked(tmp_path / "palyra.db")
    out = io.BytesIO()
    export_file(path, Request("palyra.db", NOON), out.write)
    reader = ChangesFound(Wanted())
    for line in out.getvalue().splitlines(keepends=True):
        reader.read(line)
    # Each change follows the reservation that was made before it.
    assert [each.seq for each in reader.newest] == [12, 10, 8, 6, 4, 2]
    assert {each.node for each in reader.newest} == {0}
    assert reader.newest[0].at == NOON + 2 * DAY_S * NANOSECONDS


def test_of_a_page_that_began_before_the_time_only_what_is_later_counts() -> None:
    reader = ChangesFound(Wanted(since=Instant(NOON + 5)))
    records: list[list[object]] = [
        ["audit", "key.created", f"key_{at}", NOON + at, "key-1", None, {}] for at in (4, 5, 6)
    ]
    reader.read(codec.encode({"node": 3, "seq": 7, "entries": records}))
    assert [(each.node, each.seq, each.change.ref) for each in reader.newest] == [
        (3, 9, "key_6"),
        (3, 8, "key_5"),
    ]
