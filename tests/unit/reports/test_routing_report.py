"""What the router saves: hand-computed sums, what counts and what does not, and laws of the shuffle."""

import random
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fakes.calls import refused, served
from fakes.records import NOON
from palyra.core.instant import Instant
from palyra.lifecycle.decision import CallState, RoutingRecord, StoredDecision
from palyra.pricing.rates import STANDARD, Bracket, Rates
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage
from palyra.reports.routing import Costs, Tally, percent, report_document
from palyra.routing.choose import Option
from palyra.routing.complexity import Features

EASY, MIDDLE, HARD = 100, 500, 900
SMALL, LARGE = Usage(100, 50), Usage(1_000, 500)
EVERY = ("cheap", "middle", "dear")
CHAT = "chat_completions"


def sheet(dollars: str) -> PriceSheet:
    """``dollars`` per million tokens in, twice that out."""
    rates = Rates(input=Decimal(dollars), output=2 * Decimal(dollars))
    return PriceSheet("stub", "m", "config", "stub/m", {STANDARD: (Bracket(-1, rates),)})


SHEETS = {"cheap": sheet("1"), "middle": sheet("4"), "dear": sheet("10")}


@dataclass
class Prices:
    """A price book of models by id, with every question it was asked."""

    sheets: Mapping[str, PriceSheet]
    asked: list[tuple[str, str | None, str, Instant]]

    def __call__(self, model_id: str, provider: str | None, endpoint: str, at: Instant, /) -> Any:
        self.asked.append((model_id, provider, endpoint, at))
        return self.sheets.get(model_id)


def record(
    default: str, options: Sequence[str | Option], score: int = MIDDLE, *, is_open: bool = True
) -> RoutingRecord:
    every = tuple(each if isinstance(each, Option) else Option(each, "stub", 1, 1, 1) for each in options)
    return RoutingRecord(1, Features(9, 9, 1, 0, 0, False), score, is_open, default, None, every, "easy", "")


def call(
    recommended: str = "cheap",
    usage: Usage | None = SMALL,
    *,
    default: str = "middle",
    ran: str | None = None,
    routing: RoutingRecord | None = None,
    score: int = MIDDLE,
    endpoint: str = CHAT,
    sheets: Mapping[str, PriceSheet] = SHEETS,
    **settled: Any,
) -> StoredDecision:
    """A settled call that was asked for on ``default`` and ran there, unless said otherwise."""
    base, actual = served(), ran or default
    assert base.settlement is not None
    decision = replace(
        base.decision,
        endpoint=endpoint,
        requested_model=default,
        recommended_model=recommended,
        model=actual,
        provider="stub",
        routing=routing or record(default, EVERY, score),
    )
    tier = settled.get("service_tier")
    known = sheets.get(actual)
    cost = None if known is None or usage is None else known.cost(usage, tier)
    changes: dict[str, Any] = {"usage": usage, "cost": cost, "prices": ()} | settled
    return StoredDecision(decision, CallState.SETTLED, replace(base.settlement, **changes))


def with_decision(stored: StoredDecision, **changes: Any) -> StoredDecision:
    return replace(stored, decision=replace(stored.decision, **changes))


def tally_of(*calls: StoredDecision, sheets: Mapping[str, PriceSheet] = SHEETS) -> Tally:
    tally = Tally(Prices(sheets, []))
    for each in calls:
        tally.add(each)
    return tally


def document_of(*calls: StoredDecision, sheets: Mapping[str, PriceSheet] = SHEETS) -> dict[str, Any]:
    return report_document(tally_of(*calls, sheets=sheets), NOON, Instant(NOON + 1), None, truncated=False)


# SMALL costs 200,000 nano-USD on cheap, 800,000 on middle and 2,000,000 on dear; LARGE ten times that.
TWO_EASY_ONE_HARD = (
    call("cheap", SMALL, score=EASY),
    call("cheap", SMALL, score=EASY),
    call("dear", LARGE, score=HARD),
)


