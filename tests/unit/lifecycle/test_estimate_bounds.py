"""The upper bound of a call: what every field of a body adds to it."""

import pytest
from msgspec.structs import replace

from fakes.engines import Bench
from palyra.core.errors import InvalidRequest
from palyra.core.limits import TOKENS_MAX
from palyra.lifecycle.estimate import (
    IMAGE_TOKENS_MAX,
    TEMPLATE_TOKENS_MAX,
    Bound,
    affordable_output,
    bound_of,
    cost_bound,
    expected_input,
)
from palyra.lifecycle.wire import Endpoint
from palyra.registry.models import Model

LIMITED = Model("m", "stub", "m", output_limit=1_000)
UNLIMITED = Model("m", "stub", "m")
WIDE = Model("m", "stub", "m", context_window=200_000, output_limit=1_000)
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
WITHOUT_LIMIT = 16_384


def bound(model: Model, endpoint: Endpoint = Endpoint.chat_completions, **fields: object) -> Bound:
    ask = Bench().call(endpoint=endpoint, fields=fields).ask
    return bound_of(ask, endpoint, model, WITHOUT_LIMIT)


@pytest.mark.parametrize(
    ("model", "asked", "cap", "ours"),
    [
        (LIMITED, 10, 10, False),
        (LIMITED, 5_000, 1_000, True),
        (LIMITED, None, 1_000, False),
        (UNLIMITED, 5_000, 5_000, False),
        (UNLIMITED, None, WITHOUT_LIMIT, True),
    ],
)
async def test_the_output_cap_is_the_callers_then_the_models_then_ours(
    model: Model, asked: int | None, cap: int, ours: bool
) -> None:
    found = bound(model, max_tokens=asked)

    assert (found.output_cap, found.cap_is_ours) == (cap, ours)


async def test_every_choice_may_use_the_whole_cap() -> None:
    assert bound(LIMITED, max_tokens=100, n=5).output_tokens == 500


async def test_embeddings_have_no_output() -> None:
    found = bound(LIMITED, Endpoint.embeddings, messages=None, max_tokens=None, input="hi")

    assert (found.output_tokens, found.cap_is_ours) == (0, False)


async def test_no_text_has_more_tokens_than_bytes() -> None:
    text = "🜁" * 500

    assert (
        bound(LIMITED, messages=[{"role": "user", "content": text}]).input_tokens
        >= 2_000 + TEMPLATE_TOKENS_MAX
    )


async def test_an_image_counts_as_the_dearest_image() -> None:
    plain = bound(LIMITED, messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    one = bound(LIMITED, messages=[{"role": "user", "content": [IMAGE]}])
    three = bound(LIMITED, messages=[{"role": "user", "content": [IMAGE] * 3}])
    mini = bound(
        Model("a", "stub", "gpt-4o-mini-2024-07-18"), messages=[{"role": "user", "content": [IMAGE]}]
    )

    assert one.input_tokens >= plain.input_tokens - 100 + IMAGE_TOKENS_MAX
    assert three.input_tokens >= one.input_tokens + 2 * IMAGE_TOKENS_MAX
    assert mini.input_tokens >= 50_000


async def test_stored_input_is_bounded_by_the_context_window_or_refused() -> None:
    stored = {"messages": None, "max_tokens": None, "input": "hi", "previous_response_id": "resp_1"}

    assert bound(WIDE, Endpoint.responses, **stored).input_tokens == 200_000
    with pytest.raises(InvalidRequest, match="context_window"):
        bound(LIMITED, Endpoint.responses, **stored)


async def test_without_prices_nothing_has_a_bound_and_nothing_is_affordable() -> None:
    ask = Bench().call().ask

    assert cost_bound(None, ask, 1, 1) is None
    assert affordable_output(None, ask, 1, 10**12) == 0


async def test_the_expectation_follows_the_observed_ratio_and_is_never_zero() -> None:
    ask = Bench().call(messages=[{"role": "user", "content": "x" * 4_000}]).ask

    assert expected_input(ask, None) == round(ask.text_bytes / 4)
    assert expected_input(ask, 0.5) == round(ask.text_bytes / 2)
    assert expected_input(ask, 0.0) == 1


async def test_more_output_than_any_provider_serves_is_refused_with_its_field() -> None:
    with pytest.raises(InvalidRequest) as refused:
        bound(UNLIMITED, max_tokens=TOKENS_MAX, n=128)

    assert refused.value.param == "max_tokens"


async def test_more_input_than_any_provider_serves_is_refused() -> None:
    ask = replace(Bench().call().ask, images=10**6)
    with pytest.raises(InvalidRequest, match="input"):
        bound_of(ask, Endpoint.chat_completions, LIMITED, WITHOUT_LIMIT)
