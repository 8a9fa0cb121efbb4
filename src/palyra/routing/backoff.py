"""How long to wait before a call is tried again."""

import msgspec

from palyra.core.instant import NANOSECONDS

_MILLISECOND = 1_000_000
RETRIES_MAX = 10


class Retries(msgspec.Struct, frozen=True, gc=False):
    """How often and how patiently a call is tried again. Times in nanoseconds.

    A provider that asks for more than ``retry_after_max_ns`` is not waited for. Raises ValueError for
    negative times and for ``retries`` outside 0 to 10.
    """

    retries: int = 2
    base_ns: int = 250 * _MILLISECOND
    cap_ns: int = 4 * NANOSECONDS
    retry_after_max_ns: int = 10 * NANOSECONDS

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= RETRIES_MAX:
            raise ValueError(f"retries must be from 0 to {RETRIES_MAX}")
        if min(self.base_ns, self.cap_ns, self.retry_after_max_ns) < 0:
            raise ValueError("a time to wait must not be negative")


def delay_ns(attempt: int, random: float, retry_after_ns: int | None, settings: Retries) -> int | None:
    """Return the nanoseconds to wait before retry number ``attempt``, counted from 0; None to give up.

    ``random`` is in [0, 1) and spreads the delay over all of 0 to min(cap, base * 2^attempt), so that calls
    that failed together do not come back together. What the provider asks for (``retry_after_ns``) is kept,
    with up to a tenth on top. Gives up after ``settings.retries`` and if the provider asks for too much.
    """
    if attempt >= settings.retries:
        return None
    jittered = int(random * min(settings.cap_ns, settings.base_ns << attempt))
    if retry_after_ns is None:
        return jittered
    if retry_after_ns > settings.retry_after_max_ns:
        return None
    return max(jittered, retry_after_ns + int(random * (retry_after_ns // 10)))
