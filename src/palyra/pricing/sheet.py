"""All prices of one model at one instant, and the only arithmetic that turns usage into money.

Prices are Decimal; for speed they are turned once, exactly, into integers: nano-USD per token times
a power of ten that makes every price of the sheet whole. Sums are exact and rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import TypeVar

import msgspec
from msgspec import structs

from palyra.core.limits import TOKENS_MAX
from palyra.core.money import INT64_MAX, NANO_PER_USD, NanoUsd
from palyra.pricing.rates import STANDARD, UNITS, Bracket, Rates, plain
from palyra.pricing.usage import Usage

_PRECISION = 100
_MILLION = 1_000_000
_NANO_PER_TOKEN = NANO_PER_USD // _MILLION

_Scaled = int | None


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line of a bill, for people.

    ``price`` is USD per million tokens, or USD each for ``request`` and ``web_search``; ``cost`` is
    exact USD before the one rounding. Both are None where the unit has no price.
    """

    unit: str
    quantity: int
    price: str | None
    cost: str | None


UnitPrices = tuple[str | None, ...]
"""Prices of one call as decimal strings: USD per request and per search, then USD per million tokens in the
order of UNITS. None where there is no price. What a later version adds comes at the end."""


class _Dearest(msgspec.Struct, frozen=True):
    """The highest scaled price per kind of token, over every bracket up to one; None if not known."""

    input: _Scaled
    cache_write: _Scaled
    input_audio: _Scaled
    input_image: _Scaled
    output: _Scaled
    output_audio: _Scaled


class _Compiled(msgspec.Struct, frozen=True):
    above: int
    prices: tuple[_Scaled, ...]
    written: UnitPrices
    dearest: _Dearest


