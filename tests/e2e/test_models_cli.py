"""``palyra models`` as a process of its own, with a real daemon and a provider, and without."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.command import RUN_S, finish
from harness.daemon import STUB_CREDENTIAL, DaemonProcess, budget, config, model, unaware
from harness.script import Answer, Call, failing
from harness.stub import Stub
from harness.talk import request_id
from harness.tenant import SharedDaemons, Tenant
from palyra.api.schemas.decisions import CallExplained
from palyra.api.schemas.models import ModelList, ModelStatus

DOWN = "http://127.0.0.1:1"


@dataclass
class Terminal:
    """Runs ``palyra``; what every command wrote is kept, to look for credentials in it."""

    folder: Path
    environment: dict[str, str]
    written: list[str]

    def run(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        told = unaware() | self.environment | environment
        ran = piped(words, self.folder, told, stdin) if stdin else finish(words, self.folder, told)
        self.written += [ran.stdout, ran.stderr]
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    def json(self, *words: str, code: int = 0, **more: Any) -> Any:
        ran = self.run(*words, "--json", **more)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return json.loads(ran.stdout)


def piped(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str
) -> subprocess.CompletedProcess[str]:
    """A command line behind a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "palyra", *words],
        cwd=folder,
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def settings(url: str) -> dict[str, object]:
    stub = {"base_url": f"{url}/v1", "credential": "env:STUB_CREDENTIAL"}
    return config(
        url,
        providers=[
            {"id": "stub", "kind": "openai_compatible", **stub},
            {"id": "down", "kind": "openai_compatible", **stub, "base_url": f"{DOWN}/v1"},
            {"id": "off", "kind": "anthropic", **stub, "enabled": False},
        ],
        models=[
            model("stub-model", fallbacks=["backup"]),
            model("backup", price={"input": "3.00", "output": "6.00"}),
            model("stub-claude", "off"),
        ],
        budgets=[budget("tiny", "0.000001", scope="principal:poor")],
        governance={"default_model": "stub-model"},
        routing={"retries": 0},
    )


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(settings(module_stub.url))


@pytest.fixture
def terminal(daemon: DaemonProcess, tmp_path: Path) -> Iterator[Terminal]:
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "DATA", "CACHE")}
    environment = folders | {
        "STUB_CREDENTIAL": STUB_CREDENTIAL,
        "PALYRA_URL": daemon.url,
        "PALYRA_KEY": daemon.owner_key,
    }
    made = Terminal(tmp_path, environment, [])
    yield made
    shown = "".join(made.written)
    assert STUB_CREDENTIAL not in shown
    assert daemon.owner_key not in shown
    cached = "".join(path.read_text() for path in tmp_path.rglob("checks.json"))
    assert STUB_CREDENTIAL not in cached


@pytest.fixture
def offline(terminal: Terminal, daemon: DaemonProcess) -> Terminal:
    """The same configuration, and no daemon that is known of."""
    for name in ("PALYRA_URL", "PALYRA_KEY"):
        del terminal.environment[name]
    (terminal.folder / "palyra.toml").write_text(daemon.config_path.read_text())
    terminal.environment["PALYRA_URL"] = ""
    return terminal


def test_status_is_live(terminal: Terminal) -> None:
    document = terminal.json("models", "status")
    ModelStatus.model_validate(document)
    assert document["live"] is True
    assert [each["id"] for each in document["providers"]] == ["stub", "down", "off"]
    assert document["providers"][0]["health"]["breaker"] == "closed"
    shown = terminal.run("models", "status").stdout
    assert "env:STUB_CREDENTIAL set" in shown
    assert "default model   stub-model" in shown


def test_list_has_what_the_provider_lists(terminal: Terminal) -> None:
    document = terminal.json("models", "list", "--all")
    ModelList.model_validate(document)
    origins = {each["id"]: each["origin"] for each in document["items"]}
    assert origins["stub-model"] == "config"
    assert origins["stub-embed"] == "discovered"
    disabled = [each["id"] for each in document["items"] if not each["enabled"]]
    assert disabled == ["off/stub-claude"]
    assert "stub-model" in terminal.run("models", "list").stdout


