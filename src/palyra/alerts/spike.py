"""Cost spikes: an hour that cost much more than the same hour of earlier days.

The same hours, because most use follows the clock: a busy morning is no spike after a quiet night. Median and
median absolute deviation (MAD), because they do not move for a few odd days: a spike of yesterday does not
make that of today look usual. Only more than usual is a spike, never less, in whatever order the hours come.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from palyra.alerts.hourly import DAYS_OF_WEEK, HOURS_OF_DAY, HOURS_OF_WEEK, HourlyUse, hour_number
from palyra.core.money import NANO_PER_USD

_MAD_TO_SIGMA = (14_826, 10_000)
"""The MAD of normally spread figures, times this, is their standard deviation."""


class SpikeRules(msgspec.Struct, frozen=True, gc=False):
    """When an hour is a spike.

    ``days_min``: so many earlier days are needed, at least 1. ``days_max``: older ones are not looked at.
    ``amount_min``: the hour must be so far above the usual, in nano-USD. ``sigmas``: and above it by so many
    standard deviations (from the MAD). ``times_min``: and so many times the usual. Raises ValueError for
    figures that make no sense.
    """

    days_min: int = 7
    days_max: int = 28
    amount_min: int = NANO_PER_USD
    sigmas: int = 6
    times_min: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.days_min <= self.days_max:
            raise ValueError("a spike needs at least 1 earlier day, and no more than are looked at")
        if self.amount_min < 1 or self.sigmas < 0 or self.times_min < 1:
            raise ValueError("a spike must be above the usual")


class Spike(NamedTuple):
    """An hour that cost too much. Amounts in nano-USD.

    ``usual`` is the median of the same hour on ``days`` earlier days; above ``threshold`` an hour is a spike.
    """

    hour: HourlyUse
    usual: int
    threshold: int
    days: int


DEFAULTS = SpikeRules()


def find_spike(hour: HourlyUse, earlier: Iterable[HourlyUse], rules: SpikeRules = DEFAULTS) -> Spike | None:
    """The spike that ``hour`` is, None if it is none or too little is known.

    ``earlier`` holds hours in any order; an hour that is left out after the first one cost nothing, and those
    that are not before ``hour`` are not looked at. Where the same weekday is known twice, the hour must be
    above what is usual on that weekday as well: work that runs once a week is no spike.
    """
    now = hour_number(hour.start)
    costs = {hour_number(each.start): each.amount for each in earlier}
    first = min(costs, default=now)
    days = min((now - first) // HOURS_OF_DAY, rules.days_max)
    if days < rules.days_min:
        return None
    daily = [costs.get(now - day * HOURS_OF_DAY, 0) for day in range(1, days + 1)]
    weekly = [costs.get(now - week * HOURS_OF_WEEK, 0) for week in range(1, days // DAYS_OF_WEEK + 1)]
    usual, threshold = _bounds(daily, rules)
    if len(weekly) > 1:
        usual, threshold = max((usual, threshold), _bounds(weekly, rules), key=lambda bounds: bounds[1])
    return Spike(hour, usual, threshold, days) if hour.amount > threshold else None


def _bounds(amounts: Sequence[int], rules: SpikeRules) -> tuple[int, int]:
    """What is usual, and above what an hour is a spike."""
    usual = _median(amounts)
    deviation = _median(abs(amount - usual) for amount in amounts)
    above, below = _MAD_TO_SIGMA
    wide = usual + rules.sigmas * deviation * above // below
    return usual, max(wide, usual * rules.times_min, usual + rules.amount_min)


def _median(amounts: Iterable[int]) -> int:
    """The middle one; of an even number the lower of the two, which is an amount that there was."""
    ordered = sorted(amounts)
    return ordered[(len(ordered) - 1) // 2]
