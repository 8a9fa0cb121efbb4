"""Token prices of one model in one service tier: Decimal USD per million tokens, by unit."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Literal

STANDARD = "standard"
"""The service tier that is served when no other is named or known."""


PriceTier = Literal["low", "standard", "premium"]
_LOW_MOST = Decimal(1)
_PREMIUM_LEAST = Decimal(12)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each unit; None where no price is given, 0 where it is free."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    input_image: Decimal | None = None

    def given(self) -> dict[str, Decimal]:
        """The units that have a price of their own, in the order of UNITS."""
        prices = zip(UNITS, self.raw(), strict=True)
        return {unit: price for unit, price in prices if price is not None}

    def raw(self) -> tuple[Decimal | None, ...]:
        """Prices in the order of UNITS, as given."""
        return (
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.reasoning,
            self.input_audio,
            self.output_audio,
            self.input_image,
        )

    def resolved(self) -> tuple[Decimal | None, ...]:
        """Prices in the order of UNITS; a unit without one has its parent's.

        The parent of cache_write_1h is cache_write_5m; of every other part its whole, input or output.
        """
        write_5m = _or(self.cache_write_5m, self.input)
        return (
            self.input,
            self.output,
            _or(self.cache_read, self.input),
            write_5m,
            _or(self.cache_write_1h, write_5m),
            _or(self.reasoning, self.output),
            _or(self.input_audio, self.input),
            _or(self.output_audio, self.output),
            _or(self.input_image, self.input),
        )

    def over(self, base: "Rates") -> "Rates":
        """These prices, with those of ``base`` for the units that have none here."""
        return Rates(*(_or(mine, theirs) for mine, theirs in zip(self.raw(), base.raw(), strict=True)))


UNITS: tuple[str, ...] = tuple(unit.name for unit in fields(Rates))
"""Token units in the order in which ``Usage.billable`` counts them."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """Rates for calls of more than ``above`` input tokens; they price the whole call."""

    above: int
    rates: Rates


def dearest(many: Iterable[Rates]) -> Rates:
    """For each unit the highest price that any of ``many`` bills it at, fallbacks included."""
    highest: list[Decimal | None] = [None] * len(UNITS)
    for rates in many:
        for index, price in enumerate(rates.resolved()):
            highest[index] = higher(highest[index], price)
    return Rates(*highest)


def higher(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The higher of two prices; None only if neither is given."""
    if one is None or other is None:
        return _or(one, other)
    return max(one, other)


def plain(price: Decimal) -> str:
    """A price as people write it: no exponent, no trailing zeros."""
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _or(price: Decimal | None, fallback: Decimal | None) -> Decimal | None:
    return fallback if price is None else price


def tier_of(price: Decimal) -> PriceTier:
    """How dear a price per million output tokens is: ``low`` up to 1 USD, ``premium`` from 12 USD on."""
    return "low" if price <= _LOW_MOST else "premium" if price >= _PREMIUM_LEAST else "standard"
