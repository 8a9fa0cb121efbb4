"""``palyra models explain``: the page of a call that is not made, what it asks, and its exit codes."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from fakes.calls import served
from fakes.models_cli import SECRET, ModelsShell, models_shell, without_daemon
from palyra.api.schemas.decisions import CallExplained
from palyra.core.errors import ModelNotAllowed, ModelNotFound
from palyra.reports.page import forecast

CONFIG = """
[governance]
default_model = "house"

[[providers]]
id = "local"
kind = "openai_compatible"
base_url = "http://127.0.0.1:1/v1"
credential = "env:OKEY"

[[models]]
id = "house"
provider = "local"
output_limit = 1_000
context_window = 32_000
price = { input = "1.00", output = "2.00" }

[[models]]
id = "palace"
provider = "local"
output_limit = 1_000
context_window = 200_000
cost_tier = "premium"
price = { input = "10.00", output = "20.00" }

[[models]]
id = "bare"
provider = "local"

[[budgets]]
id = "each"
scope = "principal:*"
metric = "cost_usd"
interval = "day"
hard_limit = "5.00"

[[budgets]]
id = "small"
scope = "principal:poor"
metric = "cost_usd"
interval = "day"
hard_limit = "0.000001"

[[budgets]]
id = "ask-first"
scope = "principal:shy"
metric = "cost_usd"
interval = "day"
hard_limit = "0.000001"
action = "approval_required"
"""
PAGE = """\
A call of alice (nightly) to auto would run on house at local, in enforced mode.

Estimate
  input           20 tokens expected, at most 144 (80 bytes, bytes)
  output          at most 200 tokens (asked for 200)
  cost            0.00012 USD expected, at most 0.000544 USD

Complexity
  score           0.002 of 1, by version 1 of the weights
  text            80 bytes, about 20 tokens
  messages        1
  tools           0
  pictures        0
  strict JSON     no

Candidates
  model   provider          cost  tier      latency   health  room   kept  is
  house   local     0.000544 USD  standard  standard  ok      ready  yes   default, recommended, actual
  palace  local      0.00544 USD  premium   standard  ok      ready  yes
  bare    local          unknown  standard  standard  ok      ready  yes
  choice          left to Palyra
  chosen by       easy: complexity 0.00 is low

Budgets
  policy   entity  metric    interval  consumed  this call  projected  soft  hard  status
  each v1  alice   cost_usd  day           0.00   0.000544   0.000544     -  5.00  ok

Mode
  enforced, from config

Price
  local/house: entry local/house of config, price book BOOK

Route
  route           proceed: 'auto' stands for 'house'
  recommended     house
  actual          house at local

Clamp
  The output cap stays as it is.

If everything were enforced
  Nothing would be different.

From FOLDER/palyra.toml; no daemon was asked: budgets count from nothing used, and every provider is taken \
to be well.
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OKEY", SECRET)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(folder: Path) -> ModelsShell:
    shell = without_daemon(folder, CONFIG)
    shell.owner_key = ""
    return shell


@pytest.fixture
def document(offline: ModelsShell) -> dict[str, Any]:
    return offline.json("explain", "hello", "--model", "auto")


@pytest.fixture
def live(document: dict[str, Any]) -> ModelsShell:
    return models_shell({"explain": document | {"live": True}})


def test_the_page_has_everything_in_its_order(offline: ModelsShell, folder: Path) -> None:
    words = ["--principal", "alice", "--agent", "nightly", "--max-tokens", "200", "--model", "auto"]
    book = offline.json("explain", "hello", *words)["price"]["book_version"][:12]
    shown = offline.text("explain", "hello", *words)
    assert shown == PAGE.replace("BOOK", book).replace("FOLDER", str(folder))


