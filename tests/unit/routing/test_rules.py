"""Whose choice of a model is Palyra's."""

import pytest

from palyra.routing.rules import AUTO, RoutingRules, Smart


@pytest.mark.parametrize(
    ("smart", "auto", "named"),
    [(Smart.NEVER, False, False), (Smart.AUTO, True, False), (Smart.ALWAYS, True, True)],
)
def test_the_choice_is_open_to_whom_the_operator_says(smart: Smart, auto: bool, named: bool) -> None:
    rules = RoutingRules(smart)
    assert (rules.leaves_open(AUTO), rules.leaves_open("gpt-4o-mini")) == (auto, named)


def test_without_a_word_callers_who_ask_for_auto_leave_the_choice_and_failover_is_on() -> None:
    rules = RoutingRules()
    assert (rules.smart, rules.discovered_too, rules.failover) == (Smart.AUTO, False, True)
    assert rules.sticky_ns == 3_600 * 10**9
    assert [each.value for each in Smart] == ["never", "auto", "always"]
