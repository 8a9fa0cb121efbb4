"""What people ask of sessions, tags and latencies. Answers come from sums, never from calls (W50)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from palyra.core.instant import Instant


class SessionOrder(StrEnum):
    """Which sessions come first: those with the newest call, or those that cost most."""

    NEWEST = "newest"
    DEAREST = "dearest"


class SessionPlace(NamedTuple):
    """Where a page of sessions ended: the last call (nanoseconds) or the cost (nano-USD), and whose."""

    figure: int
    principal: str
    session: str


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list; None means any. ``after`` is the place of the last one of the page before.

    Of an agent, a model and a provider are those with a call of all of them, if their principal had one in
    the period. In [since, until) are those whose first call was before its end, and whose last one was not
    before its beginning. Pages by the newest call never show a session twice; one that is called meanwhile
    moves to the front.
    """

    principal: str | None = None
    agent: str | None = None
    model: str | None = None
    provider: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    order: SessionOrder = SessionOrder.NEWEST
    after: SessionPlace | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class SessionTotals:
    """One session of a principal, all of its calls. ``cost`` in nano-USD; agent and model of its last call.

    ``first_call`` and ``last_call`` are request ids. Calls that still run are not in it.
    """

    principal: str
    session: str
    first_at: Instant
    last_at: Instant
    first_call: str
    last_call: str
    agent: str
    model: str
    requests: int
    denied: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost: int

    def place(self, order: SessionOrder) -> SessionPlace:
        """Where it stands in a list."""
        figure = self.last_at if order is SessionOrder.NEWEST else self.cost
        return SessionPlace(figure, self.principal, self.session)


@dataclass(frozen=True, slots=True)
class TagTotals:
    """Sums of the calls with one value of a tag. ``cost`` in nano-USD. A call counts for each of its tags."""

    tag: str
    value: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: int


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """How many calls of a model at a provider took how long, by class (``core.latency``)."""

    provider: str
    model: str
    calls: Mapping[int, int]


class ActivityRecords(Protocol):
    """Sums beside those of the rollups, written in the same commits (L2)."""

    async def sessions(self, wanted: SessionFilter) -> Sequence[SessionTotals]:
        """Sessions in the order that is wanted; of equal ones the greatest names come first."""
        ...

    async def session(self, principal: str, session: str) -> SessionTotals | None:
        """One session; None where no call of it is over."""
        ...

    async def tags(self, since: Instant, until: Instant, tag: str | None = None) -> Sequence[TagTotals]:
        """The values of one tag or of all, summed over the hours in [since, until), the dearest first."""
        ...

    async def latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Sequence[LatencyCounts]:
        """Calls by their latency over the hours in [since, until), in the order of provider and model.

        Of one provider, one model, or both, where they are said.
        """
        ...

    async def all_latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Mapping[int, int]:
        """The same counts of all these models and providers together."""
        ...
