"""The book: live balances and unresolved reservations, changed only by applying events.

The same ``apply`` serves live traffic and replay, so the two cannot drift apart (D3).
"""

from collections.abc import Callable, Iterable, Mapping

from palyra.core.instant import Instant
from palyra.core.invariant import unreachable
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
from palyra.ledger.held import Entries, Held, HeldEntries, Reservation

_Row = tuple[AccountKey, int, int, int, int, int]
_posting: Callable[[type[Posting], _Row], Posting] = tuple[object, ...].__new__
"""Makes a Posting of its fields in half of the time that its own constructor takes."""


class Book:
    """Balances of every live account and the reservations that are not resolved for good."""

    def __init__(self) -> None:
        self.accounts: dict[AccountKey, Account] = {}
        self.pending: dict[str, Reservation] = {}
        self.in_doubt: dict[str, Reserved] = {}

    def balance(self, key: AccountKey) -> Balance:
        """Balance of an account; one that nothing was ever posted to is empty."""
        account = self.accounts.get(key)
        return account.balance() if account else EMPTY

    def shortfall(self, holds: Iterable[Hold]) -> Shortfall | None:
        """The first account on which these holds would exceed a limit, or None if all fit (L1, L5)."""
        accounts = self.accounts
        for hold in holds:
            limit = hold.limit
            if limit is not None:
                account = accounts.get(hold.account)
                consumed = 0 if account is None else account.posted + account.held
                if consumed + hold.amount > limit:
                    return Shortfall(hold.account, limit, consumed, hold.amount)
        return None

    def hold(self, held: Held) -> Shortfall | None:
        """Place the hold of a usual call, on all of its accounts or, where a limit has no room, on none.

        What it does is what ``shortfall`` and ``apply`` do for the same reservation.
        """
        if held.id in self.pending:
            unreachable("L3", f"reservation {held.id} is held already")
        amounts, stakes = held.amounts, held.stakes
        if amounts and min(amounts) < 0:
            unreachable("L1", "a hold is never negative")
        for account, amount, limit in zip(stakes.accounts, amounts, stakes.limits, strict=True):
            total = account.held + amount
            if account.posted + total > limit:
                return _take_back(held, account, limit, amount)
            account.held = total
        self.pending[held.id] = held
        return None

    def reservation(self, reservation_id: str) -> Reserved:
        """A pending reservation as the event that made it. Raises KeyError."""
        return _event_of(self.pending[reservation_id])

    def apply(self, event: LedgerEvent) -> Entries:
        """Apply one event and return its entry lines.

        Raises InvariantViolation when the event cannot follow what the book holds.
        """
        if isinstance(event, Reserved):
            return self._reserve(event)
        if isinstance(event, Settled):
            return self._settle(event)
        if isinstance(event, Released):
            return self._release(event)
        return self._expire(event)

    def restore(self, key: AccountKey, window_end: int, balance: Balance) -> None:
        """Put back an account that was stored, at start-up."""
        self.accounts[key] = Account(key, window_end, balance)

    def forget_ended(self, now: Instant) -> int:
        """Drop accounts whose window is over and that hold nothing; returns how many."""
        ended = [
            key for key, account in self.accounts.items() if account.window_end <= now and not account.held
        ]
        for key in ended:
            del self.accounts[key]
        return len(ended)

    def _reserve(self, event: Reserved) -> list[Posting]:
        if event.id in self.pending:
            unreachable("L3", f"reservation {event.id} is held already")
        for hold in event.holds:
            if hold.amount < 0:
                unreachable("L1", "a hold is never negative")
        self.pending[event.id] = event
        accounts = self.accounts
        postings: list[Posting] = []
        exceeded: Hold | None = None
        for hold in event.holds:
            key, amount, limit = hold.account, hold.amount, hold.limit
            shadow = hold.shadow if hold.shadow > 0 else 0
            account = accounts.get(key)
            if account is None:
                account = accounts[key] = Account(key, hold.window_end)
            held = account.held = account.held + amount
            if limit is not None and account.posted + held > limit:
                exceeded = hold
            account.beyond_held += amount - shadow
            postings.append(_posting(Posting, (key, hold.window_end, 0, amount, 0, shadow)))
        if exceeded is not None:
            # Said when every hold is placed, so that what is pending can be given back as a whole.
            unreachable("L1", f"account {exceeded.account} would stand above its limit {exceeded.limit}")
        return postings

    def _settle(self, event: Settled) -> Entries:
        reserved = self.pending.pop(event.id, None)
        if isinstance(reserved, Held):
            return _settle_held(reserved, event.amounts)
        if reserved is not None:
            return self._post(reserved.holds, event.amounts, event.shadow)
        reserved = self.in_doubt.pop(event.id, None)
        if reserved is None:
            unreachable("L3", f"reservation {event.id} has no amount to settle")
        return self._correct(reserved.holds, event.amounts, event.shadow)

    def _release(self, event: Released) -> list[Posting]:
        postings: list[Posting] = []
        for hold in self._resolve(event.id).holds:
            posting = Posting(hold.account, hold.window_end, 0, -hold.amount, 0, -max(hold.shadow, 0))
            self._enter(posting)
            postings.append(posting)
        return postings

    def _expire(self, event: Expired) -> list[Posting]:
        reserved = self._resolve(event.id)
        self.in_doubt[event.id] = reserved
        return self._post(reserved.holds, None)

    def _resolve(self, reservation_id: str) -> Reserved:
        reserved = self.pending.pop(reservation_id, None)
        if reserved is None:
            unreachable("L3", f"reservation {reservation_id} is not held")
        return _event_of(reserved)

    def _post(
        self,
        holds: Iterable[Hold],
        used: Mapping[str, int] | None,
        enforced: Mapping[str, int] | None = None,
    ) -> list[Posting]:
        """Void the holds and post what was ``used`` per metric; without it what was held.

        ``enforced`` is what goes to the shadow instead, where it differs.
        """
        accounts = self.accounts
        postings: list[Posting] = []
        for hold in holds:
            key, amount, shadow = hold.account, hold.amount, hold.shadow
            actual = amount if used is None else used.get(key[1], 0)
            kept = shadow if shadow > 0 else 0
            would = actual if enforced is None else enforced.get(key[1], actual)
            shadow_posted = would if shadow >= amount else min(would, kept)
            account = accounts.get(key)
            # Without one its window is over and it was forgotten; the stored balance takes the entry.
            if account is not None:
                account.posted += actual
                account.held -= amount
                account.beyond_posted += actual - shadow_posted
                account.beyond_held -= amount - kept
            postings.append(_posting(Posting, (key, hold.window_end, actual, -amount, shadow_posted, -kept)))
        return postings

    def _correct(
        self, holds: Iterable[Hold], used: Mapping[str, int], enforced: Mapping[str, int] | None
    ) -> list[Posting]:
        """Put what was ``used`` in the place of the held amounts that were posted in doubt (L7)."""
        postings: list[Posting] = []
        for hold in holds:
            actual = used.get(hold.account.metric, 0)
            would = actual if enforced is None else enforced.get(hold.account.metric, actual)
            shadow = _shadow_of(hold, would) - _shadow_of(hold, hold.amount)
            posting = Posting(hold.account, hold.window_end, actual - hold.amount, 0, shadow, 0)
            self._enter(posting)
            postings.append(posting)
        return postings

    def _enter(self, posting: Posting) -> None:
        account = self.accounts.get(posting.account)
        if account is not None:
            account.apply(posting)


