"""An operator's own price: what a ``price`` in the config file or the API may say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fnmatch import translate
from typing import cast

from palyra.core.errors import FieldError
from palyra.core.instant import END_OF_TIME, Instant, from_datetime, isoformat, parse_instant
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.pricing.rates import UNITS, Rates, plain

PRICE_MAX = Decimal(1_000_000)
"""The highest price accepted: 1 USD per token, or a million USD per request or search."""

DECIMALS_MAX = 24
BEGINNING_OF_TIME = Instant(-(2**63))

_TIERS = ("batch", "flex", "priority")
_FEES = ("request", "web_search")
_LABELS = ("provider", "model", "valid_from", "valid_until", "source")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """Prices for the models of ``provider`` (an id, or ``*``) whose name matches ``model``.

    ``model`` is a name or a glob (``*``, ``?``, ``[...]``), case-sensitive. It holds in
    [``valid_from``, ``valid_until``). A unit without a price is not free: it is left to the price
    book's base, and else to its parent unit.
    """

    provider: str
    model: str
    rates: Rates
    tiers: Mapping[str, Rates] = field(default_factory=dict[str, Rates], hash=False)
    request: Decimal | None = None
    web_search: Decimal | None = None
    valid_from: Instant = BEGINNING_OF_TIME
    valid_until: Instant = END_OF_TIME
    source: str = "config"
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(translate(self.model)))

    @property
    def entry_id(self) -> str:
        """Stable name of the entry: ``provider/model``, and ``@valid_from`` if it has one."""
        start = "" if self.valid_from == BEGINNING_OF_TIME else f"@{isoformat(self.valid_from)}"
        return f"{self.provider}/{self.model}{start}"

    @property
    def is_exact(self) -> bool:
        """True if ``model`` names one model rather than a pattern of names."""
        return not any(character in self.model for character in "*?[")

    def matches(self, provider_id: str, model: str) -> bool:
        """Whether the entry is about this model of this provider, at any time."""
        if self.provider not in (provider_id, "*"):
            return False
        # A name with a bracket in it is a pattern that does not match itself.
        return model == self.model or self._pattern.match(model) is not None

    def holds(self, at: int) -> bool:
        """Whether the entry is in effect at the instant ``at``."""
        return self.valid_from <= at < self.valid_until

    def rank(self) -> tuple[bool, bool, int, int]:
        """Sort key, most specific first: exact before glob, longer before shorter, later before earlier."""
        return (self.provider == "*", not self.is_exact, -len(self.model), -self.valid_from)


def parse_price_entry(data: Mapping[str, object], field: str) -> PriceEntry:
    """Check and convert one entry as TOML or JSON gives it; prices are decimal strings or ints.

    Token units are USD per million tokens, ``request`` and ``web_search`` USD each.
    Raises FieldError that names the field under ``field``.
    """
    known = {*_LABELS, *_FEES, *_TIERS, *UNITS, "cache_write"}
    for key in data:
        if key not in known:
            raise FieldError(f"{field}.{key}", f"is not known; known are {', '.join(sorted(known))}")
    valid_from = _instant(data, "valid_from", field, BEGINNING_OF_TIME)
    valid_until = _instant(data, "valid_until", field, END_OF_TIME)
    if valid_until <= valid_from:
        raise FieldError(f"{field}.valid_until", "must be later than valid_from")
    fees = {fee: parse_price(data[fee], f"{field}.{fee}") for fee in _FEES if fee in data}
    entry = PriceEntry(
        provider=_label(data, "provider", field, None),
        model=_label(data, "model", field, None),
        rates=_rates(data, field),
        tiers={tier: _tier(data[tier], f"{field}.{tier}") for tier in _TIERS if tier in data},
        request=fees.get("request"),
        web_search=fees.get("web_search"),
        valid_from=valid_from,
        valid_until=valid_until,
        source=_label(data, "source", field, "config"),
    )
    if not (entry.rates.given() or entry.tiers or fees):
        raise FieldError(field, 'has no price; write for example input = "0.15" (USD per million tokens)')
    return entry


def price_document(entry: PriceEntry) -> dict[str, object]:
    """The entry as it stands in the config file: ``parse_price_entry`` reads it back to the same entry."""
    document: dict[str, object] = {"provider": entry.provider, "model": entry.model, "source": entry.source}
    if entry.valid_from != BEGINNING_OF_TIME:
        document["valid_from"] = isoformat(entry.valid_from)
    if entry.valid_until != END_OF_TIME:
        document["valid_until"] = isoformat(entry.valid_until)
    document |= _written(entry.rates)
    document |= {tier: _written(rates) for tier, rates in entry.tiers.items()}
    fees = zip(_FEES, (entry.request, entry.web_search), strict=True)
    return document | {fee: plain(price) for fee, price in fees if price is not None}


def parse_price(value: object, field: str) -> Decimal:
    """An exact price from a decimal string or an int. Raises FieldError."""
    if isinstance(value, float):
        raise FieldError(field, f'is a float, which is not exact; write it as a string: "{value}"')
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FieldError(field, 'must be a price in USD as a decimal string such as "0.15"')
    text = str(value)
    if _NUMBER.fullmatch(text) is None:
        raise FieldError(field, f'{text[:40]!r} is not a price; write a decimal string such as "0.15"')
    if len(text.partition(".")[2]) > DECIMALS_MAX:
        raise FieldError(field, f"has more than {DECIMALS_MAX} decimals")
    price = Decimal(text)
    if price < 0:
        raise FieldError(field, "must not be negative")
    if price > PRICE_MAX:
        raise FieldError(field, f"must be at most {PRICE_MAX}")
    return price


def _written(rates: Rates) -> dict[str, str]:
    return {unit: plain(price) for unit, price in rates.given().items()}


def _tier(value: object, field: str) -> Rates:
    if not isinstance(value, Mapping):
        raise FieldError(field, 'must be a table of prices such as { input = "0.075" }')
    table = cast("Mapping[str, object]", value)
    for key in table:
        if key not in UNITS and key != "cache_write":
            raise FieldError(f"{field}.{key}", f"is not known; known are {', '.join(UNITS)}")
    rates = _rates(table, field)
    if not rates.given():
        raise FieldError(field, "has no price")
    return rates


def _rates(data: Mapping[str, object], field: str) -> Rates:
    prices = {unit: parse_price(data[unit], f"{field}.{unit}") for unit in UNITS if unit in data}
    if "cache_write" in data:
        if "cache_write_5m" in prices:
            raise FieldError(f"{field}.cache_write", "is the same as cache_write_5m; write one of them")
        prices["cache_write_5m"] = parse_price(data["cache_write"], f"{field}.cache_write")
    return Rates(**prices)


def _label(data: Mapping[str, object], key: str, field: str, default: str | None) -> str:
    value = data.get(key, default)
    if value is None:
        raise FieldError(f"{field}.{key}", "is missing")
    if not isinstance(value, str) or not value.strip() or len(value) > LABEL_CHARS_MAX:
        raise FieldError(f"{field}.{key}", f"must be a text of 1 to {LABEL_CHARS_MAX} characters")
    return value


def _instant(data: Mapping[str, object], key: str, field: str, default: Instant) -> Instant:
    value = data.get(key)
    try:
        if value is None:
            return default
        if isinstance(value, datetime):
            return from_datetime(value)
        if isinstance(value, str):
            return parse_instant(value)
    except ValueError as error:
        raise FieldError(f"{field}.{key}", str(error)) from None
    raise FieldError(f"{field}.{key}", "must be a time such as 2026-12-31T00:00:00Z")
