"""The price list of genai-prices as base of the price book: its bundled data only, never its updater."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from palyra.core.instant import END_OF_TIME, Instant, from_datetime, to_datetime
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.pricing.base import DatedSheet, ListedPrice
from palyra.pricing.entry import BEGINNING_OF_TIME
from palyra.pricing.rates import STANDARD, Bracket, PriceTier, Rates, dearest, higher, plain, tier_of
from palyra.pricing.sheet import PriceSheet

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TimeOfDateConstraint

_KINDS = {"openai": "openai", "anthropic": "anthropic"}
_PRICE_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
}
_PICTURES = ("output_image_mtok", "output_video_mtok")
_TIER_KEYS = ("service_tier", "processing", "speed")
_DAY = timedelta(days=1)
_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
_THOUSAND = 1_000


class GenaiPrices:
    """``BasePrices`` over the installed genai-prices package.

    ``hints`` maps a provider id of the config to a genai-prices provider, for ids it cannot guess
    (``{"edge-llm": "mistral"}``). Raises ValueError for a hint that genai-prices does not know.
    """

    def __init__(self, hints: Mapping[str, str] | None = None) -> None:
        # The data take 0.15 s to import: only those who use them pay.
        from genai_prices import __version__

        providers = bundled()
        self._providers = {provider.id: provider for provider in providers}
        self._all = providers
        self._hints = dict(hints or {})
        self._source = f"genai-prices {__version__}"
        self._own_models = {provider.id: {id(model) for model in provider.models} for provider in providers}
        for ours, theirs in self._hints.items():
            if theirs not in self._providers:
                raise ValueError(f"provider {ours!r}: {self._source} has no prices of {theirs!r}")

    @property
    def source(self) -> str:
        """Name and version of the package."""
        return self._source

    def find(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> DatedSheet:
        """Prices of ``model`` at ``at``; the answer holds between its conditions' boundaries."""
        found = self._find(provider_id, provider_kind, model)
        if found is None:
            return DatedSheet(None, BEGINNING_OF_TIME, END_OF_TIME)
        provider, info = found
        variants = id(info) in self._own_models[provider.id]
        since, until = _stable_interval(info, at)
        return DatedSheet(self._sheet(provider, info, to_datetime(at), variants), since, until)

    def ceiling(self, provider_kind: str) -> PriceSheet | None:
        """The dearest of every unit over all models, conditions and tiers of this kind of provider.

        Kinds without prices of their own (``openai_compatible``) get the dearest of all.
        """
        own = self._providers.get(_KINDS.get(provider_kind, ""))
        rates: list[Rates] = []
        request: Decimal | None = None
        search: Decimal | None = None
        for provider in [own] if own is not None else self._all:
            for info in provider.models:
                for moment in _moments(info):
                    sheet = self._sheet(provider, info, moment, True)
                    rates += [bracket.rates for brackets in sheet.tiers.values() for bracket in brackets]
                    request = higher(request, sheet.request)
                    search = higher(search, sheet.web_search)
        return PriceSheet(
            provider=own.id if own is not None else "*",
            model="*",
            source=self._source,
            entry_id=f"{self._source} ceiling",
            tiers={STANDARD: (Bracket(0, dearest(rates)),)},
            request=request,
            web_search=search,
            implicit_cache_writes=True,
        )

    def entries(self) -> Iterator[ListedPrice]:
        """Every model's prices under every condition, provider by provider."""
        for provider in self._all:
            for info in provider.models:
                yield from self._listed(provider, info)

    def context_window(self, provider_kind: str, model: str, provider_id: str = "") -> int | None:
        """Tokens of context of the model, if known."""
        found = self._find(provider_id, provider_kind, model)
        return None if found is None else found[1].context_window

    def price_tier(self, provider_kind: str, model: str, provider_id: str = "") -> PriceTier | None:
        """How dear the model is by its newest standard price, None if it is not priced.

        Models without output (embeddings) go by their input.
        """
        found = self._find(provider_id, provider_kind, model)
        if found is None:
            return None
        prices = found[1].get_prices(max(_moments(found[1])))
        price = _price_above(prices, "output_mtok", -1)
        if price is None:
            price = _price_above(prices, "input_mtok", -1)
        if price is None:
            return None
        return tier_of(price)

    def knows(self, provider_kind: str, model: str, provider_id: str = "") -> bool:
        """Whether there is an entry for this model (which may price none of our units)."""
        return self._find(provider_id, provider_kind, model) is not None

    def models(self, provider_kind: str, provider_id: str = "") -> list[str]:
        """Ids of the models that are listed for this provider, sorted."""
        provider = self._provider(provider_id, provider_kind)
        return [] if provider is None else sorted(info.id for info in provider.models)

    def _provider(self, provider_id: str, provider_kind: str) -> "Provider | None":
        """By hint, else by kind, else by id: equal, then ``mistral-eu`` as ``mistral``, then its own rule."""
        wanted = provider_id.lower().strip()
        name = self._hints.get(provider_id) or _KINDS.get(provider_kind) or wanted
        if name in self._providers:
            return self._providers[name]
        starts = [known for known in self._providers if wanted.startswith((f"{known}-", f"{known}_"))]
        if starts:
            return self._providers[max(starts, key=len)]
        rules = (p for p in self._all if p.provider_match is not None and p.provider_match.is_match(wanted))
        return next(rules, None)

    def _find(self, provider_id: str, provider_kind: str, model: str) -> "tuple[Provider, ModelInfo] | None":
        provider = self._provider(provider_id, provider_kind)
        if provider is None or len(model) > LABEL_CHARS_MAX:
            return None
        info = provider.find_model(model, all_providers=self._all)
        return None if info is None else (provider, info)

    def _sheet(self, provider: "Provider", info: "ModelInfo", at: datetime, variants: bool) -> PriceSheet:
        standard = info.get_prices(at)
        tiers = {STANDARD: _brackets(standard)}
        for variant in info.price_variants or () if variants else ():
            tier = _tier_name(variant.when)
            if tier is not None:
                tiers[tier] = _brackets(info.get_prices(at, variant.when))
        return PriceSheet(
            provider=provider.id,
            model=info.id,
            source=self._source,
            entry_id=f"{self._source} {provider.id}/{info.id}",
            tiers=tiers,
            request=_fee(standard, "requests_kcount"),
            web_search=_fee(standard, "web_searches_kcount"),
            implicit_cache_writes=provider.id != "anthropic",
        )

    def _listed(self, provider: "Provider", info: "ModelInfo") -> Iterator[ListedPrice]:
        days: list[Instant | None] = [
            None,
            *sorted({from_datetime(_midnight(d)) for d in _start_dates(info)}),
            None,
        ]
        for start, end in pairwise(days):
            day = _BEFORE_ALL if start is None else to_datetime(start)
            for begin, finish in _parts_of_day(info):
                sheet = self._sheet(provider, info, day + begin, True)
                whole_day = begin == finish
                yield ListedPrice(
                    provider=provider.id,
                    model=info.id,
                    valid_from=start,
                    valid_until=end,
                    source=self._source,
                    prices=_listed_prices(sheet),
                    when="" if whole_day else f"{_clock(begin)}-{_clock(finish)} UTC",
                )