def test_json_has_every_number(document: dict[str, Any]) -> None:
    CallExplained.model_validate(document)
    assert document["live"] is False
    assert document["would_run"] is True
    assert document["error"] is None
    assert document["estimate"]["cost_bound_usd"] == "0.002127"
    assert {each["model"]: each["kept"] for each in document["routing"]["candidates"]} == {
        "house": True,
        "palace": True,
        "bare": True,
    }
    assert document["evaluations"][0]["hard_limit_nano_usd"] == 5_000_000_000


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--principal", "poor"], 6, "would be refused: Budget small"),
        (["--principal", "shy"], 6, "would need an approval: Budget ask-first"),
        (["--model", "bare"], 6, "cost of this call cannot be computed"),
    ],
)
def test_a_call_that_a_policy_refuses_is_exit_6(
    offline: ModelsShell, words: list[str], code: int, told: str
) -> None:
    shown = offline.text("explain", "hello", *words, code=code)
    assert told in shown.splitlines()[0]
    assert "actual          none" in shown
    document = offline.json("explain", "hello", *words, code=code)
    assert (document["would_run"], document["error"]["status"]) == (False, 402)


def test_an_unknown_model_is_exit_8_with_close_matches(offline: ModelsShell, live: ModelsShell) -> None:
    live.desk.fails = ModelNotFound("no model 'huose'; close matches: house", param="model")
    for shell in (offline, live):
        result = shell.run("explain", "hello", "--model", "huose")
        assert (result.exit_code, result.stdout) == (8, "")
        assert "close matches: house" in result.stderr
        assert "palyra models list" in result.stderr


def test_a_model_that_the_key_may_not_use_is_exit_3(live: ModelsShell) -> None:
    live.desk.fails = ModelNotAllowed("the key may not use it")
    assert live.run("explain", "hello").exit_code == 3


def test_a_call_that_has_to_wait_is_exit_4(live: ModelsShell) -> None:
    denied = live.desk.documents["explain"] | {
        "would_run": False,
        "route": "defer",
        "outcome": "deny",
        "message": "provider 'local' has no room for work that can wait",
        "error": {"status": 429, "code": "capacity_deferred"},
    }
    live.desk.documents["explain"] = denied
    shown = live.text("explain", "hello", code=4)
    assert "would have to wait: provider 'local' has no room" in shown.splitlines()[0]


def test_a_daemon_is_asked_everything(live: ModelsShell) -> None:
    given = (
        "--model gpt --principal alice --agent a --session s --task-class background_automation --json-mode "
        "--vision 2 --tools 3 --max-tokens 9 --mode dry_run --tag team=x --tag k=v=w --stream --key-id key-1 "
        "--endpoint responses"
    )
    shown = live.text("explain", "hello", *given.split())
    assert shown.endswith("Live from http://127.0.0.1:8484.\n")
    assert live.desk.asked == [
        {
            "prompt": "hello",
            "model": "gpt",
            "principal": "alice",
            "agent": "a",
            "session": "s",
            "task_class": "background_automation",
            "json_mode": True,
            "vision": 2,
            "tools": 3,
            "max_tokens": 9,
            "mode": "dry_run",
            "tags": {"team": "x", "k": "v=w"},
            "stream": True,
            "key_id": "key-1",
            "endpoint": "responses",
        }
    ]


@pytest.mark.parametrize("words", [["-"], []])
def test_a_prompt_comes_from_standard_input(live: ModelsShell, words: list[str]) -> None:
    live.json("explain", *words, stdin="from afar")
    assert live.desk.asked == [{"prompt": "from afar"}]


def test_a_whole_request_comes_from_a_file_or_standard_input(live: ModelsShell, folder: Path) -> None:
    request = {"model": "house", "messages": [{"role": "user", "content": "hi"}]}
    (folder / "request.json").write_text(json.dumps(request))
    live.json("explain", "--body", "request.json")
    live.json("explain", "--body", "-", stdin=json.dumps(request))
    assert live.desk.asked == [{"body": request}] * 2


