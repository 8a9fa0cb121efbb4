"""Models and the providers that serve them, as the operator, discovery or the price book describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, Protocol

Origin = Literal["config", "discovered", "price_book"]
"""Where the registry knows from that there is such a model."""

Source = Literal["config", "discovery", "price_book", "family", "default"]
"""Who said a value, from the strongest to the weakest."""

PriceTier = Literal["low", "standard", "premium"]


class ModelRole(StrEnum):
    """What a model is for. ``other``: pictures, moderation, bare text completion; never chosen for chats."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    AUDIO = "audio"
    OTHER = "other"


class CostTier(StrEnum):
    """How dear a model is; breaks ties where prices do not."""

    LOW = "low"
    STANDARD = "standard"
    PREMIUM = "premium"


class LatencyTier(StrEnum):
    """How long a model takes to answer."""

    LOW = "low"
    STANDARD = "standard"
    HIGH = "high"


class Capability(StrEnum):
    """What a model can take or give besides text."""

    TOOLS = "tools"
    JSON = "json"
    VISION = "vision"
    AUDIO = "audio"
    STREAMING = "streaming"


class Kind(StrEnum):
    """The family of wire formats a provider speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENAI_COMPATIBLE = "openai_compatible"


ENDPOINT_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "chat_completions": "/v1/chat/completions",
        "responses": "/v1/responses",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
        "messages": "/v1/messages",
        "count_tokens": "/v1/messages/count_tokens",
    }
)
KIND_ENDPOINTS: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.OPENAI: frozenset({"chat_completions", "completions", "responses", "embeddings"}),
        Kind.ANTHROPIC: frozenset({"messages", "count_tokens"}),
        Kind.OPENAI_COMPATIBLE: frozenset(ENDPOINT_PATHS),
    }
)
"""What a provider of a kind can speak; its operator may say that it speaks less."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider by its id. ``endpoints`` are the wire formats it speaks; empty stands for all of its kind.

    ``display_name`` is for people; empty stands for the id. One that is not enabled serves nothing.
    """

    id: str
    kind: Kind
    enabled: bool = True
    endpoints: frozenset[str] = frozenset()
    display_name: str = ""

    def __post_init__(self) -> None:
        if not self.endpoints:
            object.__setattr__(self, "endpoints", KIND_ENDPOINTS[self.kind])
        if not self.display_name:
            object.__setattr__(self, "display_name", self.id)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as one source describes it; None is what that source does not say.

    ``aliases`` are further names of it; ``fallbacks`` are names of models, in the order they are tried.
    """

    id: str
    provider: str
    upstream_name: str
    role: ModelRole | None = None
    cost_tier: CostTier | None = None
    latency_tier: LatencyTier | None = None
    context_window: int | None = None
    output_limit: int | None = None
    capabilities: frozenset[Capability] | None = None
    enabled: bool = True
    aliases: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of one provider, put together from all sources. None is what nobody said.

    ``id`` is what clients ask for, ``upstream_name`` what the provider is asked for; ``context_window`` and
    ``output_limit`` are tokens. ``enabled`` is false if the model or its provider is switched off.
    ``sources`` tells for role, tiers, limits and capabilities who said them; unknown ones are not in it.
    """

    id: str
    provider: str
    upstream_name: str
    role: ModelRole = ModelRole.CHAT
    cost_tier: CostTier = CostTier.STANDARD
    latency_tier: LatencyTier = LatencyTier.STANDARD
    context_window: int | None = None
    output_limit: int | None = None
    capabilities: frozenset[Capability] | None = None
    enabled: bool = True
    origin: Origin = "config"
    aliases: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict[str, Source], compare=False)


def names_of(model: Model) -> tuple[str, ...]:
    """Every name that asks for the model: its id, the id with its provider, its aliases."""
    return (model.id, f"{model.provider}/{model.id}", *model.aliases)


class Catalog(Protocol):
    """What a published price list knows of the models of a kind of provider."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        """Whether the list has this model."""
        ...

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        """Tokens of context of the model, None if the list does not say."""
        ...

    def price_tier(self, provider_kind: str, model: str, /) -> PriceTier | None:
        """How dear the model is by its price, None if the list does not price it."""
        ...

    def models(self, provider_kind: str, /) -> Sequence[str]:
        """Ids of the models of this kind, for suggestions."""
        ...


class Listed(Protocol):
    """A model as its provider lists it. Token counts are None where the provider does not say."""

    @property
    def id(self) -> str:
        """The provider's name of the model."""
        ...

    @property
    def context_window(self) -> int | None:
        """Tokens of context."""
        ...

    @property
    def output_limit(self) -> int | None:
        """Most tokens of one answer."""
        ...
