"""Hints: what is worth a look, how urgent it is, and what to do next."""

from urllib.parse import parse_qs, urlsplit

import pytest

from palyra.alerts.alert import Severity
from palyra.reports.hints import (
    HINTS_MAX,
    AgentDay,
    Hint,
    HintKind,
    PressedBudget,
    Pressure,
    ProviderSight,
    Sight,
    hints_of,
)

USD = 1_000_000_000


def only(sight: Sight) -> Hint:
    (hint,) = hints_of(sight)
    return hint


def kinds(sight: Sight) -> list[str]:
    return [each.kind.value for each in hints_of(sight)]


def budget(why: Pressure, consumed: int = 4 * USD, entity: str = "alice") -> PressedBudget:
    return PressedBudget("each/daily", entity, "cost_usd", why, consumed, 5 * USD, "2026-11-23T18:00:00Z")


def test_nothing_needs_attention_where_all_is_well() -> None:
    well = Sight(
        requests=1_000,
        denied=10,
        providers=[ProviderSight("a", 1_000, 10, "ok"), ProviderSight("b", 0, 0, "disabled")],
        agents=[AgentDay("nightly", 3 * USD, 7 * USD, 7)],
        could_save=-5,
    )
    assert hints_of(well) == []


@pytest.mark.parametrize(
    ("why", "kind", "severity"),
    [
        (Pressure.HARD_LIMIT, HintKind.BUDGET_EXHAUSTED, Severity.CRITICAL),
        (Pressure.FORECAST, HintKind.BUDGET_RUNS_OUT, Severity.WARNING),
        (Pressure.SOFT_LIMIT, HintKind.BUDGET_OVER_SOFT_LIMIT, Severity.WARNING),
    ],
)
def test_a_budget_is_told_of_with_its_numbers(why: Pressure, kind: HintKind, severity: Severity) -> None:
    hint = only(Sight(budgets=[budget(why)]))
    assert (hint.kind, hint.severity) == (kind, severity)
    assert "each/daily of alice" in hint.title
    assert "4.00 USD of 5.00 USD" in hint.detail
    assert hint.link == "/budgets/each%2Fdaily"
    assert ("2026-11-23T18:00:00Z" in hint.detail) == (why is Pressure.FORECAST)


def test_a_budget_of_everybody_names_nobody() -> None:
    assert only(Sight(budgets=[budget(Pressure.SOFT_LIMIT, entity="*")])).title.startswith(
        "Budget each/daily is"
    )


@pytest.mark.parametrize(
    ("requests", "failed", "severity"),
    [
        (19, 1, None),
        (19, 2, Severity.WARNING),
        (95, 5, None),
        (94, 6, Severity.WARNING),
        (80, 20, Severity.WARNING),
        (79, 21, Severity.CRITICAL),
        (1, 9, None),
        (0, 0, None),
    ],
)
def test_errors_are_told_of_from_a_share_of_calls_enough(
    requests: int, failed: int, severity: Severity | None
) -> None:
    hints = hints_of(Sight(providers=[ProviderSight("a", requests, failed, "ok")]))
    assert [each.severity for each in hints] == ([] if severity is None else [severity])


def test_a_provider_that_takes_no_calls_is_critical() -> None:
    hint = only(Sight(providers=[ProviderSight("a", 5, 0, "open", "2026-11-23T12:01:00Z")]))
    assert (hint.kind, hint.severity) == (HintKind.PROVIDER_DOWN, Severity.CRITICAL)
    assert "2026-11-23T12:01:00Z" in hint.detail


def test_calls_without_a_price_are_named() -> None:
    models = [("m1", "p"), ("m2", "p"), ("m3", "p"), ("m4", "p")]
    hint = only(Sight(requests=9, unpriced=7, unpriced_models=models))
    assert hint.kind is HintKind.UNPRICED_CALLS
    assert hint.title.startswith("7 calls")
    assert "p/m1, p/m2, p/m3 and 1 more" in hint.detail
    assert "palyra prices set" in hint.action


@pytest.mark.parametrize(
    ("last_day", "before", "days", "told"),
    [
        (3 * USD + 1, 7 * USD, 7, True),
        (3 * USD, 7 * USD, 7, False),
        (40 * USD, 2 * USD, 2, False),
        (40 * USD, 0, 7, False),
        (9_999_999, 70, 7, False),
        (10_000_000, 70, 7, True),
    ],
)
def test_an_agent_spends_more_than_three_times_its_usual_day(
    last_day: int, before: int, days: int, told: bool
) -> None:
    hints = hints_of(Sight(agents=[AgentDay("run & away", last_day, before, days)]))
    assert [each.kind for each in hints] == ([HintKind.AGENT_SPENDS_MORE] if told else [])
    if hints:
        search = parse_qs(urlsplit(hints[0].link).query)
        assert search == {"agent": ["run & away"], "since": ["24h"]}


@pytest.mark.parametrize(
    ("sight", "kind"),
    [
        (Sight(requests=79, denied=21), "many_denied"),
        (Sight(requests=80, denied=20), None),
        (Sight(requests=5, denied=5), None),
        (Sight(requests=100, estimated=6), "usage_not_reported"),
        (Sight(requests=100, estimated=5), None),
        (Sight(requests=10, estimated=10), None),
        (Sight(calls=500, could_save=1), "routing_would_save"),
    ],
)
def test_shares_of_calls_and_what_routing_would_save(sight: Sight, kind: str | None) -> None:
    assert kinds(sight) == ([] if kind is None else [kind])


def test_the_most_severe_come_first_and_there_is_an_end() -> None:
    sight = Sight(
        requests=100,
        denied=100,
        unpriced=1,
        unpriced_models=[("m", "p")],
        budgets=[budget(Pressure.SOFT_LIMIT)] * 30 + [budget(Pressure.HARD_LIMIT)],
        providers=[ProviderSight("a", 0, 0, "half_open")],
        could_save=5,
    )
    hints = hints_of(sight)
    assert len(hints) == HINTS_MAX
    assert [each.kind for each in hints[:2]] == [HintKind.BUDGET_EXHAUSTED, HintKind.PROVIDER_DOWN]
    assert all(each.action and each.detail and each.link.startswith("/") for each in hints)


def test_every_kind_of_hint_can_come() -> None:
    sight = Sight(
        requests=100,
        denied=50,
        estimated=50,
        unpriced=1,
        unpriced_models=[("m", "p")],
        budgets=[budget(each) for each in Pressure],
        providers=[ProviderSight("a", 10, 20, "open")],
        agents=[AgentDay("a", 90 * USD, USD, 7)],
        calls=5,
        could_save=5 * USD,
    )
    assert set(kinds(sight)) == {each.value for each in HintKind}
