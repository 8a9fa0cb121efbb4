"""Whatever a call turns out to use, what was held for it is enough, and the cap is the largest that fits."""

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from palyra.core.limits import TOKENS_MAX
from palyra.core.money import INT64_MAX
from palyra.pricing.rates import Bracket, Rates
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage

TIERS = ("standard", "flex", "priority")
prices = st.decimals(0, 1_000, places=9) | st.sampled_from([Decimal(0), Decimal("0.041666666666666664")])
counts = st.integers(0, 400_000) | st.integers(0, TOKENS_MAX)


class Call(NamedTuple):
    """What is known before a call, and a usage within it."""

    input_bound: int
    output_bound: int
    searches: int
    cache_writes: bool
    audio: bool
    images: bool
    usage: Usage

    def upper_bound(self, sheet: PriceSheet, tier: str | None) -> int:
        bound = sheet.upper_bound(
            self.input_bound,
            self.output_bound,
            service_tier=tier,
            cache_writes=self.cache_writes,
            audio=self.audio,
            images=self.images,
            web_searches=self.searches,
        )
        assert bound is not None
        return bound


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    optional = st.none() | prices
    parts = [draw(optional) for _ in range(7)]
    return Rates(draw(prices), draw(prices), *parts)


@st.composite
def sheets(draw: st.DrawFn, *, brackets_max: int = 3) -> PriceSheet:
    tiers: dict[str, tuple[Bracket, ...]] = {}
    for tier in TIERS:
        if tier == "standard" or draw(st.booleans()):
            size = draw(st.integers(1, brackets_max))
            steps = sorted(draw(st.sets(st.integers(0, 400_000), min_size=size - 1, max_size=size - 1)))
            tiers[tier] = tuple(Bracket(step, draw(rates())) for step in (-1, *steps))
    request, search = draw(st.none() | prices), draw(prices)
    return PriceSheet("p", "m", "config", "p/m", tiers, request, search, draw(st.booleans()))


@st.composite
def usages(draw: st.DrawFn, input_tokens: int, output_tokens: int, call: tuple[bool, bool, bool]) -> Usage:
    writes, audio, images = call

    def part(of: int, wanted: bool = True) -> int:
        return draw(st.integers(0, of)) if wanted else 0

    read = part(input_tokens)
    write_5m = part(input_tokens - read, writes)
    write_1h = part(input_tokens - read - write_5m, writes)
    in_audio = part(input_tokens, audio)
    image = part(input_tokens - in_audio, images)
    reasoning = part(output_tokens)
    out_audio = part(output_tokens - reasoning, audio)
    return Usage(input_tokens, output_tokens, read, write_5m, write_1h, reasoning, in_audio, out_audio, image)


@st.composite
def calls(draw: st.DrawFn, *, writes_free: bool = False) -> Call:
    input_bound, output_bound, searches = draw(counts), draw(counts), draw(st.integers(0, 20))
    writes, audio, images = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    used = draw(
        usages(
            draw(st.integers(0, input_bound)),
            draw(st.integers(0, output_bound)),
            (writes or writes_free, audio, images),
        )
    )
    used = structs.replace(used, web_searches=draw(st.integers(0, searches)))
    return Call(input_bound, output_bound, searches, writes, audio, images, used)


@given(sheets(), calls(), st.sampled_from([None, "auto", *TIERS]))
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    sheet: PriceSheet, call: Call, tier: str | None
) -> None:
    """L1: served as asked or as standard, the cost is within what was held."""
    bound = call.upper_bound(sheet, tier)
    for served in (tier, "standard", None):
        cost = sheet.cost(call.usage, served)
        assert cost is not None
        assert cost <= bound


@given(sheets(), counts, counts)
def test_the_bound_of_plain_text_is_that_of_a_call_without_anything_else(
    sheet: PriceSheet, input_tokens: int, output_tokens: int
) -> None:
    assert sheet.text_bound(input_tokens, output_tokens) == sheet.upper_bound(input_tokens, output_tokens)


@given(sheets(), calls(writes_free=True))
def test_cache_writes_that_nobody_asked_for_are_within_the_bound(sheet: PriceSheet, call: Call) -> None:
    bound = call.upper_bound(replace(sheet, implicit_cache_writes=True), None)
    cost = sheet.cost(call.usage)
    assert cost is not None
    assert cost <= bound


@given(sheets(), calls(), st.integers(0, 10**15) | st.integers(0, INT64_MAX), st.sampled_from([None, *TIERS]))
def test_affordable_output_is_the_largest_that_fits(
    sheet: PriceSheet, call: Call, available: int, tier: str | None
) -> None:
    flags = {"cache_writes": call.cache_writes, "audio": call.audio, "images": call.images}
    fits = sheet.affordable_output(
        available, call.input_bound, service_tier=tier, web_searches=call.searches, **flags
    )

    def bound(output_tokens: int) -> int:
        return replace_output(call, output_tokens).upper_bound(sheet, tier)

    assert 0 <= fits <= TOKENS_MAX
    if bound(0) > available:
        assert fits == 0
    else:
        assert bound(fits) <= available
        assert fits == TOKENS_MAX or available < bound(fits + 1) or bound(fits + 1) == INT64_MAX


def replace_output(call: Call, output_tokens: int) -> Call:
    return call._replace(output_bound=output_tokens)


@given(sheets(brackets_max=1), calls(), st.sampled_from(["input_tokens", "output_tokens", "web_searches"]))
def test_more_of_anything_never_costs_less(sheet: PriceSheet, call: Call, what: str) -> None:
    usage = call.usage
    more = structs.replace(usage, **{what: min(getattr(usage, what) + 1, TOKENS_MAX)})
    less, greater = sheet.cost(usage), sheet.cost(more)
    assert less is not None
    assert greater is not None
    assert less <= greater


@given(sheets(), calls())
def test_a_larger_bound_on_tokens_is_a_larger_bound_on_money(sheet: PriceSheet, call: Call) -> None:
    wider = call._replace(input_bound=call.input_bound + 1, output_bound=call.output_bound + 1)
    assert call.upper_bound(sheet, None) <= wider.upper_bound(sheet, None)


@given(sheets(), calls(), st.sampled_from([None, *TIERS]))
def test_the_cost_is_the_exact_sum_of_the_lines_rounded_once_half_even(
    sheet: PriceSheet, call: Call, tier: str | None
) -> None:
    """W14: Decimal all the way, one rounding at the end."""
    lines = sheet.lines(call.usage, tier)
    with localcontext() as context:
        context.prec = 80
        total = sum((Decimal(line.cost or "NaN") for line in lines), Decimal(0)) * 10**9
        exact = min(int(total.to_integral_value("ROUND_HALF_EVEN")), INT64_MAX)
    assert sheet.cost(call.usage, tier) == exact


@given(calls())
def test_every_token_is_billed_exactly_once(call: Call) -> None:
    parts = call.usage.billable()
    assert min(parts) >= 0
    assert sum(parts) == call.usage.total_tokens
    assert Usage(**structs.asdict(call.usage)) == call.usage
