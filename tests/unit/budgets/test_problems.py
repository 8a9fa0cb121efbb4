"""All that is wrong with a budget at once, while it is still being written."""

import pytest

from palyra.budgets.policy import Known, PolicyDefaults
from palyra.budgets.problems import PROBLEMS_MAX, policy_problems

GOOD: dict[str, object] = {
    "id": "daily",
    "scope": "global",
    "metric": "cost_usd",
    "interval": "day",
    "soft_limit": "4.00",
    "hard_limit": "5.00",
    "thresholds": [{"at": "0.5"}, {"at": "0.8"}],
}
KNOWN = Known(providers=frozenset({"openai"}), models=frozenset({"gpt"}), principals=frozenset({"alice"}))


def fields(known: Known = KNOWN, **changed: object) -> list[str]:
    document = {name: value for name, value in (GOOD | changed).items() if value is not None}
    return [each.field or "" for each in policy_problems(document, PolicyDefaults(), known)]


def test_a_good_budget_has_none() -> None:
    assert fields() == []


def test_each_field_is_told_by_itself() -> None:
    found = fields(id="two words", interval="sometimes", hard_limit=1.5, colour="red", enabled="yes")
    assert set(found) == {"id", "interval", "hard_limit", "colour", "enabled"}


def test_limits_are_not_judged_while_their_unit_is_not_known() -> None:
    assert set(fields(metric="apples", hard_limit=1.5)) == {"metric"}


@pytest.mark.parametrize(("thresholds", "told"), [("0.5", "thresholds"), ([{"at": "much"}], "thresholds[0].at")])
def test_thresholds_are_told_by_their_place(thresholds: object, told: str) -> None:
    assert told in fields(thresholds=thresholds)


def test_what_several_fields_get_wrong_together_is_told_once_each_is_right() -> None:
    assert fields(soft_limit="6.00") == ["soft_limit"]
    assert fields(soft_limit="6.00", id="two words") == ["id"]


def test_a_scope_that_nothing_matches_and_a_target_that_is_not_there_are_told() -> None:
    assert fields(scope="provider:nobody") == ["scope"]
    assert fields(action="degrade", degrade_to="nothing-like-it") == ["degrade_to"]


def test_so_many_are_told_and_no_more() -> None:
    assert len(fields(**{f"field{number}": 1 for number in range(2 * PROBLEMS_MAX)})) == PROBLEMS_MAX
