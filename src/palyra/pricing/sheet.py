"""All prices of one model at one instant, and the only arithmetic that turns usage into money.

Prices are Decimal; for speed they are turned once, exactly, into integers: nano-USD per token times
a power of ten that makes every price of the sheet whole. Sums are exact and rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import NamedTuple

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


class _Dearest(NamedTuple):
    """The highest scaled price per kind of token, over every bracket up to one; None if not known."""

    input: _Scaled
    cache_write: _Scaled
    input_audio: _Scaled
    input_image: _Scaled
    output: _Scaled
    output_audio: _Scaled


class _Compiled(NamedTuple):
    above: int
    rates: Rates
    prices: tuple[_Scaled, ...]
    dearest: _Dearest


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

    def __post_init__(self) -> None:
        if STANDARD not in self.tiers:
            raise ValueError("a price sheet needs standard prices")
        for name, brackets in self.tiers.items():
            steps = [bracket.above for bracket in brackets]
            if not steps or steps != sorted(set(steps)):
                raise ValueError(f"the brackets of {name!r} must be ascending, and at least one")
        scale = 10 ** _decimals(self)
        search = None if self.web_search is None else _whole(self.web_search, NANO_PER_USD * scale)
        with_tiers: dict[str | None, tuple[_Compiled, ...]] = {
            name: _compile(brackets, scale) for name, brackets in self.tiers.items()
        }
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_compiled", with_tiers)
        object.__setattr__(self, "_fees", (_whole(self.request or Decimal(0), NANO_PER_USD * scale), search))

    @property
    def standard(self) -> Rates:
        """The standard rates of a call with little input."""
        return self.tiers[STANDARD][0].rates

    def cost(self, usage: Usage, service_tier: str | None = None) -> NanoUsd | None:
        """Cost in nano-USD of one call, request fee included, rounded once, half-even.

        An unknown service tier is billed as standard. None if a token or search that was used has no
        price (unknown is not zero, L6). An amount beyond int64 is reported as the largest int64.
        """
        fee, search = self._fees
        total = fee
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

    def lines(self, usage: Usage, service_tier: str | None = None) -> tuple[PriceLine, ...]:
        """The bill of a call line by line; rounding the sum of its costs gives ``cost``."""
        rates = self._bracket(usage.input_tokens, service_tier).rates
        lines = [
            _line(unit, quantity, price, _MILLION)
            for unit, quantity, price in zip(UNITS, usage.billable(), rates.resolved(), strict=True)
            if quantity
        ]
        if self.request is not None:
            lines.append(_line("request", 1, self.request, 1))
        if usage.web_searches:
            lines.append(_line("web_search", usage.web_searches, self.web_search, 1))
        return tuple(lines)

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
        fixed = self._fixed(input_tokens, service_tier, cache_writes, audio, images, web_searches)
        rate = self._output_rate(input_tokens, service_tier, audio)
        if fixed is None or (rate is None and output_tokens):
            return None
        total = fixed + output_tokens * (rate or 0)
        return NanoUsd(min(-(-total // self._scale), INT64_MAX))

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
        fixed = self._fixed(input_tokens, service_tier, cache_writes, audio, images, web_searches)
        rate = self._output_rate(input_tokens, service_tier, audio)
        if fixed is None or rate is None:
            return 0
        spare = available * self._scale - fixed
        if spare < 0:
            return 0
        return min(spare // rate, TOKENS_MAX) if rate else TOKENS_MAX

    def _bracket(self, input_tokens: int, service_tier: str | None) -> _Compiled:
        brackets = self._compiled.get(service_tier) or self._compiled[STANDARD]
        found = brackets[0]
        for bracket in brackets:
            if input_tokens > bracket.above:
                found = bracket
        return found

    def _dearest(self, input_tokens: int, service_tier: str | None) -> _Dearest:
        found = self._bracket(input_tokens, STANDARD).dearest
        if service_tier is None or service_tier not in self._compiled:
            return found
        return _higher(found, self._bracket(input_tokens, service_tier).dearest)

    def _fixed(  # what the call costs at most before its first output token, scaled
        self, tokens: int, tier: str | None, writes: bool, audio: bool, images: bool, searches: int
    ) -> _Scaled:
        if tokens < 0 or searches < 0:
            raise ValueError("a token count cannot be negative")
        fee, search = self._fees
        dearest = self._dearest(tokens, tier)
        parts = [dearest.input]
        if writes or self.implicit_cache_writes:
            parts.append(dearest.cache_write)
        if audio:
            parts.append(dearest.input_audio)
        if images:
            parts.append(dearest.input_image)
        rate = _max_known(*parts)
        if (rate is None and tokens) or (search is None and searches):
            return None
        return fee + tokens * (rate or 0) + searches * (search or 0)

    def _output_rate(self, tokens: int, tier: str | None, audio: bool) -> _Scaled:
        dearest = self._dearest(tokens, tier)
        return _max_known(dearest.output, dearest.output_audio) if audio else dearest.output


def _compile(brackets: tuple[Bracket, ...], scale: int) -> tuple[_Compiled, ...]:
    compiled: list[_Compiled] = []
    for bracket in brackets:
        prices = tuple(
            None if price is None else _whole(price, _NANO_PER_TOKEN * scale)
            for price in bracket.rates.resolved()
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
        compiled.append(_Compiled(bracket.above, bracket.rates, prices, dearest))
    return tuple(compiled)


def _higher(one: _Dearest, other: _Dearest) -> _Dearest:
    return _Dearest(*(_max_known(a, b) for a, b in zip(one, other, strict=True)))


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
    return NanoUsd(min(whole, INT64_MAX))


def _line(unit: str, quantity: int, price: Decimal | None, per: int) -> PriceLine:
    if price is None:
        return PriceLine(unit, quantity, None, None)
    with localcontext() as context:
        context.prec = _PRECISION
        return PriceLine(unit, quantity, plain(price), plain(price * quantity / per))
