"""Accounts and the holds that calls place on them.

All amounts are integers in the unit of the account's metric: nano-USD for ``cost_usd``, a count otherwise.
"""

from typing import NamedTuple

import msgspec

from palyra.core.instant import Instant

NEVER_RUN = -1
"""Shadow amount of a call that full enforcement would have refused: it leaves the shadow untouched."""


class AccountKey(NamedTuple):
    """One policy x one entity of its scope x one window."""

    policy_id: str
    metric: str
    entity: str
    window_start: int


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one call wants on one account.

    ``limit`` is the hard limit to keep (None: the policy does not stop this call). ``shadow`` is what the
    hold would be if every dry-run policy were enforced, or NEVER_RUN.
    """

    account: AccountKey
    window_end: int
    amount: int
    shadow: int
    limit: int | None


class Balance(NamedTuple):
    """A reading of one account. ``shadow_*`` is the balance as if dry-run policies had been enforced."""

    posted: int
    held: int
    shadow_posted: int
    shadow_held: int


class Posting(NamedTuple):
    """The change of one account by one event: the ledger's entry line."""

    account: AccountKey
    window_end: int
    posted: int
    held: int
    shadow_posted: int
    shadow_held: int


class Shortfall(NamedTuple):
    """Why a reservation does not fit: the first account whose limit it would exceed."""

    account: AccountKey
    limit: int
    consumed: int
    amount: int


EMPTY = Balance(0, 0, 0, 0)


class Account:
    """Live balance of one account.

    The shadow is kept as what the live balance has ``beyond`` it: nearly always nothing, so that a usual call
    moves two figures and not four.
    """

    __slots__ = ("beyond_held", "beyond_posted", "held", "key", "posted", "window_end")

    def __init__(self, key: AccountKey, window_end: int, balance: Balance = EMPTY) -> None:
        self.key = key
        self.window_end = Instant(window_end)
        self.posted, self.held, shadow_posted, shadow_held = balance
        self.beyond_posted = self.posted - shadow_posted
        self.beyond_held = self.held - shadow_held

    @property
    def shadow_posted(self) -> int:
        """What would be posted had dry-run policies been enforced."""
        return self.posted - self.beyond_posted

    @property
    def shadow_held(self) -> int:
        """What would be held had dry-run policies been enforced."""
        return self.held - self.beyond_held

    def balance(self) -> Balance:
        """Copy of the four figures."""
        return Balance(self.posted, self.held, self.shadow_posted, self.shadow_held)

    def apply(self, posting: Posting) -> None:
        """Add one entry line."""
        self.posted += posting.posted
        self.held += posting.held
        self.beyond_posted += posting.posted - posting.shadow_posted
        self.beyond_held += posting.held - posting.shadow_held
