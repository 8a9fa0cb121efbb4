"""Who changed which rules, as the journal has it: what people ask, and the port that answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from palyra.core.instant import Instant


class ChangePlace(NamedTuple):
    """Where a change stands: when it was made, and as which record of which gateway's journal."""

    at: int
    node: int
    record: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change. ``kind`` is such as ``policy.updated``; ``actor`` a key id, or who else did it."""

    place: ChangePlace
    kind: str
    ref: str
    actor: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes to list, newest first; None means any.

    ``kind`` is such as ``policy`` or ``policy.updated``; ``before`` the place of the last one of the page
    before; times are in [since, until).
    """

    kind: str | None = None
    ref: str | None = None
    actor: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    before: ChangePlace | None = None
    limit: int = 50


class ChangeRecords(Protocol):
    """The changes of rules in the journal, found without going through it."""

    async def changes(self, wanted: ChangeFilter) -> Sequence[Change]:
        """Newest first; page on with ``before`` set to the place of the last one."""
        ...
