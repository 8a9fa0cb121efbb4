"""Our sheets against genai-prices itself: same prices, same boundaries, same cost to the nano."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from genai_prices.types import ModelInfo, Provider
from genai_prices.types import Usage as TheirUsage

from palyra.core.instant import END_OF_TIME, Instant, parse_instant, to_datetime
from palyra.core.money import nano_from_usd
from palyra.pricing.base import ListedPrice
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices, bundled
from palyra.pricing.entry import parse_price_entry
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage

NOON = parse_instant("2026-11-23T12:00:00Z")
USAGES = [
    Usage(0, 0),
    Usage(1, 1),
    Usage(12_345, 678, cache_read_tokens=10_000, reasoning_tokens=600),
    Usage(210_001, 4_097, cache_read_tokens=150_001, cache_write_5m_tokens=20_003),
    Usage(1_000_003, 64_001, cache_write_5m_tokens=7, cache_write_1h_tokens=11, web_searches=3),
]
# genai-prices bills units that no usage of ours names; catalog.py says what it does about the first.
PICTURES = ("output_image_mtok", "output_video_mtok")


@pytest.fixture(scope="module")
def catalog() -> GenaiPrices:
    return GenaiPrices()


def sheet_of(
    catalog: GenaiPrices, model: str, at: int = NOON, kind: str = "openai", id_: str = ""
) -> PriceSheet:
    sheet = catalog.find(id_, kind, model, Instant(at)).sheet
    assert sheet is not None
    return sheet


def theirs(usage: Usage) -> TheirUsage:
    return TheirUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        web_searches=usage.web_searches,
    )


def own_models() -> Iterator[tuple[Provider, ModelInfo]]:
    """Every model that its own id finds again (an earlier one may shadow it)."""
    for provider in bundled():
        for info in provider.models:
            if provider.find_model(info.id) is info:
                yield provider, info


def test_cost_agrees_with_genai_prices_to_the_nano_for_every_model_and_tier(catalog: GenaiPrices) -> None:
    compared = 0
    at = to_datetime(NOON)
    for provider, info in own_models():
        contexts: list[dict[str, str]] = [
            {},
            *(v.when for v in info.price_variants or () if len(v.when) == 1),
        ]
        sheet = sheet_of(catalog, info.id, id_=provider.id, kind="openai_compatible")
        for context in contexts:
            tier = next(iter(context.values()), None)
            if {*context} & {"route", "search_type"} or tier == "default":
                continue
            prices = info.get_prices(at, context)
            if any(getattr(prices, key) is not None for key in PICTURES):
                continue
            for usage in USAGES:
                cost = sheet.cost(usage, tier)
                if cost is None:
                    continue
                expected = nano_from_usd(prices.calc_price(theirs(usage))["total_price"])
                assert cost == expected, (provider.id, info.id, context, usage)
                compared += 1
    assert compared > 9_000


def test_every_model_with_token_prices_is_priced(catalog: GenaiPrices) -> None:
    at = to_datetime(NOON)
    for provider, info in own_models():
        if info.get_prices(at).input_mtok is not None:
            sheet = sheet_of(catalog, info.id, id_=provider.id, kind="openai_compatible")
            assert sheet.cost(Usage(10, 0)) is not None


def test_the_standard_tier_is_what_openai_calls_default(catalog: GenaiPrices) -> None:
    prices = {"service_tier": "default"}
    for provider, info in own_models():
        if provider.id == "openai" and any(v.when == prices for v in info.price_variants or ()):
            sheet = sheet_of(catalog, info.id)
            expected = info.get_prices(to_datetime(NOON), prices).calc_price(TheirUsage(input_tokens=99))
            assert sheet.cost(Usage(99, 0), "default") == nano_from_usd(expected["total_price"])


def test_an_answer_holds_exactly_until_a_condition_begins_or_ends(catalog: GenaiPrices) -> None:
    """Walk each conditional model from boundary to boundary; inside an interval nothing changes."""
    start, end = parse_instant("2025-01-01T00:00:00Z"), parse_instant("2027-01-01T00:00:00Z")
    walked = 0
    for provider, info in own_models():
        if not isinstance(info.prices, list) and not info.price_variants:
            continue
        at, steps = start, 0
        while at < end and steps < 12:
            dated = catalog.find(provider.id, "openai_compatible", info.id, at)
            assert dated.since <= at < dated.until
            assert dated.since <= at < dated.until
            for moment in (max(dated.since, start), min(dated.until, end) - 1):
                again = catalog.find(provider.id, "openai_compatible", info.id, Instant(moment))
                assert again == dated
            if dated.until < end:
                walked += 1
            at, steps = dated.until, steps + 1
    assert walked > 200


def test_deepseek_is_cheaper_off_peak_and_the_book_notices_the_hour(catalog: GenaiPrices) -> None:
    book = PriceBook([], catalog)
    peak, off_peak = parse_instant("2025-03-01T16:29:59Z"), parse_instant("2025-03-01T16:30:00Z")
    prices: list[Decimal | None] = []
    for at in (peak, off_peak, peak, Instant(off_peak + 8 * 3600 * 10**9)):
        sheet = book.find("deepseek", "openai_compatible", "deepseek-chat", at)
        assert sheet is not None
        prices.append(sheet.standard.input)
    assert prices == [Decimal("0.27"), Decimal("0.135"), Decimal("0.27"), Decimal("0.27")]


def test_w2_the_default_provider_ids_find_prices(catalog: GenaiPrices) -> None:
    """W2: whatever the operator calls a provider of a known kind, its prices are found."""
    for provider_id in ("openai", "openai-primary", "eu"):
        assert catalog.find(provider_id, "openai", "gpt-4o-mini", NOON).sheet is not None
    for provider_id in ("anthropic", "anthropic-primary", "claude"):
        assert catalog.find(provider_id, "anthropic", "claude-sonnet-4-5", NOON).sheet is not None


@pytest.mark.parametrize(
    ("provider_id", "expected"),
    [
        ("groq", "groq"),
        ("Mistral ", "mistral"),
        ("mistral-primary", "mistral"),
        ("deepseek_eu", "deepseek"),
        ("openai-decisions-2", "openai-decisions"),
        ("xai", "x-ai"),
        ("vertex", "google"),
        ("edge", "mistral"),
        ("local", None),
    ],
)
def test_a_compatible_provider_is_found_by_hint_or_by_its_id(provider_id: str, expected: str | None) -> None:
    hinted = GenaiPrices({"edge": "mistral"})
    ids = {provider.id: sorted(info.id for info in provider.models) for provider in bundled()}
    assert hinted.models("openai_compatible", provider_id) == ids.get(expected or "", [])


def test_a_hint_to_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"provider 'edge': genai-prices .* has no prices of 'mistrl'"):
        GenaiPrices({"edge": "mistrl"})


def test_unknown_models_and_providers_have_no_price_at_any_time(catalog: GenaiPrices) -> None:
    for provider_id, kind, model in (
        ("local", "openai_compatible", "gpt-4o"),
        ("openai", "openai", "no-such-model"),
        ("openai", "openai", "gpt-4o" + "x" * 200),
    ):
        dated = catalog.find(provider_id, kind, model, NOON)
        assert dated.sheet is None
        assert dated.until == END_OF_TIME
        assert not catalog.knows(kind, model, provider_id)
        assert catalog.context_window(kind, model, provider_id) is None


def test_context_windows_and_ids(catalog: GenaiPrices) -> None:
    assert catalog.knows("openai", "gpt-4o-mini-2024-07-18")
    assert catalog.context_window("openai", "gpt-4o-mini") == 128_000
    assert "gpt-4o-mini" in catalog.models("openai")


def test_a_sheet_names_its_source_and_entry(catalog: GenaiPrices) -> None:
    sheet = sheet_of(catalog, "gpt-4o-mini-2024-07-18")
    assert sheet.source == catalog.source
    assert sheet.source.startswith("genai-prices ")
    assert sheet.entry_id == f"{catalog.source} openai/gpt-4o-mini"
    assert set(sheet.tiers) == {"standard", "priority", "fast", "batch"}


def test_tiers_are_not_taken_from_another_provider_s_model(catalog: GenaiPrices) -> None:
    """Azure falls back to OpenAI's list, whose flex and priority prices are not Azure's."""
    assert "gpt-6-sol" not in catalog.models("openai_compatible", "azure")
    azure = sheet_of(catalog, "gpt-6-sol", id_="azure", kind="openai_compatible")
    openai = sheet_of(catalog, "gpt-6-sol")
    assert azure.tiers == {"standard": openai.tiers["standard"]}
    assert len(openai.tiers) > 1


def test_output_that_may_be_pictures_is_billed_as_pictures(catalog: GenaiPrices) -> None:
    """L6: usage does not tell the two apart; text reasoning keeps the price of text."""
    sheet = sheet_of(catalog, "gemini-2.5-flash-image", kind="openai_compatible", id_="google")
    assert (sheet.standard.output, sheet.standard.reasoning) == (Decimal(30), Decimal("2.5"))


def test_only_anthropic_writes_its_cache_when_asked(catalog: GenaiPrices) -> None:
    assert not sheet_of(catalog, "claude-sonnet-4-5", kind="anthropic").implicit_cache_writes
    gpt = sheet_of(catalog, "gpt-6-sol")
    bound, written = gpt.upper_bound(1_000, 0), gpt.cost(Usage(1_000, 0, cache_write_5m_tokens=1_000))
    assert bound is not None
    assert written is not None
    assert written <= bound


def test_a_fee_per_thousand_requests_is_a_fee_per_request(catalog: GenaiPrices) -> None:
    sonar = sheet_of(catalog, "sonar", kind="openai_compatible", id_="perplexity")
    assert sonar.request == Decimal("0.012")
    assert sonar.cost(Usage(0, 0)) == 12_000_000


@pytest.mark.parametrize(
    ("kind", "priced"),
    [("openai", ["openai"]), ("anthropic", ["anthropic"]), ("openai_compatible", ["groq", "x-ai"])],
)
def test_the_ceiling_is_above_every_price_of_the_kind(
    catalog: GenaiPrices, kind: str, priced: list[str]
) -> None:
    most = PriceBook([], catalog).ceiling(kind).cost(USAGES[3])
    assert most is not None
    for provider, info in own_models():
        for at in (parse_instant("2024-01-01T00:00:00Z"), NOON, parse_instant("2029-01-01T00:00:00Z")):
            if provider.id in priced:
                sheet = sheet_of(catalog, info.id, at, "openai_compatible", provider.id)
                assert all((sheet.cost(USAGES[3], tier) or 0) <= most for tier in sheet.tiers)


def test_entries_list_every_model_with_its_dates_and_hours(catalog: GenaiPrices) -> None:
    rows = list(catalog.entries())
    assert {(row.provider, row.model) for row in rows} == {(p.id, m.id) for p in bundled() for m in p.models}
    assert all(row.source == catalog.source for row in rows)
    chat = [row for row in rows if (row.provider, row.model) == ("deepseek", "deepseek-chat")]
    assert [(row.when, row.prices["input"]) for row in chat] == [
        ("00:30-16:30 UTC", "0.27"),
        ("16:30-00:30 UTC", "0.135"),
    ]
    dated = [row for row in rows if row.valid_from is not None and row.when == ""]
    assert len(dated) > 100
    assert all(_priced_as_listed(catalog, row) for row in dated)


def _priced_as_listed(catalog: GenaiPrices, row: ListedPrice) -> bool:
    dated = catalog.find(row.provider, "openai_compatible", row.model, row.valid_from or NOON)
    if dated.sheet is None or dated.sheet.model != row.model:  # shadowed by an earlier entry
        return True
    given = dated.sheet.standard.given()
    return all(Decimal(row.prices[unit]) == price for unit, price in given.items())


def test_a_partial_overlay_keeps_the_list_s_other_units(catalog: GenaiPrices) -> None:
    entry = parse_price_entry({"provider": "openai", "model": "gpt-4o", "input": "2"}, "p")
    sheet = PriceBook([entry], catalog).find("openai", "openai", "gpt-4o", NOON)
    assert sheet is not None
    assert (sheet.standard.input, sheet.standard.output) == (Decimal(2), Decimal(10))
    assert sheet.source == f"config+{catalog.source}"


@pytest.mark.parametrize(
    ("kind", "model", "tier"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", "low"),
        ("openai", "gpt-4o", "standard"),
        ("openai", "gpt-4-turbo", "premium"),
        ("anthropic", "claude-haiku-4-5", "standard"),
        ("anthropic", "claude-sonnet-4-5", "premium"),
        ("openai", "text-embedding-3-small", "low"),
        ("openai", "whisper-1", None),
        ("openai", "no-such-model", None),
        ("openai_compatible", "gpt-4o", None),
    ],
)
def test_a_tier_follows_from_the_price_of_output_else_of_input(
    catalog: GenaiPrices, kind: str, model: str, tier: str | None
) -> None:
    assert catalog.price_tier(kind, model) == tier


def test_a_tier_goes_by_the_newest_price(catalog: GenaiPrices) -> None:
    """Of every model that has had more than one price; the bounds themselves are in."""
    for provider, info in own_models():
        prices = info.get_prices(to_datetime(parse_instant("2035-01-01T00:00:00Z")))
        price = prices.output_mtok or prices.input_mtok
        if isinstance(info.prices, list) and isinstance(price, Decimal):
            tier = catalog.price_tier("openai_compatible", info.id, provider.id)
            assert (tier == "low", tier == "premium") == (price <= 1, price >= 12), info.id
