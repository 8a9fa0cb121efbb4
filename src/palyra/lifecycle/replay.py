"""The walk of a simulation through the history of a ledger."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from palyra.budgets.policy import Policy
from palyra.budgets.windows import Interval, window_at
from palyra.core.instant import Instant
from palyra.lifecycle.history import History, Line, PastCall, read_call, read_end
from palyra.lifecycle.simulate import Ended, Simulated, Simulation

Tell = Callable[[int, int], Awaitable[None]]
"""Told how much was gone through, of how much. May raise, to give up."""


class Watcher(Protocol):
    """Keeps what a simulation finds."""

    def decided(self, past: PastCall, simulated: Simulated | None) -> None:
        """One call was decided; None where budgets were never asked."""
        ...

    def ended(self, ended: Ended) -> None:
        """One call is over."""
        ...


def begin_of(policies: Iterable[Policy], since: Instant) -> Instant:
    """Where to begin reading, so that every window that holds at ``since`` is counted from its start."""
    begins = [since]
    for policy in policies:
        if policy.enabled and policy.interval is not Interval.REQUEST:
            start = window_at(policy.interval, policy.zone, since).start
            begins.append(start if policy.valid_from is None else max(start, policy.valid_from))
    return Instant(max(0, min(begins)))


async def replay(
    history: History,
    begin: Instant,
    simulation: Simulation,
    watcher: Watcher,
    tell: Tell,
    at_once: int | None = None,
) -> None:
    """Take all that was recorded from ``begin`` on through a simulation.

    ``at_once`` records are taken between two words on how far it is; None leaves that to the history. Raises
    LedgerUnavailable, and what ``tell`` raises.
    """
    reading = await history.read(begin)
    while (lines := await reading.next()) is not None:
        size = at_once or max(1, len(lines))
        for first in range(0, len(lines), size):
            take(lines[first : first + size], simulation, watcher)
            await tell(reading.done, reading.total)


def take(lines: Sequence[Line], simulation: Simulation, watcher: Watcher) -> None:
    """Take some records through a simulation."""
    for request_id, ends, document in lines:
        if not ends:
            past = read_call(document)
            watcher.decided(past, simulation.decide(past))
        elif simulation.knows(request_id):
            ended = simulation.end(request_id, read_end(document))
            if ended is not None:
                watcher.ended(ended)
