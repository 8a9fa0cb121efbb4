"""Decisions and settlements as stored: what was written is read, whoever wrote it, and bills stay."""

import json
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from msgspec import structs

from fakes.calls import refused, served
from palyra.lifecycle.decision import (
    CallState,
    CostLine,
    Settlement,
    StoredDecision,
    read_decision,
    read_settlement,
    write_decision,
    write_settlement,
)
from palyra.pricing.rates import STANDARD, Bracket, Rates
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage
from palyra.reports.explain import decision_document

EARLIER_DECISION: dict[str, Any] = {
    "request_id": "req_1",
    "at": 1_795_435_200_000_000_000,
    "endpoint": "chat_completions",
    "stream": True,
    "labels": {
        "key_id": "key-1",
        "principal": "alice",
        "agent": None,
        "session": "run-7",
        "parent_session": None,
        "task_class": "primary_interactive",
        "tags": {"team": "platform"},
    },
    "requested_model": "small",
    "recommended_model": "small",
    "model": "small",
    "provider": "stub",
    "route": "proceed",
    "route_reason": "the requested model",
    "mode": "enforced",
    "mode_origin": "config",
    "outcome": "admit",
    "status": "soft_limit",
    "estimate": {
        "input_bytes": 400,
        "input_tokens_expected": 100,
        "input_tokens_bound": 464,
        "output_tokens_bound": 256,
        "output_cap_requested": 50_000,
        "choices": 1,
        "cost_expected": 25_100_000,
        "cost_bound": 976_000,
        "method": "bytes",
    },
    "price": {
        "provider": "stub",
        "model": "small",
        "source": "config",
        "entry_id": "stub/small",
        "book_version": "b1",
        "known": True,
    },
    "evaluations": [
        {
            "policy_id": "each-daily",
            "policy_version": 3,
            "scope": "principal:*",
            "metric": "cost_usd",
            "interval": "day",
            "entity": "alice",
            "window_start": 1_795_392_000_000_000_000,
            "window_end": 1_795_478_400_000_000_000,
            "status": "soft_limit",
            "mode": "dry_run",
            "consumed": 4_000_000_000,
            "amount": 976_000,
            "projected": 4_000_976_000,
            "soft_limit": 4_000_000_000,
            "hard_limit": 5_000_000_000,
            "remaining": 1_000_000_000,
            "would": None,
            "message": "over the soft limit",
        }
    ],
    "clamp": {"requested": 50_000, "granted": 256, "policy_id": "each-daily"},
    "counterfactual": {
        "would": ["each-daily=would_clamp"],
        "outcome": "admit",
        "cost_bound": 976_000,
        "clamped_output_tokens": 100,
    },
    "error_code": None,
    "message": "",
    "idempotency_key": True,
}
EARLIER_SETTLEMENT: dict[str, Any] = {
    "at": 1_795_435_201_000_000_000,
    "state": "settled",
    "source": "provider",
    "reason": "",
    "usage": {
        "input_tokens": 120,
        "output_tokens": 80,
        "cache_read_tokens": 20,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "input_image_tokens": 0,
        "web_searches": 0,
    },
    "cost": 262_000,
    "held": 976_000,
    "total_ms": 900,
    "overrun": False,
    "late": True,
    "service_tier": "default",
    "upstream_status": 200,
    "upstream_model": "small-2026",
    "client_gone": False,
    "first_byte_ms": 100,
    "lines": [
        {"unit": "input", "quantity": 100, "usd_per_million": "1", "cost_usd": "0.0001"},
        {"unit": "output", "quantity": 80, "usd_per_million": "2", "cost_usd": "0.00016"},
        {"unit": "cache_read", "quantity": 20, "usd_per_million": "0.1", "cost_usd": "0.000002"},
    ],
    "counterfactual_cost": 262_000,
}


@pytest.mark.parametrize("stored", [served(), served(clamp=True), refused()])
def test_what_is_written_is_read_back(stored: StoredDecision) -> None:
    assert read_decision(write_decision(stored.decision)) == stored.decision
    if stored.settlement is not None:
        assert read_settlement(write_settlement(stored.settlement).decode()) == stored.settlement


def test_tags_that_nobody_may_change_are_written_as_tags() -> None:
    decision = served().decision
    labels = structs.replace(decision.labels, tags=MappingProxyType({"team": "größe"}))

    read = read_decision(write_decision(structs.replace(decision, labels=labels)))

    assert read.labels.tags == {"team": "größe"}


def test_what_has_no_json_form_is_refused_not_guessed() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        write_decision(structs.replace(served().decision, message=object()))


