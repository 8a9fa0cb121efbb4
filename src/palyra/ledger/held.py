"""The hold of a usual call: within every limit, the same on the shadow, on accounts that are live.

It says what a ``Reserved`` says, and is that to everybody who asks; but it points at the accounts themselves
and carries its journal line, so that nothing is looked up, built or encoded account by account.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from palyra.core.instant import Instant
from palyra.ledger.account import Account, Hold, Posting
from palyra.ledger.event import Reserved

NO_LIMIT = 2**63
"""More than any account can hold."""


class Stakes(msgspec.Struct, frozen=True, gc=False):
    """Where calls alike hold: one account each for the budgets that bind them, none twice.

    ``limits`` are the hard limits to keep, NO_LIMIT where there is none.
    """

    accounts: tuple[Account, ...]
    limits: tuple[int, ...]
    metrics: tuple[str, ...]


class Held(msgspec.Struct, frozen=True, gc=False):
    """``amounts`` held, one on each account of ``stakes``. ``line`` is how the journal stores it."""

    id: str
    at: Instant
    expires_at: Instant
    stakes: Stakes
    amounts: Sequence[int]
    line: bytes

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The hold on each account."""
        return tuple(
            Hold(account.key, account.window_end, amount, amount, None if limit == NO_LIMIT else limit)
            for account, amount, limit in zip(
                self.stakes.accounts, self.amounts, self.stakes.limits, strict=True
            )
        )

    def reserved(self) -> Reserved:
        """The same as the event that it is."""
        return Reserved(self.id, self.at, self.expires_at, self.holds)


Reservation = Reserved | Held
"""A reservation, spelled out or not."""


class HeldEntries(msgspec.Struct, frozen=True, gc=False):
    """The entry lines of a hold: of its placing, or of its settling at what was ``used`` per metric.

    They are written out only where somebody sums them; usually the balances they lead to are enough.
    """

    held: Held
    used: Mapping[str, int] | None

    def __len__(self) -> int:
        return len(self.held.amounts)

    def __iter__(self) -> Iterator[Posting]:
        used = self.used
        for account, amount in zip(self.held.stakes.accounts, self.held.amounts, strict=True):
            key, window_end = account.key, account.window_end
            if used is None:
                yield Posting(key, window_end, 0, amount, 0, amount)
            else:
                actual = used.get(key.metric, 0)
                yield Posting(key, window_end, actual, -amount, actual, -amount)


Entries = Sequence[Posting] | HeldEntries
"""The entry lines of one event."""