def test_the_four_costs_of_the_same_calls() -> None:
    # Shuffled: an easy call (2 x 200,000 + 2,000,000) / 3, twice, and the hard one (2 x 2 m + 20 m) / 3.
    assert tally_of(*TWO_EASY_ONE_HARD).costs() == Costs(9_600_000, 9_600_000, 20_400_000, 9_600_000)


def test_the_document_has_money_savings_bands_models_and_endpoints() -> None:
    document = document_of(*TWO_EASY_ONE_HARD)
    row = document["always_recommended"]
    assert (row["cost_nano_usd"], row["cost_usd"]) == (20_400_000, "0.0204")
    assert (row["saving_nano_usd"], row["saving_percent"]) == (-10_800_000, "-112.50")
    assert document["shuffled"]["saving_nano_usd"] == 0
    bands = {each["band"]: each for each in document["bands"]}
    assert {band: each["calls"] for band, each in bands.items()} == {
        "easy": 2,
        "default": 0,
        "hard": 1,
        "unscored": 0,
    }
    assert bands["easy"]["always_recommended"]["saving_nano_usd"] == 1_200_000
    assert bands["default"]["ran"]["saving_percent"] is None
    assert document["models"] == [
        {"model": "cheap", "default": 0, "recommended": 2, "ran": 0},
        {"model": "dear", "default": 0, "recommended": 1, "ran": 0},
        {"model": "middle", "default": 3, "recommended": 0, "ran": 3},
    ]
    (endpoint,) = document["endpoints"]
    assert (endpoint["endpoint"], endpoint["calls"]) == (CHAT, 3)
    assert endpoint["shuffled"] == document["shuffled"]


def test_each_endpoint_has_a_mix_of_its_own() -> None:
    tally = tally_of(call("cheap", SMALL), call("dear", LARGE, endpoint="messages"))
    assert tally.costs().shuffled == 200_000 + 20_000_000


def test_a_model_that_is_not_possible_leaves_its_share_to_the_others() -> None:
    blind = Option("dear", "stub", 1, 1, 1, lost="has no vision")
    tally = tally_of(
        call("cheap", SMALL, routing=record("middle", ("middle", "cheap", blind))),
        call("dear", LARGE),
        call("middle", SMALL),
    )
    # The first can be dealt cheap or middle, one half each; the two others any of the three.
    first = Fraction(200_000 + 800_000, 2)
    others = Fraction(2_000_000 + 8_000_000 + 20_000_000 + 200_000 + 800_000 + 2_000_000, 3)
    assert tally.costs().shuffled == first + others


@pytest.mark.parametrize(("tokens", "expected"), [((1, 2), 4), ((1, 4), 8)])
def test_the_shuffle_is_rounded_once_half_even(tokens: tuple[int, int], expected: int) -> None:
    # 1 and 2 nano-USD per token: (1 + 2 + 2 + 4) / 2 = 4.5, and (1 + 2 + 4 + 8) / 2 = 7.5.
    sheets = {"cheap": sheet("0.001"), "middle": sheet("0.002")}
    calls = [
        call(model, Usage(count, 0), sheets=sheets, routing=record("middle", ("middle", "cheap")))
        for model, count in zip(("cheap", "middle"), tokens, strict=True)
    ]
    assert tally_of(*calls, sheets=sheets).costs().shuffled == expected


def test_the_service_tier_and_the_instant_of_the_decision_set_the_price() -> None:
    flex = PriceSheet(
        "stub",
        "cheap",
        "config",
        "stub/cheap",
        {STANDARD: SHEETS["cheap"].tiers[STANDARD], "flex": sheet("0.5").tiers[STANDARD]},
    )
    prices = Prices(SHEETS | {"cheap": flex}, [])
    tally = Tally(prices)
    tally.add(call("cheap", SMALL, service_tier="flex"))
    assert tally.costs().recommended == 100_000
    assert set(prices.asked) == {("cheap", "stub", CHAT, NOON), ("dear", "stub", CHAT, NOON)}


def test_what_ran_costs_what_it_was_settled_at() -> None:
    costs = tally_of(call("middle", SMALL, cost=7)).costs()
    assert costs == Costs(7, 7, 7, 7)


def test_an_enforced_call_ran_as_recommended() -> None:
    costs = tally_of(call("cheap", SMALL, ran="cheap")).costs()
    assert (costs.ran, costs.default, costs.recommended) == (200_000, 800_000, 200_000)


