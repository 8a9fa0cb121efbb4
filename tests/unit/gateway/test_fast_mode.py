"""Anthropic's fast mode is a service tier for prices: the hold must know it before the answer tells."""

import json

import pytest

from palyra.gateway.asks import parse
from palyra.lifecycle.wire import Endpoint


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"speed": "fast"}, "fast"),
        ({"speed": "fast", "service_tier": "auto"}, "fast"),
        ({"speed": "standard", "service_tier": "standard_only"}, "standard_only"),
        ({"service_tier": "auto"}, "auto"),
        ({}, None),
    ],
)
def test_a_message_that_asks_for_speed_is_held_at_fast_prices(
    fields: dict[str, str], tier: str | None
) -> None:
    message = {"role": "user", "content": "Quickly, please."}
    body = {"model": "claude-opus-5", "max_tokens": 100, "messages": [message], **fields}
    assert parse(Endpoint.messages, json.dumps(body).encode()).ask.service_tier == tier
