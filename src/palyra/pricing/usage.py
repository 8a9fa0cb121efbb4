"""What a call used, in tokens, and how we know."""

from typing import Literal

import msgspec

from palyra.core.limits import TOKENS_MAX

UsageSource = Literal["provider", "estimated"]


_NONE = 0


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Token counts of one call, by OpenAI's convention: wholes include their parts.

    ``input_tokens`` is all input with cached reads, cache writes, audio and images;
    ``output_tokens`` is all output with reasoning and audio. Cache classes exclude each other,
    and so do audio and images; a cached token may also be an audio or image token.
    Raises ValueError for a count that is no int, negative, above TOKENS_MAX, or a part above its whole.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    web_searches: int = 0

    def __post_init__(self) -> None:
        whole, out = self.input_tokens, self.output_tokens
        # Most calls have no parts. By identity, for False and 0.0 equal 0; what it misses is checked in full.
        if (
            type(whole) is int
            and type(out) is int
            and 0 <= whole <= TOKENS_MAX
            and 0 <= out <= TOKENS_MAX
            and self.cache_read_tokens is _NONE
            and self.cache_write_5m_tokens is _NONE
            and self.cache_write_1h_tokens is _NONE
            and self.reasoning_tokens is _NONE
            and self.input_audio_tokens is _NONE
            and self.output_audio_tokens is _NONE
            and self.input_image_tokens is _NONE
            and self.web_searches is _NONE
        ):
            return
        self._check()

    def _check(self) -> None:
        for name in self.__struct_fields__:
            count: object = getattr(self, name)
            if type(count) is not int:
                raise ValueError(f"{name} must be an integer, not {type(count).__name__}")
            if not 0 <= count <= TOKENS_MAX:
                raise ValueError(f"{name} must be between 0 and {TOKENS_MAX}, not {count}")
        if self.cached_tokens > self.input_tokens:
            raise ValueError("cache reads and writes are more than input_tokens")
        if self.input_audio_tokens + self.input_image_tokens > self.input_tokens:
            raise ValueError("audio and image input is more than input_tokens")
        if self.reasoning_tokens + self.output_audio_tokens > self.output_tokens:
            raise ValueError("reasoning and audio output is more than output_tokens")

    @property
    def cached_tokens(self) -> int:
        """Input tokens read from or written to the provider's prompt cache."""
        return self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def is_plain(self) -> bool:
        """True if all of it is text that went in and came out: nothing cached, reasoned, heard or seen."""
        return not (
            self.cache_read_tokens
            or self.cache_write_5m_tokens
            or self.cache_write_1h_tokens
            or self.reasoning_tokens
            or self.input_audio_tokens
            or self.output_audio_tokens
            or self.input_image_tokens
        )

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens

    def billable(self) -> tuple[int, int, int, int, int, int, int, int, int]:
        """Disjoint token counts in the order of ``rates.UNITS``: every token is in exactly one.

        Where cached and audio or image tokens must overlap (they sum to more than the input), the
        overlap is billed as audio or image: providers report no finer split, and that reading is
        the dearer one, so nothing that was spent is lost.
        """
        read, write_5m, write_1h = (
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
        )
        plain = (
            self.input_tokens - read - write_5m - write_1h - self.input_audio_tokens - self.input_image_tokens
        )
        if plain < 0:
            overlap, plain = -plain, 0
            from_read = min(read, overlap)
            from_5m = min(write_5m, overlap - from_read)
            read -= from_read
            write_5m -= from_5m
            write_1h -= overlap - from_read - from_5m
        return (
            plain,
            self.output_tokens - self.reasoning_tokens - self.output_audio_tokens,
            read,
            write_5m,
            write_1h,
            self.reasoning_tokens,
            self.input_audio_tokens,
            self.output_audio_tokens,
            self.input_image_tokens,
        )


class Metered(msgspec.Struct, frozen=True, gc=False):
    """What a call used and how we know it.

    ``source`` is ``provider`` where the provider said so (its explicit 0 is a fact) and
    ``estimated`` where it did not: missing is never 0. ``reason`` says why an estimate was
    needed; ``service_tier`` and ``model`` are the ones the provider says it served.
    """

    usage: Usage
    source: UsageSource
    reason: str = ""
    service_tier: str | None = None
    model: str | None = None