def test_a_recommended_model_that_is_no_candidate_is_priced_by_its_name() -> None:
    prices = Prices(SHEETS, [])
    tally = Tally(prices)
    tally.add(call("cheap", SMALL, routing=record("middle", ("middle",))))
    assert tally.costs().recommended == 200_000
    assert prices.asked == [("cheap", None, CHAT, NOON)]


def test_of_two_candidates_of_one_id_the_first_counts() -> None:
    prices = Prices(SHEETS, [])
    twice = (Option("cheap", "first", 1, 1, 1), Option("cheap", "second", 1, 1, 1))
    Tally(prices).add(call("cheap", SMALL, routing=record("middle", ("middle", *twice))))
    assert [provider for _, provider, _, _ in prices.asked] == ["first"]


@pytest.mark.parametrize(
    ("stored", "counted"),
    [
        (call("middle", routing=record("middle", EVERY)), 1),
        (call("middle", routing=record("middle", EVERY, is_open=False)), 0),
        (call("cheap", routing=record("middle", EVERY, is_open=False)), 1),
        (with_decision(call("cheap"), routing=None), 0),
        (with_decision(call("cheap", ran="cheap"), routing=None, continues="req_1"), 1),
        (with_decision(call("middle"), routing=None, continues="req_1"), 0),
    ],
    ids=["open", "named", "degraded", "an alias", "failed over", "the same model elsewhere"],
)
def test_calls_count_whose_model_was_chosen(stored: StoredDecision, counted: int) -> None:
    tally = tally_of(stored)
    assert (tally.read, tally.counted, tally.not_routed) == (1, counted, 1 - counted)


def test_of_a_call_that_failed_over_only_the_settled_part_counts() -> None:
    released = replace(call("cheap", SMALL), state=CallState.RELEASED)
    settled = with_decision(
        call("cheap", SMALL, ran="cheap"), request_id="req_1.2", routing=None, continues="req_1"
    )
    tally = tally_of(released, settled, refused())
    assert (tally.read, tally.counted, tally.failed_over) == (1, 1, 1)
    assert tally.costs() == Costs(200_000, 800_000, 200_000, 200_000)
    assert {band: sums.calls for band, sums in tally.bands()}["unscored"] == 1


def test_estimated_calls_are_kept_and_counted() -> None:
    tally = tally_of(call("cheap", SMALL, source="estimated"), call("cheap", SMALL))
    assert (tally.counted, tally.estimated) == (2, 1)


@pytest.mark.parametrize("missing", ["cheap", "middle"])
def test_a_call_without_a_price_where_it_matters_is_left_out_and_never_free(missing: str) -> None:
    sheets = {model: prices for model, prices in SHEETS.items() if model != missing}
    tally = tally_of(call("cheap", SMALL, sheets=sheets), sheets=sheets)
    assert (tally.counted, tally.left_out["no_price"], tally.unpriced) == (0, 1, {missing: 1})
    assert tally.costs() == Costs(0, 0, 0, 0)


def test_a_candidate_without_a_price_is_not_dealt_and_counted() -> None:
    searching = Usage(100, 50, web_searches=1)
    free_search = replace_search(SHEETS["middle"]), replace_search(SHEETS["cheap"])
    sheets = {"middle": free_search[0], "cheap": free_search[1], "dear": SHEETS["dear"]}
    tally = tally_of(
        call("cheap", searching, sheets=sheets), call("dear", SMALL, sheets=sheets), sheets=sheets
    )
    # The first has no price on dear, so that it is dealt cheap; the second has both, one half each.
    assert tally.costs().shuffled == 200_000 + (200_000 + 2_000_000) // 2
    assert (tally.counted, tally.partly_priced, tally.unpriced) == (2, 1, {"dear": 1})


def replace_search(priced: PriceSheet) -> PriceSheet:
    return PriceSheet("stub", "m", "config", "stub/m", priced.tiers, web_search=Decimal(0))