def bundled() -> "list[Provider]":
    """What the package comes with."""
    from genai_prices import data

    # By its name: a type checker would go through all of the list, which takes it two minutes.
    return vars(data)["providers"]


def _listed_prices(sheet: PriceSheet) -> dict[str, str]:
    """The prices of a sheet as ``ListedPrice.prices`` writes them."""
    prices: dict[str, str] = {}
    for tier, brackets in sheet.tiers.items():
        prefix = "" if tier == STANDARD else f"{tier}."
        for index, bracket in enumerate(brackets):
            suffix = f">{bracket.above}" if index else ""
            for unit, price in bracket.rates.given().items():
                prices[f"{prefix}{unit}{suffix}"] = plain(price)
    fees = {"request": sheet.request, "web_search": sheet.web_search}
    prices |= {fee: plain(price) for fee, price in fees.items() if price is not None}
    return prices


def _brackets(prices: "ModelPrice") -> tuple[Bracket, ...]:
    from genai_prices.types import TieredPrices

    steps = {
        tier.start
        for key in _PRICE_KEYS.values()
        if isinstance(value := getattr(prices, key), TieredPrices)
        for tier in value.tiers
    }
    first = Bracket(-1, _rates_above(prices, -1))
    return (first, *(Bracket(step, _rates_above(prices, step)) for step in sorted(steps)))


