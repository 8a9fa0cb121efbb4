"""What a model's name tells, and that a name which is not known tells nothing."""

import pytest

from palyra.registry.families import FAMILIES, Family, family_of
from palyra.registry.models import Capability, ModelRole


def family(name: str) -> Family:
    found = family_of(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "gpt-4o-mini"),
        ("GPT-4.1-nano", "gpt-4.1-nano"),
        ("gpt-5.6-luna", "gpt-5.*"),
        ("o3-mini-2025-01-31", "o3-mini"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet"),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("claude-who-knows", "claude*"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1"),
        ("llama3.1:8b", "llama3.1"),
        ("qwen3-32b", "qwen3*"),
        ("smollm2-135m-instruct", "smollm*"),
    ],
)
def test_the_longest_name_that_fits_tells(name: str, known_as: str) -> None:
    assert family(name).name == known_as


@pytest.mark.parametrize(
    "name", ["gpt-4x", "gpt-40", "o10", "our-gpt-4o", "stub-model", "", "/", "ft:", "ttsx"]
)
def test_an_unknown_name_tells_nothing(name: str) -> None:
    assert family_of(name) is None


@pytest.mark.parametrize("each", FAMILIES, ids=lambda each: each.name)
def test_every_row_is_reached_by_its_own_name(each: Family) -> None:
    assert family(each.name.rstrip("*")) == each


def test_no_name_is_twice_in_the_table() -> None:
    names = [each.name for each in FAMILIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-latest"])
def test_a_dated_version_has_the_limits_of_its_model(name: str) -> None:
    assert (family(name).context_window, family(name).output_limit) == (128_000, 16_384)


@pytest.mark.parametrize(
    "name", ["gpt-4o:extended", "gpt-4o-2024-08-06:acme", "gpt-4-32k", "gpt-4-1106-preview"]
)
def test_a_variant_has_limits_of_its_own_that_are_not_known(name: str) -> None:
    """A limit below the truth would hold too little money."""
    assert (family(name).context_window, family(name).output_limit) == (None, None)
    assert family(name).role is ModelRole.CHAT


@pytest.mark.parametrize("name", ["text-embedding-3-large", "text-embedding-ada-002", "mistral-embed"])
def test_embedding_models_cannot_chat(name: str) -> None:
    assert (family(name).role, family(name).capabilities) == (ModelRole.EMBEDDINGS, frozenset())


@pytest.mark.parametrize("name", ["whisper-1", "tts-1-hd", "gpt-4o-audio-preview", "gpt-4o-mini-tts"])
def test_models_that_hear_or_speak_are_for_audio(name: str) -> None:
    assert family(name).role is ModelRole.AUDIO
    assert Capability.AUDIO in (family(name).capabilities or ())


@pytest.mark.parametrize("name", ["dall-e-3", "gpt-image-1", "omni-moderation-latest", "davinci-002"])
def test_models_that_answer_no_chat_are_never_candidates(name: str) -> None:
    assert family(name).role is ModelRole.OTHER