@pytest.mark.parametrize("as_bytes", [True, False])
def test_what_an_earlier_version_wrote_is_read(as_bytes: bool) -> None:
    written = json.dumps(EARLIER_DECISION), json.dumps(EARLIER_SETTLEMENT)
    body, end = (text.encode() for text in written) if as_bytes else written

    stored = StoredDecision(read_decision(body), CallState.SETTLED, read_settlement(end))

    shown: dict[str, Any] = decision_document(stored)
    (evaluation,) = EARLIER_DECISION["evaluations"]
    (told,) = shown["evaluations"]
    for name in ("policy_id", "policy_version", "scope", "metric", "interval", "entity", "status", "mode"):
        assert told[name] == evaluation[name]
    for name in ("consumed", "amount", "projected", "soft_limit", "hard_limit", "remaining"):
        assert told[f"{name}_nano_usd"] == evaluation[name]
    for name in ("request_id", "endpoint", "stream", "requested_model", "model", "provider", "status"):
        assert shown[name] == EARLIER_DECISION[name]
    assert shown["clamp"] == EARLIER_DECISION["clamp"]
    assert shown["price"] == EARLIER_DECISION["price"]
    assert shown["settlement"]["lines"] == EARLIER_SETTLEMENT["lines"]
    assert shown["settlement"]["usage"] == EARLIER_SETTLEMENT["usage"]
    assert read_decision(write_decision(stored.decision)) == stored.decision


def test_a_call_that_held_nothing_is_read_from_an_earlier_version_too() -> None:
    empty: dict[str, Any] = {
        "estimate": None,
        "price": None,
        "clamp": None,
        "counterfactual": None,
        "evaluations": [],
    }
    released: dict[str, Any] = {"usage": None, "lines": [], "state": "released"}

    decision = read_decision(json.dumps(EARLIER_DECISION | empty))
    settlement = read_settlement(json.dumps(EARLIER_SETTLEMENT | released))

    assert (decision.estimate, decision.cost_bound, decision.evaluations) == (None, None, ())
    assert (settlement.usage, settlement.bill, settlement.state) == (None, (), CallState.RELEASED)


def test_a_damaged_record_is_an_error_and_not_another_record() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_settlement(b'["not", "a", "settlement"]')
    with pytest.raises(msgspec.DecodeError):
        read_settlement(json.dumps(EARLIER_SETTLEMENT | {"state": "lost"}))


def _settled(usage: Usage, sheet: PriceSheet, tier: str | None = None) -> Settlement:
    settlement = served().settlement
    assert settlement is not None
    return structs.replace(settlement, usage=usage, prices=sheet.unit_prices(usage, tier))


def _sheet(output: str) -> PriceSheet:
    rates = Rates(Decimal("0.150"), Decimal(output), cache_read=Decimal("0.0750"))
    above = Rates(Decimal("0.3"), Decimal(output))
    tiers = {STANDARD: (Bracket(-1, rates), Bracket(1_000, above)), "flex": (Bracket(-1, above),)}
    return PriceSheet("stub", "small", "config", "stub/small", tiers, request=Decimal("0.01"))


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        (Usage(120, 80), None),
        (Usage(120, 80, cache_read_tokens=20, reasoning_tokens=30), None),
        (Usage(1_001, 80), None),
        (Usage(120, 80), "flex"),
        (Usage(0, 0), None),
        (Usage(1, 1, web_searches=3), None),
    ],
)
def test_a_stored_bill_has_the_lines_of_the_prices_at_that_time(usage: Usage, tier: str | None) -> None:
    sheet = _sheet("0.60")

    stored = read_settlement(write_settlement(_settled(usage, sheet, tier)))

    lines = [
        (line.unit, line.quantity, line.price or "", line.cost or "") for line in sheet.lines(usage, tier)
    ]
    assert [structs.astuple(line) for line in stored.bill] == lines


def test_a_new_price_leaves_the_bills_of_old_calls_alone() -> None:
    usage = Usage(120, 80)
    before = write_settlement(_settled(usage, _sheet("0.60")))
    assert read_settlement(before).bill[1] == CostLine("output", 80, "0.6", "0.000048")
    assert _settled(usage, _sheet("6.00")).bill[1] == CostLine("output", 80, "6", "0.00048")
    assert read_settlement(before).bill[1] == CostLine("output", 80, "0.6", "0.000048")


def test_a_bill_that_was_stored_line_by_line_stays_as_it_is() -> None:
    lines = (CostLine("input", 7, "9", "1"),)
    settlement = served().settlement
    assert settlement is not None

    assert structs.replace(settlement, lines=lines, prices=()).bill == lines
