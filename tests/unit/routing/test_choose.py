"""The choice among models that may serve a call: preferences, ties, health, room, sessions, guardrail."""

from typing import Any

import pytest

from palyra.routing.choose import Choice, Health, Need, Option, cheaper, choose, from_cheapest, why_not
from palyra.routing.complexity import EASY, HARD
from palyra.routing.task import TRAITS, TaskClass, Traits

INTERACTIVE = TRAITS[TaskClass.PRIMARY_INTERACTIVE]
BACKGROUND = TRAITS[TaskClass.BACKGROUND_AUTOMATION]
CLASSIFICATION = TRAITS[TaskClass.AUXILIARY_CLASSIFICATION]
VISION = TRAITS[TaskClass.AUXILIARY_VISION]
MIDDLE = (EASY + HARD) // 2
HOME = "home"


def option(
    model: str, cost: int | None = 100, *, cost_rank: int = 1, latency_rank: int = 1, **more: Any
) -> Option:
    return Option(model, more.pop("provider", "p"), cost, cost_rank, latency_rank, **more)


CHEAP, MID, DEAR = option("cheap", 10), option(HOME, 100), option("dear", 1_000)
ALL = [MID, DEAR, CHEAP]


def chosen(
    options: list[Option], traits: Traits = INTERACTIVE, score: int = MIDDLE, sticky: str | None = None
) -> Choice:
    found = choose(options, HOME, traits, score, sticky)
    assert found is not None
    return found


def told(
    options: list[Option], traits: Traits = INTERACTIVE, score: int = MIDDLE, sticky: str | None = None
) -> tuple[str, str]:
    """The model, and by what."""
    found = chosen(options, traits, score, sticky)
    return found.option.model, found.by


# Preferences.


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0, ("cheap", "easy")),
        (EASY, ("cheap", "easy")),
        (EASY + 1, (HOME, "default")),
        (HARD - 1, (HOME, "default")),
        (HARD, ("dear", "hard")),
        (1_000, ("dear", "hard")),
    ],
)
def test_a_person_s_call_goes_by_its_complexity(score: int, expected: tuple[str, str]) -> None:
    assert told(ALL, score=score) == expected


def test_the_bounds_are_those_of_the_design() -> None:
    assert (EASY, HARD) == (350, 750)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (20, "complexity 0.02 is low"),
        (500, "complexity 0.50 is neither low nor high"),
        (750, "complexity 0.75 is high"),
    ],
)
def test_the_reason_tells_the_complexity(score: int, reason: str) -> None:
    assert chosen(ALL, score=score).reason == reason


def test_background_work_takes_the_cheapest_however_hard_it_looks() -> None:
    assert told(ALL, BACKGROUND, 1_000) == ("cheap", "low_cost")


def test_classification_takes_the_one_that_answers_first() -> None:
    fast = option("fast", 90, latency_rank=0)
    assert told([MID, fast, CHEAP], CLASSIFICATION) == ("fast", "low_latency")


def test_a_default_that_cannot_serve_leaves_the_cheapest_that_can() -> None:
    lost = option(HOME, 100, lost="has no tools")
    assert told([lost, DEAR, CHEAP]) == ("cheap", "low_cost")
    assert told([DEAR, CHEAP]) == ("cheap", "low_cost")


def test_nothing_is_chosen_where_none_can_serve() -> None:
    none = [option(HOME, lost="has no tools"), option("dear", health=Health.OPEN)]
    assert choose(none, HOME, INTERACTIVE, MIDDLE, None) is None
    assert choose([], HOME, INTERACTIVE, MIDDLE, None) is None


# Ties.


def test_the_price_of_the_call_comes_before_every_tier() -> None:
    premium = option("premium", 9, cost_rank=2, latency_rank=2)
    low = option("low", 10, cost_rank=0, latency_rank=0)
    assert told([MID, low, premium], score=0)[0] == "premium"
    assert told([premium, low], score=1_000)[0] == "low"


@pytest.mark.parametrize("score", [0, 1_000])
def test_tiers_break_ties_of_price_then_latency_then_the_name(score: int) -> None:
    better = {0: 0, 1_000: 2}[score]
    by_tier = [option("a"), option("z", cost_rank=better)]
    by_latency = [option("a"), option("z", latency_rank=0)]
    by_name = [option("z"), option("a")]
    by_provider = [option("a", provider="q"), option("a", provider="p")]
    assert told(by_tier, score=score)[0] == "z"
    assert told(by_latency, score=score)[0] == "z"
    assert told(by_name, score=score)[0] == "a"
    assert chosen(by_provider, score=score).option.provider == "p"


def test_among_equally_fast_ones_the_cheapest_is_taken() -> None:
    options = [option("b", 20, latency_rank=0), option("a", 30, latency_rank=0), option(HOME, 90)]
    assert told(options, CLASSIFICATION)[0] == "b"


