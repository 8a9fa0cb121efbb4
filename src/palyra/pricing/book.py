"""The price book: the operator's own prices over a published list; every answer names its source."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Literal

from palyra.core.instant import END_OF_TIME, Instant, isoformat
from palyra.pricing.base import BasePrices, DatedSheet, ListedPrice
from palyra.pricing.entry import BEGINNING_OF_TIME, PriceEntry
from palyra.pricing.rates import STANDARD, Bracket, Rates, dearest, higher, plain
from palyra.pricing.sheet import PriceSheet

_CACHE_MAX = 4_096
"""Model names come from callers: the cache must not grow with what they invent (V2)."""

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class PriceProblem:
    """One finding of ``palyra prices check``: an error prices nothing or not what was meant."""

    severity: Severity
    entry_id: str
    message: str


class PriceBook:
    """Finds the prices of a model at an instant: ``overlay`` first, unit by unit, then ``base``."""

    def __init__(self, overlay: Sequence[PriceEntry], base: BasePrices | None) -> None:
        # Ties end by content, so that the order of the file never decides a price.
        self._overlay = sorted(overlay, key=lambda entry: (entry.rank(), _row(entry)))
        self._base = base
        self._found: dict[tuple[str, str, str], DatedSheet] = {}
        self._ceilings: dict[str, PriceSheet] = {}
        self._version = _digest(self._overlay, base)

    @property
    def version(self) -> str:
        """SHA-256 (hex) over the overlay and the name of the base: equal versions price equally."""
        return self._version

    def find(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> PriceSheet | None:
        """The prices of ``model`` at the instant of the call; None if nothing prices it."""
        return self.dated(provider_id, provider_kind, model, at).sheet

    def dated(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> DatedSheet:
        """What ``find`` finds, and how long it holds."""
        hit = self._found.get((provider_id, provider_kind, model))
        if hit is not None and hit.since <= at < hit.until:
            return hit
        fresh = self._resolve(provider_id, provider_kind, model, at)
        while len(self._found) >= _CACHE_MAX:
            del self._found[next(iter(self._found))]
        self._found[provider_id, provider_kind, model] = fresh
        return fresh

    def ceiling(self, provider_kind: str) -> PriceSheet:
        """The dearest of every unit known for this kind of provider, for ``unknown_price = "ceiling"``.

        All overlay entries count, whatever their provider. Without any price it prices nothing.
        """
        known = self._ceilings.get(provider_kind)
        if known is None:
            known = self._ceilings[provider_kind] = self._ceiling(provider_kind)
        return known

    def entries(self) -> Iterator[ListedPrice]:
        """All prices for people: the overlay in the order it is tried, then the base."""
        for entry in self._overlay:
            yield ListedPrice(
                provider=entry.provider,
                model=entry.model,
                valid_from=None if entry.valid_from == BEGINNING_OF_TIME else entry.valid_from,
                valid_until=None if entry.valid_until == END_OF_TIME else entry.valid_until,
                source=entry.source,
                prices=_given(entry),
            )
        if self._base is not None:
            yield from self._base.entries()

    def check(self, kinds: Mapping[str, str], at: Instant) -> list[PriceProblem]:
        """What is wrong or worth a look in the overlay at ``at``.

        ``kinds`` maps the ids of the configured providers to their kinds.
        """
        problems: list[PriceProblem] = []
        for index, entry in enumerate(self._overlay):
            problems += _overlaps(entry, self._overlay[index + 1 :])
            if entry.provider != "*" and entry.provider not in kinds:
                message = f"no provider has the id {entry.provider!r}: this price matches nothing"
                problems.append(PriceProblem("error", entry.entry_id, message))
            elif entry.is_exact and entry.provider != "*":
                problems += self._against_base(entry, kinds[entry.provider], at)
        return problems

    def _resolve(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> DatedSheet:
        if self._base is None:
            below = DatedSheet(None, BEGINNING_OF_TIME, END_OF_TIME)
        else:
            below = self._base.find(provider_id, provider_kind, model, at)
        about = [entry for entry in self._overlay if entry.matches(provider_id, model)]
        edges = [edge for entry in about for edge in (entry.valid_from, entry.valid_until)]
        since = max([below.since, *(edge for edge in edges if edge <= at)])
        until = min([below.until, *(edge for edge in edges if edge > at)])
        best = next((entry for entry in about if entry.holds(at)), None)
        sheet = below.sheet
        if best is not None:
            sheet = _sheet(best, sheet, provider_id, model, provider_kind != "anthropic")
        return DatedSheet(sheet, since, until)

    def _ceiling(self, provider_kind: str) -> PriceSheet:
        sheets = [_sheet(entry, None, entry.provider, entry.model, True) for entry in self._overlay]
        below = None if self._base is None else self._base.ceiling(provider_kind)
        if below is not None:
            sheets.append(below)
        request: Decimal | None = None
        search: Decimal | None = None
        for sheet in sheets:
            request = higher(request, sheet.request)
            search = higher(search, sheet.web_search)
        rates = dearest(
            bracket.rates for sheet in sheets for tier in sheet.tiers.values() for bracket in tier
        )
        return PriceSheet(
            provider="*",
            model="*",
            source="ceiling",
            entry_id=f"ceiling of {provider_kind}",
            tiers={STANDARD: (Bracket(-1, rates),)},
            request=request,
            web_search=search,
            implicit_cache_writes=True,
        )

    def _against_base(self, entry: PriceEntry, kind: str, at: Instant) -> Iterator[PriceProblem]:
        below = None if self._base is None else self._base.find(entry.provider, kind, entry.model, at).sheet
        if entry.rates.over(below.standard if below is not None else Rates()).input is None:
            yield PriceProblem("warning", entry.entry_id, "has no input price: calls cannot be priced")
        if below is None:
            return
        listed = below.standard.given()
        for unit, price in entry.rates.given().items():
            if unit in listed and listed[unit] != price:
                message = f"{unit} is {plain(price)}, {below.source} says {plain(listed[unit])}"
                yield PriceProblem("info", entry.entry_id, message)


def _sheet(
    entry: PriceEntry, below: PriceSheet | None, provider: str, model: str, implicit_writes: bool
) -> PriceSheet:
    """The entry's prices, and unit by unit those of ``below`` where the entry has none.

    Its own service-tier prices stand over that tier of ``below``; a tier that only the entry has
    stands over the entry's standard prices.
    """
    base_tiers = {STANDARD: (Bracket(-1, Rates()),)} if below is None else dict(below.tiers)
    standard = _over(entry.rates, base_tiers[STANDARD])
    tiers = base_tiers | {STANDARD: standard}
    for name, rates in entry.tiers.items():
        tiers[name] = _over(rates, base_tiers.get(name, standard))
    return PriceSheet(
        provider=provider,
        model=model,
        source=entry.source if below is None else f"{entry.source}+{below.source}",
        entry_id=entry.entry_id,
        tiers=tiers,
        request=entry.request if entry.request is not None or below is None else below.request,
        web_search=entry.web_search if entry.web_search is not None or below is None else below.web_search,
        implicit_cache_writes=implicit_writes if below is None else below.implicit_cache_writes,
    )


def _over(rates: Rates, brackets: tuple[Bracket, ...]) -> tuple[Bracket, ...]:
    return tuple(Bracket(bracket.above, rates.over(bracket.rates)) for bracket in brackets)


def _overlaps(entry: PriceEntry, others: Sequence[PriceEntry]) -> Iterator[PriceProblem]:
    for other in others:
        same = (entry.provider, entry.model) == (other.provider, other.model)
        if not same or entry.valid_until <= other.valid_from or other.valid_until <= entry.valid_from:
            continue
        if entry.valid_from == other.valid_from:
            message = f"{entry.provider}/{entry.model} is priced twice for the same time"
            yield PriceProblem("error", entry.entry_id, message)
        else:
            start = isoformat(entry.valid_from)
            message = f"overlaps {other.entry_id}; from {start} on, the one that starts later wins"
            yield PriceProblem("warning", entry.entry_id, message)


def _given(entry: PriceEntry) -> dict[str, str]:
    """The prices that the entry itself states, as ``ListedPrice.prices`` writes them."""
    prices = {unit: plain(price) for unit, price in entry.rates.given().items()}
    for tier, rates in entry.tiers.items():
        prices |= {f"{tier}.{unit}": plain(price) for unit, price in rates.given().items()}
    fees = {"request": entry.request, "web_search": entry.web_search}
    return prices | {fee: plain(price) for fee, price in fees.items() if price is not None}


def _row(entry: PriceEntry) -> tuple[str, str, int, int, str, list[tuple[str, str]]]:
    """Everything an entry says, in one canonical form."""
    return (
        entry.provider,
        entry.model,
        entry.valid_from,
        entry.valid_until,
        entry.source,
        sorted(_given(entry).items()),
    )


def _digest(overlay: Sequence[PriceEntry], base: BasePrices | None) -> str:
    document = [None if base is None else base.source, [_row(entry) for entry in overlay]]
    return sha256(json.dumps(document).encode()).hexdigest()
