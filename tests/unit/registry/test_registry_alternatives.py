"""Aliases, providers that are switched off or speak less, candidates, the same model elsewhere, fallbacks."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from palyra.core.errors import ModelNotFound
from palyra.core.instant import Instant
from palyra.registry.models import Kind, Model, ModelEntry, ModelRole, PriceTier, Provider
from palyra.registry.registry import Registry

CHAT = "chat_completions"
OPENAI = Provider("openai", Kind.OPENAI)
ANTHROPIC = Provider("anthropic", Kind.ANTHROPIC)
LOCAL = Provider("local", Kind.OPENAI_COMPATIBLE)


@dataclass(frozen=True)
class Listed:
    id: str
    context_window: int | None = None
    output_limit: int | None = None


class PriceList:
    """Knows gpt-4o of OpenAI."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        return (provider_kind, model) == ("openai", "gpt-4o")

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        return None

    def price_tier(self, provider_kind: str, model: str, /) -> PriceTier | None:
        return None

    def models(self, provider_kind: str, /) -> Sequence[str]:
        return ["gpt-4o"] if provider_kind == "openai" else []


def registry(
    *models: ModelEntry,
    providers: Sequence[Provider] = (OPENAI, ANTHROPIC, LOCAL),
    default: str | None = None,
) -> Registry:
    return Registry(providers, models, PriceList(), default)


def off(provider: Provider) -> Provider:
    return Provider(provider.id, provider.kind, enabled=False)


def names(models: Sequence[Model]) -> list[str]:
    return [f"{model.provider}/{model.id}" for model in models]


def test_an_alias_stands_for_its_model() -> None:
    found = registry(ModelEntry("house", "local", "qwen", aliases=("fast", "cheap")), default="cheap")
    assert [found.resolve(name, CHAT).id for name in ("fast", "cheap", "auto")] == ["house"] * 3


def test_an_alias_beats_what_is_discovered_and_an_own_id_beats_an_alias() -> None:
    found = registry(
        ModelEntry("a", "local", "a", aliases=("gpt-4o", "b", "openai/x")), ModelEntry("b", "local", "b")
    ).with_discovered("openai", [Listed("gpt-4o"), Listed("x")])
    assert found.find("gpt-4o").id == "a"
    assert found.find("openai/x").id == "a"
    assert found.find("b").id == "b"


def test_a_misspelt_alias_is_answered_with_it() -> None:
    with pytest.raises(ModelNotFound, match="frugal"):
        registry(ModelEntry("house", "local", "qwen", aliases=("frugal",))).find("fruugal")


def test_the_models_of_a_disabled_provider_are_hidden_and_refused_by_its_name() -> None:
    found = registry(ModelEntry("m", "openai", "m"), providers=[off(OPENAI), LOCAL])
    found = found.with_discovered("openai", [Listed("d")])
    for name in ("m", "d", "openai/d", "gpt-4o"):
        with pytest.raises(ModelNotFound, match=r"provider 'openai' of model .* is disabled"):
            found.resolve(name, CHAT)
    assert found.models() == []
    assert [(model.id, model.enabled) for model in found.all_models()] == [("m", False), ("d", False)]


def test_an_enabled_provider_serves_what_a_disabled_one_would_have_served_first() -> None:
    found = registry(ModelEntry("m", "openai", "m"), providers=[off(OPENAI), LOCAL])
    found = found.with_discovered("local", [Listed("m")])
    assert found.resolve("m", CHAT).provider == "local"
    assert names(found.all_models()) == ["openai/m", "local/m"]
    assert [found.name_of(model) for model in found.all_models()] == ["openai/m", "m"]


def test_a_server_may_speak_less_than_its_kind() -> None:
    small = Provider("local", Kind.OPENAI_COMPATIBLE, endpoints=frozenset({CHAT}))
    found = registry(ModelEntry("m", "local", "m"), providers=[small])
    assert found.resolve("m", CHAT).id == "m"
    assert not found.speaks("local", "messages")
    with pytest.raises(ModelNotFound, match=r"does not speak /v1/messages; use /v1/chat/completions$"):
        found.resolve("m", "messages")


