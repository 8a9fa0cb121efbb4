"""Where budgets stand now: of many policies at once, the accounts that are nearest to the limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """One account of a policy as stored and live.

    ``sliced`` is claimed by gateways for calls to come: neither used nor held, and not free for the others.
    """

    key: AccountKey
    window_end: Instant
    balance: Balance
    sliced: int = 0


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """The window of a policy that lasts now."""

    policy_id: str
    metric: str
    start: Instant


@dataclass(frozen=True, slots=True)
class Standing:
    """Some accounts of a window, those with the most consumed first, and how many there are."""

    accounts: Sequence[AccountStatus]
    total: int


class StandingRecords(Protocol):
    """Accounts as stored, with what is live."""

    async def accounts(self, policy_id: str) -> Sequence[AccountStatus]:
        """Accounts of a policy whose window has not ended, or is the last one."""
        ...

    async def standing(self, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
        """By policy: at most ``most`` accounts of each of these windows, in one read.

        Windows that nothing was posted to are left out.
        """
        ...
