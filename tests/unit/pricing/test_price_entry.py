"""An operator's price is checked when it is written, with the field named."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from palyra.core.errors import FieldError
from palyra.core.instant import END_OF_TIME, parse_instant
from palyra.pricing.entry import BEGINNING_OF_TIME, PriceEntry, parse_price_entry, price_document
from palyra.pricing.rates import Rates

NAMED = {"provider": "openai", "model": "gpt-4o"}


def parse(**data: object) -> PriceEntry:
    return parse_price_entry({**NAMED, **data}, "prices[0]")


def test_a_full_entry() -> None:
    entry = parse(
        input="0.15",
        output=1,
        cache_write="0.2",
        cache_write_1h="0.3",
        request="0.01",
        web_search="0.02",
        valid_from="2026-01-01T00:00:00Z",
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
        source="contract 17",
        batch={"input": "0.075", "cache_write": "0.1"},
    )
    assert entry.rates == Rates(
        input=Decimal("0.15"),
        output=Decimal(1),
        cache_write_5m=Decimal("0.2"),
        cache_write_1h=Decimal("0.3"),
    )
    assert entry.tiers == {"batch": Rates(input=Decimal("0.075"), cache_write_5m=Decimal("0.1"))}
    assert (entry.request, entry.web_search) == (Decimal("0.01"), Decimal("0.02"))
    assert entry.valid_from == parse_instant("2026-01-01T00:00:00Z")
    assert entry.valid_until == parse_instant("2027-01-01T00:00:00Z")
    assert entry.source == "contract 17"
    assert entry.entry_id == "openai/gpt-4o@2026-01-01T00:00:00Z"


def test_a_short_entry_is_always_valid_and_comes_from_the_config() -> None:
    entry = parse(input="0")
    assert (entry.valid_from, entry.valid_until, entry.source) == (BEGINNING_OF_TIME, END_OF_TIME, "config")
    assert entry.entry_id == "openai/gpt-4o"
    assert entry.rates.input == 0


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"input": 0.15}, "input", 'write it as a string: "0.15"'),
        ({"input": float("nan")}, "input", "write it as a string"),
        ({"input": True}, "input", "must be a price"),
        ({"input": None}, "input", "must be a price"),
        ({"input": "NaN"}, "input", "is not a price"),
        ({"input": "Infinity"}, "input", "is not a price"),
        ({"input": "1e3"}, "input", "is not a price"),
        ({"input": "1_000"}, "input", "is not a price"),
        ({"input": "$1"}, "input", "is not a price"),
        ({"input": "\u0661"}, "input", "is not a price"),
        ({"input": ""}, "input", "is not a price"),
        ({"input": "1\n"}, "input", "is not a price"),
        ({"input": "-0.1"}, "input", "must not be negative"),
        ({"request": -1}, "request", "must not be negative"),
        ({"input": "1000000.1"}, "input", "at most 1000000"),
        ({"input": "0." + "1" * 25}, "input", "more than 24 decimals"),
        ({"inputs": "1"}, "inputs", "is not known; known are batch"),
        ({"input": "1", "cache_write": "1", "cache_write_5m": "1"}, "cache_write", "is the same as"),
        ({"flex": "1"}, "flex", "must be a table"),
        ({"flex": {}}, "flex", "has no price"),
        ({"flex": {"request": "1"}}, "flex.request", "is not known"),
        ({"flex": {"input": 1.5}}, "flex.input", "is a float"),
        ({"input": "1", "valid_from": "yesterday"}, "valid_from", "is not a time"),
        ({"input": "1", "valid_from": "2026-01-01T00:00:00"}, "valid_from", "without a time zone"),
        ({"input": "1", "valid_from": datetime(2026, 1, 1)}, "valid_from", "without a time zone"),  # noqa: DTZ001 - the case
        ({"input": "1", "valid_until": 5}, "valid_until", "must be a time such as"),
        (
            {"input": "1", "valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-02T00:00:00Z"},
            "valid_until",
            "later than valid_from",
        ),
        ({"input": "1", "provider": None}, "provider", "is missing"),
        ({"input": "1", "model": " "}, "model", "must be a text"),
        ({"input": "1", "model": 3}, "model", "must be a text"),
        ({"input": "1", "source": "x" * 201}, "source", "must be a text"),
    ],
)
def test_a_wrong_entry_names_its_field(data: dict[str, object], field: str, message: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse(**data)
    assert caught.value.field == f"prices[0].{field}"
    assert message in caught.value.message


def test_an_entry_without_any_price_is_refused() -> None:
    with pytest.raises(FieldError, match=r"prices\[0\]: has no price"):
        parse()


def test_one_price_of_any_sort_is_enough() -> None:
    assert parse(request="1").request == 1
    assert parse(batch={"input": "1"}).tiers["batch"].input == 1


@pytest.mark.parametrize(
    ("pattern", "model", "matches"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "GPT-4O", False),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("*", "org/model:7b\n", True),
        ("gpt-?", "gpt-4", True),
        ("gpt-[45]", "gpt-6", False),
        ("gpt.4", "gpt-4", False),
        ("[a]b", "[a]b", True),
        ("[a]b", "ab", True),
        ("[a]b", "[a]c", False),
    ],
)
def test_a_model_is_a_name_or_a_glob(pattern: str, model: str, matches: bool) -> None:
    assert parse(model=pattern, input="1").matches("openai", model) is matches


def test_a_provider_is_an_id_or_any() -> None:
    assert not parse(input="1").matches("azure", "gpt-4o")
    assert parse(provider="*", input="1").matches("azure", "gpt-4o")


@pytest.mark.parametrize(
    "data",
    [
        {"input": "0.15"},
        {"input": "1.50", "output": 1_000_000, "cache_write": "0", "request": "0.000001"},
        {"web_search": "0.02", "source": "contract 17", "valid_from": "2026-01-01T00:00:00.000001Z"},
        {"model": "gpt-*", "provider": "*", "valid_until": "2027-01-01T00:00:00Z", "input": "1"},
        {"batch": {"input": "0.075", "output_audio": "12"}, "priority": {"reasoning": "3"}},
    ],
)
def test_what_an_entry_is_written_as_is_read_back_to_the_same(data: dict[str, object]) -> None:
    entry = parse(**data)
    document = price_document(entry)
    assert parse_price_entry(document, "") == entry
    assert parse_price_entry(document, "").tiers == entry.tiers


def test_an_entry_is_written_with_what_it_says_and_no_more() -> None:
    assert price_document(parse(input="0.150", batch={"input": 1}, request="2")) == {
        **NAMED,
        "source": "config",
        "input": "0.15",
        "batch": {"input": "1"},
        "request": "2",
    }
