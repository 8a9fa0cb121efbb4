"""How often an address may show what is no key: whoever guesses waits, and nobody else does."""

from palyra.core.errors import TooManyAttempts
from palyra.core.instant import NANOSECONDS, Instant

IN_A_ROW_MAX = 10
FORGOTTEN_EACH_S = 6
_ROOM_S = (IN_A_ROW_MAX - 1) * FORGOTTEN_EACH_S
ADDRESSES_MAX = 10_000
"""So many addresses are remembered (V2); of more, those that have not failed for longest are forgotten."""


class FailedSignIns:
    """Counts failures of each address; one is forgotten every ``FORGOTTEN_EACH_S`` seconds."""

    def __init__(self) -> None:
        self._forgotten_at: dict[str, int] = {}
        """When all failures of an address are forgotten; who failed last comes last."""

    def check(self, address: str, now: Instant) -> None:
        """Raises TooManyAttempts, with the seconds until the next may be made."""
        wait_s = -(-(self._forgotten_at.get(address, 0) - now) // NANOSECONDS) - _ROOM_S
        if wait_s > 0:
            raise TooManyAttempts.after(
                "Too many sign-ins from this address failed: wait, then try again with a key that is right.",
                wait_s,
            )

    def note(self, address: str, now: Instant) -> None:
        """One more failed."""
        before = max(self._forgotten_at.pop(address, 0), now)
        self._forgotten_at[address] = before + FORGOTTEN_EACH_S * NANOSECONDS
        if len(self._forgotten_at) > ADDRESSES_MAX:
            del self._forgotten_at[next(iter(self._forgotten_at))]
