"""What was prepared for calls alike, by kind of call; see ``usual``."""

from typing import TYPE_CHECKING, Self

from palyra.budgets.index import PolicyIndex
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.book import PriceBook
from palyra.registry.registry import Registry

if TYPE_CHECKING:
    from palyra.lifecycle.usual import Prepared

KINDS_MAX = 4_096
"""Labels come from callers: what is prepared for them must not grow with what they invent (V2)."""

Kind = tuple[str, Endpoint, str, bool, str | None, str, str | None, str | None]
"""Key, endpoint, asked model, whether it streams; agent, task class; session and parent where they matter."""


class Kinds:
    """Kinds of calls that were seen, for one set of rules, models and prices at a time."""

    __slots__ = ("_policies", "_prices", "_registry", "prepared")

    def __init__(self) -> None:
        self.prepared: dict[Kind, Prepared | None] = {}
        """None for a kind that is not prepared, or cannot be."""
        self._policies: PolicyIndex | None = None
        self._registry: Registry | None = None
        self._prices: PriceBook | None = None

    def under(self, policies: PolicyIndex, registry: Registry, prices: PriceBook) -> Self:
        """Forget what was prepared under other rules, models or prices than these."""
        if policies is not self._policies or registry is not self._registry or prices is not self._prices:
            self.prepared = {}
            self._policies, self._registry, self._prices = policies, registry, prices
        return self

    def seen_before(self, kind: Kind) -> bool:
        """Whether a call of this kind came before; from now on it did."""
        if kind in self.prepared:
            return True
        while len(self.prepared) >= KINDS_MAX:
            del self.prepared[next(iter(self.prepared))]
        self.prepared[kind] = None
        return False