def test_the_order_of_the_options_does_not_matter() -> None:
    options = [option(name, 7, provider=provider) for name in "abc" for provider in "pq"]
    first = [choose(options, HOME, INTERACTIVE, score, None) for score in (0, MIDDLE, 1_000)]
    assert [choose(options[::-1], HOME, INTERACTIVE, score, None) for score in (0, MIDDLE, 1_000)] == first


# Health and room.


@pytest.mark.parametrize("health", [Health.OPEN, Health.COOLING])
def test_healthy_ones_come_first(health: Health) -> None:
    sick = option("cheap", 10, health=health)
    assert told([MID, DEAR, sick], score=0) == (HOME, "easy")


def test_one_that_is_cooling_is_better_than_none_and_an_open_one_is_not() -> None:
    cooling, is_open = option(HOME, health=Health.COOLING), option("dear", health=Health.OPEN)
    assert told([cooling, is_open], score=1_000)[0] == HOME


@pytest.mark.parametrize("room", ["waiting", "deferred"])
def test_ones_with_room_come_first_and_busy_ones_are_better_than_none(room: str) -> None:
    busy = [option(HOME, 100, room=room), option("cheap", 10, room=room)]
    assert told([*busy, DEAR], score=0)[0] == "dear"
    assert told(busy, score=0)[0] == "cheap"


def test_health_comes_before_room() -> None:
    busy, cooling = option(HOME, room="waiting"), option("cheap", 10, health=Health.COOLING)
    assert told([busy, cooling], score=0)[0] == HOME


def test_one_that_cannot_serve_is_not_taken_for_its_health() -> None:
    lost = option("cheap", 1, lost="the key may not use it")
    sick = option(HOME, health=Health.COOLING)
    assert told([lost, sick], score=0)[0] == HOME


# Sessions.


@pytest.mark.parametrize("score", [0, MIDDLE, 1_000])
def test_a_session_stays_on_its_model_whatever_the_next_call_looks_like(score: int) -> None:
    assert told(ALL, score=score, sticky="dear") == ("dear", "session")


@pytest.mark.parametrize(
    "held",
    [option("dear", health=Health.OPEN), option("dear", health=Health.COOLING), option("dear", lost="x")],
)
def test_health_and_what_the_call_needs_move_a_session(held: Option) -> None:
    assert told([MID, CHEAP, held], sticky="dear") == (HOME, "default")


def test_a_session_whose_model_is_gone_is_chosen_anew() -> None:
    assert told(ALL, sticky="withdrawn") == (HOME, "default")


def test_background_work_does_not_follow_its_session_to_a_dear_model() -> None:
    assert told(ALL, BACKGROUND, sticky="dear")[0] == "cheap"


# Guardrail.


@pytest.mark.parametrize("task", [task for task in TaskClass if task is not TaskClass.PRIMARY_INTERACTIVE])
@pytest.mark.parametrize("score", [0, MIDDLE, 1_000])
def test_no_class_but_a_person_s_gets_a_dearer_model_than_the_default(task: TaskClass, score: int) -> None:
    fast = option("fast", 101, latency_rank=0)
    for options in (ALL, [*ALL, fast], [MID, fast], [MID, DEAR]):
        found = chosen(options, TRAITS[task], score)
        assert (found.option.cost or 0) <= 100


def test_the_guardrail_says_so() -> None:
    found = chosen([MID, option("fast", 101, latency_rank=0)], CLASSIFICATION)
    assert (found.option.model, found.by, found.reason) == (
        HOME,
        "guardrail",
        "no dearer model than the default",
    )


def test_within_the_guardrail_a_class_still_goes_by_its_preference() -> None:
    """Classification is for low latency: of what it may have, the fastest."""
    too_dear = option("instant", 101, latency_rank=0)
    quick, slow = option("quick", 90, latency_rank=1), option("slow", 10, latency_rank=2)
    home = option(HOME, 100, latency_rank=2)
    assert told([home, too_dear, quick, slow], CLASSIFICATION)[0] == "quick"


def test_a_hard_picture_gets_no_lesser_model_than_one_of_middle_complexity() -> None:
    middle, hard = chosen(ALL, VISION, MIDDLE).option, chosen(ALL, VISION, 1_000).option
    assert (hard.cost or 0) >= (middle.cost or 0)


def test_background_work_is_not_served_where_all_that_can_are_dearer_than_the_default() -> None:
    lost = option(HOME, 100, lost="has no tools")
    assert choose([lost, DEAR], HOME, BACKGROUND, 0, None) is None


def test_the_guardrail_goes_by_the_default_s_price_although_it_cannot_serve() -> None:
    sick = option(HOME, 100, health=Health.OPEN)
    assert told([sick, DEAR, option("below", 99), option("at", 100)], BACKGROUND)[0] == "below"


