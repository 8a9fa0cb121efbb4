"""How wrong forecasts are, on months of seven accounts each that no figure of the method was chosen on.

The tables are those of docs/explanation/how-alerts-work.md: to see them again, run this file with ``-s``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from harness.forecasts import SHARES, Miss, Score, Warnings, misses, score, warnings
from harness.months import Series, month_of
from harness.pages import DOCS

SEEDS = range(100, 140)
MONTHS_WARNED = 8
PAGE = DOCS / "explanation" / "how-alerts-work.md"


class Setting(NamedTuple):
    """Windows of so many days in so many months, with or without what was used before the month."""

    name: str
    days: int
    months: int
    past: bool


MONTH = Setting("month", 30, 40, past=True)
FIRST_MONTH = Setting("month, nothing before", 30, 40, past=False)
WEEK = Setting("week", 7, 16, past=True)
DAY = Setting("day", 1, 4, past=True)


@pytest.fixture(scope="module")
def months() -> Sequence[Sequence[Series]]:
    return [month_of(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def missed(months: Sequence[Sequence[Series]]) -> dict[Setting, list[Miss]]:
    return {
        setting: list(misses(months[: setting.months], setting.days, past=setting.past))
        for setting in (MONTH, FIRST_MONTH, WEEK, DAY)
    }


@pytest.fixture(scope="module")
def warned(months: Sequence[Sequence[Series]]) -> tuple[Warnings, Warnings]:
    return warnings(months[:MONTHS_WARNED])


def at(missed: dict[Setting, list[Miss]], setting: Setting, share: int) -> Score:
    return score(miss for miss in missed[setting] if miss.share == share)


def show(rows: list[str]) -> None:
    """Print the rows, and see that the page has them."""
    print("", *rows, sep="\n")
    page = PAGE.read_text("utf-8")
    assert [row for row in rows if row not in page] == []


def test_every_forecast_was_made(missed: dict[Setting, list[Miss]]) -> None:
    for setting, windows in ((MONTH, 1), (FIRST_MONTH, 1), (WEEK, 4), (DAY, 30)):
        assert len(missed[setting]) == setting.months * 7 * windows * len(SHARES)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("setting", "at_most"), [(MONTH, 1.0), (FIRST_MONTH, 1.0), (WEEK, 0.5), (DAY, 0.4)])
def test_it_is_nearer_to_what_came_than_the_plain_rate(
    missed: dict[Setting, list[Miss]], setting: Setting, share: int, at_most: float
) -> None:
    found = at(missed, setting, share)
    assert found.forecast < at_most * found.plain


@pytest.mark.parametrize(
    ("setting", "errors"),
    [(MONTH, (25, 18, 9)), (FIRST_MONTH, (25, 18, 9)), (WEEK, (20, 13, 9)), (DAY, (25, 15, 6))],
)
def test_its_error_is_bounded_and_falls_as_the_window_goes_on(
    missed: dict[Setting, list[Miss]], setting: Setting, errors: tuple[int, int, int]
) -> None:
    found = [at(missed, setting, share).forecast for share in SHARES]
    assert all(error < bound for error, bound in zip(found, errors, strict=True))
    assert found == sorted(found, reverse=True)


def test_most_outcomes_are_in_the_band(missed: dict[Setting, list[Miss]]) -> None:
    for found in missed.values():
        assert 65 <= score(found).in_band <= 95


def test_budgets_that_run_out_are_warned_of_and_few_others(warned: tuple[Warnings, Warnings]) -> None:
    forecasts, rates = warned
    assert forecasts.ran_out > 80
    assert forecasts.ended_below > 80
    assert forecasts.warned_percent >= 85
    assert forecasts.warned_percent + forecasts.late_percent >= 98
    assert forecasts.false_percent <= 15
    assert forecasts.false_below_percent <= 8
    assert rates.false_percent > 3 * forecasts.false_percent


def test_the_page_says_how_wrong_it_is(
    missed: dict[Setting, list[Miss]], warned: tuple[Warnings, Warnings]
) -> None:
    show(
        [at(missed, setting, share).row(setting.name, f"{share} %") for setting in missed for share in SHARES]
    )
    kinds = dict.fromkeys(miss.who for miss in missed[MONTH])
    half = [miss for miss in missed[MONTH] if miss.share == 50]
    show([score(miss for miss in half if miss.who == who).row(who) for who in kinds])
    forecasts, rates = warned
    show([forecasts.row("forecast"), rates.row("plain rate")])
    told = f"{forecasts.ran_out} of the windows ran out, {forecasts.held} did not, of which"
    assert f"{told} {forecasts.ended_below} ended below" in " ".join(PAGE.read_text("utf-8").split())
