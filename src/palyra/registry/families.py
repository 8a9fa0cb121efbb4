"""What is publicly known of models by their names: role, capabilities, tiers, and limits if they are sure."""

import re
from dataclasses import dataclass

from palyra.registry.models import Capability, CostTier, LatencyTier, ModelRole

CHAT, EMBEDDINGS, AUDIO, OTHER = ModelRole.CHAT, ModelRole.EMBEDDINGS, ModelRole.AUDIO, ModelRole.OTHER
LOW, STANDARD, PREMIUM = CostTier.LOW, CostTier.STANDARD, CostTier.PREMIUM
FAST, USUAL, SLOW = LatencyTier.LOW, LatencyTier.STANDARD, LatencyTier.HIGH

NOTHING: frozenset[Capability] = frozenset()
TEXT = frozenset({Capability.STREAMING})
TOOLS = TEXT | {Capability.TOOLS, Capability.JSON}
SEES = TOOLS | {Capability.VISION}
TALKS = TEXT | {Capability.TOOLS, Capability.AUDIO}
SPEECH = frozenset({Capability.AUDIO})


@dataclass(frozen=True, slots=True)
class Family:
    """Models whose names begin alike. ``context_window`` and ``output_limit`` are tokens.

    Limits hold for ``name`` itself and its dated versions only. None is what is not known for sure.
    """

    name: str
    role: ModelRole
    capabilities: frozenset[Capability] | None = None
    cost_tier: CostTier | None = None
    latency_tier: LatencyTier | None = None
    context_window: int | None = None
    output_limit: int | None = None


