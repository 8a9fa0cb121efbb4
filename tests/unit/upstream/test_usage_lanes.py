"""Usage is read in one step where it looks as documented, and figure by figure elsewhere: with one result."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.core.limits import TOKENS_MAX
from palyra.lifecycle.wire import Endpoint, Reported
from palyra.upstream import anthropic, openai
from palyra.upstream.meters import make_meter

figures = st.one_of(st.integers(0, 40), st.sampled_from([0, TOKENS_MAX]))
damage = st.sampled_from([None, -1, TOKENS_MAX + 1, 1.5, 2.0, True, "7", [], {}, [1], {"a": 1}, 10**30])
counts = st.one_of(figures, figures, figures, damage)
words = st.sampled_from(["default", "fast", "", "x" * 300, None, 7])


def groups(*names: str) -> st.SearchStrategy[object]:
    members = st.fixed_dictionaries({}, optional=dict.fromkeys((*names, "unknown"), counts))
    return st.one_of(members, members, members, damage)


PARTS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens")
WHOLES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
DETAILS = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
)
openai_usage = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*WHOLES, "prompt_cache_hit_tokens", "unknown"), counts),
        **dict.fromkeys(DETAILS, groups(*PARTS)),
    },
)
anthropic_usage = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
            counts,
        ),
        "cache_creation": groups("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
        "server_tool_use": groups("web_search_requests"),
        "output_tokens_details": groups("thinking_tokens"),
        "speed": words,
        "service_tier": words,
    },
)


def read(endpoint: Endpoint, answer: object, *, stream: bool = False) -> Reported | None:
    meter = make_meter(endpoint, stream, hide_usage=stream)
    body = msgspec.json.encode(answer)
    meter.feed(b"data: %b\n\n" % body if stream else body)
    meter.finish()
    return meter.reported()


@given(usage=st.one_of(openai_usage, damage), tier=words, model=words)
def test_openai_usage(usage: object, tier: object, model: object) -> None:
    answer = {"usage": usage, "service_tier": tier, "model": model}
    strangely = openai.read_usage(usage, model=model, tier=tier)
    assert read(Endpoint.chat_completions, answer) == strangely
    assert read(Endpoint.chat_completions, answer, stream=True) == (strangely if usage else None)
    assert read(Endpoint.responses, {"response": answer}, stream=True) == (strangely if usage else None)
    without_output = openai.read_usage(usage, model=model, tier=tier, output_expected=False)
    assert read(Endpoint.embeddings, answer) == without_output


@given(usage=anthropic_usage, model=words)
def test_anthropic_usage(usage: dict[str, object], model: object) -> None:
    strangely = anthropic.read_usage(usage, model=model, output_final=True)
    assert read(Endpoint.messages, {"usage": usage, "model": model}) == strangely


@pytest.mark.parametrize("choices", [[], [{"index": 0}]])
@pytest.mark.parametrize("usage", [{}, {"unknown": 1}, {"prompt_tokens": -1}, {"prompt_tokens": 3}])
def test_the_usage_chunk_is_hidden_by_its_choices_in_both_lanes(
    usage: dict[str, object], choices: list[object]
) -> None:
    meter = make_meter(Endpoint.chat_completions, stream=True, hide_usage=True)
    event = b"data: %b\n\n" % msgspec.json.encode({"choices": choices, "usage": usage})
    assert meter.feed(event) == (b"" if usage and not choices else event)
