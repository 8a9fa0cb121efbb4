"""The ledger of one gateway among many: it decides in memory, within its slices."""

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from palyra.core.instant import Instant
from palyra.ledger.account import Shortfall
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, Released, Reserved, Settled
from palyra.ledger.held import Entries, Held, Reservation
from palyra.lifecycle.decision import AnyDecision, Settlement
from palyra.lifecycle.ports import Done, IdempotencyEntry
from palyra.store.ledger import Journal, JournaledLedger
from palyra.store.postgres.share import Shares

Ending = Settled | Released | Expired
Elsewhere = Callable[[int, Reserved, Ending, AnyDecision, Settlement, Done], None]
"""(node, reservation, event, decision, settlement, done): end a call that was reserved by that node."""


class SharedJournal(Journal, Protocol):
    """A journal that may be out of reach for a while."""

    @property
    def spools(self) -> bool:
        """Whether it is out of reach, and what is essential is kept on a disk of our own meanwhile."""
        ...


class SharedLedger(JournaledLedger):
    """``JournaledLedger`` over accounts that other gateways use, too.

    ``begin`` starts it anew as another node; calls that were reserved before end ``elsewhere``.
    """

    def __init__(self, journal: SharedJournal, elsewhere: Elsewhere) -> None:
        super().__init__(journal, Book())
        self._shared = journal
        self.shares = Shares(self._book)
        self._elsewhere = elsewhere
        self._former: dict[str, tuple[int, Reserved]] = {}

    def begin(self, book: Book, shares: Shares) -> None:
        """Go on with these books."""
        self._book = book
        self.shares = shares
        self._open = {}
        self._in_doubt = {}
        self._claims = {}
        self._claim_of = {}

    def leave(self, node: int) -> None:
        """The node belongs to somebody else: its calls end there."""
        book = self._book
        self._former.update({each: (node, book.reservation(each)) for each in book.pending})

    def know(self, principal: str, key: str, entry: IdempotencyEntry | None) -> None:
        """Take over what the database says of an Idempotency-Key, unless a call of this gateway has it."""
        known = self._claims.get((principal, key))
        if entry is not None:
            # What ended here a moment ago may not have been stored yet when it was read.
            if known is None or not known.finished or known.request_id != entry.request_id:
                self._claims[principal, key] = entry
            return
        if known is not None and known.request_id not in self._claim_of:
            del self._claims[principal, key]

    def restore_call(self, event: Reserved, decision: AnyDecision, done: Done) -> None:
        """Write a reservation that ran without being in the journal: what was spent counts, limits or not."""
        unbound = tuple(replace(hold, limit=None) for hold in event.holds)
        self.reserve(replace(event, holds=unbound), decision, None, done)

    def _must_keep(self, event: Reservation) -> bool:
        """While the database is out of reach, a call that no hard limit binds runs: its record is spooled."""
        if self._shared.spools and all(hold.limit is None for hold in event.holds):
            return True
        return super()._must_keep(event)

    def _hold(self, event: Reservation) -> Entries | Shortfall:
        entries = super()._hold(event)
        if not isinstance(event, Held) and not isinstance(entries, Shortfall):
            for hold in event.holds:
                self.shares.at(hold.account, hold.window_end).limit = hold.limit
        return entries

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.settle``."""
        if not self._ended_elsewhere(event, decision, settlement, done):
            super().settle(event, decision, settlement, done)

    def release(self, event: Released, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.release``."""
        if not self._ended_elsewhere(event, decision, settlement, done):
            super().release(event, decision, settlement, done)

    def expire(self, event: Expired, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.expire``."""
        if not self._ended_elsewhere(event, decision, settlement, done):
            super().expire(event, decision, settlement, done)

    def forget_ended(self, now: Instant) -> None:
        """Drop accounts whose window is over and of which this gateway has nothing."""
        self.shares.drop(
            [share.account.key for share in self.shares if share.account.window_end <= now and share.is_idle]
        )

    def _ended_elsewhere(
        self, event: Ending, decision: AnyDecision, settlement: Settlement, done: Done
    ) -> bool:
        former = self._former.pop(event.id, None)
        if former is None:
            return False
        self._elsewhere(*former, event, decision, settlement, done)
        return True