def _rates_above(prices: "ModelPrice", step: int) -> Rates:
    """The rates of a call with more than ``step`` input tokens, up to the next step."""
    rates = Rates(**{unit: _price_above(prices, key, step) for unit, key in _PRICE_KEYS.items()})
    picture = None
    for key in _PICTURES:
        picture = higher(picture, _price_above(prices, key, step))
    if picture is None or rates.output is None or picture <= rates.output:
        return rates
    # Usage does not tell picture tokens from text: billing all output as pictures loses nothing.
    return Rates(output=picture, reasoning=rates.reasoning or rates.output).over(rates)


def _price_above(prices: "ModelPrice", key: str, step: int) -> Decimal | None:
    from genai_prices.types import TieredPrices

    value: Decimal | TieredPrices | None = getattr(prices, key)
    if not isinstance(value, TieredPrices):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= step]
    return reached[-1] if reached else value.base


def _fee(prices: "ModelPrice", key: str) -> Decimal | None:
    price: object = getattr(prices, key)
    return price / _THOUSAND if isinstance(price, Decimal) else None


def _tier_name(when: Mapping[str, str]) -> str | None:
    """Our service tier for a request context; None for contexts that no response names."""
    named = [value for key, value in when.items() if key in _TIER_KEYS and value != "default"]
    return named[0] if len(named) == len(when) == 1 else None


def _constraints(info: "ModelInfo") -> "list[StartDateConstraint | TimeOfDateConstraint]":
    conditions = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
    return [condition.constraint for condition in conditions if condition.constraint is not None]


def _start_dates(info: "ModelInfo") -> list[date]:
    from genai_prices.types import StartDateConstraint

    return [c.start_date for c in _constraints(info) if isinstance(c, StartDateConstraint)]


def _times_of_day(info: "ModelInfo") -> list[timedelta]:
    """Offsets from midnight UTC at which a time-of-day condition begins or ends."""
    from genai_prices.types import TimeOfDateConstraint

    offsets: set[timedelta] = set()
    for constraint in _constraints(info):
        if isinstance(constraint, TimeOfDateConstraint):
            offsets |= {_offset(constraint.start_time), _offset(constraint.end_time)}
    return sorted(offsets)


def _offset(moment: time) -> timedelta:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    utc = datetime.combine(date(2000, 1, 2), aware).astimezone(UTC)
    return (utc - datetime(2000, 1, 1, tzinfo=UTC)) % _DAY


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))


def _parts_of_day(info: "ModelInfo") -> list[tuple[timedelta, timedelta]]:
    """The parts of a day, from and to, in which the price is one; (0, 0) for a whole day."""
    offsets = _times_of_day(info) or [timedelta()]
    return list(zip(offsets, [*offsets[1:], offsets[0]], strict=True))


def _clock(offset: timedelta) -> str:
    minutes = offset // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _moments(info: "ModelInfo") -> list[datetime]:
    """Moments at which, taken together, every price that the model has or will have holds."""
    days = [_BEFORE_ALL, *(_midnight(day) for day in _start_dates(info))]
    return [day + begin for day in days for begin, _ in _parts_of_day(info)]


def _stable_interval(info: "ModelInfo", at: Instant) -> tuple[Instant, Instant]:
    """The interval around ``at`` in which no condition of the model begins or ends."""
    edges = [from_datetime(_midnight(day)) for day in _start_dates(info)]
    today = _midnight(to_datetime(at).date())
    for offset in _times_of_day(info):
        edges += [from_datetime(today + offset + shift) for shift in (-_DAY, timedelta(), _DAY)]
    since = max((edge for edge in edges if edge <= at), default=BEGINNING_OF_TIME)
    until = min((edge for edge in edges if edge > at), default=END_OF_TIME)
    return since, until
