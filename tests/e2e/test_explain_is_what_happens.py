"""What ``models explain`` says a call would get is what the very next such call gets, in every word (W47).

Both documents have the members that the OpenAPI document says, and no others.
"""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any, cast

import httpx2
import pytest

from harness.daemon import DaemonProcess, budget, config, model, poll
from harness.script import Answer, Call, fixed
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, Document
from harness.tenant import SharedDaemons
from harness.typed import misfits

CALLS = {"enforced": 350, "suggest": 150}
"""By the mode of the configuration: 500 in all."""
PATHS = {
    "chat_completions": CHAT,
    "messages": MESSAGES,
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}
ABLE = ["tools", "json", "vision", "streaming"]
MODELS = [
    model("small", capabilities=ABLE, cost_tier="low", fallbacks=["large"]),
    model("large", capabilities=ABLE, price={"input": "10.00", "output": "20.00"}, output_limit=16_384),
    model("plain", price={"input": "0.10", "output": "0.20"}, context_window=4_000, aliases=["cheap"]),
    model("unpriced", price=None),
    model("claude", "stub-anthropic", capabilities=ABLE),
    model("claude-large", "stub-anthropic", price={"input": "10.00", "output": "20.00"}),
]
BUDGETS = [
    budget("degrading", "0.60", scope="principal:*", interval="total", action="degrade"),
    budget("blocking", "0.90", scope="principal:p1", interval="total", min_output_tokens=64),
    budget("soft", "9.00", scope="principal:p2", interval="total", soft_limit="0.05", degrade_to="low"),
    budget(
        "stepping",
        "2.00",
        scope="agent:*",
        interval="total",
        thresholds=[
            {"at": "0.02", "then": "degrade", "to": "plain"},
            {"at": "0.5", "then": "routing_mode", "to": "enforced"},
        ],
    ),
    budget("trying", "0.20", scope="session:*", interval="total", mode="dry_run", action="degrade"),
    budget("tokens", 400_000, scope="principal:p3", interval="total", metric="total_tokens"),
]
NOT_OF_THE_DECISION = {"request_id", "at", "state", "settlement", "key_id", "idempotency_key", "continues"}


