"""A price sheet turns usage into money exactly, and never calls an unknown price zero."""

from collections.abc import Mapping
from decimal import Decimal, localcontext

import pytest

from palyra.core.limits import TOKENS_MAX
from palyra.core.money import INT64_MAX
from palyra.pricing.rates import UNITS, Bracket, Rates, dearest, higher, plain
from palyra.pricing.sheet import PriceLine, PriceSheet
from palyra.pricing.usage import Usage


def rates(**prices: str) -> Rates:
    return Rates(**{unit: Decimal(price) for unit, price in prices.items()})


def sheet(
    standard: Rates | tuple[Bracket, ...],
    *,
    tiers: Mapping[str, Rates] | None = None,
    request: str | None = None,
    web_search: str | None = None,
    implicit_cache_writes: bool = False,
) -> PriceSheet:
    brackets = (Bracket(-1, standard),) if isinstance(standard, Rates) else standard
    others = {name: (Bracket(-1, prices),) for name, prices in (tiers or {}).items()}
    return PriceSheet(
        "openai",
        "m",
        "config",
        "openai/m",
        {"standard": brackets, **others},
        None if request is None else Decimal(request),
        None if web_search is None else Decimal(web_search),
        implicit_cache_writes,
    )


def test_cost_of_a_plain_call() -> None:
    mini = sheet(rates(input="0.15", output="0.60"))
    assert mini.cost(Usage(1_000_000, 1_000_000)) == 750_000_000
    assert mini.cost(Usage(0, 0)) == 0


def test_each_unit_has_its_own_price() -> None:
    prices = {unit: str(10**index) for index, unit in enumerate(UNITS)}
    usage = Usage(
        input_tokens=15,
        output_tokens=6,
        cache_read_tokens=1,
        cache_write_5m_tokens=2,
        cache_write_1h_tokens=3,
        reasoning_tokens=4,
        input_audio_tokens=5,
        output_audio_tokens=1,
        input_image_tokens=3,
    )
    counts = usage.billable()
    assert counts == (1, 1, 1, 2, 3, 4, 5, 1, 3)
    expected = sum(count * 10**index * 1000 for index, count in enumerate(counts))
    assert sheet(rates(**prices)).cost(usage) == expected


@pytest.mark.parametrize(
    "unit", ["cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"]
)
def test_an_input_part_without_a_price_costs_as_input(unit: str) -> None:
    usage = Usage(10, 0, **{f"{unit}_tokens": 10})
    assert sheet(rates(input="3")).cost(usage) == 30_000


@pytest.mark.parametrize("unit", ["reasoning", "output_audio"])
def test_an_output_part_without_a_price_costs_as_output(unit: str) -> None:
    assert sheet(rates(output="3")).cost(Usage(0, 10, **{f"{unit}_tokens": 10})) == 30_000


def test_a_one_hour_cache_write_without_a_price_costs_as_a_five_minute_one() -> None:
    assert sheet(rates(input="3", cache_write_5m="4")).cost(Usage(10, 0, cache_write_1h_tokens=10)) == 40_000


def test_an_explicit_zero_is_free() -> None:
    free_reads = sheet(rates(input="3", output="9", cache_read="0"))
    assert free_reads.cost(Usage(10, 0, cache_read_tokens=10)) == 0
    assert sheet(rates(input="0", output="0")).cost(Usage(10, 10)) == 0


def test_unknown_is_not_zero() -> None:
    """L6, W3: a token without any price makes the cost unknown, not free."""
    assert sheet(rates(input="3")).cost(Usage(10, 1)) is None
    assert sheet(rates(output="3")).cost(Usage(1, 10)) is None
    assert sheet(rates(input="3", output="3")).cost(Usage(1, 1, web_searches=1)) is None


def test_an_embedding_model_needs_only_an_input_price() -> None:
    embedding = sheet(rates(input="0.02"))
    assert embedding.cost(Usage(1_000, 0)) == 20_000
    assert embedding.upper_bound(1_000, 0) == 20_000
    assert embedding.upper_bound(1_000, 1) is None
    assert embedding.affordable_output(10**9, 1_000) == 0