# A limit below the truth would cut answers short and hold too little money: leave out what is not sure.
# Names that end with * go on in any way, others only after one of - : @ _
FAMILIES = (
    # OpenAI
    Family("gpt-3.5-turbo", CHAT, TOOLS, STANDARD, FAST, 16_385, 4_096),
    Family("gpt-3.5-turbo-instruct", OTHER, TEXT, STANDARD, FAST, None, None),
    Family("gpt-4", CHAT, TOOLS, PREMIUM, SLOW, 8_192, 8_192),
    Family("gpt-4-turbo", CHAT, SEES, PREMIUM, USUAL, 128_000, 4_096),
    Family("gpt-4-turbo-preview", CHAT, TOOLS, PREMIUM, USUAL, 128_000, 4_096),
    Family("gpt-4o", CHAT, SEES, STANDARD, USUAL, 128_000, 16_384),
    Family("gpt-4o-2024-05-13", CHAT, SEES, PREMIUM, USUAL, 128_000, 4_096),
    Family("gpt-4o-mini", CHAT, SEES, LOW, FAST, 128_000, 16_384),
    Family("chatgpt-4o", CHAT, TEXT | {Capability.VISION}, PREMIUM, USUAL, 128_000, 16_384),
    Family("gpt-4o-audio", AUDIO, TALKS, STANDARD, USUAL),
    Family("gpt-4o-mini-audio", AUDIO, TALKS, LOW, FAST),
    Family("gpt-4o-realtime", AUDIO, TALKS, PREMIUM, FAST),
    Family("gpt-4o-mini-realtime", AUDIO, TALKS, STANDARD, FAST),
    Family("gpt-4o-transcribe", AUDIO, SPEECH, STANDARD),
    Family("gpt-4o-mini-transcribe", AUDIO, SPEECH, STANDARD),
    Family("gpt-4o-mini-tts", AUDIO, SPEECH),
    Family("gpt-4.1", CHAT, SEES, STANDARD, USUAL, 1_047_576, 32_768),
    Family("gpt-4.1-mini", CHAT, SEES, STANDARD, FAST, 1_047_576, 32_768),
    Family("gpt-4.1-nano", CHAT, SEES, LOW, FAST, 1_047_576, 32_768),
    Family("gpt-5", CHAT, SEES, STANDARD, USUAL, 400_000, 128_000),
    Family("gpt-5-mini", CHAT, SEES, STANDARD, USUAL, 400_000, 128_000),
    Family("gpt-5-nano", CHAT, SEES, LOW, FAST, 400_000, 128_000),
    Family("gpt-5-codex", CHAT, SEES, STANDARD, USUAL, 400_000, 128_000),
    Family("gpt-5-chat", CHAT, SEES, STANDARD, USUAL, 128_000, 16_384),
    Family("gpt-5-pro", CHAT, SEES, PREMIUM, SLOW, 400_000, 272_000),
    Family("gpt-5-image", OTHER),
    Family("gpt-5.*", CHAT, SEES),
    Family("gpt-5.4-image", OTHER),
    Family("gpt-5.1", CHAT, SEES, STANDARD, USUAL, 400_000, 128_000),
    Family("gpt-5.2", CHAT, SEES, PREMIUM, USUAL, 400_000, 128_000),
    Family("gpt-oss", CHAT, TOOLS, LOW, USUAL, None, None),
    Family("o1", CHAT, SEES, PREMIUM, SLOW, 200_000, 100_000),
    Family("o1-mini", CHAT, TEXT, STANDARD, SLOW, 128_000, 65_536),
    Family("o1-preview", CHAT, TEXT, PREMIUM, SLOW, 128_000, 32_768),
    Family("o1-pro", CHAT, SEES - TEXT, PREMIUM, SLOW, 200_000, 100_000),
    Family("o3", CHAT, SEES, STANDARD, SLOW, 200_000, 100_000),
    Family("o3-mini", CHAT, TOOLS, STANDARD, SLOW, 200_000, 100_000),
    Family("o3-pro", CHAT, SEES - TEXT, PREMIUM, SLOW, 200_000, 100_000),
    Family("o4-mini", CHAT, SEES, STANDARD, SLOW, 200_000, 100_000),
    Family("text-embedding-3-small", EMBEDDINGS, NOTHING, LOW, FAST, 8_192, None),
    Family("text-embedding-3-large", EMBEDDINGS, NOTHING, LOW, FAST, 8_192, None),
    Family("text-embedding-ada", EMBEDDINGS, NOTHING, LOW, FAST),
    Family("whisper", AUDIO, SPEECH),
    Family("tts", AUDIO, SPEECH),
    Family("gpt-audio", AUDIO, TALKS),
    Family("gpt-realtime", AUDIO, TALKS),
    Family("gpt-transcribe", AUDIO, SPEECH),
    Family("gpt-live", AUDIO, TALKS),
    Family("gpt-image", OTHER),
    Family("chatgpt-image", OTHER),
    Family("dall-e", OTHER),
    Family("sora", OTHER),
    Family("omni-moderation", OTHER),
    Family("text-moderation", OTHER),
    Family("babbage", OTHER, TEXT),
    Family("davinci", OTHER, TEXT),
    # Anthropic
    Family("claude*", CHAT, SEES),
    Family("claude-2*", CHAT, TEXT, PREMIUM, USUAL),
    Family("claude-3-haiku", CHAT, SEES, STANDARD, FAST, 200_000, 4_096),
    Family("claude-3-sonnet", CHAT, SEES, PREMIUM, USUAL, 200_000, 4_096),
    Family("claude-3-opus", CHAT, SEES, PREMIUM, SLOW, 200_000, 4_096),
    Family("claude-3-5-haiku", CHAT, SEES, STANDARD, FAST, 200_000, 8_192),
    Family("claude-3-5-sonnet", CHAT, SEES, PREMIUM, USUAL, 200_000, 8_192),
    # 64,000, and twice as many under a beta header.
    Family("claude-3-7-sonnet", CHAT, SEES, PREMIUM, USUAL, 200_000, 128_000),
    # Windows of 200,000 that a beta header makes a million are left out.
    Family("claude-sonnet-4", CHAT, SEES, PREMIUM, USUAL, None, 64_000),
    Family("claude-sonnet-4-0", CHAT, SEES, PREMIUM, USUAL, None, 64_000),
    Family("claude-sonnet-4-5", CHAT, SEES, PREMIUM, USUAL, None, 64_000),
    Family("claude-haiku-4-5", CHAT, SEES, STANDARD, FAST, 200_000, 64_000),
    Family("claude-opus-4", CHAT, SEES, PREMIUM, SLOW, 200_000, 32_000),
    Family("claude-opus-4-0", CHAT, SEES, PREMIUM, SLOW, 200_000, 32_000),
    Family("claude-opus-4-1", CHAT, SEES, PREMIUM, SLOW, 200_000, 32_000),
    Family("claude-opus-4-5", CHAT, SEES, PREMIUM, USUAL, 200_000, 64_000),
    Family("claude-haiku", CHAT, SEES, None, FAST),
    # Open weights, and Google: what one of them can do depends on who serves it.
    Family("llama*", CHAT, TEXT),
    Family("llama-guard", OTHER),
    Family("llama-3.1", CHAT, TOOLS),
    Family("llama3.1", CHAT, TOOLS),
    Family("llama-3.3", CHAT, TOOLS),
    Family("llama3.3", CHAT, TOOLS),
    Family("llama-4", CHAT, SEES),
    Family("llama4", CHAT, SEES),
    Family("qwen*", CHAT, TEXT),
    Family("qwen2.5*", CHAT, TOOLS),
    Family("qwen2.5-vl", CHAT, TEXT | {Capability.VISION}),
    Family("qwen3*", CHAT, TOOLS),
    Family("qwen3-vl", CHAT, SEES),
    Family("qwen3-embedding", EMBEDDINGS, NOTHING),
    Family("qwen3-reranker", OTHER),
    Family("mistral*", CHAT, TOOLS),
    Family("mistral-7b", CHAT, TEXT),
    Family("mistral-embed", EMBEDDINGS, NOTHING),
    Family("mistral-moderation", OTHER),
    Family("mistral-ocr", OTHER),
    Family("mixtral*", CHAT, TEXT),
    Family("gemma*", CHAT, TEXT),
    Family("gemma-3", CHAT, TEXT | {Capability.VISION}),
    Family("gemma3", CHAT, TEXT | {Capability.VISION}),
    Family("gemma-3-1b", CHAT, TEXT),
    Family("smollm*", CHAT, TEXT, LOW, FAST),
    Family("gemini*", CHAT, SEES),
    Family("gemini-embedding", EMBEDDINGS, NOTHING),
)