class _Limits(msgspec.Struct, frozen=True):
    """The dearest scaled prices of a token of calls with more than ``above`` input tokens."""

    above: int
    input: _Scaled
    output: _Scaled


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """All prices of one model at one instant.

    ``tiers`` maps a service tier (``standard`` must be there) to its brackets, ascending; the first
    bracket holds for any input. ``request`` is a USD fee per call, ``web_search`` USD per search.
    ``implicit_cache_writes`` says that the provider writes its cache unasked, so that any
    input may be billed as a cache write. Raises ValueError for tiers that are not so.
    """

    provider: str
    model: str
    source: str
    entry_id: str
    tiers: Mapping[str, tuple[Bracket, ...]] = field(hash=False)
    request: Decimal | None = None
    web_search: Decimal | None = None
    implicit_cache_writes: bool = False
    _scale: int = field(init=False, repr=False, compare=False)
    _compiled: Mapping[str | None, tuple[_Compiled, ...]] = field(init=False, repr=False, compare=False)
    _fees: tuple[int, _Scaled] = field(init=False, repr=False, compare=False)
    _limits: dict[tuple[str | None, bool, bool, bool], tuple[_Limits, ...]] = field(
        init=False, repr=False, compare=False
    )
    _text_limits: tuple[_Limits, ...] = field(init=False, repr=False, compare=False)
    _usual_prices: tuple[_Scaled, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if STANDARD not in self.tiers:
            raise ValueError("a price sheet needs standard prices")
        for name, brackets in self.tiers.items():
            steps = [bracket.above for bracket in brackets]
            if not steps or steps != sorted(set(steps)):
                raise ValueError(f"the brackets of {name!r} must be ascending, and at least one")
        scale = 10 ** _decimals(self)
        search = None if self.web_search is None else _whole(self.web_search, NANO_PER_USD * scale)
        fees = (_written(self.request), _written(self.web_search))
        with_tiers: dict[str | None, tuple[_Compiled, ...]] = {
            name: _compile(brackets, scale, fees) for name, brackets in self.tiers.items()
        }
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_compiled", with_tiers)
        object.__setattr__(self, "_limits", {})
        object.__setattr__(self, "_fees", (_whole(self.request or Decimal(0), NANO_PER_USD * scale), search))
        usual = with_tiers[STANDARD]
        object.__setattr__(self, "_usual_prices", usual[0].prices if len(usual) == 1 else None)
        object.__setattr__(self, "_text_limits", self._steps(None, False, False, False))

    @property
    def standard(self) -> Rates:
        """The standard rates of a call with little input."""
        return self.tiers[STANDARD][0].rates

    def cost(self, usage: Usage, service_tier: str | None = None) -> NanoUsd | None:
        """Cost in nano-USD of one call, request fee included, rounded once, half-even.

        An unknown service tier is billed as standard. None if a token or search that was used has no
        price (unknown is not zero, L6). An amount beyond int64 is reported as the largest int64.
        """
        if usage.is_plain and not usage.web_searches:
            return self.text_cost(usage.input_tokens, usage.output_tokens, service_tier)
        total, search = self._fees
        prices = self._bracket(usage.input_tokens, service_tier).prices
        for quantity, price in zip(usage.billable(), prices, strict=True):
            if quantity:
                if price is None:
                    return None
                total += quantity * price
        if usage.web_searches:
            if search is None:
                return None
            total += usage.web_searches * search
        return _half_even(total, self._scale)

    def text_cost(
        self, input_tokens: int, output_tokens: int, service_tier: str | None = None
    ) -> NanoUsd | None:
        """``cost`` of a call that used plain input and output and nothing else."""
        usual = self._usual_prices
        if usual is None or service_tier is not None:
            usual = self._bracket(input_tokens, service_tier).prices
        of_input, of_output = usual[0], usual[1]
        if (of_input is None and input_tokens) or (of_output is None and output_tokens):
            return None
        total = self._fees[0] + input_tokens * (of_input or 0) + output_tokens * (of_output or 0)
        return _half_even(total, self._scale)

    def unit_prices(self, usage: Usage, service_tier: str | None = None) -> UnitPrices:
        """The prices that ``usage`` is billed at, for ``bill_lines``: records keep them."""
        return self._bracket(usage.input_tokens, service_tier).written

    def lines(self, usage: Usage, service_tier: str | None = None) -> tuple[PriceLine, ...]:
        """The bill of a call line by line; rounding the sum of its costs gives ``cost``."""
        return bill_lines(usage, self.unit_prices(usage, service_tier))

    def upper_bound(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        service_tier: str | None = None,
        cache_writes: bool = False,
        audio: bool = False,
        images: bool = False,
        web_searches: int = 0,
    ) -> NanoUsd | None:
        """Nano-USD, rounded up, that no usage within these counts can exceed; None if not computable.

        The caller states what the call may contain: ``cache_writes`` asked for, ``audio``,
        ``images``, and how many ``web_searches``. A named tier may be served as standard, so the
        bound is the dearer of the two. Raises ValueError for a negative count.
        """
        if output_tokens < 0:
            raise ValueError("a token count cannot be negative")
        limits = self._limits_at(input_tokens, service_tier, cache_writes, audio, images)
        fixed = self._fixed(limits.input, input_tokens, web_searches)
        rate = limits.output
        if fixed is None or (rate is None and output_tokens):
            return None
        bound = -(-(fixed + output_tokens * (rate or 0)) // self._scale)
        return NanoUsd(bound if bound < INT64_MAX else INT64_MAX)

    def text_bound(self, input_tokens: int, output_tokens: int) -> NanoUsd | None:
        """``upper_bound`` of a call of plain text; None also where a price is missing that it might not need.

        For counts that are not negative.
        """
        steps = self._text_limits
        limits = steps[0] if len(steps) == 1 else _last_below(steps, input_tokens)
        of_input, of_output = limits.input, limits.output
        if of_input is None or of_output is None:
            return None
        bound = -(-(self._fees[0] + input_tokens * of_input + output_tokens * of_output) // self._scale)
        return NanoUsd(bound if bound < INT64_MAX else INT64_MAX)

    def affordable_output(
        self,
        available: int,
        input_tokens: int,
        *,
        service_tier: str | None = None,
        cache_writes: bool = False,
        audio: bool = False,
        images: bool = False,
        web_searches: int = 0,
    ) -> int:
        """The most output tokens whose ``upper_bound`` is at most ``available`` nano-USD.

        0 if there is none or no price; TOKENS_MAX where output is free.
        """
        limits = self._limits_at(input_tokens, service_tier, cache_writes, audio, images)
        fixed = self._fixed(limits.input, input_tokens, web_searches)
        rate = limits.output
        if fixed is None or rate is None:
            return 0
        spare = available * self._scale - fixed
        if spare < 0:
            return 0
        return min(spare // rate, TOKENS_MAX) if rate else TOKENS_MAX

    def _bracket(self, input_tokens: int, service_tier: str | None) -> _Compiled:
        brackets = self._compiled.get(service_tier) or self._compiled[STANDARD]
        return brackets[0] if len(brackets) == 1 else _last_below(brackets, input_tokens)

    def _dearest(self, input_tokens: int, service_tier: str | None) -> _Dearest:
        found = self._bracket(input_tokens, STANDARD).dearest
        if service_tier is None:
            return found
        return _higher(found, self._bracket(input_tokens, service_tier).dearest)

    def _limits_at(
        self, input_tokens: int, service_tier: str | None, writes: bool, audio: bool, images: bool
    ) -> _Limits:
        """The dearest prices of a call; computed once for each tier of the sheet and kind of call."""
        steps = self._limits.get((service_tier, writes, audio, images))
        if steps is None:
            # Callers name tiers as they like: what none of the sheet's has a name for is remembered once.
            tier = service_tier if service_tier in self._compiled else None
            key = (tier, writes, audio, images)
            steps = self._limits.get(key)
            if steps is None:
                steps = self._limits[key] = self._steps(tier, writes, audio, images)
        return steps[0] if len(steps) == 1 else _last_below(steps, input_tokens)

    def _steps(self, tier: str | None, writes: bool, audio: bool, images: bool) -> tuple[_Limits, ...]:
        named = () if tier is None else self._compiled[tier]
        steps: list[_Limits] = []
        for above in sorted({bracket.above for bracket in (*self._compiled[STANDARD], *named)}):
            dearest = self._dearest(above + 1, tier)
            parts = [dearest.input]
            if writes or self.implicit_cache_writes:
                parts.append(dearest.cache_write)
            if audio:
                parts.append(dearest.input_audio)
            if images:
                parts.append(dearest.input_image)
            output = _max_known(dearest.output, dearest.output_audio) if audio else dearest.output
            steps.append(_Limits(above, _max_known(*parts), output))
        return tuple(steps)

    def _fixed(self, rate: _Scaled, tokens: int, searches: int) -> _Scaled:
        """What the call costs at most before its first output token, scaled."""
        if tokens < 0 or searches < 0:
            raise ValueError("a token count cannot be negative")
        fee, search = self._fees
        if (rate is None and tokens) or (search is None and searches):
            return None
        return fee + tokens * (rate or 0) + searches * (search or 0)


def bill_lines(usage: Usage, prices: UnitPrices) -> tuple[PriceLine, ...]:
    """The bill of ``usage`` line by line at the prices that ``PriceSheet.unit_prices`` gave for it."""
    request, search, *units = prices
    lines = [
        _line(unit, quantity, price, _MILLION)
        for unit, quantity, price in zip(UNITS, usage.billable(), units, strict=True)
        if quantity
    ]
    if request is not None:
        lines.append(_line("request", 1, request, 1))
    if usage.web_searches:
        lines.append(_line("web_search", usage.web_searches, search, 1))
    return tuple(lines)


_Step = TypeVar("_Step", _Compiled, _Limits)


def _last_below(steps: tuple[_Step, ...], input_tokens: int) -> _Step:
    """What holds for this many input tokens; the first one also below its own start."""
    found = steps[0]
    for step in steps:
        if input_tokens > step.above:
            found = step
    return found


def _compile(brackets: tuple[Bracket, ...], scale: int, fees: UnitPrices) -> tuple[_Compiled, ...]:
    compiled: list[_Compiled] = []
    for bracket in brackets:
        resolved = bracket.rates.resolved()
        prices = tuple(
            None if price is None else _whole(price, _NANO_PER_TOKEN * scale) for price in resolved
        )
        input_, output, read, write_5m, write_1h, reasoning, in_audio, out_audio, image = prices
        dearest = _Dearest(
            input=_max_known(input_, read),
            cache_write=_max_known(write_5m, write_1h),
            input_audio=in_audio,
            input_image=image,
            output=_max_known(output, reasoning),
            output_audio=out_audio,
        )
        if compiled:
            dearest = _higher(compiled[-1].dearest, dearest)
        written = (*fees, *(_written(price) for price in resolved))
        compiled.append(_Compiled(bracket.above, prices, written, dearest))
    return tuple(compiled)


def _higher(one: _Dearest, other: _Dearest) -> _Dearest:
    pairs = zip(structs.astuple(one), structs.astuple(other), strict=True)
    return _Dearest(*(_max_known(a, b) for a, b in pairs))


def _max_known(*prices: _Scaled) -> _Scaled:
    """The highest price; None if any is not known, because then none is an upper bound."""
    known = [price for price in prices if price is not None]
    return max(known) if len(known) == len(prices) else None


def _decimals(sheet: PriceSheet) -> int:
    """The most digits after the point that any price of the sheet has."""
    prices = [sheet.request, sheet.web_search]
    for brackets in sheet.tiers.values():
        for bracket in brackets:
            prices.extend(bracket.rates.raw())
    exponents = [price.as_tuple().exponent for price in prices if price is not None]
    return max(0, *(-exponent for exponent in exponents if isinstance(exponent, int)), 0)


def _whole(price: Decimal, factor: int) -> int:
    if not price.is_finite() or price < 0:
        raise ValueError(f"a price must be a number that is not negative, not {price}")
    with localcontext() as context:
        context.prec = _PRECISION
        return int(price * factor)


def _half_even(total: int, scale: int) -> NanoUsd:
    whole, rest = divmod(total, scale)
    twice = 2 * rest
    if twice > scale or (twice == scale and whole & 1):
        whole += 1
    return NanoUsd(whole if whole < INT64_MAX else INT64_MAX)


def _written(price: Decimal | None) -> str | None:
    return None if price is None else plain(price)


def _line(unit: str, quantity: int, price: str | None, per: int) -> PriceLine:
    if price is None:
        return PriceLine(unit, quantity, None, None)
    with localcontext() as context:
        context.prec = _PRECISION
        return PriceLine(unit, quantity, price, plain(Decimal(price) * quantity / per))
