"""What one gateway has of each account: its slice, and how the account stands beside it.

The live balance in the book is the whole account as far as it is known here: what all gateways posted, what
this one holds, and what the others have claimed. It is corrected whenever the shared row is read.

| figure          | is                                                                          |
|-----------------|-----------------------------------------------------------------------------|
| ``folded``      | posted on the shared row, by all gateways                                   |
| ``posted``      | posted by this gateway since, on its slice                                  |
| ``held``        | held by its calls                                                           |
| ``granted``     | its slice: at least ``posted + held``; the rest is free to spend in memory  |
| ``others``      | the slices of the others: claimed, and not folded yet                       |

``posted`` and ``held`` are as committed; what is queued to be written is in the book already.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from palyra.ledger.account import Account, AccountKey
from palyra.ledger.book import Book

HOT_CALLS_PER_S = 20.0
"""Below this rate a call claims what it needs and no more: a slice would only hide budget from the others."""
RATE_OVER_S = 1.0
CALLS_PER_SLICE_MIN = 4.0
"""A slice of fewer calls than this is not worth the budget that it hides: the limit is near."""


class Slicing(NamedTuple):
    """How large slices may be: what is spent in ``seconds``, and at most ``share`` of what is left."""

    enabled: bool = True
    seconds: float = 1.0
    share: float = 0.05


NO_SLICES = Slicing(enabled=False)


class Standing(NamedTuple):
    """A reading of the shared row of an account, and what other gateways have of it unused."""

    posted: int
    shadow_posted: int
    claimed: int
    free: int = 0


class Change(NamedTuple):
    """What one commit adds to a slice: sums of its entry lines, and the holds that it places."""

    posted: int
    held: int
    shadow_posted: int
    shadow_held: int


class Share:
    """One account, as one gateway has it."""

    __slots__ = (
        "_folded_beyond",
        "_rated_at",
        "account",
        "beyond",
        "calls_per_s",
        "folded",
        "free_elsewhere",
        "granted",
        "held",
        "limit",
        "others",
        "posted",
        "read_at",
        "spent_per_s",
        "tight_until",
    )

    def __init__(self, account: Account) -> None:
        self.account = account
        self.folded = 0
        self._folded_beyond = 0
        self.others = 0
        self.granted = 0
        self.posted = 0
        self.beyond = 0
        self.held = 0
        self.limit: int | None = None
        self.read_at = -math.inf
        self.free_elsewhere = 0
        self.tight_until = 0.0
        self.spent_per_s = 0.0
        self.calls_per_s = 0.0
        self._rated_at = 0.0

    @property
    def free(self) -> int:
        """What of the slice is neither posted nor held; negative where a commit still has to claim it."""
        return self.granted - self.posted - self.held

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing of this gateway on the account, committed or queued."""
        return not (self.granted or self.posted or self.held) and self.account.held == self.others

    def advance(self, change: Change) -> None:
        """A commit has stored ``change``: it is no longer ahead of the database."""
        self.posted += change.posted
        self.held += change.held
        self.beyond += change.posted - change.shadow_posted

    def stand(
        self, standing: Standing, now: float, *, given: int = 0, folded: int = 0, shadow_folded: int = 0
    ) -> None:
        """Take over a reading of the shared row, made when no commit was under way.

        The commit that made it may have added ``given`` to the slice, and moved ``folded`` of what was posted
        there to the shared row.
        """
        account = self.account
        ahead = account.posted - self.folded - self.posted
        ahead_beyond = account.beyond_posted - self._folded_beyond - self.beyond
        self.folded, self._folded_beyond = standing.posted, standing.posted - standing.shadow_posted
        self.posted -= folded
        self.beyond -= folded - shadow_folded
        self.granted += given - folded
        account.posted = self.folded + self.posted + ahead
        account.beyond_posted = self._folded_beyond + self.beyond + ahead_beyond
        others = standing.claimed - standing.posted - self.granted
        account.held += others - self.others
        self.others = others
        self.free_elsewhere = standing.free
        self.read_at = now

    def own(self, granted: int, posted: int, held: int, shadow_posted: int) -> None:
        """Take over what the database says of the slice, when it is not known what the last commit left."""
        self.account.posted += posted - self.posted
        self.account.beyond_posted += posted - shadow_posted - self.beyond
        self.account.held += held - self.held
        self.granted, self.posted, self.held, self.beyond = granted, posted, held, posted - shadow_posted

    def rate(self, calls: int, spent: int, now: float) -> None:
        """Note that a commit places ``calls`` holds of ``spent`` in sum: how fast the account is used."""
        faded = self._faded(now)
        self._rated_at = now
        self.calls_per_s = self.calls_per_s * faded + calls / RATE_OVER_S
        self.spent_per_s = self.spent_per_s * faded + spent / RATE_OVER_S

    def target(self, slicing: Slicing, now: float) -> int:
        """How much of the account to have free: nothing where it is cold, or nearly used up."""
        faded = self._faded(now)
        if not slicing.enabled or self.calls_per_s * faded < HOT_CALLS_PER_S or now < self.tight_until:
            return 0
        wanted = int(self.spent_per_s * faded * slicing.seconds)
        if self.limit is not None:
            left = self.limit - self.folded - self.others - self.granted
            wanted = min(wanted, int(max(0, left) * slicing.share))
        return wanted if wanted * self.calls_per_s >= CALLS_PER_SLICE_MIN * self.spent_per_s else 0

    def _faded(self, now: float) -> float:
        """How much of the rates is left."""
        return math.exp((self._rated_at - now) / RATE_OVER_S) if self._rated_at else 0.0


class Shares:
    """The shares of one gateway, by account."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._shares: dict[AccountKey, Share] = {}
        self.unsettled: set[AccountKey] = set()
        """Accounts with something posted that the shared row has not, or with some of the slice to spare."""

    def at(self, key: AccountKey, window_end: int) -> Share:
        """The share of an account; made where there is none."""
        share = self._shares.get(key)
        if share is None:
            account = self._book.accounts.get(key)
            if account is None:
                account = self._book.accounts[key] = Account(key, window_end)
            share = self._shares[key] = Share(account)
        return share

    def get(self, key: AccountKey) -> Share | None:
        """The share of an account, if there is one."""
        return self._shares.get(key)

    def __iter__(self) -> Iterator[Share]:
        return iter(self._shares.values())

    def __len__(self) -> int:
        return len(self._shares)

    def note(self, share: Share) -> None:
        """A commit changed the share: whether it has to be settled some time."""
        if share.posted or share.free > 0:
            self.unsettled.add(share.account.key)
        else:
            self.unsettled.discard(share.account.key)

    def drop(self, keys: Iterable[AccountKey]) -> None:
        """Forget accounts that this gateway has nothing of."""
        for key in keys:
            self.unsettled.discard(key)
            self._shares.pop(key, None)
            self._book.accounts.pop(key, None)
