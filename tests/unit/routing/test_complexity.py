"""How hard a call looks: within bounds, never less for more of anything, and pinned by its version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from palyra.routing.complexity import EASY, HARD, VERSION, WHOLE, Features, score

SIZES = st.integers(0, 2**40)
FEATURES = st.builds(
    Features,
    text_bytes=SIZES,
    tokens=SIZES,
    turns=SIZES,
    tools=SIZES,
    images=SIZES,
    wants_json=st.booleans(),
)
COUNTED = [each.name for each in fields(Features) if each.name != "wants_json"]

SCORES: dict[int, list[tuple[tuple[int, int, int, int, int, bool], int]]] = {
    1: [
        ((0, 0, 0, 0, 0, False), 0),
        ((100, 25, 1, 0, 0, False), 2),
        ((1_600, 400, 1, 0, 0, False), 50),
        ((8_000, 2_000, 1, 0, 0, False), 250),
        ((16_000, 4_000, 1, 0, 0, False), 500),
        ((10**9, 10**9, 1, 0, 0, False), 500),
        ((0, 0, 2, 0, 0, False), 13),
        ((0, 0, 12, 0, 0, False), 150),
        ((0, 0, 0, 1, 0, False), 25),
        ((0, 0, 0, 8, 0, False), 200),
        ((0, 0, 0, 0, 1, False), 75),
        ((0, 0, 0, 0, 2, False), 150),
        ((0, 0, 0, 0, 0, True), 100),
        ((16_000, 4_000, 6, 4, 1, True), 843),
        ((10**9, 10**9, 10**9, 10**9, 10**9, True), 1_000),
    ]
}
"""By version. A score that was stored is explained by these; old versions stay here."""


def test_scores_change_only_with_the_version() -> None:
    assert VERSION in SCORES, "VERSION was raised: add a table of its scores, and keep the old ones"
    wrong = [
        (features, expected, found)
        for features, expected in SCORES[VERSION]
        if (found := score(Features(*features))) != expected
    ]
    assert not wrong, f"the weights changed and the version did not: raise VERSION. {wrong}"


@given(FEATURES)
def test_a_score_is_from_nothing_to_the_whole(features: Features) -> None:
    assert 0 <= score(features) <= WHOLE == 1_000


@given(FEATURES, st.sampled_from(COUNTED), SIZES)
def test_more_of_anything_is_never_easier(features: Features, name: str, more: int) -> None:
    larger = replace(features, **{name: getattr(features, name) + more})
    assert score(larger) >= score(features)


@given(FEATURES)
def test_a_strict_format_is_never_easier(features: Features) -> None:
    assert score(replace(features, wants_json=True)) >= score(replace(features, wants_json=False))


@pytest.mark.parametrize("name", COUNTED)
def test_every_feature_counts_by_itself(name: str) -> None:
    nothing = Features(0, 0, 1, 0, 0, wants_json=False)
    assert score(replace(nothing, **{name: 10**6})) > score(nothing) == 0


@pytest.mark.parametrize("name", COUNTED)
def test_no_single_feature_makes_a_call_hard(name: str) -> None:
    assert score(replace(Features(0, 0, 1, 0, 0, wants_json=False), **{name: 2**50})) < HARD


def test_plain_text_alone_never_leaves_the_default_for_a_dearer_model() -> None:
    assert EASY < score(Features(2**40, 2**40, 1, 0, 0, wants_json=False)) < HARD


@given(st.integers(-9, 0), st.integers(-9, 0), st.integers(-9, 0))
def test_nothing_is_less_than_nothing(size: int, tokens: int, turns: int) -> None:
    assert score(Features(size, tokens, turns, 0, 0, wants_json=False)) == 0
