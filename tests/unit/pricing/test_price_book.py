"""The price book: the operator's price wins, the published list fills in, the call's instant decides."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from palyra.core.instant import END_OF_TIME, NANOSECONDS, Instant, parse_instant
from palyra.pricing import book as book_module
from palyra.pricing.base import DatedSheet, ListedPrice
from palyra.pricing.book import PriceBook, PriceProblem
from palyra.pricing.entry import BEGINNING_OF_TIME, PriceEntry, parse_price_entry
from palyra.pricing.rates import Bracket, Rates
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage

NOON = parse_instant("2026-11-23T12:00:00Z")
MILLION_IN = Usage(1_000_000, 0)
KINDS = {"openai": "openai", "claude": "anthropic", "local": "openai_compatible"}


def entry(model: str = "gpt-4o", provider: str = "openai", **data: object) -> PriceEntry:
    return parse_price_entry({"provider": provider, "model": model, **data}, "prices[0]")


class ListOfOne:
    """A published list with one model that is dearer in odd seconds than in even ones."""

    source = "list 1"

    def __init__(self) -> None:
        self.asked = 0

    def sheet(self, input_price: str) -> PriceSheet:
        standard = Rates(input=Decimal(input_price), output=Decimal(10), cache_read=Decimal(1))
        long = Rates(input=Decimal(5), output=Decimal(20))
        tiers = {
            "standard": (Bracket(-1, standard), Bracket(200_000, long)),
            "batch": (Bracket(-1, Rates(input=Decimal("1.25"), output=Decimal(5))),),
        }
        return PriceSheet("openai", "gpt-4o", self.source, "list 1 gpt-4o", tiers, web_search=Decimal("0.01"))

    def find(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> DatedSheet:
        self.asked += 1
        if (provider_kind, model) != ("openai", "gpt-4o"):
            return DatedSheet(None, BEGINNING_OF_TIME, END_OF_TIME)
        second = at // NANOSECONDS
        since, until = Instant(second * NANOSECONDS), Instant((second + 1) * NANOSECONDS)
        return DatedSheet(self.sheet("3" if second % 2 else "2.5"), since, until)

    def ceiling(self, provider_kind: str) -> PriceSheet | None:
        return self.sheet("3") if provider_kind == "openai" else None

    def entries(self) -> Iterator[ListedPrice]:
        yield ListedPrice("openai", "gpt-4o", None, None, self.source, {"input": "2.5"})


def find(book: PriceBook, model: str = "gpt-4o", at: int = NOON, provider: str = "openai") -> PriceSheet:
    found = book.find(provider, KINDS.get(provider, "openai_compatible"), model, Instant(at))
    assert found is not None
    return found


def test_a_model_that_nothing_prices_is_not_found() -> None:
    assert PriceBook([], None).find("openai", "openai", "gpt-4o", NOON) is None
    assert PriceBook([entry(input="1")], ListOfOne()).find("openai", "openai", "o9", NOON) is None


def test_the_base_prices_what_the_overlay_does_not() -> None:
    assert find(PriceBook([], ListOfOne())).source == "list 1"


def test_the_overlay_alone_is_the_whole_price() -> None:
    sheet = find(PriceBook([entry(input="1", output="2", request="0.5", web_search="0.1")], None))
    assert (sheet.source, sheet.entry_id) == ("config", "openai/gpt-4o")
    assert (sheet.provider, sheet.model) == ("openai", "gpt-4o")
    assert sheet.cost(Usage(1_000_000, 1_000_000, web_searches=1)) == 3_600_000_000


def test_units_that_the_overlay_does_not_give_come_from_the_base() -> None:
    sheet = find(PriceBook([entry(input="2", source="contract")], ListOfOne()))
    assert sheet.source == "contract+list 1"
    assert sheet.standard == Rates(input=Decimal(2), output=Decimal(10), cache_read=Decimal(1))
    assert sheet.cost(Usage(300_000, 100_000)) == 600_000_000 + 2_000_000_000
    assert sheet.cost(MILLION_IN, "batch") == 1_250_000_000
    assert sheet.web_search == Decimal("0.01")


def test_an_overlay_s_own_tier_stands_over_the_base_s() -> None:
    sheet = find(PriceBook([entry(batch={"input": "1"}, flex={"input": "1.5"})], ListOfOne()))
    usage = Usage(100_000, 100_000)
    assert sheet.cost(usage, "batch") == 100_000_000 + 500_000_000
    assert sheet.cost(usage, "flex") == 150_000_000 + 1_000_000_000
    assert sheet.cost(usage) == 250_000_000 + 1_000_000_000


def test_fees_of_the_overlay_win_and_zero_is_a_price() -> None:
    sheet = find(PriceBook([entry(web_search="0", request="0")], ListOfOne()))
    assert (sheet.web_search, sheet.request) == (Decimal(0), Decimal(0))


def test_the_most_specific_entry_wins() -> None:
    book = PriceBook(
        [
            entry("*", input="1"),
            entry("gpt-*", input="2"),
            entry("gpt-4*", input="3"),
            entry("gpt-4o", input="4"),
            entry("gpt-4o", provider="*", input="5"),
            entry("gpt-4o", input="6", valid_from="2026-01-01T00:00:00Z"),
            entry("gpt-4o", input="7", valid_from="2027-01-01T00:00:00Z"),
            entry("*", provider="*", input="8"),
        ],
        None,
    )
    prices = {
        ("openai", "gpt-4o"): 6,
        ("openai", "gpt-4x"): 3,
        ("openai", "gpt-5"): 2,
        ("openai", "o1"): 1,
        ("local", "gpt-4o"): 5,
        ("local", "llama"): 8,
    }
    for (provider, model), price in prices.items():
        assert find(book, model, provider=provider).standard.input == price


def test_w2_a_price_for_every_provider_matches_whatever_the_provider_is_called() -> None:
    """W2: seed prices whose provider id is not the default id priced nothing."""
    book = PriceBook([entry("llama-*", provider="*", input="0")], ListOfOne())
    assert find(book, "llama-3", provider="openai-primary").standard.input == 0
    found = book.find("openai-primary", "openai", "gpt-4o", NOON)
    assert found is not None


def test_w2_a_price_whose_provider_is_not_configured_is_an_error() -> None:
    problems = PriceBook([entry(provider="openai-primary", input="1")], None).check(KINDS, NOON)
    assert [(p.severity, p.entry_id) for p in problems] == [("error", "openai-primary/gpt-4o")]
    assert "matches nothing" in problems[0].message


def test_w16_a_price_with_a_start_date_matches_at_the_time_of_the_call() -> None:
    """W16: costs computed at time 0 never met a price that starts."""
    start = parse_instant("2026-06-01T00:00:00Z")
    end = parse_instant("2026-12-01T00:00:00Z")
    dated = entry(input="1", valid_from="2026-06-01T00:00:00Z", valid_until="2026-12-01T00:00:00Z")
    book = PriceBook([dated], None)
    assert book.find("openai", "openai", "gpt-4o", Instant(0)) is None
    assert find(book, at=NOON).standard.input == 1
    assert book.find("openai", "openai", "gpt-4o", Instant(start - 1)) is None
    assert find(book, at=start).standard.input == 1
    assert find(book, at=end - 1).standard.input == 1
    assert book.find("openai", "openai", "gpt-4o", end) is None


def test_the_cache_answers_only_within_the_interval_of_the_price() -> None:
    base = ListOfOne()
    book = PriceBook([], base)
    second = NANOSECONDS
    assert find(book, at=0).standard.input == Decimal("2.5")
    assert find(book, at=second - 1).standard.input == Decimal("2.5")
    assert base.asked == 1
    assert find(book, at=second).standard.input == Decimal(3)
    assert find(book, at=0).standard.input == Decimal("2.5")
    assert base.asked == 3


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_CACHE_MAX", 2)
    base = ListOfOne()
    book = PriceBook([], base)
    for model in ("a", "b", "c", "c", "b", "a"):
        book.find("openai", "openai", model, NOON)
    assert base.asked == 4


def test_only_providers_that_write_their_cache_unasked_have_it_in_every_bound() -> None:
    book = PriceBook([entry("*", provider="*", input="1", output="1", cache_write="2")], None)
    assert find(book, "claude-x", provider="claude").upper_bound(10, 0) == 10_000
    assert find(book, "gpt-x", provider="openai").upper_bound(10, 0) == 20_000


def test_the_version_names_the_overlay_and_the_base() -> None:
    one = PriceBook([entry("a", input="1"), entry("b", input="1.0")], None)
    assert one.version == PriceBook([entry("b", input="1"), entry("a", input="1")], None).version
    others = [
        PriceBook([], None),
        PriceBook([entry("a", input="1")], None),
        PriceBook([entry("a", input="2"), entry("b", input="1")], None),
        PriceBook([entry("a", input="1"), entry("b", input="1")], ListOfOne()),
        PriceBook([entry("a", input="1"), entry("b", input="1", batch={"output": "1"})], None),
        PriceBook([entry("a", input="1"), entry("b", input="1", batch={"input": "1", "output": "1"})], None),
        PriceBook([entry("a", input="1"), entry("b", input="1", valid_until="2027-01-01T00:00:00Z")], None),
    ]
    assert len({one.version, *(book.version for book in others)}) == len(others) + 1
    assert len(one.version) == 64


def test_the_order_of_the_file_never_decides_a_price() -> None:
    twice = [entry(input="1"), entry(input="2")]
    one, other = PriceBook(twice, None), PriceBook(twice[::-1], None)
    assert one.version == other.version
    assert find(one) == find(other)


def test_entries_list_the_overlay_before_the_base() -> None:
    dated = entry(
        input="2.0",
        batch={"output": "1"},
        request="0.01",
        valid_from="2026-01-01T00:00:00Z",
        valid_until="2027-01-01T00:00:00Z",
    )
    first, second, third = PriceBook([entry("*", input="1"), dated], ListOfOne()).entries()
    assert first.prices == {"input": "2", "batch.output": "1", "request": "0.01"}
    assert first.valid_from == parse_instant("2026-01-01T00:00:00Z")
    assert first.valid_until == parse_instant("2027-01-01T00:00:00Z")
    assert (second.model, second.valid_from, second.valid_until, second.source) == ("*", None, None, "config")
    assert third.source == "list 1"
    assert list(PriceBook([], None).entries()) == []


def test_the_ceiling_is_the_dearest_of_overlay_and_base() -> None:
    book = PriceBook([entry(output="40", request="0.2", priority={"output": "50"})], ListOfOne())
    ceiling = book.ceiling("openai")
    assert (ceiling.standard.input, ceiling.standard.output) == (Decimal(5), Decimal(50))
    assert (ceiling.request, ceiling.web_search) == (Decimal("0.2"), Decimal("0.01"))
    assert ceiling is book.ceiling("openai")
    assert book.ceiling("anthropic").standard.input is None


def test_the_ceiling_of_an_empty_book_prices_nothing() -> None:
    ceiling = PriceBook([], None).ceiling("openai")
    assert ceiling.cost(Usage(1, 0)) is None
    assert ceiling.upper_bound(1, 0) is None


def test_check_reports_entries_that_overlap() -> None:
    book = PriceBook(
        [
            entry(input="1"),
            entry(input="2"),
            entry(input="3", valid_from="2026-01-01T00:00:00Z", valid_until="2026-02-01T00:00:00Z"),
            entry(input="4", valid_from="2026-02-01T00:00:00Z", valid_until="2026-03-01T00:00:00Z"),
            entry("gpt-4*", input="4"),
        ],
        None,
    )
    found = sorted((p.severity, p.entry_id) for p in book.check(KINDS, NOON))
    assert found == [
        ("error", "openai/gpt-4o"),
        ("warning", "openai/gpt-4o@2026-01-01T00:00:00Z"),
        ("warning", "openai/gpt-4o@2026-01-01T00:00:00Z"),
        ("warning", "openai/gpt-4o@2026-02-01T00:00:00Z"),
        ("warning", "openai/gpt-4o@2026-02-01T00:00:00Z"),
    ]


def test_check_compares_with_the_base() -> None:
    book = PriceBook([entry(input="2", output="10", reasoning="3")], ListOfOne())
    assert book.check(KINDS, NOON) == [
        PriceProblem("info", "openai/gpt-4o", "input is 2, list 1 says 2.5"),
    ]


def test_check_warns_of_an_entry_that_cannot_price_a_call() -> None:
    problems = PriceBook([entry("llama", provider="local", output="1")], ListOfOne()).check(KINDS, NOON)
    assert [(p.severity, p.message) for p in problems] == [
        ("warning", "has no input price: calls cannot be priced")
    ]


def test_check_has_nothing_to_say_about_patterns_and_good_entries() -> None:
    good = [entry("*", provider="*", input="1"), entry("x", provider="*", input="1"), entry("z*", output="1")]
    assert PriceBook([*good, entry("new", input="1")], None).check(KINDS, NOON) == []
