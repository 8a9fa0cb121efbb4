"""The history of a ledger: every record in the order in which it was applied, on every store."""

from fakes.records import NOON
from fakes.till import Till, decision, hold
from harness.postgres import new_database
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.history import Line, read_call, read_end
from palyra.store.history import PAGES_AT_ONCE

SECOND = NANOSECONDS
BEGINNING = Instant(0)


def told(lines: list[Line]) -> list[str]:
    """Each record in a word: + for a decision, - for an end."""
    return [
        f"-{each.request_id}" if each.ends else f"+{read_call(each.document).request_id}" for each in lines
    ]


async def history(till: Till, since: Instant = BEGINNING) -> list[Line]:
    reading = await till.store.history.read(since)
    lines: list[Line] = []
    while (some := await reading.next()) is not None:
        lines += some
        assert reading.done <= reading.total
    return lines


async def test_decisions_and_ends_come_in_the_order_in_which_they_were_applied(till: Till) -> None:
    till.reserve("req_1", hold(10))
    till.reserve("req_2", hold(10))
    till.settle("req_2", 7)
    till.store.records.record_denial(decision("req_3", NOON, outcome="deny"))
    till.release("req_1")
    await till.flush()
    assert told(await history(till)) == ["+req_1", "+req_2", "-req_2", "+req_3", "-req_1"]


async def test_an_end_is_found_in_another_commit_than_its_decision(till: Till) -> None:
    for number in range(3):
        till.reserve(f"req_{number}", hold(10))
        await till.flush()
    till.settle("req_1", 7)
    await till.flush()
    till.store.records.record_denial(decision("req_3", NOON, outcome="deny"))
    await till.flush()
    till.expire("req_0")
    await till.flush()
    found = await history(till)
    assert told(found) == ["+req_0", "+req_1", "+req_2", "-req_1", "+req_3", "-req_0"]
    assert [read_end(each.document).state for each in found if each.ends] == ["settled", "in_doubt"]


async def test_more_pages_than_one_answer_has_are_read_to_their_end(till: Till) -> None:
    expected: list[str] = []
    for number in range(PAGES_AT_ONCE + 3):
        till.reserve(f"req_{number}", hold(1))
        expected.append(f"+req_{number}")
        await till.flush()
    till.settle("req_5", 1)
    await till.flush()
    assert told(await history(till)) == [*expected, "-req_5"]


async def test_reading_begins_with_what_was_recorded_since(till: Till) -> None:
    for number in range(6):
        till.reserve(f"req_{number}", hold(1))
        await till.flush()
        till.clock.advance(60)
    assert told(await history(till, Instant(NOON + 180 * SECOND))) == ["+req_3", "+req_4", "+req_5"]
    assert await history(till, Instant(NOON + 3_600 * SECOND)) == []


async def test_refusals_alone_are_read_too(till: Till) -> None:
    for number in range(3):
        till.store.records.record_denial(decision(f"req_{number}", NOON, outcome="deny"))
        await till.store.records.drop_old(Instant(0))
    assert told(await history(till)) == ["+req_0", "+req_1", "+req_2"]


async def test_the_records_of_two_gateways_are_merged_by_their_clocks() -> None:
    database = new_database()
    one, other = await Till.on_server(database), await Till.on_server(database)
    expected: list[str] = []
    for number in range(6):
        till = (one, other, other)[number % 3]
        till.clock.instant = Instant(NOON + number * SECOND)
        till.reserve(f"req_{number}", hold(1))
        expected.append(f"+req_{number}")
        await till.flush()
    one.clock.instant = other.clock.instant = Instant(NOON + 60 * SECOND)
    one.settle("req_3", 1)
    await one.flush()
    assert told(await history(other)) == [*expected, "-req_3"]
    assert told(await history(other, Instant(NOON + 4 * SECOND))) == ["+req_4", "+req_5", "-req_3"]
    await one.leave()
    await other.leave()


async def test_a_ledger_without_calls_has_no_history(till: Till) -> None:
    assert await history(till) == []