def test_the_default_itself_is_never_too_dear() -> None:
    assert told([option(HOME, None), option("other", None)], BACKGROUND)[0] in (HOME, "other")
    assert told([option(HOME, 5, room="waiting"), option("other", 10, room="waiting")], BACKGROUND)[0] == HOME


# Unknown prices.


def test_a_model_without_a_price_is_neither_the_cheapest_nor_the_dearest() -> None:
    unknown = option("unknown", None, cost_rank=0)
    assert told([MID, unknown], score=0)[0] == HOME
    assert told([MID, option("unknown", None, cost_rank=2)], score=1_000)[0] == HOME


def test_a_free_model_is_cheaper_than_one_without_a_price() -> None:
    assert told([option("unknown", None), option("free", 0)], score=0)[0] == "free"


def test_models_without_a_price_are_taken_where_there_is_no_other() -> None:
    unknown = [option("b", None), option("a", None)]
    assert told(unknown, score=0)[0] == told(unknown, score=1_000)[0] == "a"


def test_background_work_does_not_leave_a_priced_default_for_an_unpriced_model() -> None:
    """Unknown is not zero (L6)."""
    fast = option("unknown", None, latency_rank=0)
    assert told([MID, fast], CLASSIFICATION) == (HOME, "guardrail")


# Cheaper ones.


def test_cheaper_ones_come_from_the_dearest_on() -> None:
    options = [CHEAP, DEAR, MID, option("less", 60)]
    assert [each.model for each in cheaper(options, 1_000)] == [HOME, "less", "cheap"]
    assert [each.model for each in cheaper(options, 100)] == ["less", "cheap"]


def test_as_dear_is_not_cheaper_and_without_prices_nothing_is() -> None:
    assert cheaper([MID], 100) == []
    assert cheaper([option("unknown", None)], 100) == []
    assert cheaper(ALL, None) == []
    assert [each.model for each in cheaper([option("free", 0)], 1)] == ["free"]


def test_cheaper_ones_can_serve_and_are_healthy() -> None:
    options = [
        option("lost", 5, lost="has no json"),
        option("open", 6, health=Health.OPEN),
        option("cooling", 7, health=Health.COOLING),
        option("good", 4),
    ]
    assert [each.model for each in cheaper(options, 100)] == ["good"]


def test_ties_among_cheaper_ones_are_broken_by_the_higher_tier_then_latency_then_name() -> None:
    options = [
        option("d"),
        option("a"),
        option("c", latency_rank=0),
        option("b", cost_rank=2, latency_rank=2),
    ]
    assert [each.model for each in cheaper(options, 101)] == ["b", "c", "a", "d"]


def test_cheaper_ones_without_a_free_slot_come_last_and_are_not_left_out() -> None:
    busy = option("busy", 90, room="waiting")
    assert [each.model for each in cheaper([busy, CHEAP, option("less", 60)], 100)] == [
        "less",
        "cheap",
        "busy",
    ]
    assert [each.model for each in cheaper([MID, busy], 100)] == ["busy"]


def test_what_stands_in_comes_from_the_cheapest_on_with_busy_ones_last() -> None:
    options = [
        DEAR,
        option("busy", 1, room="deferred"),
        option("sick", 2, health=Health.COOLING),
        option("lost", 3, lost="has no tools"),
        option("unknown", None),
        CHEAP,
    ]
    assert [each.model for each in from_cheapest(options)] == ["cheap", "dear", "busy"]


# Why not.


def need(*capabilities: str, tokens: int = 100) -> Need:
    return Need(frozenset(capabilities), tokens)


def test_a_model_that_has_all_that_is_needed_can_serve() -> None:
    assert why_not(need(), frozenset(), None, allowed=True) == ""
    assert why_not(need("tools"), frozenset({"tools", "json"}), 100, allowed=True) == ""


def test_a_key_that_may_not_comes_first() -> None:
    assert why_not(need("tools"), None, 1, allowed=False) == "the key may not use it"


def test_what_a_model_lacks_is_named() -> None:
    assert (
        why_not(need("vision", "tools"), frozenset({"json"}), 1, allowed=True) == "has no tools and no vision"
    )
    assert why_not(need("streaming"), frozenset({"json"}), None, allowed=True) == "has no streaming"


def test_what_nobody_said_of_a_model_it_does_not_have() -> None:
    told = why_not(need("tools", "streaming"), None, None, allowed=True)
    assert told == "has no tools (its capabilities are not known)"
    assert why_not(need("streaming"), None, None, allowed=True) == ""


def test_a_context_window_holds_input_and_output() -> None:
    assert why_not(need(tokens=100), None, 100, allowed=True) == ""
    assert (
        why_not(need(tokens=101), None, 100, allowed=True)
        == "its context window is 100 tokens, and about 101 are needed"
    )
    assert why_not(need(tokens=2**40), None, None, allowed=True) == ""
