"""What the price book needs from a published price list below the operator's own prices."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from palyra.core.instant import Instant
from palyra.pricing.sheet import PriceSheet


@dataclass(frozen=True, slots=True)
class DatedSheet:
    """A sheet (None: no price) and the instants [``since``, ``until``) in which it cannot change."""

    sheet: PriceSheet | None
    since: Instant
    until: Instant


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One row of ``palyra prices list``.

    ``prices`` maps a unit to USD per million tokens (fees: USD each), as decimal strings; the units of
    another service tier than standard are written ``tier.unit``, and those of a
    bracket ``unit>tokens``. ``when`` says when in the day or the request it holds, for people.
    """

    provider: str
    model: str
    valid_from: Instant | None
    valid_until: Instant | None
    source: str
    prices: Mapping[str, str] = field(hash=False)
    when: str = ""


class BasePrices(Protocol):
    """A published price list: data only, no network, no clock."""

    @property
    def source(self) -> str:
        """Name and version, as it is written on every price: ``genai-prices 0.2.3``."""
        ...

    def find(self, provider_id: str, provider_kind: str, model: str, at: Instant) -> DatedSheet:
        """The prices of a model at an instant, and how long the answer holds."""
        ...

    def ceiling(self, provider_kind: str) -> PriceSheet | None:
        """The dearest price of every unit for providers of a kind; None if none is known."""
        ...

    def entries(self) -> Iterator[ListedPrice]:
        """Every price in the list."""
        ...