def test_a_whole_request_is_understood_without_a_daemon(offline: ModelsShell, folder: Path) -> None:
    (folder / "request.json").write_text('{"model": "palace", "input": "hi", "max_output_tokens": 7}')
    document = offline.json("explain", "--body", "request.json", "--endpoint", "responses")
    assert (document["model"], document["endpoint"]) == ("palace", "responses")
    assert document["estimate"]["output_cap_requested"] == 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "there is no prompt"),
        (["hello", "--body", "request.json"], "leave the prompt out"),
        (["--body", "missing.json"], "cannot be read"),
        (["--body", "palyra.toml"], "is not JSON"),
        (["--body", "list.json"], "no JSON object"),
        (["--body", "odd.json"], "that JSON has not"),
        (["hello\udcff"], "that JSON has not"),
        (["hello", "--tag", "team"], "K=V"),
        (["hello", "--mode", "wild"], "enforced"),
        (["hello", "--vision", "-1"], "--vision"),
        (["hello", "--vision", "1000"], "vision"),
        (["hello", "--key-id", ""], "key_id"),
    ],
)
def test_what_cannot_be_asked_is_exit_2(
    offline: ModelsShell, folder: Path, words: list[str], told: str
) -> None:
    (folder / "list.json").write_text("[]")
    (folder / "odd.json").write_text('{"temperature": NaN}')
    result = offline.run("explain", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_key_that_is_not_there_is_exit_8(offline: ModelsShell) -> None:
    assert offline.run("explain", "hello", "--key-id", "key-9").exit_code == 8


def test_candidates_that_cannot_serve_say_why(offline: ModelsShell, folder: Path) -> None:
    text = CONFIG.replace('id = "house"\n', 'id = "house"\ncapabilities = ["vision"]\n')
    (folder / "palyra.toml").write_text(text)
    shown = offline.text("explain", "hello", "--vision", "1")
    row = next(line for line in shown.splitlines() if line.startswith("  palace"))
    assert "no: has no vision" in row
    assert "pictures        1" in shown


def test_what_dry_run_would_do_is_told(document: dict[str, Any]) -> None:
    changed = deepcopy(document)
    changed["counterfactual"] = {
        "would": ["each=would_block"],
        "outcome": "deny",
        "model": "house",
        "clamped_output_tokens": None,
        "cost_bound_nano_usd": 1_000,
        "cost_bound_usd": "0.000001",
        "cost_nano_usd": None,
        "cost_usd": None,
    }
    changed["clamp"] = {"requested": 1_000, "granted": 300, "policy_id": "each"}
    shell = models_shell({"explain": changed | {"live": True}})
    shown = shell.text("explain", "hello")
    assert "lowered from 1000 to 300 tokens to fit each" in shown
    assert "would           each=would_block (outcome deny)" in shown
    assert "cost            at most 0.000001 USD" in shown


def test_a_call_that_went_on_elsewhere_is_explained_by_its_first_id(live: ModelsShell) -> None:
    for name in ("req_1", "req_1.2", "req_1.3", "req_1.5"):
        live.records.stored[name] = served(name)
    document = live.json("req_1", group=("explain",))
    assert [each["request_id"] for each in document["continued_as"]] == ["req_1.2", "req_1.3"]
    assert document["state"] == "settled"
    shown = live.text("req_1", group=("explain",))
    assert "It was taken up by gpt-4o-mini at openai" in shown.splitlines()[0]
    assert [line for line in shown.splitlines() if line.startswith("----")] == [
        "---- req_1.2",
        "---- req_1.3",
    ]
    assert [each["request_id"] for each in live.json("req_1.2", group=("explain",))["continued_as"]] == [
        "req_1.3"
    ]


def test_a_chain_has_an_end(live: ModelsShell) -> None:
    for number in range(2, 20):
        live.records.stored[f"req_1.{number}"] = served(f"req_1.{number}")
    live.records.stored["req_1"] = served()
    assert len(live.json("req_1", group=("explain",))["continued_as"]) == 8


def test_the_sentence_does_not_repeat_what_is_not_known(document: dict[str, Any]) -> None:
    assert forecast(document) == "A call of owner to auto would run on house at local, in enforced mode."
    bare = document | {
        "would_run": False,
        "message": "",
        "error_code": None,
        "error": {"status": 402, "code": "x"},
    }
    assert forecast(bare).endswith("would be refused: ok")
