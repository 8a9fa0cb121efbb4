"""Believable months of use by the hour: a rhythm of hours and weekdays, noise, and things that go wrong.

Everything comes from a seed. Amounts are nano-USD. A series begins four weeks before its month, so that there
is a past to learn from; nobody who forecasts is shown more than the hours before ``now``.
"""

from collections.abc import Callable, Sequence
from math import exp
from random import Random
from typing import NamedTuple

from palyra.alerts.hourly import HOURS_OF_DAY, HourlyUse
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.core.money import NANO_PER_USD

PAST_DAYS = 28
MONTH_DAYS = 30
HOURS = (PAST_DAYS + MONTH_DAYS) * HOURS_OF_DAY
MONDAY = Instant(20_458 * DAY_NS)
"""2026-01-05."""

Rhythm = Callable[[int, int], float]
"""Of a weekday (0 is Monday) and an hour of the day: how busy it is."""


class Series(NamedTuple):
    """What one account used, hour by hour, over the past and the month. ``who`` names its kind."""

    who: str
    began: Instant
    amounts: Sequence[int]

    @property
    def month(self) -> tuple[Instant, Instant]:
        """Start and end of the month."""
        start = self.began + PAST_DAYS * DAY_NS
        return Instant(start), Instant(start + MONTH_DAYS * DAY_NS)

    def hours(self, since: int, until: int) -> list[HourlyUse]:
        """The whole hours in [since, until) that had any use: as rollups are, without the empty ones."""
        first, last = self._places(since, until)
        return [
            HourlyUse(Instant(self.began + hour * HOUR_NS), amount)
            for hour, amount in enumerate(self.amounts[first:last], first)
            if amount
        ]

    def used(self, since: int, until: int) -> int:
        """The sum over the whole hours in [since, until)."""
        first, last = self._places(since, until)
        return sum(self.amounts[first:last])

    def _places(self, since: int, until: int) -> tuple[int, int]:
        return max(0, (since - self.began) // HOUR_NS), max(0, (until - self.began) // HOUR_NS)


def month_of(seed: int) -> list[Series]:
    """One month of five teams, of an agent that runs away, and of a team that grows."""
    random = Random(seed)
    began = Instant(MONDAY + random.randrange(7) * DAY_NS)
    teams: list[tuple[str, Rhythm, float, float]] = [
        ("support", _round_the_clock, 2.0, 0.15),
        ("platform", _office, 6.0, 0.25),
        ("sales", _office, 3.0, 0.45),
        ("research", _nightly, 30.0, 0.35),
        ("evaluations", _weekly, 40.0, 0.30),
    ]
    series = [
        Series(who, began, _use(random, began, rhythm, usd * exp(random.gauss(0, 0.5)), noise))
        for who, rhythm, usd, noise in teams
    ]
    agent = _use(random, began, _round_the_clock, 0.5, 0.30)
    growing = _use(random, began, _office, 2.0, 0.25, growth=random.uniform(0.01, 0.04))
    return [
        *series,
        Series("runaway agent", began, _run_away(random, agent)),
        Series("growing team", began, growing),
    ]


def _use(
    random: Random, began: Instant, rhythm: Rhythm, usd: float, noise: float, growth: float = 0.0
) -> list[int]:
    """``usd`` an hour where the rhythm is 1. Noise by the hour and by the day, weeks that drift, days off."""
    amounts: list[int] = []
    drift = day = 0.0
    off = False
    for hour in range(HOURS):
        number = began // HOUR_NS + hour
        if number % HOURS_OF_DAY == 0 or not amounts:
            drift = 0.97 * drift + random.gauss(0, noise / 6)
            day = random.gauss(0, noise / 2)
            off = random.random() < 0.03
        weekday, clock = (number // HOURS_OF_DAY + 3) % 7, number % HOURS_OF_DAY
        level = rhythm(weekday, clock) * exp(drift + day) * (0.15 if off else 1.0)
        level *= (1 + growth) ** (hour / HOURS_OF_DAY)
        calls = random.gammavariate(1 / noise**2, noise**2)
        amounts.append(round(usd * level * calls * NANO_PER_USD))
    return amounts


def _run_away(random: Random, amounts: list[int]) -> list[int]:
    """From some hour of the month on it spends many times as much, until somebody stops it, if they do."""
    start = (PAST_DAYS + random.randrange(2, MONTH_DAYS - 6)) * HOURS_OF_DAY + random.randrange(HOURS_OF_DAY)
    length = random.choice([12, 48, 24 * 7, HOURS])
    times = random.uniform(5, 25)
    return [
        round(amount * times) if start <= hour < start + length else amount
        for hour, amount in enumerate(amounts)
    ]


def _round_the_clock(weekday: int, hour: int) -> float:
    return (1.0 if weekday < 5 else 0.6) * (1.0 if 7 <= hour < 21 else 0.35)


def _office(weekday: int, hour: int) -> float:
    if weekday > 4:
        return 0.04
    if not 7 <= hour < 19:
        return 0.03
    return 0.6 if hour in (7, 12, 18) else 1.0


def _nightly(weekday: int, hour: int) -> float:
    return (1.0 if weekday < 5 else 0.3) * (1.0 if hour in (1, 2, 3) else 0.01)


def _weekly(weekday: int, hour: int) -> float:
    return 1.0 if weekday == 6 and 2 <= hour < 8 else 0.01
