"""A model is put together field by field: operator, discovery, price book, family, default."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from palyra.pricing.catalog import GenaiPrices
from palyra.registry.models import (
    Capability,
    CostTier,
    Kind,
    LatencyTier,
    Model,
    ModelEntry,
    ModelRole,
    PriceTier,
    Provider,
)
from palyra.registry.registry import Registry

OPENAI = Provider("openai", Kind.OPENAI)
LOCAL = Provider("local", Kind.OPENAI_COMPATIBLE)


@dataclass(frozen=True)
class Listed:
    id: str
    context_window: int | None = None
    output_limit: int | None = None


class PriceList:
    """Knows one window and one price for every model, even where nobody should ask."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        return True

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        return 30

    def price_tier(self, provider_kind: str, model: str, /) -> PriceTier | None:
        return "premium"

    def models(self, provider_kind: str, /) -> Sequence[str]:
        return []


def described(
    entry: ModelEntry | None = None,
    listed: Listed | None = None,
    name: str = "m",
    provider: Provider = OPENAI,
) -> Model:
    registry = Registry([provider], [] if entry is None else [entry], PriceList(), None)
    if listed is not None:
        registry = registry.with_discovered(provider.id, [listed])
    return registry.find(name)


def test_each_value_comes_from_the_strongest_source_that_says_it() -> None:
    entry = ModelEntry("m", "openai", "gpt-4o-mini", latency_tier=LatencyTier.HIGH)
    model = described(entry, Listed("gpt-4o-mini", context_window=20))
    assert (model.latency_tier, model.context_window, model.cost_tier) == ("high", 20, "premium")
    assert (model.role, model.output_limit, Capability.VISION in (model.capabilities or ())) == (
        "chat",
        16_384,
        True,
    )
    assert model.sources == {
        "role": "family",
        "cost_tier": "price_book",
        "latency_tier": "config",
        "context_window": "discovery",
        "output_limit": "family",
        "capabilities": "family",
    }


@pytest.mark.parametrize(
    ("said", "listed", "window", "source"),
    [(10, 20, 10, "config"), (None, 20, 20, "discovery"), (None, None, 30, "price_book")],
)
def test_operator_beats_discovery_beats_price_book_beats_family(
    said: int | None, listed: int | None, window: int, source: str
) -> None:
    entry = ModelEntry("m", "openai", "gpt-4o", context_window=said)
    model = described(entry, Listed("gpt-4o", context_window=listed))
    assert (model.context_window, model.sources["context_window"]) == (window, source)


def test_of_a_compatible_server_only_the_name_tells_and_never_the_price_list() -> None:
    model = described(ModelEntry("m", "local", "openai/gpt-4o"), provider=LOCAL)
    assert (model.context_window, model.sources["context_window"]) == (128_000, "family")
    assert (model.cost_tier, model.sources["cost_tier"]) == (CostTier.STANDARD, "family")


def test_what_nobody_says_has_its_default_or_stays_unknown() -> None:
    model = described(ModelEntry("m", "local", "our-own"), provider=LOCAL)
    assert (model.role, model.cost_tier, model.latency_tier) == (
        ModelRole.CHAT,
        CostTier.STANDARD,
        LatencyTier.STANDARD,
    )
    assert (model.context_window, model.output_limit, model.capabilities) == (None, None, None)
    assert model.sources == {"role": "default", "cost_tier": "default", "latency_tier": "default"}


def test_no_capabilities_is_something_to_say() -> None:
    model = described(ModelEntry("m", "openai", "gpt-4o", capabilities=frozenset()))
    assert (model.capabilities, model.sources["capabilities"]) == (frozenset(), "config")


def test_a_model_that_only_the_price_list_knows_is_described_too() -> None:
    model = described(name="gpt-4o")
    assert (model.origin, model.context_window, model.output_limit) == ("price_book", 30, 16_384)
    assert set(model.sources.values()) == {"price_book", "family"}


def test_a_discovered_model_is_described_by_its_provider_first() -> None:
    model = described(
        listed=Listed("text-embedding-3-small", context_window=20), name="text-embedding-3-small"
    )
    assert (model.origin, model.role, model.context_window) == ("discovered", ModelRole.EMBEDDINGS, 20)


def test_the_real_price_list_gives_window_and_tier() -> None:
    registry = Registry([OPENAI, Provider("anthropic", Kind.ANTHROPIC)], [], GenaiPrices(), None)
    mini, opus = registry.find("gpt-4o-mini"), registry.find("claude-opus-4-1")
    assert (mini.cost_tier, mini.context_window, mini.sources["cost_tier"]) == ("low", 128_000, "price_book")
    assert (opus.cost_tier, opus.sources["cost_tier"]) == ("premium", "price_book")
