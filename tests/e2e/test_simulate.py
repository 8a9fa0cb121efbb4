"""Budgets tried on the calls of a real daemon: through its API while it runs, and on its database."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from conftest import DaemonFactory
from harness import command, raw, toml_text
from harness.daemon import DaemonProcess, budget, config, model
from harness.raw import Reply
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import CHAT, chat, request_id
from palyra.core.instant import isoformat

USED, LARGE = 100_000, 1_000_000
"""Nano-USD of 20 input and 40 output tokens on each model."""
MODELS = (model("stub-model"), model("large", price={"input": "10.00", "output": "20.00"}))
IN_FORCE = (
    budget("money", "0.004"),
    budget("alice-calls", 12, scope="principal:alice", metric="requests"),
    budget("tokens", 3_000, scope="principal:*", metric="output_tokens", min_output_tokens=16),
)
SINCE = isoformat(0)
UNTIL = "2200-01-01T00:00:00Z"


@pytest.fixture
def busy(daemon_factory: DaemonFactory, stub: Stub) -> tuple[DaemonProcess, Sequence[Reply]]:
    """A daemon whose budgets admitted, cut short and refused calls that came at the same time."""
    stub.script = Answer(usage=fixed(20, 40))
    daemon = daemon_factory(config(stub.url, budgets=IN_FORCE, models=MODELS))
    keys = [daemon.create_key("alice"), daemon.create_key("bob", agent="bot")]
    bodies = [chat(), chat(2_000), chat(model="large"), chat(400), chat(3_500)]

    async def some(first: int) -> Sequence[Reply]:
        calls = [
            raw.call(daemon.url, CHAT, json_body=bodies[place % 5], key=keys[place % 2])
            for place in range(first, first + 8)
        ]
        return await asyncio.gather(*calls)

    replies = [reply for round_ in range(5) for reply in asyncio.run(some(8 * round_))]
    for reply in replies:
        daemon.api.settled(request_id(reply))
    return daemon, replies


def simulate(daemon: DaemonProcess, *policies: object, **asked: object) -> Any:
    document = {"policies": policies, "since": SINCE, "until": UNTIL, **asked}
    return daemon.api.post("/budgets/simulate", document)


def test_the_budgets_in_force_would_have_done_what_they_did(
    busy: tuple[DaemonProcess, Sequence[Reply]],
) -> None:
    daemon, replies = busy
    document = simulate(daemon, *IN_FORCE, only=True)
    totals = document["totals"]

    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 402}
    assert totals["calls"] == len(replies)
    assert totals["really"]["ran"] == statuses.count(200)
    assert totals["really"]["blocked"] == statuses.count(402)
    assert totals["really"]["clamped"] > 0
    assert totals["simulated"] == totals["really"]
    assert (totals["stopped"], totals["let_in"], totals["estimated"]) == (0, 0, 0)
    spent = sum(
        cast("Any", daemon.api.decision(request_id(reply)))["settlement"]["cost_nano_usd"]
        for reply in replies
        if reply.status == 200
    )
    assert totals["really"]["cost_nano_usd"] == spent


def test_another_budget_is_compared_with_what_happened(
    busy: tuple[DaemonProcess, Sequence[Reply]],
) -> None:
    daemon, replies = busy
    one_call = budget("one-each", 1, scope="principal:*", metric="requests", interval="total")
    document = simulate(daemon, one_call)
    totals = document["totals"]
    assert totals["simulated"]["ran"] == 2
    assert totals["stopped"] == totals["really"]["ran"] - 2
    assert (
        totals["saved_nano_usd"] == totals["really"]["cost_nano_usd"] - totals["simulated"]["cost_nano_usd"]
    )
    (new,) = [each for each in document["policies"] if each["candidate"]]
    ids = {request_id(reply) for reply in replies}
    assert set(new["examples"]["blocked"]) < ids
    assert {each["principal"]: each["simulated"]["ran"] for each in document["principals"]} == {
        "alice": 1,
        "bob": 1,
    }


def test_the_database_tells_the_command_what_the_daemon_tells(
    busy: tuple[DaemonProcess, Sequence[Reply]], tmp_path: Path
) -> None:
    daemon, _ = busy
    candidates = [budget("money", "0.002"), budget("bots", "0.001", scope="agent:*", action="degrade")]
    file = tmp_path / "try.toml"
    file.write_text(toml_text.dump({"budgets": candidates}))
    live = simulate(daemon, *candidates)
    words = ("budgets", "simulate", str(file), "--since", SINCE, "--until", UNTIL)
    asked = command.run_json(daemon, daemon.owner_key, *words, "--url", daemon.url)
    assert asked == live

    daemon.close()
    out, err = command.run(daemon, "", *words, "--config", str(daemon.config_path), "--json")
    assert json.loads(out) == live
    assert err == ""
    page, err = command.run(daemon, "", *words, "--config", str(daemon.config_path))
    assert "money (in the place of version 1)" in page
    # No terminal, no bar.
    assert err == ""
