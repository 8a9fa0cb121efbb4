"""``Settled.shadow``: what full enforcement would have used, where it is something else."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.records import NOON
from fakes.till import LEASE_NS, Till, account, assert_books_agree, balances, hold, settlement
from palyra.core.instant import Instant
from palyra.ledger.account import EMPTY, NEVER_RUN, Balance, Hold, Posting
from palyra.ledger.book import Book, replay
from palyra.ledger.event import Expired, LedgerEvent, Released, Reserved, Settled
from palyra.ledger.held import HeldEntries
from palyra.lifecycle.decision import CallState
from palyra.store.codec import encode
from palyra.store.page import read_record

TOKENS = account("tokens", metric="total_tokens")


def reserved(*holds: Hold, request_id: str = "req_1") -> Reserved:
    return Reserved(request_id, NOON, Instant(NOON + LEASE_NS), holds)


def settled(
    cost: int, shadow: int | None = None, request_id: str = "req_1", *, late: bool = False
) -> Settled:
    amounts = {"cost_usd": cost, "total_tokens": 60}
    return Settled(request_id, NOON, amounts, late, None if shadow is None else {"cost_usd": shadow})


EXPIRED = Expired("req_1", NOON, "its lease ran out")


def after(*events: LedgerEvent) -> Book:
    return replay(events)


# On time.


def test_the_real_balance_takes_what_was_used_and_the_shadow_what_would_have_been() -> None:
    book = after(reserved(hold(1_000, shadow=100)))
    assert book.balance(account()) == Balance(0, 1_000, 0, 100)
    book.apply(settled(600, 60))
    assert book.balance(account()) == Balance(600, 0, 60, 0)


def test_without_a_shadow_the_real_amount_goes_to_both() -> None:
    assert after(reserved(hold(1_000)), settled(600)).balance(account()) == Balance(600, 0, 600, 0)


def test_a_metric_that_the_shadow_does_not_name_is_the_same_on_both() -> None:
    book = after(reserved(hold(1_000, shadow=100), hold(90, key=TOKENS)), settled(600, 60))
    assert book.balance(account()) == Balance(600, 0, 60, 0)
    assert book.balance(TOKENS) == Balance(60, 0, 60, 0)


def test_a_dearer_recommendation_is_posted_whole() -> None:
    """The hold could not hold more than the call does; what it would have cost is known now."""
    assert after(reserved(hold(1_000)), settled(600, 6_000)).balance(account()) == Balance(600, 0, 6_000, 0)


def test_a_call_that_would_not_have_run_leaves_the_shadow_alone() -> None:
    book = after(reserved(hold(1_000, shadow=NEVER_RUN)))
    assert book.balance(account()) == Balance(0, 1_000, 0, 0)
    book.apply(settled(600, 60))
    assert book.balance(account()) == Balance(600, 0, 0, 0)


def test_a_clamped_shadow_takes_no_more_than_its_clamp() -> None:
    assert after(reserved(hold(1_000, shadow=100)), settled(600)).balance(account()) == Balance(
        600, 0, 100, 0
    )
    assert after(reserved(hold(1_000, shadow=100)), settled(600, 150)).balance(account()) == Balance(
        600, 0, 100, 0
    )


def test_nothing_is_a_shadow_too() -> None:
    assert after(reserved(hold(1_000)), settled(600, 0)).balance(account()) == Balance(600, 0, 0, 0)


def test_a_release_takes_the_shadow_s_hold_back() -> None:
    book = after(reserved(hold(1_000, shadow=100)), Released("req_1", NOON, "refused"))
    assert book.balance(account()) == EMPTY


# Late.


def test_a_late_truth_corrects_the_shadow_by_itself() -> None:
    book = after(reserved(hold(1_000, shadow=100)), EXPIRED)
    assert book.balance(account()) == Balance(1_000, 0, 100, 0)
    entries = book.apply(settled(600, 60, late=True))
    assert book.balance(account()) == Balance(600, 0, 60, 0)
    assert not isinstance(entries, HeldEntries)
    (posting,) = entries
    assert isinstance(posting, Posting)
    assert (posting.posted, posting.held, posting.shadow_posted, posting.shadow_held) == (-400, 0, -40, 0)


def test_a_late_truth_without_a_shadow_corrects_both_alike() -> None:
    book = after(reserved(hold(1_000)), EXPIRED, settled(600, late=True))
    assert book.balance(account()) == Balance(600, 0, 600, 0)


@pytest.mark.parametrize(
    ("shadow_hold", "shadow", "expected"),
    [(1_000, 6_000, 6_000), (NEVER_RUN, 60, 0), (100, 150, 100), (1_000, 0, 0)],
)
def test_late_and_on_time_come_to_the_same_shadow(shadow_hold: int, shadow: int, expected: int) -> None:
    on_time = after(reserved(hold(1_000, shadow=shadow_hold)), settled(600, shadow))
    late = after(reserved(hold(1_000, shadow=shadow_hold)), EXPIRED, settled(600, shadow, late=True))
    assert on_time.balance(account()) == late.balance(account()) == Balance(600, 0, expected, 0)


# In the journal.


@pytest.mark.parametrize("event", [settled(600), settled(600, 60), settled(600, 0, late=True)])
def test_a_settlement_is_read_back_as_it_was(event: Settled) -> None:
    assert read_record(encode(event)) == event


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'["settle","req_1",%d,{"cost_usd":600},true]',
            Settled("req_1", NOON, {"cost_usd": 600}, late=True),
        ),
        (b'["settle","req_1",%d,{"cost_usd":600},false]', Settled("req_1", NOON, {"cost_usd": 600})),
        (b'["settle","req_1",%d,{"cost_usd":600}]', Settled("req_1", NOON, {"cost_usd": 600})),
    ],
)
def test_lines_of_earlier_versions_are_still_read(line: bytes, expected: Settled) -> None:
    """Kind, id, time, amounts and maybe ``late``: there was no shadow then."""
    found = read_record(line % NOON)
    assert found == expected
    assert isinstance(found, Settled)
    assert found.shadow is None
    lines = [encode(reserved(hold(1_000))), *([encode(EXPIRED)] if expected.late else []), line % NOON]
    records = [read_record(each) for each in lines]
    book = replay([each for each in records if isinstance(each, Reserved | Expired | Settled)])
    assert book.balance(account()) == Balance(600, 0, 600, 0)


# Replay.

amounts = st.integers(0, 1_000)


@st.composite
def histories(draw: st.DrawFn) -> Sequence[LedgerEvent]:
    events: list[LedgerEvent] = []
    for number in range(draw(st.integers(1, 6))):
        name = f"req_{number}"
        held = draw(amounts)
        shadow = draw(st.sampled_from([NEVER_RUN, held, held // 2]))
        events.append(reserved(hold(held, shadow=shadow), hold(90, key=TOKENS), request_id=name))
        end = draw(st.sampled_from(["settle", "release", "expire", "late", "pending"]))
        truth = settled(draw(amounts), draw(st.none() | amounts), name, late=end == "late")
        if end in ("expire", "late"):
            events.append(Expired(name, NOON, ""))
        if end in ("settle", "late"):
            events.append(truth)
        if end == "release":
            events.append(Released(name, NOON, ""))
    return events


@given(histories())
def test_replay_from_the_journal_gives_the_live_balances(events: Sequence[LedgerEvent]) -> None:
    """D3, and entries add up to balances (L2)."""
    live = Book()
    sums: dict[object, list[int]] = {}
    for event in events:
        for posting in live.apply(event):
            assert isinstance(posting, Posting)
            total = sums.setdefault(posting.account, [0, 0, 0, 0])
            for place, amount in enumerate(posting[2:]):
                total[place] += amount
    read = [read_record(encode(event)) for event in events]
    again = replay([each for each in read if isinstance(each, Reserved | Settled | Released | Expired)])
    assert balances(again) == balances(live)
    assert {key: Balance(*total) for key, total in sums.items() if any(total)} == balances(live)
    assert all(balance.shadow_posted >= 0 and balance.shadow_held >= 0 for balance in balances(live).values())


@given(histories())
def test_the_shadow_holds_nothing_once_all_calls_are_over(events: Sequence[LedgerEvent]) -> None:
    """V1, of the shadow."""
    book = after(*events)
    for name in list(book.pending):
        book.apply(Released(name, NOON, ""))
    assert all(balance.shadow_held == balance.held == 0 for balance in balances(book).values())


@pytest.mark.parametrize("end", ["on time", "late"])
async def test_a_store_keeps_the_shadow_in_its_journal_and_balances(end: str) -> None:
    till = Till.in_memory()
    till.reserve("req_1", hold(1_000, shadow=100))
    if end == "late":
        till.expire("req_1")
    told = asyncio.get_running_loop().create_future()
    truth = Settled("req_1", NOON, {"cost_usd": 600}, end == "late", {"cost_usd": 60})
    record = settlement(CallState.SETTLED, cost=600)
    till.store.ledger.settle(truth, till.decisions["req_1"], record, told.set_result)
    assert await told is None
    assert till.balance() == Balance(600, 0, 60, 0)
    await till.flush()
    assert balances(replay(till.events())) == balances(till.store.ledger.book)
    (settle,) = [event for event in till.events() if isinstance(event, Settled)]
    assert settle.shadow == {"cost_usd": 60}
    till.close()


async def test_books_agree_after_shadows_of_every_kind() -> None:
    till = Till.in_memory()
    for name, shadow in (("req_1", 1_000), ("req_2", 100), ("req_3", NEVER_RUN)):
        till.reserve(name, hold(1_000, shadow=shadow))
        till.settle(name, 600)
    await assert_books_agree(till)
    assert till.balance() == Balance(1_800, 0, 700, 0)
    till.close()