def test_a_call_without_settlement_or_usage_is_left_out() -> None:
    tally = tally_of(replace(call("cheap"), settlement=None), call("cheap", None))
    assert (tally.read, tally.counted, tally.left_out["no_settlement"]) == (2, 0, 2)


@pytest.mark.parametrize(
    ("calls", "code", "text"),
    [
        ([], "no_calls", '[routing] and mode = "suggest"'),
        ([call("cheap", None)], "nothing_comparable", "palyra prices check"),
        ([call("cheap")], "nothing_beyond_mix", "0.0006 USD (75.00 %) less than the default ones"),
        ([call("middle")], "nothing_beyond_mix", "cost as much as the default ones"),
        (list(TWO_EASY_ONE_HARD), "dearer_than_mix", "would cost 0.0108 USD less"),
        ([call("cheap", LARGE), call("dear", SMALL)], "saves_beyond_mix", "would cost 0.0081 USD more"),
    ],
)
def test_the_verdict_says_it_in_words(calls: list[StoredDecision], code: str, text: str) -> None:
    verdict = document_of(*calls)["verdict"]
    assert verdict["code"] == code
    assert text in verdict["text"]


def test_percentages_are_rounded_half_even_and_none_of_nothing() -> None:
    assert percent(1, 3) == "33.33"
    assert percent(-1, 8) == "-12.50"
    assert percent(1, 16_000) == "0.01"
    assert percent(1, 20_000) == "0.00"
    assert percent(3, 20_000) == "0.02"
    assert percent(0, 0) is None


USAGES = st.builds(Usage, st.integers(0, 10_000), st.integers(0, 10_000))
MODELS = st.sampled_from(EVERY)
CALLS = st.lists(st.tuples(MODELS, USAGES, st.integers(0, 1_000)), min_size=1, max_size=20)


@given(CALLS)
def test_if_the_default_is_recommended_always_nothing_is_saved(drawn: list[tuple[str, Usage, int]]) -> None:
    costs = tally_of(*(call("middle", usage, score=score) for _, usage, score in drawn)).costs()
    assert costs.default == costs.recommended == costs.shuffled == costs.ran


@given(CALLS, st.randoms(use_true_random=False))
def test_the_order_of_the_calls_does_not_matter(
    drawn: list[tuple[str, Usage, int]], chance: random.Random
) -> None:
    calls = [call(model, usage, score=score) for model, usage, score in drawn]
    mixed = calls.copy()
    chance.shuffle(mixed)
    assert document_of(*mixed) == document_of(*calls)


@given(CALLS)
def test_the_shuffle_lies_between_the_cheapest_and_the_dearest_model(
    drawn: list[tuple[str, Usage, int]],
) -> None:
    costs = tally_of(*(call(model, usage) for model, usage, _ in drawn)).costs()
    mix = {model for model, _, _ in drawn}
    alone = [sum(SHEETS[model].cost(usage) or 0 for _, usage, _ in drawn) for model in mix]
    assert min(alone) <= costs.shuffled <= max(alone)


@given(st.lists(st.tuples(MODELS, USAGES, st.sets(MODELS)), min_size=1, max_size=12))
def test_the_shuffle_is_the_expectation_call_by_call(drawn: list[tuple[str, Usage, set[str]]]) -> None:
    calls = [
        call(model, usage, routing=record("middle", ("middle", *sorted(kept))))
        for model, usage, kept in drawn
    ]
    mix = [model for model, _, _ in drawn]
    expected = Fraction(0)
    for model, usage, kept in drawn:
        dealt = [each for each in mix if each in kept | {"middle", model}]
        expected += Fraction(sum(SHEETS[each].cost(usage) or 0 for each in dealt), len(dealt))
    assert tally_of(*calls).costs().shuffled == round(expected)


def test_many_calls_are_sums_and_not_a_list() -> None:
    tally, one = Tally(_from_sheets), call("cheap", SMALL)
    for each in TWO_EASY_ONE_HARD:
        tally.add(each)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            tally.add(one)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tally.counted == 20_003
    assert kept < 20_000, "not a byte for each call"


def _from_sheets(model_id: str, _provider: str | None, _endpoint: str, _at: Instant, /) -> PriceSheet:
    return SHEETS[model_id]