def replay(events: Iterable[LedgerEvent]) -> Book:
    """Rebuild a book from the journal, from nothing."""
    book = Book()
    for event in events:
        book.apply(event)
    return book


def _event_of(reservation: Reservation) -> Reserved:
    return reservation.reserved() if isinstance(reservation, Held) else reservation


def _take_back(held: Held, short: Account, limit: int, amount: int) -> Shortfall:
    """Undo what was placed on the accounts before the one that has no room."""
    accounts = held.stakes.accounts
    for account, placed in zip(accounts[: accounts.index(short)], held.amounts, strict=False):
        account.held -= placed
    return Shortfall(short.key, limit, short.posted + short.held, amount)


def _settle_held(held: Held, used: Mapping[str, int]) -> HeldEntries:
    """Void the hold and post what was used, also where that is more (L4)."""
    stakes = held.stakes
    for account, amount, metric in zip(stakes.accounts, held.amounts, stakes.metrics, strict=True):
        account.posted += used.get(metric, 0)
        account.held -= amount
    return HeldEntries(held, used)


def _shadow_of(hold: Hold, actual: int) -> int:
    """What the call would have used under full enforcement: nothing if refused, at most its clamp."""
    if hold.shadow == NEVER_RUN:
        return 0
    return actual if hold.shadow >= hold.amount else min(actual, hold.shadow)
