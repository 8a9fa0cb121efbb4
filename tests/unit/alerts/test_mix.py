"""The model mix: unusual only where there are models to choose among, and calls enough (W43)."""

from fractions import Fraction

import pytest

from palyra.alerts.mix import MixRules, ModelShare, ModelUse, distance, find_shift, shares

HALF = Fraction(1, 2)


def mix(**models: tuple[int, int]) -> dict[str, ModelUse]:
    return {model: ModelUse(*use) for model, use in models.items()}


def test_a_shift_of_cost_names_who_gained_and_who_lost() -> None:
    before = mix(small=(90, 600), big=(10, 300), old=(10, 100))
    shift = find_shift(before, mix(small=(90, 100), big=(10, 900)))
    assert shift is not None
    assert (shift.moved, shift.by) == (Fraction(6, 10), "cost")
    assert shift.gained == ModelShare("big", Fraction(3, 10), Fraction(9, 10))
    assert shift.lost == ModelShare("small", Fraction(6, 10), Fraction(1, 10))


def test_w43_one_model_in_both_is_never_unusual() -> None:
    assert find_shift(mix(only=(1_000, 5)), mix(only=(50, 900_000)), MixRules(percent=1)) is None
    unused = mix(only=(50, 9), other=(0, 0))
    assert find_shift(mix(only=(1_000, 5)), unused, MixRules(percent=1)) is None


def test_another_model_altogether_is() -> None:
    shift = find_shift(mix(one=(100, 7)), mix(other=(100, 7)))
    assert shift is not None
    assert shift.moved == 1
    assert (shift.gained.model, shift.lost.model) == ("other", "one")


@pytest.mark.parametrize(("before", "now", "fires"), [(50, 50, True), (49, 50, False), (50, 49, False)])
def test_few_calls_say_nothing(before: int, now: int, fires: bool) -> None:
    shift = find_shift(mix(one=(before, 9)), mix(other=(now, 9)))
    assert (shift is not None) is fires


def test_no_calls_at_all_say_nothing() -> None:
    assert find_shift({}, {}) is None


@pytest.mark.parametrize(("moved", "fires"), [(29, False), (30, True)])
def test_a_little_shift_is_usual(moved: int, fires: bool) -> None:
    before, now = mix(a=(50, 50), b=(50, 50)), mix(a=(50, 50 - moved), b=(50, 50 + moved))
    assert (find_shift(before, now) is not None) is fires


@pytest.mark.parametrize("unpriced", ["before", "now"])
def test_where_no_cost_is_known_calls_are_counted(unpriced: str) -> None:
    mixes = {"before": mix(a=(90, 10), b=(10, 10)), "now": mix(a=(10, 10), b=(90, 10))}
    mixes[unpriced] = {model: use._replace(cost=0) for model, use in mixes[unpriced].items()}
    shift = find_shift(mixes["before"], mixes["now"])
    assert shift is not None
    assert (shift.by, shift.moved) == ("calls", Fraction(8, 10))


def test_shares_add_up_exactly() -> None:
    assert shares({"a": 1, "b": 2, "c": 0}) == {"a": Fraction(1, 3), "b": Fraction(2, 3)}
    assert shares({"a": 0}) == {}


def test_the_distance_is_what_must_move() -> None:
    one, other = {"a": HALF, "b": HALF}, {"a": HALF, "c": HALF}
    assert distance(one, other) == distance(other, one) == HALF
    assert distance(one, one) == 0


@pytest.mark.parametrize("rules", [{"calls_min": 0}, {"percent": 0}, {"percent": 101}])
def test_rules_that_make_no_sense_are_refused(rules: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="mix"):
        MixRules(**rules)
