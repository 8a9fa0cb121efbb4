"""What the rollups say of hours that are over: cost spikes, shifts of the model mix, the use of the past.

Read a day or an hour at a time, so that no answer is large and the loop goes on in between.
"""

from array import array
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

from palyra.alerts import words
from palyra.alerts.course import Finding
from palyra.alerts.hourly import HOURS_OF_DAY, HourlyUse, hour_number
from palyra.alerts.mix import ModelUse, find_shift
from palyra.alerts.spike import DEFAULTS, find_spike
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import Records
from palyra.lifecycle.usage import UsageTotals

GRACE_NS = 120 * NANOSECONDS
"""An hour is looked at so long after its end, when most of its calls have ended."""
PAST_DAYS = 28
_WEEK_DAYS = 7
_EVERYBODY = None
Whose = str | None
"""A principal, None for all together."""
T = TypeVar("T")


class Source(NamedTuple):
    """Whose use by the rollups: the value of one of their groups, all use where ``group`` is None."""

    group: str | None
    entity: str
    metric: str


class Past:
    """The use of one source in each hour from ``first`` (a number of hours since the epoch) on."""

    __slots__ = ("_amounts", "first")

    def __init__(self, first: int, hours: int) -> None:
        self.first = first
        self._amounts = array("q", bytes(8 * hours))

    @property
    def end(self) -> int:
        """The number of the hour after the last one."""
        return self.first + len(self._amounts)

    def add(self, start: Instant, amount: int) -> None:
        """Add what an hour used; hours outside are left out."""
        place = hour_number(start) - self.first
        if 0 <= place < len(self._amounts):
            self._amounts[place] += amount

    def hours(self) -> list[HourlyUse]:
        """Every hour that used anything."""
        return [
            HourlyUse(Instant((self.first + place) * HOUR_NS), amount)
            for place, amount in enumerate(self._amounts)
            if amount
        ]


def last_hour(now: Instant) -> Instant:
    """The start of the newest hour that is over, and whose calls have mostly ended."""
    return Instant((hour_number(Instant(now - GRACE_NS)) - 1) * HOUR_NS)


async def find_spikes(records: Records, hour: Instant) -> list[Finding]:
    """Who spent much more in the hour from ``hour`` than at that hour of earlier days."""
    costs = await _costs(records, hour, Instant(hour + HOUR_NS))
    _leave_out_everybody_who_is_one(costs)
    wanted = {whose for whose, cost in costs.items() if cost >= DEFAULTS.amount_min}
    if not wanted:
        return []
    earlier = await _same_hours(records, hour, wanted)
    spikes = {whose: find_spike(HourlyUse(hour, costs[whose]), earlier[whose]) for whose in wanted}
    return [words.cost_spike(whose, spike) for whose, spike in spikes.items() if spike is not None]


async def find_shifts(records: Records, end: Instant) -> list[Finding]:
    """Whose calls of the day before ``end`` went to other models than those of the week before that."""
    now = await _mixes(records, Instant(end - DAY_NS), end)
    before = await _mixes(records, Instant(end - (_WEEK_DAYS + 1) * DAY_NS), Instant(end - DAY_NS))
    if now.keys() == before.keys():
        _leave_out_everybody_who_is_one(now)
    shifts = {whose: find_shift(before.get(whose, {}), mix) for whose, mix in now.items()}
    return [words.unusual_model_mix(whose, shift) for whose, shift in shifts.items() if shift is not None]


async def read_past(records: Records, now: Instant, wanted: AbstractSet[Source]) -> dict[Source, Past]:
    """The use of these sources in the hours of the last 28 days, as far as they are over."""
    days = PAST_DAYS
    end = hour_number(now)
    first = end - days * HOURS_OF_DAY
    found = {source: Past(first, days * HOURS_OF_DAY) for source in wanted}
    by_group: dict[str | None, dict[str, list[Source]]] = {}
    for source in wanted:
        entity = "" if source.group is None else source.entity
        by_group.setdefault(source.group, {}).setdefault(entity, []).append(source)
    for group, sources in by_group.items():
        names = ("hour",) if group is None else ("hour", group)
        for day in range(days):
            start = Instant((first + day * HOURS_OF_DAY) * HOUR_NS)
            for row in await records.usage(start, Instant(start + DAY_NS), names):
                entity = "" if group is None else row.group[group]
                for source in sources.get(entity, ()):
                    found[source].add(Instant(int(row.group["hour"])), _amount(row, source.metric))
    return found


async def _same_hours(
    records: Records, hour: Instant, wanted: AbstractSet[Whose]
) -> Mapping[Whose, Sequence[HourlyUse]]:
    """The hour of each earlier day, back to the first day that anything is known of."""
    days: list[dict[Whose, int]] = []
    known = dict.fromkeys(wanted, 0)
    for day in range(1, PAST_DAYS + 1):
        start = Instant(hour - day * DAY_NS)
        same = await _costs(records, start, Instant(start + HOUR_NS))
        used = await _costs(records, start, Instant(start + DAY_NS))
        days.append(same)
        for whose in wanted & used.keys():
            # Somebody who began later on that day was not there at this hour of it.
            known[whose] = day if whose in same else day - 1
    return {
        whose: [
            HourlyUse(Instant(hour - day * DAY_NS), days[day - 1].get(whose, 0))
            for day in range(1, known[whose] + 1)
        ]
        for whose in wanted
    }


async def _costs(records: Records, since: Instant, until: Instant) -> dict[Whose, int]:
    """What each principal spent, and all together if anybody did."""
    rows = await records.usage(since, until, ("principal",))
    costs: dict[Whose, int] = {row.group["principal"]: row.cost for row in rows}
    return costs | {_EVERYBODY: sum(costs.values())} if costs else costs


async def _mixes(records: Records, since: Instant, until: Instant) -> dict[Whose, dict[str, ModelUse]]:
    """The models of each principal, and of all together."""
    mixes: dict[Whose, dict[str, ModelUse]] = {}
    for row in await records.usage(since, until, ("principal", "model")):
        if row.requests:
            use = ModelUse(row.requests, row.cost)
            mixes.setdefault(row.group["principal"], {})[row.group["model"]] = use
    whole: dict[str, ModelUse] = {}
    for mix in mixes.values():
        for model, use in mix.items():
            before = whole.get(model, ModelUse(0, 0))
            whole[model] = ModelUse(before.calls + use.calls, before.cost + use.cost)
    return mixes | {_EVERYBODY: whole}


def _leave_out_everybody_who_is_one(found: dict[Whose, T]) -> None:
    """One principal and all together are the same: people hear of it once."""
    if len(found) <= 2:
        found.pop(_EVERYBODY, None)


def _amount(row: UsageTotals, metric: str) -> int:
    match metric:
        case "cost_usd":
            return row.cost
        case "requests":
            return row.requests
        case "input_tokens":
            return row.input_tokens
        case "output_tokens":
            return row.output_tokens
        case _:
            return row.input_tokens + row.output_tokens
