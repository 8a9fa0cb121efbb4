"""What a replay of a whole journal needs: where it breaks, and room for its accounts, a part at a time."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from palyra.core.invariant import InvariantViolation
from palyra.ledger.account import Account, AccountKey

ACCOUNTS_AT_ONCE = 500_000
"""So many are in memory at most, in about 200 MB (V2): for others the journal is gone through again."""


class JournalBroken(InvariantViolation):
    """A journal does not hold from ``record`` of gateway ``node`` on; ``checked`` records before it do."""

    def __init__(self, broken: InvariantViolation, node: int, record: int, checked: int) -> None:
        super().__init__(broken.invariant_id, broken.message)
        self.node = node
        self.record = record
        self.checked = checked


@contextmanager
def broken_at(node: int, record: int, checked: int) -> Generator[None]:
    """Say of a violation where it is: raises JournalBroken for it."""
    try:
        yield
    except InvariantViolation as broken:
        raise JournalBroken(broken, node, record, checked) from broken


class Share(NamedTuple):
    """The accounts of one replay: one of ``parts`` parts of all of them."""

    part: int
    parts: int

    def has(self, key: AccountKey) -> bool:
        """Whether an account is in this part; the same for as long as the process lives."""
        return hash(key) % self.parts == self.part


def shares_of(accounts: int) -> list[Share]:
    """All accounts in parts that have room in memory."""
    parts = max(1, -(-accounts // ACCOUNTS_AT_ONCE))
    return [Share(part, parts) for part in range(parts)]


EVERY_ACCOUNT: Final = Share(0, 1)


class SomeAccounts(dict[AccountKey, Account]):
    """The accounts of a book that is replayed for some of them: what is put in of others is forgotten.

    A hold on a forgotten account finds it empty, so that only its own replay can find its limit exceeded.
    """

    def __init__(self, share: Share, accounts: Mapping[AccountKey, Account] | None = None) -> None:
        super().__init__({key: each for key, each in (accounts or {}).items() if share.has(key)})
        self._share = share

    def __setitem__(self, key: AccountKey, account: Account) -> None:
        if self._share.has(key):
            super().__setitem__(key, account)