_LONGEST_FIRST = tuple(
    (family.name.rstrip("*"), family)
    for family in sorted(FAMILIES, key=lambda family: len(family.name.rstrip("*")), reverse=True)
)
_BOUNDARIES = frozenset("-:@_")
_VENDOR = re.compile(r"ft:|(?:[a-z-]+\.)?anthropic\.")
_VERSION = re.compile(r"(?:[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest))?(?:-v\d+(?::\d+)?)?")


def family_of(upstream_name: str) -> Family | None:
    """What is known of a model by its provider's name of it, None if the name says nothing.

    The name may have a vendor in front (``openai/gpt-4o``) and a date behind (``gpt-4o-2024-11-20``).
    """
    name = upstream_name.rpartition("/")[2].lower()
    vendor = _VENDOR.match(name)
    if vendor is not None:
        name = name[vendor.end() :]
    if name.startswith("claude"):
        name = name.replace(".", "-")
    for start, family in _LONGEST_FIRST:
        if name.startswith(start):
            rest = name[len(start) :]
            if not rest or rest[0] in _BOUNDARIES or family.name != start:
                return family if _VERSION.fullmatch(rest) else _without_limits(family)
    return None


def _without_limits(family: Family) -> Family:
    """A variant of a model is of its kind, but how much it takes and gives is its own."""
    return Family(
        family.name, family.role, family.capabilities, family.cost_tier, family.latency_tier, None, None
    )
