"""Amounts and times as people write them."""

import os
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from palyra.budgets.terms import Metric
from palyra.cli.amounts import Amount, parse_amount, parse_until
from palyra.core.errors import FieldError
from palyra.core.instant import isoformat, parse_instant

PRAGUE = ZoneInfo("Europe/Prague")
APIA = ZoneInfo("Pacific/Apia")
COST, TOKENS, REQUESTS = Metric.COST_USD, Metric.TOTAL_TOKENS, Metric.REQUESTS
NOW = "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "metric", "fields"),
    [
        ("5usd", COST, {"amount_usd": "5.00"}),
        (" 5 USD ", COST, {"amount_usd": "5.00"}),
        ("$5", COST, {"amount_usd": "5.00"}),
        ("$0.25 usd", COST, {"amount_usd": "0.25"}),
        ("5.00", COST, {"amount_usd": "5.00"}),
        ("5", COST, {"amount_usd": "5.00"}),
        ("1_000 dollars", COST, {"amount_usd": "1000.00"}),
        ("0.000000001", COST, {"amount_usd": "0.000000001"}),
        ("1152921504.606846976", COST, {"amount_usd": "1152921504.606846976"}),
        ("5.00", None, {"amount_usd": "5.00"}),
        ("20000 tokens", TOKENS, {"amount": 20_000, "unit": "tokens"}),
        ("20000", TOKENS, {"amount": 20_000}),
        ("20k", Metric.INPUT_TOKENS, {"amount": 20_000}),
        ("1.5k tokens", Metric.OUTPUT_TOKENS, {"amount": 1_500, "unit": "tokens"}),
        ("2M", TOKENS, {"amount": 2_000_000}),
        ("20k", None, {"amount": 20_000, "unit": "tokens"}),
        ("1 token", None, {"amount": 1, "unit": "tokens"}),
        ("3 requests", REQUESTS, {"amount": 3, "unit": "requests"}),
        ("1request", None, {"amount": 1, "unit": "requests"}),
        ("1152921504606846976", REQUESTS, {"amount": 2**60}),
    ],
)
def test_an_amount_is_read_exactly(text: str, metric: Metric | None, fields: dict[str, object]) -> None:
    assert parse_amount(text, metric).fields() == fields


@pytest.mark.parametrize(
    ("text", "metric", "told"),
    [
        ("", COST, "is not an amount"),
        ("lots", COST, "is not an amount"),
        ("-5usd", COST, "is not an amount"),
        ("+5", COST, "is not an amount"),
        ("5,00", COST, "is not an amount"),
        ("1e3", COST, "is not an amount"),
        ("1e3", TOKENS, "is not an amount"),
        ("0x10", TOKENS, "is not an amount"),
        ("nan", COST, "is not an amount"),
        ("1_", TOKENS, "is not an amount"),
        ("1__0", TOKENS, "is not an amount"),
        (".5", COST, "is not an amount"),
        ("٣", TOKENS, "is not an amount"),
        ("9" * 40, TOKENS, "is not an amount"),
        ("5 eur", COST, "'eur' in '5 eur' is no unit"),
        ("$3 tokens", COST, "has two units"),
        ("5usd", TOKENS, "the budget counts tokens, not USD"),
        ("$5", REQUESTS, "the budget counts requests, not USD"),
        ("3 requests", TOKENS, "the budget counts tokens, not requests"),
        ("20k tokens", COST, "the budget counts USD, not tokens"),
        ("20k", COST, "write all digits"),
        ("1.5", TOKENS, "is not a whole number of tokens"),
        ("0.5k requests", REQUESTS, ""),
        ("5", None, "does not say of what"),
        ("0", TOKENS, "is nothing"),
        ("0.00usd", COST, "is nothing"),
        ("0.0000000001", COST, "finer than one nano-USD"),
        ("2000000000usd", COST, "at most 1152921504.606846976 USD"),
        ("99999999999usd", COST, "at most 9223372037 USD"),
        ("1152921504606846977", TOKENS, "beyond reason"),
    ],
)
def test_an_amount_that_cannot_be_meant_is_refused_with_what_to_write(
    text: str, metric: Metric | None, told: str
) -> None:
    if not told:
        assert parse_amount(text, metric) == Amount(500, "requests")
        return
    with pytest.raises(FieldError) as caught:
        parse_amount(text, metric)
    assert caught.value.field == "--amount"
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("text", "now", "until"),
    [
        ("18:00", NOW, "2026-11-23T17:00:00Z"),
        ("13:01", NOW, "2026-11-23T12:01:00Z"),
        ("13:00", NOW, "2026-11-24T12:00:00Z"),
        ("9:05", NOW, "2026-11-24T08:05:00Z"),
        ("00:00", NOW, "2026-11-23T23:00:00Z"),
        ("13:00", "2026-11-23T12:00:30Z", "2026-11-24T12:00:00Z"),
        ("00:30", "2026-11-23T23:10:00Z", "2026-11-23T23:30:00Z"),
        ("2h", NOW, "2026-11-23T14:00:00Z"),
        ("90m", NOW, "2026-11-23T13:30:00Z"),
        ("90min", NOW, "2026-11-23T13:30:00Z"),
        ("1h30m", NOW, "2026-11-23T13:30:00Z"),
        ("1W3D", NOW, "2026-12-03T12:00:00Z"),
        ("31d", NOW, "2026-12-24T12:00:00Z"),
        ("2026-11-24T18:00:00+01:00", NOW, "2026-11-24T17:00:00Z"),
        ("2026-11-24T18:00Z", NOW, "2026-11-24T18:00:00Z"),
        # Clocks are set back at 03:00: 02:30 comes twice.
        ("02:30", "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"),
        ("02:30", "2026-10-25T00:40:00Z", "2026-10-25T01:30:00Z"),
        ("02:30", "2026-10-25T01:40:00Z", "2026-10-26T01:30:00Z"),
        ("18:00", "2026-10-24T17:00:00Z", "2026-10-25T17:00:00Z"),
        # Clocks are set forward at 02:00: a span is as long as ever, a clock time is not.
        ("03:00", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
        ("2h", "2026-03-29T00:30:00Z", "2026-03-29T02:30:00Z"),
        ("02:30", "2026-03-29T12:00:00Z", "2026-03-30T00:30:00Z"),
    ],
)
def test_a_time_is_the_next_one_that_clocks_here_show(text: str, now: str, until: str) -> None:
    assert isoformat(parse_until(text, parse_instant(now), PRAGUE)) == until