def usage(call: Call) -> Answer:
    """Half of what may be used."""
    return Answer(usage=fixed(len(call.body) // 4, call.output_cap // 2))


def door_in(mode: str, daemons: SharedDaemons, stub: Stub) -> DaemonProcess:
    stub.script = usage
    models = [{name: value for name, value in each.items() if value is not None} for each in MODELS]
    governance = {"default_model": "small", "mode": mode}
    return daemons(config(stub.url, models=models, budgets=BUDGETS, governance=governance))


def body_of(random: Random, endpoint: str) -> dict[str, object]:
    """A request of one wire format, of any size and kind."""
    names = ["claude", "claude-large"] if endpoint == "messages" else ["small", "large", "plain", "cheap"]
    names += [] if endpoint == "messages" else ["auto", "auto", "auto", "unpriced", "nobody"]
    text = "word " * random.choice([1, 40, 400, 4_000])
    body: dict[str, object] = {"model": random.choice(names)}
    cap = random.choice([None, 16, 256, 4_000, 64_000])
    if endpoint == "completions":
        return body | {"prompt": text} | ({"max_tokens": cap} if cap else {})
    turns = [{"role": "user", "content": text}] * random.choice([1, 1, 3, 12])
    if endpoint == "responses":
        return body | {"input": turns} | ({"max_output_tokens": cap} if cap else {})
    body["messages"] = turns
    if cap or endpoint == "messages":
        body["max_tokens"] = cap or 512
    if random.random() < 0.3:
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        named = {"name": "look", "input_schema": {"type": "object"}}
        body["tools"] = [named if endpoint == "messages" else tool] * random.choice([1, 4, 9])
    if endpoint == "chat_completions" and random.random() < 0.2:
        body["response_format"] = {"type": "json_object"}
    if endpoint == "chat_completions" and random.random() < 0.2:
        body["n"] = 2
    return body


def hard_body() -> dict[str, object]:
    """A request that looks hard, and leaves the choice to Palyra."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    messages = [{"role": "user", "content": "word " * 300}] * 12
    return {
        "model": "auto",
        "max_tokens": 16,
        "messages": messages,
        "tools": [tool] * 9,
        "response_format": {"type": "json_object"},
    }


def labels_of(random: Random) -> dict[str, str]:
    """Who a call says it is for, and in which mode it wants to run."""
    choices = {
        "agent": [None, "a1", "a2"],
        "session": [None, "s1", "s2", "s3"],
        "task_class": [None, None, "background_automation", "auxiliary_classification", "auxiliary_vision"],
        "mode": [None, None, "dry_run", "suggest"],
    }
    drawn = {name: random.choice(values) for name, values in choices.items()}
    return {name: value for name, value in drawn.items() if value is not None}


def decided(document: Document) -> dict[str, object]:
    """What is said of the decision itself."""
    left_out = NOT_OF_THE_DECISION | {"live", "survey", "would_run", "error", "continued_as"}
    kept = {name: value for name, value in document.items() if name not in left_out}
    shadow = kept["counterfactual"]
    if isinstance(shadow, dict):
        # Its cost is known once the call is over.
        fields = cast("Mapping[str, object]", shadow).items()
        kept["counterfactual"] = {
            name: each for name, each in fields if not name.startswith(("cost_n", "cost_u"))
        }
    return kept


@pytest.mark.parametrize("mode", CALLS)
def test_a_call_gets_what_explain_said_just_before(
    mode: str, module_daemons: SharedDaemons, module_stub: Stub
) -> None:
    random = Random(mode)
    door = door_in(mode, module_daemons, module_stub)
    keys = {principal: door.create_key(principal) for principal in ("p1", "p2", "p3", "p4")}
    listed = cast("list[Document]", door.api.get("/keys")["items"])
    key_ids = {cast("str", key["principal"]): cast("str", key["id"]) for key in listed}
    owner = {"authorization": f"Bearer {door.owner_key}"}
    schemas = cast("Mapping[str, Any]", door.api.get("/openapi.json")["components"])["schemas"]
    seen: Counter[str] = Counter()
    with httpx2.Client(base_url=door.url, timeout=30.0) as http:
        for number in range(CALLS[mode]):
            endpoint = random.choice(list(PATHS))
            principal = random.choice(list(keys))
            body, labels = body_of(random, endpoint), labels_of(random)
            if number % 12 == 0:
                endpoint, body = "chat_completions", hard_body()
            question = {"endpoint": endpoint, "body": body, "key_id": key_ids[principal], **labels}
            told = http.post("/api/v1/models/explain", json=question, headers=owner)
            headers = {f"x-palyra-{name.replace('_', '-')}": value for name, value in labels.items()}
            headers["authorization"] = f"Bearer {keys[principal]}"
            answer = http.post(PATHS[endpoint], json=body, headers=headers)

            about = f"call {number}: {endpoint} {labels} {str(body)[:200]}"
            document = told.json()
            if not told.is_success:
                assert told.status_code == answer.status_code, about
                seen["refused before a decision"] += 1
                continue
            stored = settled(http, answer.headers["x-palyra-request-id"], owner)
            assert decided(document) == decided(stored), about
            assert misfits(document, schemas["CallExplained"], schemas) == [], about
            assert misfits(stored, schemas["DecisionShown"], schemas) == [], about
            status = 200 if document["would_run"] else document["error"]["status"]
            assert status == answer.status_code, about
            seen[f"{document['outcome']} {document['route']}"] += 1
            seen[document["mode"]] += 1
            seen["clamped"] += document["clamp"] is not None
            seen["chosen"] += document["routing"] is not None
            seen["would route"] += document["model"] != document["recommended_model"]

    expected = {
        "enforced": ["admit proceed", "admit degrade", "admit upgrade", "deny proceed", "clamped"],
        "suggest": ["admit proceed", "suggest", "dry_run", "enforced", "would route"],
    }
    assert all(seen[what] for what in (*expected[mode], "chosen", "refused before a decision")), seen


def settled(http: httpx2.Client, request_id: str, owner: Mapping[str, str]) -> Document:
    """The stored decision: a refusal is answered before it is on disk."""

    def look() -> Document:
        return http.get(f"/api/v1/decisions/{request_id}", headers=owner).json()

    return poll(look, lambda document: document.get("state") not in (None, "pending"), 10.0, request_id)