@pytest.mark.parametrize(("tokens", "expected"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_rounding_is_half_even(tokens: int, expected: int) -> None:
    """0.0005 USD per million is half a nano-USD per token."""
    assert sheet(rates(input="0.0005")).cost(Usage(tokens, 0)) == expected


def test_rounding_happens_once_not_per_unit() -> None:
    """0.4 + 0.4 nano-USD is one nano-USD; rounding each part would lose it."""
    assert sheet(rates(input="0.0004", output="0.0004")).cost(Usage(1, 1)) == 1


def test_w14_costs_below_a_micro_dollar_are_not_lost_in_sums() -> None:
    """W14: each of these calls costs 0.0000004 USD, which five decimals would round to nothing."""
    tiny = sheet(rates(input="0.04", output="0.04"))
    costs = [tiny.cost(Usage(5, 5)) for _ in range(10_000)]
    assert all(type(cost) is int for cost in costs)
    assert sum(cost or 0 for cost in costs) == 4_000_000


def test_prices_finer_than_a_nano_and_huge_counts_stay_exact() -> None:
    fine = sheet(rates(input="0.041666666666666664", output="150.041666666666666664"))
    tokens = TOKENS_MAX - 1
    exact = (Decimal("0.041666666666666664") + Decimal("150.041666666666666664")) * tokens * 1000
    with localcontext() as context:
        context.prec = 80
        exact = (Decimal("0.041666666666666664") + Decimal("150.041666666666666664")) * tokens * 1000
        assert fine.cost(Usage(tokens, tokens)) == int(exact.to_integral_value())


def test_the_caller_s_decimal_context_does_not_change_a_cost() -> None:
    with localcontext() as context:
        context.prec = 3
        fine = sheet(rates(input="1.23456789", output="2"), request="0.123456789")
        assert fine.cost(Usage(1_000_000, 0)) == 1_358_024_679


def test_an_amount_beyond_int64_is_the_largest_int64() -> None:
    absurd = sheet(rates(input="1E+13", output="1E+13"))
    assert absurd.cost(Usage(TOKENS_MAX, TOKENS_MAX)) == INT64_MAX
    assert absurd.upper_bound(TOKENS_MAX, TOKENS_MAX) == INT64_MAX


def test_prices_with_positive_exponents_are_whole() -> None:
    assert sheet(rates(input="1E+2")).cost(Usage(1, 0)) == 100_000


def test_w18_the_request_fee_is_charged_once_per_call() -> None:
    """W18: one call, one fee, whatever the tokens; searches are charged each."""
    fees = sheet(rates(input="1", output="1"), request="0.005", web_search="0.01")
    assert fees.cost(Usage(0, 0)) == 5_000_000
    assert fees.cost(Usage(1_000, 1_000)) == 7_000_000
    assert fees.cost(Usage(0, 0, web_searches=3)) == 35_000_000
    assert fees.upper_bound(1_000, 1_000, web_searches=3) == 37_000_000


TIERED = (
    Bracket(-1, rates(input="1", output="2")),
    Bracket(100, rates(input="2", output="4", cache_read="1")),
    Bracket(200, rates(input="1.5", output="3")),
)


@pytest.mark.parametrize(
    ("tokens", "expected"), [(0, 0), (100, 100_000), (101, 202_000), (200, 400_000), (201, 301_500)]
)
def test_a_bracket_prices_the_whole_call(tokens: int, expected: int) -> None:
    assert sheet(TIERED).cost(Usage(tokens, 0)) == expected


def test_the_bound_takes_the_dearest_bracket_that_the_input_can_reach() -> None:
    assert sheet(TIERED).upper_bound(100, 10) == 120_000
    assert sheet(TIERED).upper_bound(150, 10) == 340_000
    assert sheet(TIERED).upper_bound(300, 10) == 640_000


def test_a_service_tier_has_its_own_prices_and_an_unknown_one_is_standard() -> None:
    served = sheet(rates(input="2"), tiers={"flex": rates(input="1"), "priority": rates(input="4")})
    usage = Usage(10, 0)
    costs = [served.cost(usage, tier) for tier in (None, "flex", "priority", "auto", "default", "")]
    assert costs == [20_000, 10_000, 40_000, 20_000, 20_000, 20_000]


def test_the_bound_of_a_cheap_tier_is_standard_because_the_provider_may_fall_back() -> None:
    served = sheet(
        rates(input="2", output="2"),
        tiers={"flex": rates(input="1", output="1"), "priority": rates(input="4", output="4")},
    )
    bounds = [served.upper_bound(10, 10, service_tier=tier) for tier in (None, "flex", "priority", "auto")]
    assert bounds == [40_000, 40_000, 80_000, 40_000]


def test_the_bound_rounds_up() -> None:
    assert sheet(rates(input="0.0001", output="0")).upper_bound(1, 0) == 1


def test_the_bound_of_plain_text_is_that_of_a_call_that_is_plain_text() -> None:
    mini = sheet(rates(input="0.15", output="0.60"), request="0.01")
    assert mini.text_bound(1_000, 500) == mini.upper_bound(1_000, 500) == 10_450_000


def test_the_bound_covers_what_the_call_may_contain() -> None:
    dear = sheet(
        rates(
            input="1",
            output="1",
            cache_write_5m="2",
            cache_write_1h="3",
            input_audio="5",
            input_image="7",
            output_audio="11",
            reasoning="2",
        )
    )
    assert dear.upper_bound(10, 10) == 30_000
    assert dear.upper_bound(10, 10, cache_writes=True) == 50_000
    assert dear.upper_bound(10, 10, audio=True) == 160_000
    assert dear.upper_bound(10, 10, images=True) == 90_000


def test_cache_reads_and_unasked_cache_writes_are_always_in_the_bound() -> None:
    assert sheet(rates(input="1", output="1", cache_read="2")).upper_bound(10, 0) == 20_000
    writes = rates(input="1", output="1", cache_write_5m="1.25")
    assert sheet(writes).upper_bound(10, 0) == 10_000
    assert sheet(writes, implicit_cache_writes=True).upper_bound(10, 0) == 12_500


def test_the_bound_is_unknown_where_a_price_is() -> None:
    assert sheet(rates(output="1")).upper_bound(1, 1) is None
    assert sheet(rates(output="1")).upper_bound(0, 1) == 1_000
    assert sheet(rates(input="1", output="1")).upper_bound(1, 1, web_searches=1) is None
    assert sheet(rates(output="1")).affordable_output(10**9, 1) == 0


def test_the_bound_of_plain_text_is_unknown_where_a_price_of_it_is() -> None:
    only_input = sheet(rates(input="1"))
    assert only_input.upper_bound(10, 0) is not None
    assert only_input.text_bound(10, 0) is None


def test_affordable_output_is_what_the_rest_pays_for() -> None:
    mini = sheet(rates(input="1", output="2"))
    assert mini.affordable_output(10_000, 4) == 3
    assert mini.affordable_output(9_999, 4) == 2
    assert mini.affordable_output(3_999, 4) == 0
    assert mini.affordable_output(-1, 0) == 0
    assert mini.affordable_output(INT64_MAX, 0) == TOKENS_MAX


def test_free_output_is_affordable_without_end() -> None:
    free = sheet(rates(input="1", output="0"))
    assert free.affordable_output(1_000, 1) == TOKENS_MAX
    assert free.affordable_output(999, 1) == 0


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_a_negative_count_has_no_bound(counts: tuple[int, int, int]) -> None:
    priced = sheet(rates(input="1", output="1"), web_search="1")
    with pytest.raises(ValueError, match="cannot be negative"):
        priced.upper_bound(counts[0], counts[1], web_searches=counts[2])


def test_lines_explain_the_bill() -> None:
    bill = sheet(rates(input="0.150", output="0.60", cache_read="0.075"), request="0.01", web_search="0.02")
    lines = bill.lines(Usage(30, 10, cache_read_tokens=10, web_searches=2))
    assert lines == (
        PriceLine("input", 20, "0.15", "0.000003"),
        PriceLine("output", 10, "0.6", "0.000006"),
        PriceLine("cache_read", 10, "0.075", "0.00000075"),
        PriceLine("request", 1, "0.01", "0.01"),
        PriceLine("web_search", 2, "0.02", "0.04"),
    )


def test_lines_use_the_tier_and_bracket_of_the_call_and_show_unknown_prices() -> None:
    assert sheet(TIERED).lines(Usage(150, 0)) == (PriceLine("input", 150, "2", "0.0003"),)
    flex = sheet(rates(input="2"), tiers={"flex": rates(input="1")})
    assert flex.lines(Usage(10, 0), "flex") == (PriceLine("input", 10, "1", "0.00001"),)
    assert flex.lines(Usage(0, 1)) == (PriceLine("output", 1, None, None),)
    assert flex.lines(Usage(0, 0, web_searches=1)) == (PriceLine("web_search", 1, None, None),)


def test_a_sheet_without_standard_or_ordered_brackets_is_refused() -> None:
    with pytest.raises(ValueError, match="needs standard prices"):
        PriceSheet("p", "m", "config", "id", {"flex": (Bracket(-1, Rates()),)})
    with pytest.raises(ValueError, match="at least one"):
        PriceSheet("p", "m", "config", "id", {"standard": ()})
    with pytest.raises(ValueError, match="ascending"):
        sheet((Bracket(5, Rates()), Bracket(5, Rates())))


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity"])
def test_a_sheet_refuses_what_is_no_price(price: str) -> None:
    with pytest.raises(ValueError, match="a price must be"):
        sheet(rates(input=price))
    with pytest.raises(ValueError, match="a price must be"):
        sheet(rates(input="1"), web_search=price)


def test_sheets_with_the_same_prices_are_equal_and_hash_alike() -> None:
    one, other = sheet(rates(input="1")), sheet(rates(input="1"))
    assert one == other
    assert hash(one) == hash(other)
    assert one != sheet(rates(input="2"))


def test_rates_stand_over_others_unit_by_unit() -> None:
    assert rates(input="1").over(rates(input="2", output="3")) == rates(input="1", output="3")
    assert rates(output="3", input="1").given() == {"input": Decimal(1), "output": Decimal(3)}


def test_the_dearest_counts_what_a_unit_really_costs() -> None:
    """A model whose cached reads fall back to its input price is dear at cached reads."""
    both = dearest([rates(input="600"), rates(input="1", cache_read="0.1", output="2")])
    assert both.cache_read == Decimal(600)
    assert both.output == Decimal(2)
    assert dearest([]) == Rates()
    assert higher(None, None) is None


def test_prices_are_written_without_exponent_or_trailing_zeros() -> None:
    assert [plain(Decimal(text)) for text in ("0.150", "100", "1E-9", "1E+2", "0")] == [
        "0.15",
        "100",
        "0.000000001",
        "100",
        "0",
    ]


def test_the_bound_knows_the_brackets_of_every_tier() -> None:
    cheap, dear = rates(input="1", output="1"), rates(input="9", output="9")
    tiers = {"standard": (Bracket(-1, cheap),), "priority": (Bracket(-1, cheap), Bracket(100, dear))}
    priced = PriceSheet("p", "m", "test", "p/m", tiers)
    for tokens in (0, 100, 101, 5_000):
        usage = Usage(tokens, tokens)
        bound = priced.upper_bound(tokens, tokens, service_tier="priority")
        assert bound == priced.cost(usage, "priority")
        assert priced.upper_bound(tokens, tokens, service_tier="never heard of") == priced.cost(usage)
