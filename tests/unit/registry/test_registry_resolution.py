"""Names become models: the operator's first, then prefixes, discovery and the price book."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from palyra.core.errors import ModelNotFound
from palyra.pricing.catalog import GenaiPrices
from palyra.registry.models import Catalog, Kind, ModelEntry, PriceTier, Provider, names_of
from palyra.registry.registry import Registry


@dataclass(frozen=True)
class Listed:
    id: str
    context_window: int | None = None
    output_limit: int | None = None


@dataclass
class FakeCatalog:
    """Knows what it is told, and counts how often it is asked."""

    known: dict[str, set[str]] = field(
        default_factory=lambda: {"openai": {"gpt-4o-mini", "gpt-4o"}, "anthropic": {"claude-x"}}
    )
    asked: list[str] = field(default_factory=list[str])

    def knows(self, provider_kind: str, model: str, /) -> bool:
        self.asked.append(model)
        return model.partition("@")[0] in self.known.get(provider_kind, set())

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        return 128_000 if model in self.known.get(provider_kind, set()) else None

    def price_tier(self, provider_kind: str, model: str, /) -> PriceTier | None:
        return "low" if model in self.known.get(provider_kind, set()) else None

    def models(self, provider_kind: str, /) -> Sequence[str]:
        return sorted(self.known.get(provider_kind, set()))


OPENAI = Provider("openai", Kind.OPENAI)
ANTHROPIC = Provider("anthropic", Kind.ANTHROPIC)
LOCAL = Provider("local", Kind.OPENAI_COMPATIBLE)


def registry(
    *models: ModelEntry,
    providers: Sequence[Provider] = (OPENAI, ANTHROPIC, LOCAL),
    default: str | None = None,
    catalog: Catalog | None = None,
) -> Registry:
    return Registry(providers, models, catalog or FakeCatalog(), default)


def test_a_configured_id_is_found_with_its_upstream_name() -> None:
    model = registry(ModelEntry("house", "local", "qwen3-32b")).resolve("house", "chat_completions")
    assert (model.id, model.provider, model.upstream_name, model.origin) == (
        "house",
        "local",
        "qwen3-32b",
        "config",
    )


def test_auto_stands_for_the_default_model() -> None:
    assert registry(default="gpt-4o-mini").resolve("auto", "responses").id == "gpt-4o-mini"


@pytest.mark.parametrize("default", [None, "auto"])
def test_auto_without_a_default_is_not_found(default: str | None) -> None:
    with pytest.raises(ModelNotFound, match=r"governance\.default_model"):
        registry(default=default).resolve("auto", "chat_completions")


def test_auto_with_a_default_that_is_not_there_names_it() -> None:
    with pytest.raises(ModelNotFound, match="no model 'gpt-4o-mnii'; close matches: gpt-4o-mini"):
        registry(default="gpt-4o-mnii").resolve("auto", "chat_completions")


def test_a_model_of_the_price_book_is_served_by_the_provider_of_its_kind() -> None:
    model = registry().resolve("claude-x", "messages")
    assert (model.provider, model.origin, model.context_window) == ("anthropic", "price_book", 128_000)


def test_the_price_book_says_nothing_about_compatible_providers() -> None:
    with pytest.raises(ModelNotFound):
        registry(providers=[LOCAL]).resolve("gpt-4o-mini", "chat_completions")


def test_a_prefix_names_the_provider() -> None:
    found = registry(ModelEntry("gpt-4o", "local", "clone")).resolve("openai/gpt-4o", "chat_completions")
    assert (found.id, found.provider, found.upstream_name) == ("gpt-4o", "openai", "gpt-4o")


def test_of_two_providers_the_operators_model_wins_and_the_prefix_reaches_the_other() -> None:
    both = (
        registry(ModelEntry("llama", "local", "llama-8b"))
        .with_discovered("openai", [Listed("llama")])
        .with_discovered("local", [Listed("other")])
    )
    assert both.resolve("llama", "chat_completions").provider == "local"
    assert both.resolve("openai/llama", "chat_completions").provider == "openai"
    assert [both.name_of(model) for model in both.models()] == ["llama", "openai/llama", "other"]


def test_of_two_discovered_models_the_first_provider_wins() -> None:
    second = Provider("second", Kind.OPENAI_COMPATIBLE)
    both = registry(providers=[LOCAL, second])
    both = both.with_discovered("second", [Listed("m")]).with_discovered("local", [Listed("m")])
    assert both.resolve("m", "chat_completions").provider == "local"
    assert both.resolve("second/m", "chat_completions").provider == "second"


def test_a_discovered_id_with_a_slash_is_found_although_it_looks_like_a_prefix() -> None:
    found = registry().with_discovered("local", [Listed("openai/gpt-oss")])
    assert found.resolve("openai/gpt-oss", "messages").provider == "local"


def test_discovery_gives_a_new_snapshot_and_fills_what_the_operator_left_open() -> None:
    before = registry(ModelEntry("house", "local", "qwen", output_limit=10))
    after = before.with_discovered("local", [Listed("qwen", context_window=32_768, output_limit=99)])
    assert before.find("house").context_window is None
    house = after.find("house")
    assert (house.context_window, house.output_limit, house.origin) == (32_768, 10, "config")
    assert after.with_discovered("local", []).find("house").context_window is None


def test_a_disabled_model_is_refused_however_it_is_named_and_is_not_listed() -> None:
    off = registry(ModelEntry("gpt-4o", "openai", "gpt-4o", enabled=False))
    off = off.with_discovered("openai", [Listed("gpt-4o")])
    for name in ("gpt-4o", "openai/gpt-4o"):
        with pytest.raises(ModelNotFound, match="disabled"):
            off.resolve(name, "chat_completions")
    assert off.models() == []


def test_an_unknown_model_is_answered_with_close_matches() -> None:
    with pytest.raises(ModelNotFound, match="gpt-4o-mini") as caught:
        registry().resolve("gpt-4o-mnii", "chat_completions")
    assert caught.value.param == "model"


def test_an_unknown_provider_prefix_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        registry().resolve("nowhere/gpt-4o", "chat_completions")


def test_a_name_of_any_length_costs_no_search() -> None:
    catalog = FakeCatalog()
    with pytest.raises(ModelNotFound, match="100000 characters"):
        registry(catalog=catalog).resolve("x" * 100_000, "chat_completions")
    assert catalog.asked == []


@pytest.mark.parametrize(
    ("name", "endpoint", "instead"),
    [
        ("claude-x", "chat_completions", "/v1/messages"),
        ("claude-x", "embeddings", "/v1/messages"),
        ("gpt-4o", "messages", "/v1/chat/completions or /v1/responses"),
        ("gpt-4o", "count_tokens", "/v1/responses"),
    ],
)
def test_a_provider_that_cannot_speak_the_endpoint_says_which_to_use(
    name: str, endpoint: str, instead: str
) -> None:
    with pytest.raises(ModelNotFound, match=instead):
        registry().resolve(name, endpoint)


def test_compatible_providers_speak_every_endpoint() -> None:
    endpoints = ("chat_completions", "completions", "responses", "embeddings", "messages", "count_tokens")
    assert all(registry().speaks("local", endpoint) for endpoint in endpoints)


def test_the_price_book_is_asked_once_per_name_and_the_memory_is_bounded() -> None:
    catalog = FakeCatalog()
    found = registry(catalog=catalog)
    found.resolve("gpt-4o", "chat_completions")
    asked = len(catalog.asked)
    found.resolve("gpt-4o", "chat_completions")
    assert len(catalog.asked) == asked
    for number in range(5_000):
        found.resolve(f"gpt-4o@{number}", "chat_completions")
    found.resolve("gpt-4o", "chat_completions")
    assert catalog.asked.count("gpt-4o") == 2


def test_a_model_without_its_provider_is_refused() -> None:
    with pytest.raises(ValueError, match="no provider 'gone'"):
        registry(ModelEntry("m", "gone", "m"))


def test_the_real_price_book_serves_as_catalog() -> None:
    found = registry(catalog=GenaiPrices(), default="gpt-4o-mini")
    assert found.resolve("auto", "chat_completions").context_window == 128_000
    with pytest.raises(ModelNotFound, match="gpt-4o-mini"):
        found.resolve("gpt-4o-minj", "chat_completions")


def test_providers_stand_in_the_operators_order() -> None:
    found = registry()
    assert [provider.id for provider in found.providers] == ["openai", "anthropic", "local"]
    assert found.kind_of("local") is Kind.OPENAI_COMPATIBLE


def test_the_default_model_is_the_one_that_auto_stands_for() -> None:
    assert registry(default="gpt-4o").default_model == "gpt-4o"
    assert registry().default_model is None


def test_a_model_goes_by_its_id_its_provider_and_its_aliases() -> None:
    model = registry(ModelEntry("house", "local", "qwen", aliases=("fast",))).find("fast")
    assert names_of(model) == ("house", "local/house", "fast")
