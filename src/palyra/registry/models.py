"""Models and the providers that serve them, as the operator, discovery or the price book describes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

Origin = Literal["config", "discovered", "price_book"]


class Role(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    AUDIO = "audio"


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


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider by its id; ``kind`` decides which endpoints it speaks."""

    id: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Model:
    """A model of one provider. ``context_window`` and ``output_limit`` are tokens, None if nobody said.

    ``id`` is what clients ask for, ``upstream_name`` what the provider is asked for.
    """

    id: str
    provider: str
    upstream_name: str
    role: Role = Role.CHAT
    cost_tier: CostTier = CostTier.STANDARD
    latency_tier: LatencyTier = LatencyTier.STANDARD
    context_window: int | None = None
    output_limit: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    enabled: bool = True
    origin: Origin = "config"


class Catalog(Protocol):
    """What a published price list knows of the models of a kind of provider."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        """Whether the list has this model."""
        ...

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        """Tokens of context of the model, None if the list does not say."""
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
