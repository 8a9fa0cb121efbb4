"""How long a call to a provider may take, stage by stage."""

from dataclasses import dataclass

from palyra.core import limits


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. ``total`` runs from ``send``; ``connect`` also bounds the wait for a free connection.

    ``first_byte`` runs from the written request to the first *body* byte: some providers send the head of
    a stream at once and think afterwards. ``idle`` is the longest gap between body bytes, ``keep_alive``
    how long an unused connection is kept.
    """

    connect: float = limits.UPSTREAM_CONNECT_S
    first_byte: float = limits.UPSTREAM_FIRST_BYTE_S
    idle: float = limits.UPSTREAM_IDLE_S
    total: float = limits.UPSTREAM_TOTAL_S
    keep_alive: float = limits.UPSTREAM_KEEP_ALIVE_S

    def __post_init__(self) -> None:
        """Raise ValueError unless every deadline is positive."""
        for name in ("connect", "first_byte", "idle", "total", "keep_alive"):
            if not getattr(self, name) > 0:
                raise ValueError(f"deadline {name} must be more than 0 seconds")
