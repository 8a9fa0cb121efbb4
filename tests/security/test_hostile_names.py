"""Names and texts that people and programs send come back as data: no page, no markup, no log line.

200 hostile texts as principals, agents, sessions, tags, models, budget names and reasons, through the API,
the command line, an export and the log.
"""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from harness.command import run, run_json
from harness.daemon import Api, DaemonProcess, budget, config, model
from harness.hostile import HOSTILE
from harness.script import failing
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons

ACTING = (
    "\x1b[2J\x1b[31mred",
    "\x1b]0;owned\x07",
    "\x1b]8;;https://e.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "one\r\n2026-01-01T00:00:00Z policy.deleted",
    "over\x08\x08\x08write",
    "\u202edrowssap",
    "a\u2028b",
    "\x00",
    "\x7f",
)
CELLS_OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon on which each hostile text was used for everything that has a name."""

    daemon: DaemonProcess
    calls: dict[str, str]

    @property
    def api(self) -> Api:
        return self.daemon.api


def created(client: httpx2.Client, daemon: DaemonProcess, kind: str, body: object) -> dict[str, Any]:
    owner = {"authorization": f"Bearer {daemon.owner_key}"}
    answer = client.post(f"{daemon.url}/api/v1/{kind}", json=body, headers=owner)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def scene(module_daemons: SharedDaemons, module_stub: Stub) -> Scene:
    models = [model("stub-model"), model(HOSTILE[0]), model(HOSTILE[14])]
    daemon = module_daemons(config(module_stub.url, models=models, budgets=[budget("wide", 50)]))
    calls: dict[str, str] = {}
    with httpx2.Client(timeout=30.0) as client:
        for number, text in enumerate(HOSTILE):
            grant = {"principal": text, "agent": text, "tags": {"team": text.replace("=", "-")}}
            key = created(client, daemon, "keys", grant)["key"]
            created(
                client, daemon, "budgets", budget(f"b{number}", "9.00", scope=f"principal:{text}", name=text)
            )
            answer = client.post(
                f"{daemon.url}/v1/chat/completions",
                json=chat(model=HOSTILE[14] if number % 2 else "stub-model"),
                headers={"authorization": f"Bearer {key}", "x-palyra-session": text},
            )
            assert answer.status_code == 200, answer.text
            calls[text] = answer.headers["x-palyra-request-id"]
            if number < 20:
                wish = {"amount_usd": "1.00", "reason": text}
                asked = Api(daemon.url, key).request("POST", f"/budgets/b{number}/override-request", wish)
                assert asked.status_code == 201, asked.text
    daemon.api.settled(calls[HOSTILE[-1]])
    return Scene(daemon, calls)


def everything(api: Api, path: str) -> list[dict[str, Any]]:
    """All items of a list; each page is JSON that no browser takes for anything else."""
    items: list[dict[str, Any]] = []
    params: dict[str, str] = {"limit": "200"} if path != "/keys" else {}
    while True:
        answer = api.request("GET", path, **params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items
        params["cursor"] = cursor


def acts(text: str) -> list[str]:
    """Characters that would act on a terminal."""
    return [each for each in text if each != "\n" and not each.isprintable()]


def test_there_are_200_different_texts() -> None:
    assert len(set(HOSTILE)) == 200


def test_the_api_gives_every_text_back_as_it_was(scene: Scene) -> None:
    decisions = {each["request_id"]: each for each in everything(scene.api, "/decisions")}
    for text, call in scene.calls.items():
        found = decisions[call]
        assert (found["principal"], found["agent"], found["session"]) == (text, text, text)
    keys = {each["principal"]: each for each in everything(scene.api, "/keys")}
    assert all(keys[text]["tags"] == {"team": text.replace("=", "-")} for text in HOSTILE)
    assert {each["reason"] for each in everything(scene.api, "/approvals")} == set(HOSTILE[:20])
    assert {each["principal"] for each in everything(scene.api, "/usage/principals")} == set(HOSTILE)
    assert HOSTILE[14] in {each["model"] for each in everything(scene.api, "/usage/models")}


def test_an_export_holds_no_formula(scene: Scene) -> None:
    answer = scene.api.request("GET", "/usage/export", dataset="principals", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment;")
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert len(rows) == 201
    assert not [cell for row in rows for cell in row if cell.startswith(CELLS_OF_FORMULAS)]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("approvals", "list"), HOSTILE[:20]),
        (("keys", "list"), HOSTILE),
        (("budgets", "list"), ()),
        (("models", "list"), (HOSTILE[0], HOSTILE[14])),
        (("usage", "principals", "--limit", "200"), (HOSTILE[3], HOSTILE[16])),
    ],
)
def test_the_command_line_shows_texts_as_they_are(
    words: tuple[str, ...], shown: tuple[str, ...], scene: Scene
) -> None:
    out, err = run(scene.daemon, scene.daemon.owner_key, *words)
    assert acts(out + err) == []
    folded = "".join(out.split())
    assert [text for text in shown if "".join(text.split()) not in folded] == []


def test_a_call_is_explained_in_the_words_that_were_sent(scene: Scene) -> None:
    for text in (HOSTILE[14], HOSTILE[15], HOSTILE[16]):
        out, _ = run(scene.daemon, scene.daemon.owner_key, "explain", scene.calls[text])
        assert out.startswith(f"The call of {text} ({text})")


@pytest.mark.parametrize("text", ACTING)
def test_a_name_that_acts_on_a_terminal_is_refused_and_told_in_escapes(text: str, scene: Scene) -> None:
    wish = {"amount_usd": "1.00", "reason": text}
    for path, body in (
        ("/keys", {"principal": text}),
        ("/keys", {"principal": "x", "tags": {"team": text}}),
        ("/budgets", budget("acting", "1.00", name=text)),
        ("/budgets", {**budget("acting", "1.00"), text: 1}),
        ("/budgets/wide/override-request", wish),
    ):
        answer = scene.api.request("POST", path, body)
        assert answer.status_code == 422, (path, answer.text)
        assert acts(answer.json()["detail"]) == []
    _, err = run(
        scene.daemon,
        scene.daemon.owner_key,
        "keys",
        "create",
        "--principal",
        text.replace("\0", "\x01"),
        code=2,
    )
    assert acts(err) == []


def test_what_a_provider_says_acts_on_no_terminal(scene: Scene, shared_stub: Stub) -> None:
    said = {"error": {"message": "".join(ACTING), "type": "server_error", "code": ACTING[0]}}
    shared_stub.script = failing(500, body=json.dumps(said).encode())
    call = request_id(ask(scene.daemon, scene.daemon.create_key("carol"), chat()))
    scene.api.settled(call)
    for words in (("explain", call), ("explain", call, "--json"), ("models", "status")):
        out, err = run(scene.daemon, scene.daemon.owner_key, *words)
        assert acts(out + err) == [], words
    assert run_json(scene.daemon, scene.daemon.owner_key, "explain", call)["request_id"] == call


def test_the_log_is_one_document_a_line(scene: Scene) -> None:
    """Last: by now all texts were used, and some of them were refused."""
    for line in scene.daemon.log.splitlines():
        assert "event" in json.loads(line), line
        assert acts(line) == []
