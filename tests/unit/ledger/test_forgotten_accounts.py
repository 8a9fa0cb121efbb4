"""Events on accounts that the book has forgotten: they change no balance here, and their entries are told."""

from fakes.records import NOON
from fakes.till import DAY_END, LEASE_NS, account, hold
from palyra.core.instant import Instant
from palyra.ledger.account import Balance
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, LedgerEvent, Released, Reserved, Settled

NOTHING = account("nothing")


def forgotten() -> Book:
    """A book with a call that holds nothing on an account whose window is over, and 7 on another."""
    book = Book()
    holds = (hold(0, None, NOTHING), hold(7, 9, account("holding")))
    book.apply(Reserved("req_1", NOON, Instant(NOON + LEASE_NS), holds))
    assert book.forget_ended(Instant(DAY_END)) == 1
    return book


def test_a_settle_tells_the_entry_and_does_not_bring_the_account_back() -> None:
    book = forgotten()
    entries = book.apply(Settled("req_1", NOON, {"cost_usd": 5}))
    assert [entry[2:] for entry in entries] == [(5, 0, 5, 0), (5, -7, 5, -7)]
    assert NOTHING not in book.accounts
    assert book.balance(account("holding")) == Balance(5, 0, 5, 0)


def test_a_release_and_an_expiry_leave_it_forgotten_too() -> None:
    events: list[LedgerEvent] = [Released("req_1", NOON, ""), Expired("req_1", NOON, "")]
    for event in events:
        book = forgotten()
        assert len(book.apply(event)) == 2
        assert NOTHING not in book.accounts
        assert book.balance(account("holding")).held == 0
