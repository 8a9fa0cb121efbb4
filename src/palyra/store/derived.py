"""What calls add to the sums that people ask for. Everything here can be made anew from the calls.

| table         | one row for each                                  | adds up                    |
|---------------|---------------------------------------------------|----------------------------|
| `rollups`     | hour, principal, agent, model, provider           | every figure               |
| `latencies`   | hour, provider, model, class of latency           | calls settled in time      |
| `tag_rollups` | hour, tag, value                                  | calls, tokens, cost        |
| `sessions`    | principal, session                                | calls, tokens, cost; its last call |

A late settlement comes as the difference to what was counted before, so that each sum stays one of all calls.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, NamedTuple

from palyra.core.latency import bucket_of
from palyra.lifecycle.decision import AnyDecision, CallState, Settlement
from palyra.store.write import NOTHING, RollupDelta, RollupKey, Write, denial_delta, rollup_delta, rollup_key

Row = tuple[Any, ...]
Counted = tuple[AnyDecision, RollupKey, RollupDelta]
"""A call, the cell that it belongs to, and what it adds."""

SESSION_FIGURES = ("requests", "denied", "failed", "input_tokens", "output_tokens", "cost")


class Derived(NamedTuple):
    """Rows to add to what is stored, each in the order of its key."""

    rollups: list[Row]
    latencies: list[Row]
    tags: list[Row]
    sessions: list[Row]


class _Alike:
    """Calls of one cell, session and set of tags."""

    __slots__ = ("deltas", "first", "last")

    def __init__(self, decision: AnyDecision, delta: RollupDelta) -> None:
        self.first = self.last = decision
        self.deltas = [delta]

    def add(self, decision: AnyDecision, delta: RollupDelta) -> None:
        self.deltas.append(delta)
        request_id = decision.request_id
        if request_id > self.last.request_id:
            self.last = decision
        elif request_id < self.first.request_id:
            self.first = decision

    def total(self) -> RollupDelta:
        deltas = self.deltas
        return deltas[0] if len(deltas) == 1 else RollupDelta(*map(sum, zip(*deltas, strict=True)))


class _Session:
    """What calls add to one session."""

    __slots__ = ("figures", "first", "last")

    def __init__(self, first: AnyDecision, last: AnyDecision, figures: Sequence[int]) -> None:
        self.first, self.last, self.figures = first, last, figures

    def plus(self, first: AnyDecision, last: AnyDecision, figures: Sequence[int]) -> "_Session":
        return _Session(
            min(self.first, first, key=_id_of),
            max(self.last, last, key=_id_of),
            list(map(add, self.figures, figures)),
        )

    def row(self) -> Row:
        first, last = self.first, self.last
        return (
            last.principal,
            last.session,
            first.at,
            last.at,
            first.request_id,
            last.request_id,
            last.agent or "",
            last.model,
            *self.figures,
        )


def counted(batch: Iterable[Write]) -> list[Counted]:
    """The calls of a batch that change a sum."""
    return [
        (write.call.decision, *write.rollup)
        for write in batch
        if write.rollup is not None and write.call is not None
    ]


def counted_call(state: CallState, decision: AnyDecision, end: Settlement | None) -> Counted | None:
    """The same of a call as it is stored; None for one that changes no sum."""
    if state is CallState.DENIED:
        return decision, rollup_key(decision), denial_delta(decision)
    delta = NOTHING if end is None else rollup_delta(decision, end)
    return None if delta == NOTHING else (decision, rollup_key(decision), delta)


def derived(calls: Sequence[Counted]) -> Derived:
    """What these calls add, row by row. Calls alike are put together first: a commit has many of them."""
    groups = _grouped(calls)
    cells: dict[RollupKey, RollupDelta] = {}
    latencies: Counter[tuple[int, str, str, int]] = Counter()
    tags: dict[tuple[int, str, str], Sequence[int]] = {}
    sessions: dict[tuple[str, str], _Session] = {}
    for (cell, session, _), group in groups.items():
        total = group.total()
        before = cells.get(cell)
        cells[cell] = total if before is None else before.plus(total)
        if total.timed:
            _add_latencies(latencies, cell, group.deltas)
        first, last = group.first, group.last
        if last.tags:
            _add_tags(tags, cell.hour, last, total)
        if session is not None:
            place, figures = (cell.principal, session), _session_figures(total)
            known = sessions.get(place)
            sessions[place] = (
                _Session(first, last, figures) if known is None else known.plus(first, last, figures)
            )
    return Derived(
        [(*cell, *cells[cell]) for cell in sorted(cells)],
        [(*each, latencies[each]) for each in sorted(latencies)],
        [(*tag, *tags[tag]) for tag in sorted(tags)],
        [sessions[place].row() for place in sorted(sessions)],
    )


def _grouped(calls: Sequence[Counted]) -> dict[tuple[RollupKey, str | None, int], _Alike]:
    groups: dict[tuple[RollupKey, str | None, int], _Alike] = {}
    for decision, cell, delta in calls:
        tags = decision.tags
        # The same tags of one key are one object; others are told apart when they are written out.
        place = cell, decision.session, id(tags) if tags else 0
        group = groups.get(place)
        if group is None:
            groups[place] = _Alike(decision, delta)
        else:
            group.add(decision, delta)
    return groups


def _add_latencies(
    latencies: Counter[tuple[int, str, str, int]], cell: RollupKey, deltas: Sequence[RollupDelta]
) -> None:
    for milliseconds, calls in Counter([each.latency_ms for each in deltas if each.timed]).items():
        latencies[cell.hour, cell.provider, cell.model, bucket_of(milliseconds)] += calls


def _add_tags(
    tags: dict[tuple[int, str, str], Sequence[int]], hour: int, decision: AnyDecision, total: RollupDelta
) -> None:
    figures = (total.requests, total.input_tokens, total.output_tokens, total.cost)
    if any(figures):
        for name, value in decision.tags.items():
            before = tags.get((hour, name, value))
            tags[hour, name, value] = figures if before is None else list(map(add, before, figures))


def _session_figures(total: RollupDelta) -> Sequence[int]:
    return (
        total.requests,
        total.denied,
        total.failed,
        total.input_tokens,
        total.output_tokens,
        total.cost,
    )


def _id_of(decision: AnyDecision) -> str:
    return decision.request_id
