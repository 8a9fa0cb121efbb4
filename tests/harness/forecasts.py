"""How wrong forecasts are: held against months that they were not shown, and against the plain burn rate."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import mean, median
from typing import NamedTuple

from harness.months import PAST_DAYS, Series
from palyra.alerts.forecast import Forecast, forecast
from palyra.alerts.hourly import HOURS_OF_DAY
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant

SHARES = (25, 50, 75)
"""Percent of the window that is over when the forecast is made."""
NO_LIMIT = 2**63 - 1
LIMITS = (80, 100, 120, 150, 200)
"""Percent of what the four weeks before the month used, carried over to a month: as people set budgets."""
CHECK_HOURS = 6
AHEAD_HOURS = 24


class Miss(NamedTuple):
    """One forecast and one straight line against what came. All amounts in nano-USD."""

    who: str
    share: int
    used: int
    forecast: int
    plain: int
    in_band: bool


class Score(NamedTuple):
    """Mean absolute error in percent of what was used, and in how many percent it was in the band."""

    forecast: float
    plain: float
    in_band: float

    def row(self, *names: str) -> str:
        """The score as a row of a table."""
        figures = f"{self.forecast:.1f} % | {self.plain:.1f} % | {self.in_band:.0f} %"
        return f"| {' | '.join(names)} | {figures} |"


def misses(months: Iterable[Sequence[Series]], days: int, *, past: bool) -> Iterator[Miss]:
    """Every whole window of so many ``days`` in every month, at each of SHARES.

    Without a ``past`` nothing is known from before the month.
    """
    for series in (each for month in months for each in month):
        first, last = series.month
        since = series.began if past else first
        for start in range(first, last - days * DAY_NS + 1, days * DAY_NS):
            end = start + days * DAY_NS
            used = series.used(start, end)
            for share in SHARES:
                now = start + (end - start) * share // 100
                so_far = series.used(start, now)
                told = _told(series, since, (start, end), now, so_far, NO_LIMIT)
                if told is not None:
                    plain = so_far * 100 // share
                    in_band = told.low <= used <= told.high
                    yield Miss(series.who, share, used, told.expected, plain, in_band)


def score(some: Iterable[Miss]) -> Score:
    """Of each kind of series the errors against all that it used, and the mean of the kinds."""
    kinds: dict[str, list[Miss]] = {}
    for miss in some:
        kinds.setdefault(miss.who, []).append(miss)
    return Score(
        mean(_error(kind, [each.forecast for each in kind]) for kind in kinds.values()),
        mean(_error(kind, [each.plain for each in kind]) for kind in kinds.values()),
        100 * mean(mean(each.in_band for each in kind) for kind in kinds.values()),
    )


@dataclass(slots=True)
class Warnings:
    """What one way to warn made of windows that ran out, and of those that did not."""

    ran_out: int = 0
    leads: list[int] = field(default_factory=list[int])
    """Hours from the first warning to the end of the budget, where they were AHEAD_HOURS or more."""
    late: int = 0
    held: int = 0
    false: int = 0
    ended_below: int = 0
    """Windows that ended below nine tenths of their limit, and the false warnings among them."""
    false_below: int = 0

    def add(self, warned: int | None, out: int | None, share_used: float) -> None:
        """Count one window: the hours of the first warning and of the end of its budget, None for never."""
        if out is not None:
            self.ran_out += 1
            if warned is not None and out - warned >= AHEAD_HOURS:
                self.leads.append(out - warned)
            elif warned is not None and warned < out:
                self.late += 1
            return
        self.held += 1
        self.false += warned is not None
        if share_used < 0.9:
            self.ended_below += 1
            self.false_below += warned is not None

    @property
    def warned_percent(self) -> float:
        """Of the windows that ran out, those warned of at least AHEAD_HOURS before."""
        return 100 * len(self.leads) / self.ran_out

    @property
    def late_percent(self) -> float:
        """Of the windows that ran out, those warned of less than AHEAD_HOURS before."""
        return 100 * self.late / self.ran_out

    @property
    def false_percent(self) -> float:
        """Of the windows that did not run out, those that were warned of."""
        return 100 * self.false / self.held

    @property
    def false_below_percent(self) -> float:
        """Of the windows that ended below nine tenths, those that were warned of."""
        return 100 * self.false_below / self.ended_below

    def row(self, name: str) -> str:
        """The figures as a row of a table."""
        shares = (self.warned_percent, self.late_percent, self.false_percent, self.false_below_percent)
        lead = median(self.leads) / HOURS_OF_DAY
        return f"| {name} | {' | '.join(f'{share:.0f} %' for share in shares)} | {lead:.0f} days |"


def warnings(months: Iterable[Sequence[Series]]) -> tuple[Warnings, Warnings]:
    """Of the forecast and of the plain burn rate, on every month with each of LIMITS, a look in 6 hours.

    The plain rate warns where it reaches the limit, from the second day on.
    """
    forecasts, rates = Warnings(), Warnings()
    for series in (each for month in months for each in month):
        start, end = series.month
        before = series.used(series.began, start) * ((end - start) // DAY_NS) // PAST_DAYS
        limits = [before * percent // 100 for percent in LIMITS]
        balances = [0, *accumulate(series.amounts[PAST_DAYS * HOURS_OF_DAY :])]
        warned: dict[tuple[int, bool], int] = {}
        for hour in range(CHECK_HOURS, len(balances) - 1, CHECK_HOURS):
            now = start + hour * HOUR_NS
            used = balances[hour]
            told = _told(series, series.began, (start, end), now, used, NO_LIMIT)
            plain = used * (len(balances) - 1) // hour if hour >= HOURS_OF_DAY else 0
            for limit in (each for each in limits if used < each):
                if told is not None and told._replace(limit=limit).threatens(firing=False):
                    warned.setdefault((limit, True), hour)
                if plain >= limit:
                    warned.setdefault((limit, False), hour)
        for limit in limits:
            out = next((hour for hour, balance in enumerate(balances) if balance >= limit), None)
            for way, counted in ((True, forecasts), (False, rates)):
                counted.add(warned.get((limit, way)), out, balances[-1] / limit)
    return forecasts, rates


def _told(
    series: Series, since: int, window: tuple[int, int], now: int, used: int, limit: int
) -> Forecast | None:
    start, end = (Instant(each) for each in window)
    return forecast(series.hours(since, now), start, end, Instant(now), used, limit)


def _error(some: Sequence[Miss], said: Sequence[int]) -> float:
    wrong = sum(abs(miss.used - amount) for miss, amount in zip(some, said, strict=True))
    return 100 * wrong / sum(miss.used for miss in some)
