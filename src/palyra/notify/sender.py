"""What every way of sending has in common."""

from typing import Protocol

from palyra.alerts.alert import Notice
from palyra.core.address import Reach
from palyra.core.instant import Instant

PUBLIC = frozenset({Reach.PUBLIC})
ANYWHERE = frozenset({Reach.PUBLIC, Reach.PRIVATE, Reach.LOOPBACK})
WITHIN = frozenset({Reach.PRIVATE, Reach.LOOPBACK})
"""Where clear text may go."""


class Undelivered(Exception):
    """The target did not take the message. ``reason`` is for people, and holds no secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sender(Protocol):
    """One target. ``send`` blocks, runs in a thread of its own, and may run several times at once."""

    @property
    def reaches(self) -> frozenset[Reach]:
        """The kinds of addresses that it may connect to."""
        ...

    @property
    def proxies(self) -> frozenset[str]:
        """Hosts of proxies that it must not go through."""
        ...

    def send(self, notice: Notice, now: Instant) -> None:
        """Deliver it; ``now`` is the time of this attempt. Raises Undelivered."""
        ...
