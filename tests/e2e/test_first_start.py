"""What a new user does: no config at all, a config by ``palyra init``, and the commands around a call."""

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import openai
import pytest

from conftest import DaemonFactory
from harness.daemon import DaemonProcess, budget, config, unaware
from harness.stub import Stub


def palyra(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command as a user types it, with a home of its own."""
    kept = {key: value for key, value in unaware().items() if not key.startswith("XDG_")}
    return subprocess.run(
        [sys.executable, "-m", "palyra", *arguments],
        cwd=cwd,
        env=kept | {"HOME": str(cwd)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def against(daemon: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command against a running daemon, as its owner."""
    return palyra(*arguments, cwd=daemon.directory, PALYRA_URL=daemon.url, PALYRA_KEY=daemon.owner_key)


def ask(daemon: DaemonProcess, key: str, model: str, max_tokens: int = 20) -> str:
    """One call through the official SDK, by base URL and key only; returns its request id."""
    client = openai.OpenAI(base_url=f"{daemon.url}/v1", api_key=key)
    answer = client.chat.completions.with_raw_response.create(
        model=model, max_tokens=max_tokens, messages=[{"role": "user", "content": "hello"}]
    )
    return answer.headers["x-palyra-request-id"]


def test_without_a_config_and_without_keys_serve_says_what_to_do(tmp_path: Path) -> None:
    ended = palyra("serve", cwd=tmp_path)
    assert ended.returncode == 2
    assert "palyra init" in ended.stderr
    assert "OPENAI_API_KEY" in ended.stderr


def test_a_provider_key_in_the_environment_is_enough(
    daemon_factory: DaemonFactory, stub: Stub, tmp_path: Path
) -> None:
    stub.models = ["gpt-4o-mini"]
    daemon = daemon_factory(
        None,
        OPENAI_API_KEY="sk-provider",
        OPENAI_BASE_URL=f"{stub.url}/v1",
        HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
    )
    request_id = ask(daemon, daemon.owner_key, "gpt-4o-mini")
    decision = daemon.api.settled(request_id)
    (evaluation,) = cast("list[dict[str, object]]", decision["evaluations"])
    assert evaluation["scope"] == "principal:*"
    assert evaluation["hard_limit_usd"] == "10.00"
    assert dict(stub.generations[0].headers)["authorization"] == "Bearer sk-provider"


def test_init_writes_a_config_that_serves(daemon_factory: DaemonFactory, tmp_path: Path) -> None:
    directory = tmp_path / "project"
    directory.mkdir()
    assert palyra("init", cwd=directory).returncode == 0
    assert palyra("init", cwd=directory).returncode == 7, "it must not overwrite"
    keys = {"OPENAI_API_KEY": "sk-one", "ANTHROPIC_API_KEY": "sk-two"}
    daemon = daemon_factory(None, "project", HOME=str(directory), **keys)
    listed = against(daemon, "budgets", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [each["id"] for each in json.loads(listed.stdout)["items"]] == ["each-principal-daily"]


def test_the_commands_follow_a_key_from_its_making_to_its_bill(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url))
    made = against(daemon, "keys", "create", "--principal", "alice", "--agent", "nightly")
    key = made.stdout.strip()
    assert key.startswith("sk-palyra-")
    limit = against(
        daemon, "budgets", "set", "--id", "small", "--scope", "principal:alice", "--metric", "requests",
        "--interval", "day", "--hard", "1", "--json",
    )  # fmt: skip
    assert limit.returncode == 0, limit.stderr
    request_id = ask(daemon, key, "stub-model")
    daemon.api.settled(request_id)
    with pytest.raises(openai.APIStatusError) as refused:
        ask(daemon, key, "stub-model")
    refused_id = refused.value.response.headers["x-palyra-request-id"]

    page = against(daemon, "explain", refused_id)
    assert page.returncode == 0
    assert "was refused" in page.stdout
    assert "small" in page.stdout
    summary = json.loads(against(daemon, "usage", "summary", "--by", "principal,model", "--json").stdout)
    assert summary["totals"]["requests"] == 1
    assert summary["totals"]["denied"] == 1
    assert summary["groups"][0]["group"]["model"] == "stub-model"
    status = json.loads(against(daemon, "budgets", "status", "small", "--json").stdout)
    assert status["accounts"][0]["posted"] == 1
    (own,) = [each for each in json.loads(against(daemon, "keys", "list", "--json").stdout)["items"]
              if each["principal"] == "alice"]  # fmt: skip
    assert against(daemon, "keys", "revoke", own["id"]).returncode == 0
    with pytest.raises(openai.AuthenticationError):
        ask(daemon, key, "stub-model")


def test_exit_codes_tell_scripts_what_went_wrong(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("fixed", "1.00")]))
    assert against(daemon, "explain", "req_nothing").returncode == 8
    assert against(daemon, "budgets", "delete", "fixed").returncode == 7, "a file's budget is read-only"
    assert against(daemon, "budgets", "set", "--id", "x", "--scope", "globe").returncode == 2
    wrong = palyra("budgets", "list", cwd=daemon.directory, PALYRA_URL=daemon.url, PALYRA_KEY="sk-palyra-no")
    assert wrong.returncode == 3
    gone = palyra("budgets", "list", cwd=daemon.directory, PALYRA_URL="http://127.0.0.1:9", PALYRA_KEY="x")
    assert gone.returncode == 4


@pytest.mark.sqlite
def test_the_journal_of_a_stopped_daemon_verifies(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", "1.00")]))
    daemon.api.settled(ask(daemon, daemon.owner_key, "stub-model"))
    locked = palyra("audit", "verify", "--database", str(daemon.database), cwd=daemon.directory)
    assert locked.returncode == 7, "the daemon owns the file"
    assert daemon.terminate() == 0
    held = palyra("audit", "verify", "--database", str(daemon.database), "--json", cwd=daemon.directory)
    assert held.returncode == 0, held.stderr
    found = json.loads(held.stdout)
    assert found["accounts"] == 1
    assert found["records"] >= 3
    assert len(found["head"]) == 64


def test_doctor_sees_budgets_of_the_running_daemon_that_nothing_can_match(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("file", "1.00")]))
    made = json.loads(against(daemon, "keys", "create", "--principal", "carol", "--json").stdout)
    limit = ("--metric", "cost_usd", "--interval", "day", "--hard", "1.00")
    assert (
        against(daemon, "budgets", "set", "--id", "hers", "--scope", "principal:carol", *limit).returncode
        == 0
    )

    def finding(check: str) -> dict[str, object]:
        told = against(daemon, "doctor", "--config", str(daemon.config_path), "--json")
        found: list[dict[str, object]] = json.loads(told.stdout)["findings"]
        return next(each for each in found if each["check"] == check)

    assert finding("budget hers")["status"] == "ok"
    assert against(daemon, "keys", "revoke", made["id"]).returncode == 0
    assert finding("budget hers")["status"] == "warn", "no key is left that it could bind"