def test_explain_says_what_a_call_gets(terminal: Terminal, shared_stub: Stub) -> None:
    document = terminal.json("models", "explain", "hello", "--model", "auto", "--principal", "alice")
    CallExplained.model_validate(document)
    assert (document["live"], document["model"], document["would_run"]) == (True, "stub-model", True)
    assert [each["model"] for each in document["routing"]["candidates"]] == ["stub-model", "backup"]
    refused = terminal.run("models", "explain", "hello", "--principal", "poor")
    assert refused.returncode == 6
    assert "would be refused" in refused.stdout.splitlines()[0]
    assert terminal.run("models", "explain", "hello", "--model", "stub-mdel").returncode == 8
    piped = terminal.run("models", "explain", stdin="hello from a pipe")
    assert (piped.returncode, "would run on stub-model at stub" in piped.stdout) == (0, True)
    assert shared_stub.generations == []


def test_a_caller_asks_only_as_itself(terminal: Terminal, daemon: DaemonProcess) -> None:
    key = daemon.create_key("carol")
    document = terminal.json("models", "explain", "hello", "--principal", "alice", PALYRA_KEY=key)
    assert document["principal"] == "carol"
    assert terminal.run("models", "status", PALYRA_KEY=key).returncode == 3
    assert terminal.run("models", "status", PALYRA_KEY="").returncode == 3


def test_a_provider_that_is_down_is_exit_4(terminal: Terminal) -> None:
    document = terminal.json("models", "test-connection", code=4)
    states = {each["provider"]: each["state"] for each in document["providers"]}
    assert states == {"stub": "ok", "down": "unreachable", "off": "disabled"}
    assert terminal.run("models", "test-connection", "--provider", "stub", "--refresh").returncode == 0
    assert terminal.run("models", "test-connection", "--provider", "nobody").returncode == 8
    found = terminal.json("models", "discover", "--provider", "stub")
    assert found["providers"][0]["new"] == ["stub-embed", "stub-claude"]
    assert terminal.run("models", "discover").returncode == 4


def test_a_call_that_is_made_for_the_test_is_counted(terminal: Terminal, shared_stub: Stub) -> None:
    words = ["models", "test-connection", "--provider", "stub", "--generate"]
    (made,) = terminal.json(*words)["generated"]
    assert (made["ok"], made["model"]) == (True, "stub-model")
    assert len(shared_stub.generations) == 1
    shown = terminal.run("explain", made["request_id"])
    assert "it cost" in shown.stdout.splitlines()[0]


def test_a_call_that_was_taken_up_elsewhere_is_explained(
    terminal: Terminal, daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]
) -> None:
    def script(call: Call) -> Answer:
        return failing(503)(call) if b'"stub-model"' in call.body else Answer()

    shared_stub.script = script
    tenant = tenant_of(daemon)
    reply = tenant.ask({"model": "stub-model", "messages": [{"role": "user", "content": "hi"}]})
    assert reply.status == 200
    name = request_id(reply)
    tenant.api.settled(name)
    document = terminal.json("explain", name)
    assert [each["request_id"] for each in document["continued_as"]] == [f"{name}.2"]
    assert document["continued_as"][0]["model"] == "backup"
    shown = terminal.run("explain", name).stdout
    assert "It was taken up by backup at stub" in shown.splitlines()[0]
    assert "Attempts" in shown


class TestWithoutADaemon:
    def test_the_file_answers(self, offline: Terminal) -> None:
        for words in (["status"], ["list"], ["explain", "hello", "--model", "auto"]):
            assert offline.json("models", *words, "--offline")["live"] is False
        assert offline.run("models", "explain", "hi", "--principal", "poor", "--offline").returncode == 6

    def test_this_machine_tests_and_remembers(self, offline: Terminal, shared_stub: Stub) -> None:
        words = ["models", "test-connection", "--offline"]
        assert offline.json(*words, code=4)["ok"] is False
        again = offline.json(*words, code=4)
        assert [each["cached"] for each in again["providers"]] == [True, True, False]
        assert len(shared_stub.calls) == 1
        assert offline.run("models", "discover", "--offline", "--provider", "stub").returncode == 0
        assert offline.run(*words, "--generate").returncode == 7

    def test_the_default_model_is_set(self, offline: Terminal) -> None:
        done = offline.json("models", "set", "backup", "--offline")
        assert (done["before"], done["after"]) == ("stub-model", "backup")
        explained = offline.json("models", "explain", "hello", "--model", "auto", "--offline")
        assert explained["requested_model"] == "auto"
        assert explained["routing"]["default_model"] == "backup"

    def test_a_named_daemon_that_is_not_there_is_exit_4(self, offline: Terminal) -> None:
        ran = offline.run("models", "status", "--url", DOWN)
        assert (ran.returncode, "palyra serve" in ran.stderr) == (4, True)
