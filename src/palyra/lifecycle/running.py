"""Calls that are under way: how many there are, and what they hold of money at most."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from palyra.lifecycle.decision import AnyDecision


@dataclass(frozen=True, slots=True)
class RunningFilter:
    """Whose calls; of each name None means any, and "" none given."""

    principal: str | None = None
    agent: str | None = None
    model: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class RunningTotals:
    """``held`` are the bounds of the ``calls`` in nano-USD; ``unpriced`` of them have none (L6)."""

    calls: int = 0
    held: int = 0
    unpriced: int = 0


class RunningRecords(Protocol):
    """What runs now, on all gateways of the ledger."""

    async def running(self, wanted: RunningFilter) -> RunningTotals:
        """Calls whose end is not stored yet. It costs calls that run, not calls that there were."""
        ...


def running_totals(decisions: Iterable[AnyDecision], wanted: RunningFilter) -> RunningTotals:
    """What those of the calls hold that are wanted."""
    calls = held = unpriced = 0
    for each in decisions:
        if not _is_wanted(each, wanted):
            continue
        bound = each.cost_bound
        calls += 1
        held += bound or 0
        unpriced += bound is None
    return RunningTotals(calls, held, unpriced)


def _is_wanted(decision: AnyDecision, wanted: RunningFilter) -> bool:
    return (
        wanted.principal in (None, decision.principal)
        and wanted.agent in (None, decision.agent or "")
        and wanted.model in (None, decision.model)
        and wanted.provider in (None, decision.provider)
    )
