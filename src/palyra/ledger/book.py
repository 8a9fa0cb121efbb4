"""The book: live balances and unresolved reservations, changed only by applying events.

The same ``apply`` serves live traffic and replay, so the two cannot drift apart (D3).
"""

from collections.abc import Iterable

from palyra.core.instant import Instant
from palyra.core.invariant import invariant, unreachable
from palyra.ledger.account import (
    EMPTY,
    NEVER_RUN,
    Account,
    AccountKey,
    Balance,
    Hold,
    Posting,
    Shortfall,
)
from palyra.ledger.event import Expired, LedgerEvent, Released, Reserved, Settled


class Book:
    """Balances of every live account and the reservations that are not resolved for good."""

    def __init__(self) -> None:
        self.accounts: dict[AccountKey, Account] = {}
        self.pending: dict[str, Reserved] = {}
        self.in_doubt: dict[str, Reserved] = {}

    def balance(self, key: AccountKey) -> Balance:
        """Balance of an account; one that nothing was ever posted to is empty."""
        account = self.accounts.get(key)
        return account.balance() if account else EMPTY

    def shortfall(self, holds: Iterable[Hold]) -> Shortfall | None:
        """The first account on which these holds would exceed a limit, or None if all fit (L1, L5)."""
        for account_key, _, amount, _, limit in holds:
            if limit is None:
                continue
            account = self.accounts.get(account_key)
            consumed = account.posted + account.held if account else 0
            if consumed + amount > limit:
                return Shortfall(account_key, limit, consumed, amount)
        return None

    def apply(self, event: LedgerEvent) -> list[Posting]:
        """Apply one event and return its entry lines.

        Raises InvariantViolation when the event cannot follow what the book holds.
        """
        match event:
            case Reserved():
                postings = self._reserve(event)
            case Settled():
                postings = self._settle(event)
            case Released():
                postings = self._release(event)
            case _:
                postings = self._expire(event)
        for posting in postings:
            account = self.accounts.get(posting.account)
            if account is None:
                if not isinstance(event, Reserved):
                    # Its window is over and it was forgotten here; the stored balance takes the entry.
                    continue
                account = self.accounts[posting.account] = Account(posting.window_end)
            account.apply(posting)
        if isinstance(event, Reserved):
            self._check_limits(event)
        return postings

    def restore(self, key: AccountKey, window_end: int, balance: Balance) -> None:
        """Put back an account that was stored, at start-up."""
        self.accounts[key] = Account(window_end, balance)

    def forget_ended(self, now: Instant) -> int:
        """Drop accounts whose window is over and that hold nothing; returns how many."""
        ended = [
            key for key, account in self.accounts.items() if account.window_end <= now and not account.held
        ]
        for key in ended:
            del self.accounts[key]
        return len(ended)

    def _reserve(self, event: Reserved) -> list[Posting]:
        invariant(event.id not in self.pending, "L3", f"reservation {event.id} is held already")
        invariant(all(hold.amount >= 0 for hold in event.holds), "L1", "a hold is never negative")
        self.pending[event.id] = event
        return [
            Posting(hold.account, hold.window_end, 0, hold.amount, 0, max(hold.shadow, 0))
            for hold in event.holds
        ]

    def _settle(self, event: Settled) -> list[Posting]:
        reserved = self.pending.pop(event.id, None)
        if reserved is not None:
            return [_post(hold, event.amounts.get(hold.account.metric, 0)) for hold in reserved.holds]
        reserved = self.in_doubt.pop(event.id, None)
        if reserved is None:
            unreachable("L3", f"reservation {event.id} has no amount to settle")
        return [_correct(hold, event.amounts.get(hold.account.metric, 0)) for hold in reserved.holds]

    def _release(self, event: Released) -> list[Posting]:
        reserved = self._resolve(event.id)
        return [
            Posting(hold.account, hold.window_end, 0, -hold.amount, 0, -max(hold.shadow, 0))
            for hold in reserved.holds
        ]

    def _expire(self, event: Expired) -> list[Posting]:
        reserved = self._resolve(event.id)
        self.in_doubt[event.id] = reserved
        return [_post(hold, hold.amount) for hold in reserved.holds]

    def _resolve(self, reservation_id: str) -> Reserved:
        invariant(reservation_id in self.pending, "L3", f"reservation {reservation_id} is not held")
        return self.pending.pop(reservation_id)

    def _check_limits(self, event: Reserved) -> None:
        for hold in event.holds:
            if hold.limit is not None:
                account = self.accounts[hold.account]
                invariant(
                    account.posted + account.held <= hold.limit,
                    "L1",
                    f"account {hold.account} would stand above its limit {hold.limit}",
                )


def replay(events: Iterable[LedgerEvent]) -> Book:
    """Rebuild a book from the journal, from nothing."""
    book = Book()
    for event in events:
        book.apply(event)
    return book


def _post(hold: Hold, actual: int) -> Posting:
    shadow_posted = _shadow_of(hold, actual)
    return Posting(hold.account, hold.window_end, actual, -hold.amount, shadow_posted, -max(hold.shadow, 0))


def _correct(hold: Hold, actual: int) -> Posting:
    shadow_change = _shadow_of(hold, actual) - _shadow_of(hold, hold.amount)
    return Posting(hold.account, hold.window_end, actual - hold.amount, 0, shadow_change, 0)


def _shadow_of(hold: Hold, actual: int) -> int:
    """What the call would have used under full enforcement: nothing if refused, at most its clamp."""
    if hold.shadow == NEVER_RUN:
        return 0
    return actual if hold.shadow >= hold.amount else min(actual, hold.shadow)
