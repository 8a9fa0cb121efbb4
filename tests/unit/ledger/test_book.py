"""What the book refuses, and what it forgets. What it does is in ``tests/conformance``."""

import pytest
from msgspec.structs import replace

from fakes.records import NOON
from fakes.till import DAY_END, LEASE_NS, account, hold
from palyra.core.instant import Instant
from palyra.core.invariant import InvariantViolation
from palyra.ledger.account import EMPTY, Balance, Hold
from palyra.ledger.book import Book, replay
from palyra.ledger.event import (
    Expired,
    LedgerEvent,
    Released,
    Reserved,
    Settled,
    kind_of,
)
from palyra.store.codec import encode
from palyra.store.page import read_record


def reserved(request_id: str, *holds: Hold) -> Reserved:
    return Reserved(request_id, NOON, Instant(NOON + LEASE_NS), holds)


def settled(request_id: str, cost: int) -> Settled:
    return Settled(request_id, NOON, {"cost_usd": cost})


EVENTS: tuple[LedgerEvent, ...] = (
    reserved("req_1", hold(100, 500), hold(3, None, account("other"))),
    Settled("req_1", NOON, {"cost_usd": 60}, late=True),
    Released("req_2", NOON, "the provider said no"),
    Expired("req_3", NOON, "its lease ran out"),
)


class TestWhatCannotFollow:
    """A book that is told the impossible stops: wrong numbers would be worse (L1, L3)."""

    def test_a_reservation_twice(self) -> None:
        book = replay([reserved("req_1", hold(1))])
        with pytest.raises(InvariantViolation, match="L3"):
            book.apply(reserved("req_1", hold(1)))

    def test_a_negative_hold(self) -> None:
        with pytest.raises(InvariantViolation, match="L1"):
            Book().apply(reserved("req_1", hold(-1)))

    def test_a_hold_above_its_limit(self) -> None:
        with pytest.raises(InvariantViolation, match=r"L1.*limit 9"):
            Book().apply(reserved("req_1", hold(10, 9)))

    def test_two_holds_of_a_call_that_exceed_a_limit_together(self) -> None:
        with pytest.raises(InvariantViolation, match="L1"):
            Book().apply(reserved("req_1", hold(6, 10), hold(6, 10)))

    @pytest.mark.parametrize("event", EVENTS[1:])
    def test_the_end_of_a_call_that_is_not_held(self, event: LedgerEvent) -> None:
        with pytest.raises(InvariantViolation, match="L3"):
            Book().apply(event)

    @pytest.mark.parametrize("event", [Released("req_1", NOON, ""), Expired("req_1", NOON, "")])
    def test_giving_back_what_is_in_doubt(self, event: LedgerEvent) -> None:
        book = replay([reserved("req_1", hold(1)), Expired("req_1", NOON, "")])
        with pytest.raises(InvariantViolation, match="L3"):
            book.apply(event)

    def test_settling_twice(self) -> None:
        book = replay([reserved("req_1", hold(1)), settled("req_1", 1)])
        with pytest.raises(InvariantViolation, match="L3"):
            book.apply(settled("req_1", 1))


class TestForgetting:
    def test_an_account_is_forgotten_when_its_window_is_over_and_it_holds_nothing(self) -> None:
        book = replay(
            [
                reserved("req_1", hold(5), hold(5, None, account("late"), window_end=DAY_END + 1)),
                reserved("req_2", hold(5, None, account("holding"))),
                settled("req_1", 5),
            ]
        )
        assert book.forget_ended(Instant(DAY_END - 1)) == 0
        assert book.forget_ended(Instant(DAY_END)) == 1
        assert {key.policy_id for key in book.accounts} == {"late", "holding"}
        assert book.balance(account()) == EMPTY

    def test_a_late_settle_does_not_bring_it_back_wrong(self) -> None:
        """It would stand below zero; the stored balance takes the correction."""
        book = replay([reserved("req_1", hold(100)), Expired("req_1", NOON, "")])
        book.forget_ended(Instant(DAY_END))
        (posting,) = book.apply(replace(settled("req_1", 60), late=True))
        assert posting.posted == -40
        assert book.accounts == {}

    def test_a_restored_account_is_as_it_was_stored(self) -> None:
        book = Book()
        book.restore(account(), DAY_END, Balance(1, 2, 3, 4))
        assert book.balance(account()) == Balance(1, 2, 3, 4)
        assert book.accounts[account()].window_end == DAY_END


class TestShortfall:
    def test_it_names_the_first_account_that_has_no_room(self) -> None:
        book = replay([reserved("req_1", hold(10), hold(10, None, account("other")))])
        short = book.shortfall([hold(1), hold(5, 12, account("other")), hold(100, 1)])
        assert short is not None
        assert (short.account.policy_id, short.limit, short.consumed, short.amount) == ("other", 12, 10, 5)

    def test_an_account_that_does_not_exist_yet_is_empty(self) -> None:
        assert Book().shortfall([hold(10, 10)]) is None
        assert Book().shortfall([hold(11, 10)]) is not None
        assert Book().shortfall([]) is None


@pytest.mark.parametrize(
    ("event", "kind"), list(zip(EVENTS, ("reserve", "settle", "release", "expire"), strict=True))
)
def test_an_event_is_read_back_from_the_journal_as_it_was(event: LedgerEvent, kind: str) -> None:
    assert kind_of(event) == kind
    assert encode(event).startswith(b'["%s",' % kind.encode())
    assert read_record(encode(event)) == event
