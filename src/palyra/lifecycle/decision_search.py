"""What people look for among the calls, beyond what a database finds by itself, and how far they looked."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from palyra.core.instant import Instant
from palyra.lifecycle.decision import StoredDecision

if TYPE_CHECKING:
    from palyra.lifecycle.ports import DecisionFilter

PROCEED = "proceed"
"""The route of a call that ran where it was asked to."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What the records of a call must say; None means anything.

    ``status`` is the word of the decision, or what the provider answered (``503``). ``rerouted``: whether it
    ran elsewhere than asked. ``min_cost`` in nano-USD, of calls whose cost is known. ``tag``: name and value.
    """

    provider: str | None = None
    status: str | None = None
    endpoint: str | None = None
    route: str | None = None
    rerouted: bool | None = None
    min_cost: int | None = None
    tag: tuple[str, str] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether every call has it."""
        return all(each is None for each in astuple(self))

    def has(self, stored: StoredDecision) -> bool:
        """Whether a call is as wanted."""
        decision, end = stored.decision, stored.settlement
        upstream = "" if end is None or end.upstream_status is None else str(end.upstream_status)
        cost = None if end is None else end.cost
        return (
            self.provider in (None, decision.provider)
            and (self.status is None or self.status in (decision.status, upstream or decision.status))
            and self.endpoint in (None, decision.endpoint)
            and self.route in (None, decision.route)
            and self.rerouted in (None, decision.route != PROCEED)
            and (self.min_cost is None or (cost is not None and cost >= self.min_cost))
            and (self.tag is None or decision.tags.get(self.tag[0]) == self.tag[1])
        )


class Scanned(NamedTuple):
    """The call that was looked at last, and when it was decided."""

    request_id: str
    at: Instant


class DecisionsFound(NamedTuple):
    """Calls, the newest first. ``scanned``: where the search stopped before its end; None if it did not."""

    items: Sequence[StoredDecision]
    scanned: Scanned | None


class DecisionSearch(Protocol):
    """Looks for calls page by page, each page in bounded time whatever is wanted."""

    async def search_decisions(self, wanted: "DecisionFilter", inside: Inside) -> DecisionsFound:
        """At most ``wanted.limit`` calls; go on with ``wanted.before`` at the last one, or at ``scanned``."""
        ...
