"""Answers as providers send them, priced to the nano-USD and compared with sums done by hand.

``recorded/llamacpp_*`` are bytes that a llama.cpp server sent. The others are written after the formats that
the providers publish, with ids and texts of our own; the official SDKs must be able to read them. The sums in
the comments are tokens x nano-USD per token: 1 USD per million tokens is 1,000 nano-USD per token.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from palyra.core.instant import parse_instant
from palyra.core.money import NanoUsd
from palyra.lifecycle.wire import Endpoint, Reported
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.pricing.entry import PriceEntry, parse_price_entry
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage
from palyra.upstream.meters import make_meter

RECORDED = Path(__file__).parent / "recorded"
NOON = "2026-11-23T12:00:00Z"
BASE = GenaiPrices()
CHAT, MESSAGES, RESPONSES = Endpoint.chat_completions, Endpoint.messages, Endpoint.responses

Line = tuple[str, int, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Bill:
    """``cost`` in nano-USD; ``lines`` are unit, quantity, USD per million (fees: each), USD."""

    reported: Reported
    cost: NanoUsd | None
    lines: list[Line]


def overlay(**fields: object) -> PriceEntry:
    return parse_price_entry(fields, "prices[0]")


def metered(body: bytes, endpoint: Endpoint, *, stream: bool, piece: int) -> Reported | None:
    meter = make_meter(endpoint, stream, hide_usage=False)
    passed = b"".join(meter.feed(body[at : at + piece]) for at in range(0, len(body), piece))
    assert passed + meter.finish() == body
    return meter.reported()


def report_of(name: str, endpoint: Endpoint) -> Reported:
    """The usage in a recording, which must not depend on how the network cuts it."""
    body, stream = (RECORDED / name).read_bytes(), name.endswith(".sse")
    reports = [metered(body, endpoint, stream=stream, piece=piece) for piece in (len(body), 61, 1)]
    whole = reports[0]
    assert whole is not None
    assert reports == [whole] * 3
    assert whole.input_known
    assert whole.output_known
    return whole


def sheet_of(provider: str, kind: str, model: str, at: str, *entries: PriceEntry) -> PriceSheet:
    sheet = PriceBook(entries, BASE).find(provider, kind, model, parse_instant(at))
    assert sheet is not None
    return sheet


def bill(
    name: str,
    model: str,
    *entries: PriceEntry,
    endpoint: Endpoint = CHAT,
    provider: str = "openai",
    kind: str = "openai",
    at: str = NOON,
) -> Bill:
    reported = report_of(name, endpoint)
    sheet = sheet_of(provider, kind, model, at, *entries)
    lines = sheet.lines(reported.usage, reported.service_tier)
    return Bill(
        reported,
        sheet.cost(reported.usage, reported.service_tier),
        [(line.unit, line.quantity, line.price, line.cost) for line in lines],
    )


def claude(name: str, model: str) -> Bill:
    return bill(name, model, endpoint=MESSAGES, provider="anthropic", kind="anthropic")


def compatible(name: str, provider: str, model: str, *entries: PriceEntry, at: str = NOON) -> Bill:
    return bill(name, model, *entries, provider=provider, kind="openai_compatible", at=at)


def test_openai_chat_bills_input_and_output() -> None:
    billed = bill("openai_chat.json", "gpt-4o-mini")
    # 1,237 x 150 = 185,550; 389 x 600 = 233,400
    assert billed.cost == 418_950
    assert billed.lines == [
        ("input", 1_237, "0.15", "0.00018555"),
        ("output", 389, "0.6", "0.0002334"),
    ]
    assert billed.reported.model == "gpt-4o-mini-2024-07-18"


def test_openai_cached_input_is_billed_at_its_own_price_and_not_twice() -> None:
    billed = bill("openai_chat_cached.json", "gpt-4o")
    # 6,011 - 5,888 = 123 x 2,500 = 307,500; 28 x 10,000 = 280,000; 5,888 x 1,250 = 7,360,000
    assert billed.cost == 7_947_500
    assert billed.lines == [
        ("input", 123, "2.5", "0.0003075"),
        ("output", 28, "10", "0.00028"),
        ("cache_read", 5_888, "1.25", "0.00736"),
    ]


def test_openai_reasoning_is_part_of_the_output_and_billed_once() -> None:
    billed = bill("openai_chat_reasoning.json", "o4-mini")
    # 94 x 1,100 = 103,400; 1,483 - 1,472 = 11 x 4,400 = 48,400; 1,472 x 4,400 = 6,476,800
    assert billed.cost == 6_628_600
    assert billed.lines == [
        ("input", 94, "1.1", "0.0001034"),
        ("output", 11, "4.4", "0.0000484"),
        ("reasoning", 1_472, "4.4", "0.0064768"),
    ]


def test_openai_flex_tier_is_billed_at_flex_prices() -> None:
    billed = bill("openai_chat_flex.json", "gpt-5-mini")
    # 3,107 - 2,816 = 291 x 125 = 36,375; 211 - 192 = 19 x 1,000 = 19,000;
    # 2,816 x 12.5 = 35,200; 192 x 1,000 = 192,000
    assert billed.cost == 282_575
    assert billed.lines == [
        ("input", 291, "0.125", "0.000036375"),
        ("output", 19, "1", "0.000019"),
        ("cache_read", 2_816, "0.0125", "0.0000352"),
        ("reasoning", 192, "1", "0.000192"),
    ]
    assert billed.reported.service_tier == "flex"


def test_openai_priority_tier_is_billed_at_priority_prices() -> None:
    billed = bill("openai_chat_priority.json", "gpt-4.1")
    # 2,049 - 1,024 = 1,025 x 3,500 = 3,587,500; 67 x 14,000 = 938,000; 1,024 x 875 = 896,000
    assert billed.cost == 5_421_500
    assert billed.lines == [
        ("input", 1_025, "3.5", "0.0035875"),
        ("output", 67, "14", "0.000938"),
        ("cache_read", 1_024, "0.875", "0.000896"),
    ]


def test_openai_two_choices_share_one_usage() -> None:
    billed = bill("openai_chat_two_choices.json", "gpt-4o-mini")
    # 31 x 150 = 4,650; 15 x 600 = 9,000
    assert billed.cost == 13_650
    assert billed.lines == [("input", 31, "0.15", "0.00000465"), ("output", 15, "0.6", "0.000009")]


def test_openai_audio_in_and_out_is_billed_apart_from_text() -> None:
    billed = bill("openai_chat_audio.json", "gpt-audio")
    # 263 - 222 = 41 x 2,500 = 102,500; 74 - 57 = 17 x 10,000 = 170,000;
    # 222 x 32,000 = 7,104,000; 57 x 64,000 = 3,648,000
    assert billed.cost == 11_024_500
    assert billed.lines == [
        ("input", 41, "2.5", "0.0001025"),
        ("output", 17, "10", "0.00017"),
        ("input_audio", 222, "32", "0.007104"),
        ("output_audio", 57, "64", "0.003648"),
    ]


def test_openai_embeddings_bill_input_and_have_no_output() -> None:
    billed = bill("openai_embeddings.json", "text-embedding-3-small", endpoint=Endpoint.embeddings)
    # 8,183 x 20 = 163,660
    assert billed.cost == 163_660
    assert billed.lines == [("input", 8_183, "0.02", "0.00016366")]
    assert billed.reported.usage == Usage(8_183, 0)


def test_openai_above_272k_input_the_whole_call_is_billed_at_the_higher_prices() -> None:
    billed = bill("openai_chat_long_context.json", "gpt-5.4")
    # 272,000 x 5,000 = 1,360,000,000; 2,000 - 1,500 = 500 x 22,500 = 11,250,000; 1 x 500 = 500;
    # 1,500 x 22,500 = 33,750,000
    assert billed.cost == 1_405_000_500
    assert billed.lines == [
        ("input", 272_000, "5", "1.36"),
        ("output", 500, "22.5", "0.01125"),
        ("cache_read", 1, "0.5", "0.0000005"),
        ("reasoning", 1_500, "22.5", "0.03375"),
    ]


def test_openai_chat_stream_is_billed_by_its_usage_chunk() -> None:
    billed = bill("openai_chat_stream.sse", "gpt-4o-mini")
    # 1,529 - 1,408 = 121 x 150 = 18,150; 9 x 600 = 5,400; 1,408 x 75 = 105,600
    assert billed.cost == 129_150
    assert billed.lines == [
        ("input", 121, "0.15", "0.00001815"),
        ("output", 9, "0.6", "0.0000054"),
        ("cache_read", 1_408, "0.075", "0.0001056"),
    ]


def test_openai_chat_stream_costs_the_same_when_the_usage_chunk_is_hidden() -> None:
    body = (RECORDED / "openai_chat_stream.sse").read_bytes()
    meter = make_meter(CHAT, True, hide_usage=True)
    shown = meter.feed(body) + meter.finish()
    assert meter.reported() == report_of("openai_chat_stream.sse", CHAT)
    assert b'"prompt_tokens"' not in shown
    assert shown.count(b"\n\n") == body.count(b"\n\n") - 1
    assert shown.endswith(b'"finish_reason":"stop"}],"usage":null,"obfuscation":"m"}\n\ndata: [DONE]\n\n')


def test_openai_responses_bill_cached_input_and_reasoning() -> None:
    billed = bill("openai_responses.json", "gpt-5", endpoint=RESPONSES)
    # 4,821 - 4,352 = 469 x 1,250 = 586,250; 705 - 640 = 65 x 10,000 = 650,000;
    # 4,352 x 125 = 544,000; 640 x 10,000 = 6,400,000
    assert billed.cost == 8_180_250
    assert billed.lines == [
        ("input", 469, "1.25", "0.00058625"),
        ("output", 65, "10", "0.00065"),
        ("cache_read", 4_352, "0.125", "0.000544"),
        ("reasoning", 640, "10", "0.0064"),
    ]


def test_openai_cache_writes_have_their_own_price() -> None:
    billed = bill("openai_responses_cache_write.json", "gpt-6-sol", endpoint=RESPONSES)
    # 7,000 - 4,096 - 2,560 = 344 x 2,000 = 688,000; 300 - 128 = 172 x 10,000 = 1,720,000;
    # read 4,096 x 200 = 819,200; written 2,560 x 2,500 = 6,400,000; 128 x 10,000 = 1,280,000
    assert billed.cost == 10_907_200
    assert billed.lines == [
        ("input", 344, "2", "0.000688"),
        ("output", 172, "10", "0.00172"),
        ("cache_read", 4_096, "0.2", "0.0008192"),
        ("cache_write_5m", 2_560, "2.5", "0.0064"),
        ("reasoning", 128, "10", "0.00128"),
    ]


def test_openai_responses_bill_each_web_search_but_not_opened_pages() -> None:
    billed = bill("openai_responses_web_search.json", "gpt-4.1", endpoint=RESPONSES)
    # 17,240 x 2,000 = 34,480,000; 318 x 8,000 = 2,544,000; 2 searches x 10,000,000 = 20,000,000
    assert billed.cost == 57_024_000
    assert billed.lines == [
        ("input", 17_240, "2", "0.03448"),
        ("output", 318, "8", "0.002544"),
        ("web_search", 2, "0.01", "0.02"),
    ]


SEARCHES: list[tuple[object, int]] = [
    ([{"type": "web_search_call", "status": "completed"}], 1),
    ([{"type": "web_search_call", "action": {}}], 1),
    ([{"type": "web_search_call", "action": {"type": "find_in_page", "pattern": "1.4"}}], 0),
    ([{"type": "web_search_call", "action": 7}, {"type": "web_search_call", "action": 7}], 2),
    ([{"type": "message", "content": [{"type": "output_text", "text": "web_search_call"}]}], 0),
    ([], 0),
    (None, 0),
]


@pytest.mark.parametrize(("output", "searches"), SEARCHES)
def test_a_search_that_does_not_say_what_it_did_is_billed(output: object, searches: int) -> None:
    answer = {"output": output, "usage": {"input_tokens": 5, "output_tokens": 2}}
    reported = metered(json.dumps(answer).encode(), RESPONSES, stream=False, piece=4_096)
    assert reported is not None
    assert reported.usage == Usage(5, 2, web_searches=searches)
    event = {"type": "response.completed", "response": answer}
    streamed = metered(f"data: {json.dumps(event)}\n\n".encode(), RESPONSES, stream=True, piece=4_096)
    assert streamed == reported


def test_openai_responses_stream_is_billed_at_the_tier_that_served_it() -> None:
    billed = bill("openai_responses_stream.sse", "o3", endpoint=RESPONSES)
    # flex: 75 x 1,000 = 75,000; 1,186 - 1,152 = 34 x 4,000 = 136,000; 1,152 x 4,000 = 4,608,000
    assert billed.cost == 4_819_000
    assert billed.lines == [
        ("input", 75, "1", "0.000075"),
        ("output", 34, "4", "0.000136"),
        ("reasoning", 1_152, "4", "0.004608"),
    ]


def test_anthropic_messages_bill_input_and_output() -> None:
    billed = claude("anthropic_messages.json", "claude-haiku-4-5")
    # 2,095 x 1,000 = 2,095,000; 503 x 5,000 = 2,515,000
    assert billed.cost == 4_610_000
    assert billed.lines == [("input", 2_095, "1", "0.002095"), ("output", 503, "5", "0.002515")]


def test_anthropic_cache_reads_and_writes_of_5_minutes_and_1_hour_have_their_own_prices() -> None:
    billed = claude("anthropic_messages_cache.json", "claude-sonnet-4-5")
    # 9 x 3,000 = 27,000; 187 x 15,000 = 2,805,000; read 18,432 x 300 = 5,529,600;
    # 5 minutes 656 x 3,750 = 2,460,000; 1 hour 2,048 x 6,000 = 12,288,000
    assert billed.cost == 23_109_600
    assert billed.lines == [
        ("input", 9, "3", "0.000027"),
        ("output", 187, "15", "0.002805"),
        ("cache_read", 18_432, "0.3", "0.0055296"),
        ("cache_write_5m", 656, "3.75", "0.00246"),
        ("cache_write_1h", 2_048, "6", "0.012288"),
    ]
    assert billed.reported.usage.input_tokens == 9 + 18_432 + 656 + 2_048


def test_anthropic_web_searches_are_billed_each() -> None:
    billed = claude("anthropic_messages_web_search.json", "claude-opus-4-5")
    # 10,682 x 5,000 = 53,410,000; 241 x 25,000 = 6,025,000; 3 searches x 10,000,000 = 30,000,000
    assert billed.cost == 89_435_000
    assert billed.lines == [
        ("input", 10_682, "5", "0.05341"),
        ("output", 241, "25", "0.006025"),
        ("web_search", 3, "0.01", "0.03"),
    ]


def test_anthropic_above_200k_input_with_cache_the_whole_call_is_billed_at_the_higher_prices() -> None:
    billed = claude("anthropic_messages_long_context.json", "claude-sonnet-4-5")
    # 140,001 + 60,000 = 200,001 input tokens, so: 140,001 x 6,000 = 840,006,000;
    # 1,000 x 22,500 = 22,500,000; 60,000 x 600 = 36,000,000
    assert billed.cost == 898_506_000
    assert billed.lines == [
        ("input", 140_001, "6", "0.840006"),
        ("output", 1_000, "22.5", "0.0225"),
        ("cache_read", 60_000, "0.6", "0.036"),
    ]


def test_anthropic_batch_tier_is_billed_at_half_price() -> None:
    billed = claude("anthropic_messages_batch.json", "claude-haiku-4-5")
    # 911 x 500 = 455,500; 5 x 2,500 = 12,500; 4,096 x 50 = 204,800
    assert billed.cost == 672_800
    assert billed.lines == [
        ("input", 911, "0.5", "0.0004555"),
        ("output", 5, "2.5", "0.0000125"),
        ("cache_read", 4_096, "0.05", "0.0002048"),
    ]


def test_anthropic_fast_mode_is_billed_at_fast_prices_though_its_tier_is_standard() -> None:
    billed = claude("anthropic_messages_fast.json", "claude-opus-5")
    # 1,200 x 10,000 = 12,000,000; 330 - 210 = 120 x 50,000 = 6,000,000; thinking 210 x 50,000 = 10,500,000
    assert billed.cost == 28_500_000
    assert billed.lines == [
        ("input", 1_200, "10", "0.012"),
        ("output", 120, "50", "0.006"),
        ("reasoning", 210, "50", "0.0105"),
    ]


def test_anthropic_stream_bills_the_start_s_input_and_the_last_delta_s_output() -> None:
    billed = claude("anthropic_messages_stream.sse", "claude-sonnet-4-5")
    # 472 x 3,000 = 1,416,000; 89 x 15,000 = 1,335,000; 1,311 x 3,750 = 4,916,250
    assert billed.cost == 7_667_250
    assert billed.lines == [
        ("input", 472, "3", "0.001416"),
        ("output", 89, "15", "0.001335"),
        ("cache_write_5m", 1_311, "3.75", "0.00491625"),
    ]


@pytest.mark.parametrize(
    ("at", "cost", "prices"),
    [
        # off-peak: 264 x 660 = 174,240; 640 x 1,980 = 1,267,200; 4,736 x 22 = 104,192
        ("2026-11-23T12:00:00Z", 1_545_632, ["0.66", "1.98", "0.022"]),
        # peak: 264 x 1,320 = 348,480; 640 x 3,960 = 2,534,400; 4,736 x 44 = 208,384
        ("2026-11-23T07:00:00Z", 3_091_264, ["1.32", "3.96", "0.044"]),
    ],
)
def test_deepseek_cache_hits_are_read_from_its_own_fields_and_priced_by_the_hour(
    at: str, cost: int, prices: list[str]
) -> None:
    billed = compatible("deepseek_chat.json", "deepseek", "deepseek-v4-pro", at=at)
    assert billed.cost == cost
    assert [(unit, count) for unit, count, _, _ in billed.lines] == [
        ("input", 264),
        ("output", 640),
        ("cache_read", 4_736),
    ]
    assert [price for _, _, price, _ in billed.lines] == prices


def test_xai_reasoning_beside_the_completion_is_billed_as_output() -> None:
    billed = compatible("xai_chat.json", "x-ai", "grok-3-mini")
    # 32 - 6 = 26 x 300 = 7,800; 9 x 500 = 4,500; 6 x 75 = 450; 94 x 500 = 47,000
    assert billed.cost == 59_750
    assert billed.lines == [
        ("input", 26, "0.3", "0.0000078"),
        ("output", 9, "0.5", "0.0000045"),
        ("cache_read", 6, "0.075", "0.00000045"),
        ("reasoning", 94, "0.5", "0.000047"),
    ]


def test_gemini_thinking_that_only_the_total_reveals_is_billed_as_output() -> None:
    billed = compatible("gemini_chat.json", "google", "gemini-2.5-pro")
    # 21 x 1,250 = 26,250; 1,053 - 21 = 1,032 x 10,000 = 10,320,000
    assert billed.cost == 10_346_250
    assert billed.lines == [("input", 21, "1.25", "0.00002625"), ("output", 1_032, "10", "0.01032")]


def test_perplexity_request_fee_is_billed_beside_the_tokens() -> None:
    billed = compatible("perplexity_chat.json", "perplexity", "sonar")
    # 14 x 1,000 = 14,000; 356 x 1,000 = 356,000; one request = 12,000,000
    assert billed.cost == 12_370_000
    assert billed.lines == [
        ("input", 14, "1", "0.000014"),
        ("output", 356, "1", "0.000356"),
        ("request", 1, "0.012", "0.012"),
    ]


def test_a_request_fee_of_the_operator_replaces_the_published_one() -> None:
    agreed = overlay(provider="perplexity", model="sonar", request="0.005")
    billed = compatible("perplexity_chat.json", "perplexity", "sonar", agreed)
    # 14,000 + 356,000 as published; one request = 5,000,000
    assert billed.cost == 5_370_000
    assert billed.lines[-1] == ("request", 1, "0.005", "0.005")


def test_an_operator_s_price_beats_the_published_one_and_leaves_the_rest() -> None:
    agreed = overlay(provider="openai", model="gpt-4o*", input="0.12", source="contract 2026-07")
    billed = bill("openai_chat.json", "gpt-4o-mini", agreed)
    # 1,237 x 120 = 148,440; 389 x 600 = 233,400
    assert billed.cost == 381_840
    sheet = sheet_of("openai", "openai", "gpt-4o-mini", NOON, agreed)
    assert sheet.source.startswith("contract 2026-07+genai-prices")


LOCAL = overlay(provider="local", model="smollm2", input="0.05", output="0.20")


@pytest.mark.parametrize("name", ["llamacpp_chat.json", "llamacpp_chat_stream.sse"])
def test_llama_cpp_chat_is_billed_at_the_operator_s_price(name: str) -> None:
    billed = compatible(name, "local", "smollm2", LOCAL)
    # 26 x 50 = 1,300; 24 x 200 = 4,800
    assert billed.cost == 6_100
    assert billed.lines == [("input", 26, "0.05", "0.0000013"), ("output", 24, "0.2", "0.0000048")]


@pytest.mark.parametrize("name", ["llamacpp_messages.json", "llamacpp_messages_stream.sse"])
def test_llama_cpp_messages_are_billed_at_the_operator_s_price(name: str) -> None:
    billed = bill(name, "smollm2", LOCAL, endpoint=MESSAGES, provider="local", kind="openai_compatible")
    # 34 x 50 = 1,700; 12 x 200 = 2,400
    assert billed.cost == 4_100


CACHED = overlay(provider="local", model="smollm2", input="0.05", output="0.20", cache_read="0.005")


@pytest.mark.parametrize(
    ("name", "endpoint", "cost"),
    [
        # 69 x 50 = 3,450; 4 x 200 = 800
        ("llamacpp_chat_two_turns.json", CHAT, 4_250),
        # 54 - 45 = 9 x 50 = 450; 45 x 5 = 225; 16 x 200 = 3,200
        ("llamacpp_chat_cached.json", CHAT, 3_875),
        ("llamacpp_chat_cached_stream.sse", CHAT, 3_875),
        # 34 x 50 = 1,700; 16 x 200 = 3,200
        ("llamacpp_chat_two_choices.json", CHAT, 4_900),
        # 36 x 50 = 1,800; 20 x 200 = 4,000
        ("llamacpp_chat_json.json", CHAT, 5_800),
        # 3 x 50 = 150; 16 x 200 = 3,200
        ("llamacpp_completion.json", Endpoint.completions, 3_350),
        ("llamacpp_completion_stream.sse", Endpoint.completions, 3_350),
        # 34 x 50 = 1,700; 16 x 200 = 3,200
        ("llamacpp_responses.json", RESPONSES, 4_900),
        ("llamacpp_responses_stream.sse", RESPONSES, 4_900),
        # 51 x 50 = 2,550; 16 x 200 = 3,200
        ("llamacpp_messages_system.json", MESSAGES, 5_750),
        # 6 x 50 = 300; 11 x 50 = 550
        ("llamacpp_embeddings.json", Endpoint.embeddings, 300),
        ("llamacpp_embeddings_batch.json", Endpoint.embeddings, 550),
    ],
)
def test_what_a_real_server_sent_is_billed_as_the_sum_by_hand(
    name: str, endpoint: Endpoint, cost: int
) -> None:
    billed = bill(name, "smollm2", CACHED, endpoint=endpoint, provider="local", kind="openai_compatible")
    assert billed.cost == cost


def test_a_model_without_a_price_costs_an_unknown_amount_and_a_free_one_nothing() -> None:
    at = parse_instant(NOON)
    assert PriceBook((), BASE).find("local", "openai_compatible", "smollm2", at) is None
    free = overlay(provider="local", model="smollm2", input=0, output=0)
    assert compatible("llamacpp_chat.json", "local", "smollm2", free).cost == 0


def test_a_reported_zero_costs_nothing_and_a_missing_usage_is_unknown() -> None:
    answer = json.loads((RECORDED / "openai_chat.json").read_bytes())
    answer["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    zero = metered(json.dumps(answer).encode(), CHAT, stream=False, piece=4_096)
    assert zero is not None
    assert zero.usage == Usage(0, 0)
    assert zero.input_known
    assert zero.output_known
    assert sheet_of("openai", "openai", "gpt-4o-mini", NOON).cost(zero.usage, zero.service_tier) == 0
    nothing: list[object] = [None, {}]
    for missing in nothing:
        answer["usage"] = missing
        assert metered(json.dumps(answer).encode(), CHAT, stream=False, piece=4_096) is None
    del answer["usage"]
    assert metered(json.dumps(answer).encode(), CHAT, stream=False, piece=4_096) is None


def test_something_used_without_a_price_makes_the_cost_unknown() -> None:
    reported = report_of("anthropic_messages_web_search.json", MESSAGES)
    only_tokens = overlay(provider="local", model="smollm2", input="5", output="25")
    sheet = sheet_of("local", "openai_compatible", "smollm2", NOON, only_tokens)
    assert sheet.cost(reported.usage, reported.service_tier) is None


READERS: list[tuple[str, TypeAdapter[object]]] = [
    ("openai_chat_stream", TypeAdapter(ChatCompletionChunk)),
    ("openai_responses_stream", TypeAdapter(ResponseStreamEvent)),
    ("anthropic_messages_stream", TypeAdapter(RawMessageStreamEvent)),
    ("anthropic_messages", TypeAdapter(Message)),
    ("openai_responses", TypeAdapter(Response)),
    ("openai_embeddings", TypeAdapter(CreateEmbeddingResponse)),
    ("", TypeAdapter(ChatCompletion)),
]


WRITTEN = [path for path in sorted(RECORDED.iterdir()) if not path.name.startswith("llamacpp_")]
"""Bodies after a published format. What a server really sent needs no proof that it can be sent."""


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_the_official_sdks_can_read_what_is_written_after_their_format(path: Path) -> None:
    reader = next(adapter for start, adapter in READERS if path.name.startswith(start))
    raw = path.read_bytes()
    if path.suffix == ".json":
        reader.validate_json(raw)
        return
    payloads = [line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:")]
    for payload in payloads:
        if payload != b"[DONE]" and json.loads(payload).get("type") != "ping":
            reader.validate_json(payload)
