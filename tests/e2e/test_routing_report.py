"""The report of the router's choices over real calls: in suggest mode each runs on what it asked for."""

import json
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from harness.daemon import DaemonProcess, config, model
from harness.raw import Reply
from harness.script import Answer, Call, fixed
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from palyra.cli.app import app

LARGE_BODY = 16_000
"""Bytes of text from which on the length of a call counts in full."""
EASY_CALLS = 3
# Nano-USD of what the stub reports. Large: 10,000 per token in and 20,000 out; small: 1,000 and 2,000.
EASY_LARGE, EASY_SMALL = 20 * 10_000 + 40 * 20_000, 20 * 1_000 + 40 * 2_000
HARD_LARGE, HARD_SMALL = 2_000 * 10_000 + 100 * 20_000, 2_000 * 1_000 + 100 * 2_000


def by_size(call: Call) -> Answer:
    """20 tokens in and 40 out of an easy call, 2,000 and 100 of a hard one."""
    return Answer(usage=fixed(2_000, 100) if len(call.body) > LARGE_BODY else fixed(20, 40))


def easy() -> dict[str, object]:
    return chat(model="large")


def hard() -> dict[str, object]:
    """As long as counts, in a dozen turns, with an answer in JSON: 0.75."""
    turns = [{"role": "user", "content": "word " * (LARGE_BODY // 5)}]
    turns += [{"role": "user", "content": "and?"} for _ in range(11)]
    return chat(model="large", messages=turns, response_format={"type": "json_object"})


@pytest.fixture
def suggesting(daemon_factory: Any, stub: Stub) -> DaemonProcess:
    stub.script = by_size
    can = ["json", "tools", "streaming"]
    models = [
        model("large", price={"input": "10", "output": "20"}, capabilities=can),
        model("small", price={"input": "1", "output": "2"}, capabilities=can),
        model("stub-embed", price={"input": "0.50"}, output_limit=None, role="embeddings"),
    ]
    settings = config(stub.url, models=models, governance={"mode": "suggest"}, routing={"smart": "always"})
    return cast("DaemonProcess", daemon_factory(settings))


def report(daemon: DaemonProcess, *words: str) -> str:
    environment = {"PALYRA_URL": daemon.url, "PALYRA_KEY": daemon.owner_key}
    result = CliRunner().invoke(app, ["models", "routing-report", *words], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_report_adds_up_to_what_the_calls_cost(suggesting: DaemonProcess) -> None:
    key = suggesting.create_key("alice")
    replies = [ask(suggesting, key, easy()) for _ in range(EASY_CALLS)]
    replies.append(ask(suggesting, key, hard()))
    embedded = ask(suggesting, key, {"model": "stub-embed", "input": "hi"}, "/v1/embeddings")
    costs = [_settled_cost(suggesting, reply) for reply in replies]
    _settled_cost(suggesting, embedded)
    ask(suggesting, key, {"model": "none", "messages": []})

    document = json.loads(report(suggesting, "--since", "1h", "--principal", "alice", "--json"))

    asked = {"since": document["since"], "until": document["until"], "principal": "alice"}
    assert suggesting.api.get("/models/routing-report", **asked) == document
    assert costs == [EASY_LARGE] * EASY_CALLS + [HARD_LARGE]
    default = EASY_CALLS * EASY_LARGE + HARD_LARGE
    recommended = EASY_CALLS * EASY_SMALL + HARD_LARGE
    # Three of four are recommended the small model.
    shuffled = EASY_CALLS * (3 * EASY_SMALL + EASY_LARGE) // 4 + (3 * HARD_SMALL + HARD_LARGE) // 4
    names = ("ran", "always_default", "always_recommended", "shuffled")
    found = [document[name]["cost_nano_usd"] for name in names]
    assert found == [default, default, recommended, shuffled]
    assert document["always_recommended"]["saving_nano_usd"] == default - recommended
    assert document["verdict"]["code"] == "dearer_than_mix"
    assert (document["calls"]["counted"], document["calls"]["not_routed"]) == (EASY_CALLS + 1, 1)
    bands = {each["band"]: each["calls"] for each in document["bands"]}
    assert bands == {"easy": EASY_CALLS, "default": 0, "hard": 1, "unscored": 0}
    assert document["models"] == [
        {"model": "small", "default": 0, "recommended": EASY_CALLS, "ran": 0},
        {"model": "large", "default": EASY_CALLS + 1, "recommended": 1, "ran": EASY_CALLS + 1},
    ]


def test_without_calls_the_report_says_what_to_do(suggesting: DaemonProcess) -> None:
    assert 'set smart = "always" in [routing]' in report(suggesting)


def _settled_cost(daemon: DaemonProcess, reply: Reply) -> int:
    assert reply.status == 200, reply.body
    settlement = cast("dict[str, object]", daemon.api.settled(request_id(reply))["settlement"])
    return cast("int", settlement["cost_nano_usd"])