def test_candidates_are_the_operators_then_the_default_then_the_discovered_ones() -> None:
    found = registry(
        ModelEntry("z", "local", "z"),
        ModelEntry("off", "local", "off", enabled=False),
        ModelEntry("a", "openai", "a"),
        ModelEntry("vectors", "local", "v", role=ModelRole.EMBEDDINGS),
        ModelEntry("claude", "anthropic", "claude-x"),
        default="gpt-4o",
    ).with_discovered("local", [Listed("y"), Listed("text-embedding-3-small"), Listed("dall-e-3")])
    assert names(found.candidates(CHAT, discovered=False)) == ["local/z", "openai/a", "openai/gpt-4o"]
    assert names(found.candidates(CHAT, discovered=True)) == [
        "local/z",
        "openai/a",
        "openai/gpt-4o",
        "local/y",
    ]
    assert names(found.candidates("messages", discovered=False)) == ["local/z", "anthropic/claude"]
    assert found.candidates(CHAT, discovered=True) is found.candidates(CHAT, discovered=True)


@pytest.mark.parametrize("default", [None, "auto", "gone", "z"])
def test_a_default_that_adds_nothing_is_left_out_of_the_candidates(default: str | None) -> None:
    found = registry(ModelEntry("z", "local", "z"), default=default)
    assert names(found.candidates(CHAT, discovered=False)) == ["local/z"]


def test_candidates_of_an_endpoint_that_nobody_speaks_are_none() -> None:
    assert registry(ModelEntry("z", "local", "z")).candidates("telepathy", discovered=True) == ()


def test_the_same_model_elsewhere_is_found_by_its_id_whatever_it_is_called_there() -> None:
    azure, third = Provider("azure", Kind.OPENAI_COMPATIBLE), Provider("third", Kind.OPENAI_COMPATIBLE)
    found = registry(
        ModelEntry("m", "openai", "gpt-4o"),
        ModelEntry("m", "azure", "deployment-7"),
        ModelEntry("other", "third", "gpt-4o"),
        ModelEntry("n", "third", "gpt-4o-mini"),
        ModelEntry("m", "anthropic", "m"),
        ModelEntry("m", "local", "m", enabled=False),
        providers=[OPENAI, ANTHROPIC, azure, third, LOCAL],
    )
    assert names(found.elsewhere(found.find("m"), CHAT)) == ["azure/m"]
    assert names(found.elsewhere(found.find("other"), CHAT)) == []
    assert names(found.elsewhere(found.find("n"), CHAT)) == []


def test_a_disabled_provider_is_nowhere_else() -> None:
    found = registry(
        ModelEntry("m", "openai", "m"), ModelEntry("m", "local", "m"), providers=[OPENAI, off(LOCAL)]
    )
    assert found.elsewhere(found.find("m"), CHAT) == []


def test_fallbacks_keep_their_order_and_skip_what_is_not_there() -> None:
    found = registry(
        ModelEntry(
            "m",
            "openai",
            "m",
            fallbacks=("gone", "quick", "off", "claude", "openai/gpt-4o", "gpt-4o", "m", "nowhere/x"),
        ),
        ModelEntry("h", "local", "h", aliases=("quick",)),
        ModelEntry("off", "local", "off", enabled=False),
        ModelEntry("claude", "anthropic", "claude-x"),
    )
    assert names(found.fallbacks(found.find("m"), CHAT)) == ["local/h", "openai/gpt-4o"]
    assert names(found.fallbacks(found.find("h"), CHAT)) == []


def test_a_list_that_did_not_change_keeps_the_snapshot_and_takes_down_when_it_was_seen() -> None:
    empty = registry()
    assert (empty.lists("local"), empty.discovered_at("local")) == ((), None)
    first = empty.with_discovered("local", [Listed("a", 10)], Instant(1))
    again = first.with_discovered("local", [Listed("a", 10)], Instant(2))
    assert again is first
    assert again.discovered_at("local") == 2
    assert [entry.id for entry in again.lists("local")] == ["a"]
    other = again.with_discovered("local", [Listed("a", 11)], Instant(3))
    assert other is not first
    assert (other.discovered_at("local"), first.discovered_at("local")) == (3, 2)
    third = other.with_discovered("openai", [], Instant(4))
    assert (third.discovered_at("local"), third.discovered_at("openai")) == (3, 4)


def test_an_empty_list_is_news_where_there_was_none() -> None:
    before = registry()
    after = before.with_discovered("local", [])
    assert after is not before
    assert after.with_discovered("local", []) is after


def test_only_configured_providers_discover() -> None:
    with pytest.raises(KeyError):
        registry().with_discovered("gone", [])


def test_a_provider_without_a_name_for_people_has_its_id() -> None:
    assert (OPENAI.display_name, Provider("x", Kind.OPENAI, display_name="X").display_name) == ("openai", "X")
