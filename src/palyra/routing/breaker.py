"""The breaker of one provider and credential: closed, open, half-open.

A call takes a ticket from ``begin`` and hands it in with its verdict. Tickets change whenever the breaker
opens, closes or sends a probe, and a verdict with an old ticket is ignored: a call that began before an
outage says nothing about now, so its late success does not close the breaker and its late failure neither
opens a closed one again nor prolongs an open one.
"""

from enum import StrEnum

import msgspec

from palyra.core.instant import NANOSECONDS, Instant


class BreakerState(StrEnum):
    """Whether calls go through: all, none, or one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerSettings(msgspec.Struct, frozen=True, gc=False):
    """``failures`` provider faults in a row open the breaker for ``open_ns`` nanoseconds.

    Each failed probe doubles the time up to ``open_max_ns``. Raises ValueError unless ``failures`` is at
    least 1 and 0 < ``open_ns`` <= ``open_max_ns``.
    """

    failures: int = 5
    open_ns: int = 30 * NANOSECONDS
    open_max_ns: int = 300 * NANOSECONDS

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError("a breaker opens after at least 1 failure")
        if not 0 < self.open_ns <= self.open_max_ns:
            raise ValueError("a breaker's time must be above 0 and at most its longest time")


class Breaker:
    """See the module. ``faults`` is the number of provider faults in a row, 0 in the healthy case:

    ``if breaker.faults: breaker.succeeded(ticket)`` costs the healthy path one look. Nothing stays stuck: a
    probe without a verdict is forgotten after ``open_max_ns``, and a clock that jumps back by more than the
    time that a wait lasts ends it.
    """

    __slots__ = ("_open_ns", "_opened_at", "_probed_at", "_settings", "_threshold", "_ticket", "faults")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._threshold = settings.failures
        self._open_ns = settings.open_ns
        self._opened_at = Instant(0)
        self._probed_at: Instant | None = None
        self._ticket: int = 1
        self.faults = 0

    def state(self, now: Instant) -> BreakerState:
        """Return the state at ``now``."""
        if self.faults < self._threshold:
            return BreakerState.CLOSED
        if _within(self._opened_at, now, self._open_ns):
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    def allows(self, now: Instant) -> bool:
        """Return whether ``begin`` would let a call through. Changes nothing."""
        if self.faults < self._threshold:
            return True
        if _within(self._opened_at, now, self._open_ns):
            return False
        probed_at = self._probed_at
        return probed_at is None or not _within(probed_at, now, self._settings.open_max_ns)

    def begin(self, now: Instant) -> int:
        """Let a call through: its ticket, which is above 0, or 0 if it may not start.

        While half-open the call is the probe, and no other starts before it hands in its ticket.
        """
        if self.faults < self._threshold:
            return self._ticket
        if not self.allows(now):
            return 0
        self._probed_at = now
        self._ticket += 1
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """Note that the provider answered. A probe's success closes the breaker."""
        if not self.faults or ticket != self._ticket:
            return
        if self.faults >= self._threshold:
            self._open_ns = self._settings.open_ns
            self._probed_at = None
            self._ticket += 1
        self.faults = 0

    def failed(self, ticket: int, now: Instant) -> None:
        """Note a provider fault. The last in a row, or that of a probe, opens the breaker at ``now``."""
        if ticket != self._ticket:
            return
        if self.faults < self._threshold:
            self.faults += 1
            if self.faults < self._threshold:
                return
        else:
            self._open_ns = min(2 * self._open_ns, self._settings.open_max_ns)
        self._opened_at = now
        self._probed_at = None
        self._ticket += 1

    def abandoned(self, ticket: int) -> None:
        """Note that a call ended without a verdict, for example because its client left: frees the probe."""
        if self._probed_at is not None and ticket == self._ticket:
            self._probed_at = None
            self._ticket += 1

    @property
    def retry_at(self) -> Instant | None:
        """When a call may start at the latest, whatever becomes of the probe; None while closed."""
        if self.faults < self._threshold:
            return None
        if self._probed_at is None:
            return Instant(self._opened_at + self._open_ns)
        return Instant(self._probed_at + self._settings.open_max_ns)


def _within(since: Instant, now: Instant, length_ns: int) -> bool:
    # ``now`` may be a little before ``since``: a call reads the clock once and gets here later.
    return -length_ns < now - since < length_ns
