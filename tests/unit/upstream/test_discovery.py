"""Lists of models in the formats that providers use."""

import json

import pytest

from palyra.core.errors import UpstreamFailed
from palyra.upstream.discovery import DiscoveredModel, parse_models


def parse(*entries: object) -> list[DiscoveredModel]:
    return parse_models(json.dumps({"object": "list", "data": entries}).encode())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "gpt-x", "object": "model", "owned_by": "o"}, DiscoveredModel("gpt-x")),
        (
            {"id": "claude-x", "type": "model", "display_name": "Claude X", "max_input_tokens": 200_000},
            DiscoveredModel("claude-x", context_window=200_000, display_name="Claude X"),
        ),
        ({"id": "l", "meta": {"n_ctx_train": 2048}}, DiscoveredModel("l", context_window=2048)),
        ({"id": "v", "max_model_len": 4096}, DiscoveredModel("v", context_window=4096)),
        (
            {"id": "o", "context_length": 9, "name": "O", "top_provider": {"max_completion_tokens": 4}},
            DiscoveredModel("o", context_window=9, output_limit=4, display_name="O"),
        ),
        (
            {"id": "bad", "context_length": -1, "max_model_len": "9", "meta": [], "display_name": 4},
            DiscoveredModel("bad"),
        ),
    ],
)
def test_known_formats(entry: object, expected: DiscoveredModel) -> None:
    assert parse(entry) == [expected]


def test_entries_without_a_usable_id_and_repeats_are_left_out() -> None:
    assert parse({"id": 3}, {}, {"id": ""}, {"id": "x" * 300}, {"id": "a"}, {"id": "a"}) == [
        DiscoveredModel("a")
    ]


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"data":3}', b'{"data":[3]}', b"\xff", b"[" * 200_000])
def test_anything_else_is_a_typed_failure(raw: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        parse_models(raw)
