"""What calls add to the sums that people ask for. Everything here can be made anew from the calls.

| table           | one row for each                            | adds up                            |
|-----------------|---------------------------------------------|------------------------------------|
| `rollups`       | hour, principal, agent, model, provider     | every figure                       |
| `latencies`     | hour, provider, model, class of latency     | calls settled in time              |
| `tag_rollups`   | hour, tag, value                            | calls, tokens, cost                |
| `sessions`      | principal, session                          | calls, tokens, cost; its last call |
| `session_parts` | principal, session, agent, model, provider  | nothing: a session is found by it  |

`half_days`, `half_day_latencies` and `half_day_tags` are the first three by the half-day: reports read those.
A late settlement comes as the difference to what was counted before, so that each sum stays one of all calls.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Any, NamedTuple, TypeVar

from palyra.core.hours import HALF_DAY_NS
from palyra.core.latency import bucket_of
from palyra.lifecycle.decision import AnyDecision, CallState, Settlement
from palyra.store.write import NOTHING, RollupDelta, RollupKey, Write, denial_delta, rollup_delta, rollup_key

Row = tuple[Any, ...]
Counted = tuple[AnyDecision, RollupKey, RollupDelta]
"""A call, the cell that it belongs to, and what it adds."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

SESSION_FIGURES = ("requests", "denied", "failed", "input_tokens", "output_tokens", "cost")


class Derived(NamedTuple):
    """Rows to add to what is stored, each in the order of its key."""

    rollups: list[Row]
    half_days: list[Row]
    latencies: list[Row]
    half_day_latencies: list[Row]
    tags: list[Row]
    half_day_tags: list[Row]
    sessions: list[Row]
    session_parts: list[Row]


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
    cells: dict[RollupKey, list[RollupDelta]] = {}
    tagged: dict[tuple[int, int], tuple[int, AnyDecision, list[RollupDelta]]] = {}
    sessions: dict[tuple[str, str], list[Counted]] = {}
    for call in calls:
        decision, cell, delta = call
        _append(cells, cell, delta)
        session = decision.session
        if session is not None:
            _append(sessions, (cell.principal, session), call)
        tags = decision.tags
        if tags:
            # The same tags of one key are one object; others are told apart when they are written out.
            place = cell.hour, id(tags)
            group = tagged.get(place)
            if group is None:
                tagged[place] = cell.hour, decision, [delta]
            else:
                group[2].append(delta)
    rollups = [(*cell, *_total(cells[cell])) for cell in sorted(cells)]
    latencies, tags = _latency_rows(cells), _tag_rows(tagged.values())
    places = sorted(sessions)
    return Derived(
        rollups,
        _with_last_hours(rollups),
        latencies,
        _by_half_day(latencies, 4),
        tags,
        _by_half_day(tags, 3),
        [_session_row(sessions[place]) for place in places],
        [(*place, *names) for place in places for names in _parts(sessions[place])],
    )


def _append(groups: dict[_Key, list[_Value]], key: _Key, value: _Value) -> None:
    found = groups.get(key)
    if found is None:
        groups[key] = [value]
    else:
        found.append(value)


def _total(deltas: Sequence[RollupDelta]) -> Sequence[int]:
    return deltas[0] if len(deltas) == 1 else list(map(sum, zip(*deltas, strict=True)))


def _with_last_hours(rollups: Sequence[Row]) -> list[Row]:
    """The cells of hours as cells of their half-days, each with the last hour that it has."""
    last: dict[Row, int] = {_in_half_day(row, 5): row[0] for row in rollups}
    return [(*row[:5], last[row[:5]], *row[5:]) for row in _by_half_day(rollups, 5)]


def _by_half_day(rows: Sequence[Row], keys: int) -> list[Row]:
    """Rows of hours, the first of so many keys, added up by their half-days."""
    if not rows:
        return []
    first, last = rows[0][0], rows[-1][0]
    if first == last:
        # Nearly all commits end calls of one hour.
        start = first - first % HALF_DAY_NS
        return [(start, *row[1:]) for row in rows]
    sums: dict[Row, Sequence[int]] = {}
    for row in rows:
        place = _in_half_day(row, keys)
        before = sums.get(place)
        sums[place] = row[keys:] if before is None else list(map(add, before, row[keys:]))
    return [(*place, *sums[place]) for place in sorted(sums)]


def _in_half_day(row: Row, keys: int) -> Row:
    hour = row[0]
    return hour - hour % HALF_DAY_NS, *row[1:keys]


def _latency_rows(cells: Mapping[RollupKey, Sequence[RollupDelta]]) -> list[Row]:
    latencies: Counter[tuple[int, str, str, int]] = Counter()
    for cell, deltas in cells.items():
        for milliseconds, calls in Counter([each.latency_ms for each in deltas if each.timed]).items():
            latencies[cell.hour, cell.provider, cell.model, bucket_of(milliseconds)] += calls
    return [(*each, latencies[each]) for each in sorted(latencies)]


def _tag_rows(groups: Iterable[tuple[int, AnyDecision, Sequence[RollupDelta]]]) -> list[Row]:
    sums: dict[tuple[int, str, str], Sequence[int]] = {}
    for hour, decision, deltas in groups:
        total = RollupDelta(*_total(deltas))
        figures = (total.requests, total.input_tokens, total.output_tokens, total.cost)
        if any(figures):
            for name, value in decision.tags.items():
                before = sums.get((hour, name, value))
                sums[hour, name, value] = figures if before is None else list(map(add, before, figures))
    return [(*tag, *sums[tag]) for tag in sorted(sums)]


def _session_row(calls: Sequence[Counted]) -> Row:
    if len(calls) == 1:
        ((first, _, total),) = calls
        last = first
    else:
        first = min(calls, key=_id_of)[0]
        last = max(calls, key=_id_of)[0]
        total = RollupDelta(*_total([delta for _, _, delta in calls]))
    return (
        last.principal,
        last.session,
        first.at,
        last.at,
        first.request_id,
        last.request_id,
        last.agent or "",
        last.model,
        total.requests,
        total.denied,
        total.failed,
        total.input_tokens,
        total.output_tokens,
        total.cost,
    )


def _parts(calls: Sequence[Counted]) -> Sequence[tuple[str, str, str]]:
    """Each agent, model and provider of these calls."""
    return sorted({(cell.agent, cell.model, cell.provider) for _, cell, _ in calls})


def _id_of(call: Counted) -> str:
    return call[0].request_id
