"""A hold that points at its accounts does what the same reservation does, spelled out."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.records import NOON
from fakes.till import DAY_END, LEASE_NS, account, hold
from palyra.core.instant import Instant
from palyra.core.invariant import InvariantViolation
from palyra.ledger.account import AccountKey, Balance
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, Released, Settled
from palyra.ledger.held import NO_LIMIT, Held, HeldEntries, Stakes

KEYS = (account("cost"), account("tokens", metric="total_tokens"), account("calls", metric="requests"))
USED = {"cost_usd": 70, "total_tokens": 3, "requests": 1}


def book_with(balances: Sequence[int]) -> Book:
    """A book in which each of KEYS has this much posted."""
    book = Book()
    for key, posted in zip(KEYS, balances, strict=True):
        book.restore(key, DAY_END, Balance(posted, 0, posted, 0))
    return book


def held_on(book: Book, amounts: Sequence[int], limits: Sequence[int | None], name: str = "req_1") -> Held:
    stakes = Stakes(
        tuple(book.accounts[key] for key in KEYS),
        tuple(NO_LIMIT if limit is None else limit for limit in limits),
        tuple(key.metric for key in KEYS),
    )
    return Held(name, NOON, Instant(NOON + LEASE_NS), stakes, amounts, b"")


def balances(book: Book) -> dict[AccountKey, Balance]:
    return {key: each.balance() for key, each in book.accounts.items()}


three = st.lists(st.integers(0, 100), min_size=3, max_size=3)
limits_of_three = st.lists(st.none() | st.integers(0, 150), min_size=3, max_size=3)


@given(three, three, limits_of_three, st.sampled_from(["settle", "release", "expire", "late"]))
def test_it_ends_as_the_spelled_out_reservation_does(
    posted: Sequence[int], amounts: Sequence[int], limits: Sequence[int | None], ending: str
) -> None:
    pointing, spelled = book_with(posted), book_with(posted)
    held = held_on(pointing, amounts, limits)
    before = balances(pointing)
    shortfall = pointing.hold(held)
    assert shortfall == spelled.shortfall(held.holds)
    if shortfall is not None:
        assert balances(pointing) == before, "L5: nothing is held"
        assert pointing.pending == {}
        return
    placed = list(HeldEntries(held, None))
    assert placed == list(spelled.apply(held.reserved()))
    assert balances(pointing) == balances(spelled)
    assert pointing.reservation("req_1") == spelled.reservation("req_1")
    events = {
        "settle": [Settled("req_1", NOON, USED)],
        "release": [Released("req_1", NOON, "")],
        "expire": [Expired("req_1", NOON, "")],
        "late": [Expired("req_1", NOON, ""), Settled("req_1", NOON, USED, late=True)],
    }[ending]
    for event in events:
        entries = pointing.apply(event)
        assert list(entries) == list(spelled.apply(event))
        assert len(entries) == len(KEYS)
    assert balances(pointing) == balances(spelled)
    assert pointing.pending == {}


def test_the_same_id_twice_is_no_second_hold() -> None:
    book = book_with((0, 0, 0))
    held = held_on(book, (1, 1, 1), (None, None, None))
    assert book.hold(held) is None
    with pytest.raises(InvariantViolation, match="L3"):
        book.hold(held)


def test_a_negative_amount_is_never_held() -> None:
    book = book_with((0, 0, 0))
    with pytest.raises(InvariantViolation, match="L1"):
        book.hold(held_on(book, (5, -1, 5), (None, None, None)))
    assert balances(book) == balances(book_with((0, 0, 0)))


def test_no_account_is_no_obstacle() -> None:
    book = Book()
    assert book.hold(Held("req_1", NOON, NOON, Stakes((), (), ()), (), b"")) is None
    assert book.reservation("req_1").holds == ()


def test_a_hold_without_a_limit_says_so() -> None:
    book = book_with((0, 0, 0))
    held = held_on(book, (1, 2, 3), (None, 9, None))
    assert held.holds == (hold(1, None, KEYS[0]), hold(2, 9, KEYS[1]), hold(3, None, KEYS[2]))
