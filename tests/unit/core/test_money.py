"""Money is integer nano-USD: exact in, exact out, never a float."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.core.money import INT64_MAX, USD_MAX, format_usd, nano_from_usd, parse_usd


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("5.00", 5_000_000_000),
        ("0", 0),
        ("-1.5", -1_500_000_000),
        ("0.000000001", 1),
        ("1e3", 1_000_000_000_000),
        (7, 7_000_000_000),
        (Decimal("0.25"), 250_000_000),
        (str(USD_MAX), INT64_MAX),
    ],
)
def test_an_amount_is_read_exactly(text: str | int | Decimal, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (True, "decimal string"),
        ("five", "'five' is not an amount of money; write a decimal string such as '5.00'"),
        ("", "not an amount"),
        ("NaN", "finite"),
        ("Infinity", "finite"),
        ("-Infinity", "finite"),
        ("0.0000000001", "finer than one nano-USD"),
        ("1.0000000005", "finer than one nano-USD"),
        ("9223372037", "at most 9223372037 USD"),
        ("-1e30", "at most"),
        (Decimal("1e-28"), "finer"),
    ],
)
def test_what_is_no_amount_is_refused_with_what_to_write(text: str | Decimal, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_usd(text)


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000250000000001", 3),
        ("-0.0000000015", -2),
        ("9000000000.0000000005", 9_000_000_000_000_000_000),
    ],
)
def test_a_cost_is_rounded_once_half_even(usd: str, nano: int) -> None:
    assert nano_from_usd(Decimal(usd)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (1_500_000_000, "1.50"),
        (-1_500_000_000, "-1.50"),
        (-1, "-0.000000001"),
        (123_456_789_012, "123.456789012"),
        (INT64_MAX, "9223372036.854775807"),
    ],
)
def test_an_amount_is_written_with_at_least_two_decimals(nano: int, text: str) -> None:
    assert format_usd(nano) == text


@given(st.integers(-INT64_MAX, INT64_MAX))
def test_what_is_written_is_read_back(nano: int) -> None:
    assert parse_usd(format_usd(nano)) == nano