@pytest.mark.parametrize(
    ("text", "now", "told"),
    [
        ("", NOW, "is not a time"),
        ("soon", NOW, "is not a time"),
        ("2026-11-24", NOW, "is not a time"),
        ("2026-11-24T18:00", NOW, "with its zone"),
        ("-2h", NOW, "is not a time"),
        ("1.5h", NOW, "is not a time"),
        ("2h2h", NOW, "is not a time"),
        ("٢h", NOW, "is not a time"),
        ("24:00", NOW, "write 00:00 to 23:59"),
        ("12:60", NOW, "write 00:00 to 23:59"),
        ("0m", NOW, "is over already"),
        (NOW, NOW, "is over already"),
        ("2026-11-22T18:00Z", NOW, "is over already"),
        ("0001-01-01T00:00:00+14:00", NOW, "is over already"),
        ("32d", NOW, "more than 31 days away"),
        ("9999w", NOW, "more than 31 days away"),
        ("9999-12-31T23:59:59-14:00", NOW, "more than 31 days away"),
        ("02:30", "2026-03-29T00:30:00Z", "clocks skip 02:30 on 2026-03-29"),
        ("02:30", "2026-03-28T12:00:00Z", "clocks skip 02:30 on 2026-03-29"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused_with_what_to_write(text: str, now: str, told: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_until(text, parse_instant(now), PRAGUE)
    assert caught.value.field == "--until"
    assert told in caught.value.message


def test_a_day_that_a_zone_never_had_is_named() -> None:
    # Samoa went from the 29th to the 31st of December 2011.
    with pytest.raises(FieldError, match="clocks skip 18:00 on 2011-12-30"):
        parse_until("18:00", parse_instant("2011-12-30T06:00:00Z"), APIA)


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_without_a_zone_the_clock_of_this_machine_counts() -> None:
    assert os.environ["TZ"] == "America/New_York"
    now = parse_instant(NOW)
    assert isoformat(parse_until("18:00", now, None)) == "2026-11-23T23:00:00Z"
    assert isoformat(parse_until("06:59", now, None)) == "2026-11-24T11:59:00Z"
    twice = parse_instant("2026-11-01T05:40:00Z")
    assert isoformat(parse_until("01:30", twice, None)) == "2026-11-01T06:30:00Z"
    with pytest.raises(FieldError, match="clocks skip 02:30 on 2026-03-08"):
        parse_until("02:30", parse_instant("2026-03-08T05:00:00Z"), None)
