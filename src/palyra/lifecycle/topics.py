"""What pages may want to fetch anew, and the figures by which a store tells that it changed."""

from enum import StrEnum
from typing import NamedTuple, Protocol

from palyra.core.instant import Instant


class Topic(StrEnum):
    """Something that pages show."""

    USAGE = "usage"
    DECISIONS = "decisions"
    BUDGETS = "budgets"
    APPROVALS = "approvals"
    ALERTS = "alerts"
    MODELS = "models"
    KEYS = "keys"


class StoredFigures(NamedTuple):
    """Each is another one once something stored of its kind is, at whatever gateway. They mean nothing else.

    ``calls``: a call was let through, refused, or ended. ``approvals``: one was made or changed while it was
    open, or its time is over. ``alerts``: one was raised or changed, or a message about one.
    """

    calls: int
    approvals: tuple[object, ...]
    alerts: tuple[object, ...]


class FigureRecords(Protocol):
    """How far things are. Cheap, however much is stored."""

    async def figures(self, now: Instant) -> StoredFigures:
        """Raises LedgerUnavailable."""
        ...
