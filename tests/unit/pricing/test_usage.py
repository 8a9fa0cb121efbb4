"""Usage accepts what a provider can have billed, and nothing else."""

from typing import cast

import pytest

from palyra.core.limits import TOKENS_MAX
from palyra.pricing.usage import Metered, Usage


def test_total_is_input_plus_output() -> None:
    assert Usage(7, 5, cache_read_tokens=3, reasoning_tokens=2).total_tokens == 12


def test_every_token_is_in_exactly_one_billable_unit() -> None:
    usage = Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=10,
        cache_write_5m_tokens=5,
        cache_write_1h_tokens=4,
        reasoning_tokens=20,
        input_audio_tokens=3,
        output_audio_tokens=2,
        input_image_tokens=1,
    )
    assert usage.billable() == (77, 28, 10, 5, 4, 20, 3, 2, 1)


@pytest.mark.parametrize(
    ("read", "write_5m", "write_1h", "audio", "expected"),
    [
        (6, 0, 0, 7, (0, 0, 3, 0, 0, 0, 7, 0, 0)),
        (2, 5, 3, 5, (0, 0, 0, 2, 3, 0, 5, 0, 0)),
        (1, 1, 8, 9, (0, 0, 0, 0, 1, 0, 9, 0, 0)),
    ],
)
def test_cached_audio_is_billed_once_as_audio(
    read: int, write_5m: int, write_1h: int, audio: int, expected: tuple[int, ...]
) -> None:
    usage = Usage(
        10,
        0,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        input_audio_tokens=audio,
    )
    assert usage.billable() == expected
    assert sum(usage.billable()) == usage.total_tokens


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"input_tokens": -1}, "input_tokens must be between 0"),
        ({"output_tokens": TOKENS_MAX + 1}, "output_tokens must be between 0"),
        ({"input_tokens": 1.0}, "input_tokens must be an integer, not float"),
        ({"web_searches": True}, "web_searches must be an integer, not bool"),
        ({"reasoning_tokens": False}, "reasoning_tokens must be an integer, not bool"),
        ({"cache_read_tokens": 0.0}, "cache_read_tokens must be an integer, not float"),
        ({"output_tokens": None}, "output_tokens must be an integer, not NoneType"),
        ({"input_tokens": 1, "cache_read_tokens": 2}, "cache reads and writes"),
        ({"input_tokens": 3, "cache_write_5m_tokens": 2, "cache_write_1h_tokens": 2}, "cache reads"),
        ({"input_tokens": 3, "input_audio_tokens": 2, "input_image_tokens": 2}, "audio and image input"),
        ({"output_tokens": 3, "reasoning_tokens": 2, "output_audio_tokens": 2}, "reasoning and audio"),
    ],
)
def test_damage_is_not_usage(counts: dict[str, object], message: str) -> None:
    whole = cast("dict[str, int]", {"input_tokens": 0, "output_tokens": 0, **counts})
    with pytest.raises(ValueError, match=message):
        Usage(**whole)


def test_metered_keeps_the_source_of_an_explicit_zero() -> None:
    metered = Metered(Usage(0, 0), "provider")
    assert (metered.source, metered.reason, metered.service_tier, metered.model) == (
        "provider",
        "",
        None,
        None,
    )
