"""How much a call may use: an expectation for people and an upper bound for the hold.

UTF-8 length is the only cheap bound that holds: no tokenizer makes more tokens than bytes. The bytes of
the JSON body count, so its syntax pays for what chat templates add around the messages.
"""

from typing import Self

import msgspec

from palyra.core.errors import InvalidRequest
from palyra.core.limits import TOKENS_MAX
from palyra.lifecycle.call import Ask
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model

TEMPLATE_TOKENS_MAX = 64
"""System prompt and markers that a model's chat template may add to a short request."""
TOKENS_PER_BYTE = 0.25
"""Assumed until a model's own ratio is known from the ledger."""
EXPECTED_OUTPUT_SHARE = 4
"""Without history a call is expected to use a quarter of its output cap."""
IMAGE_TOKENS_MAX = 6_000
IMAGE_TOKENS_MAX_BY_PREFIX = (("gpt-4o-mini", 50_000),)
"""Most input tokens one image is billed as; gpt-4o-mini multiplies its image tokens by 33."""

_NO_OUTPUT = frozenset({Endpoint.embeddings, Endpoint.count_tokens})


class Bound(msgspec.Struct, frozen=True, gc=False):
    """The upper bound of one call. ``output_cap`` is per choice and goes upstream if ``cap_is_ours``;
    ``output_tokens`` are those of all choices together.
    """

    input_tokens: int
    output_cap: int
    choices: int
    cap_is_ours: bool
    output_tokens: int

    @classmethod
    def of(cls, input_tokens: int, output_cap: int, choices: int, *, cap_is_ours: bool) -> Self:
        """The bound of a call with this output cap for each of its choices."""
        return cls(input_tokens, output_cap, choices, cap_is_ours, output_cap * choices)


def bound_of(ask: Ask, endpoint: Endpoint, model: Model, cap_without_limit: int) -> Bound:
    """The most that the call can use: text bytes, images, and the output cap of every choice.

    The cap is the caller's, at most the model's; where neither is known Palyra sets one. Raises
    InvalidRequest for stored input with no known bound, and for more tokens than any provider serves.
    """
    input_tokens = _input_bound(ask, model)
    bound = _with_output(ask, endpoint, model.output_limit, input_tokens, cap_without_limit)
    if bound.output_tokens > TOKENS_MAX:
        raise InvalidRequest(
            f"{bound.choices} x {bound.output_cap} output tokens are more than {TOKENS_MAX}; ask for less",
            param="max_tokens",
        )
    if bound.input_tokens > TOKENS_MAX:
        raise InvalidRequest(f"the input can have more than {TOKENS_MAX} tokens; send less in one call")
    return bound


def _input_bound(ask: Ask, model: Model) -> int:
    tokens = ask.text_bytes + TEMPLATE_TOKENS_MAX
    if ask.images:
        tokens += ask.images * image_tokens(model.upstream_name)
    return max(tokens, _context_window(model)) if ask.hidden_input else tokens


def _with_output(
    ask: Ask, endpoint: Endpoint, limit: int | None, input_tokens: int, cap_without_limit: int
) -> Bound:
    if endpoint in _NO_OUTPUT:
        return Bound.of(input_tokens, 0, 1, cap_is_ours=False)
    if ask.output_cap is not None:
        cap = ask.output_cap if limit is None else min(ask.output_cap, limit)
        return Bound.of(input_tokens, cap, ask.choices, cap_is_ours=cap != ask.output_cap)
    if limit is not None:
        return Bound.of(input_tokens, limit, ask.choices, cap_is_ours=False)
    return Bound.of(input_tokens, cap_without_limit, ask.choices, cap_is_ours=True)


def expected_input(ask: Ask, ratio: float | None) -> int:
    """Expected input tokens: text bytes by the model's own observed ratio, at least one."""
    return max(1, round(ask.text_bytes * (TOKENS_PER_BYTE if ratio is None else ratio)))


def cost_bound(sheet: PriceSheet | None, ask: Ask, input_tokens: int, output_tokens: int) -> int | None:
    """The dearest bill in nano-USD within these tokens, None if it cannot be computed."""
    if sheet is None:
        return None
    return sheet.upper_bound(
        input_tokens,
        output_tokens,
        service_tier=ask.service_tier,
        cache_writes=ask.cache_writes,
        audio=ask.audio,
        images=ask.images > 0,
        web_searches=ask.web_searches,
    )


def affordable_output(sheet: PriceSheet | None, ask: Ask, input_tokens: int, available: int) -> int:
    """The most output tokens that ``available`` nano-USD pay for after the input."""
    if sheet is None:
        return 0
    return sheet.affordable_output(
        available,
        input_tokens,
        service_tier=ask.service_tier,
        cache_writes=ask.cache_writes,
        audio=ask.audio,
        images=ask.images > 0,
        web_searches=ask.web_searches,
    )


def _context_window(model: Model) -> int:
    if model.context_window is None:
        raise InvalidRequest(
            f"the input refers to stored content, and the context window of {model.id!r} is not known, so "
            "its cost has no bound; send the content itself, or set context_window of the model in the config"
        )
    return model.context_window


def image_tokens(model: str) -> int:
    """Most input tokens one image is billed as, by the provider's name of the model."""
    for prefix, tokens in IMAGE_TOKENS_MAX_BY_PREFIX:
        if model.startswith(prefix):
            return tokens
    return IMAGE_TOKENS_MAX
