"""``palyra models test-connection|discover``: what they show, what they remember, and their exit codes."""

import json
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from fakes.models_cli import SECRET, ModelsShell, models_shell, without_daemon
from harness.stub import Stub
from palyra.api.schemas.models import ConnectionsTested
from palyra.cli.models_cache import CheckCache, digest
from palyra.config.settings import ProviderSettings
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.daemon.models import Check
from palyra.registry.models import Kind
from palyra.upstream.probe import Probe, ProbeState

DAY_NS = 86_400 * 1_000_000_000


def connection(provider: str, **fields: Any) -> dict[str, Any]:
    return {
        "provider": provider,
        "enabled": True,
        "state": "ok",
        "well": True,
        "message": "it lists 2 models",
        "status": 200,
        "connect_ms": 1.5,
        "first_byte_ms": 20.25,
        "total_ms": 21.0,
        "models": ["gpt-4o", "gpt-new"],
        "cached": False,
        "checked_at": "2026-11-23T12:00:00Z",
        "age_s": 0,
    } | fields


UNREACHABLE = connection(
    "local",
    state="unreachable",
    well=False,
    message="no connection to 127.0.0.1:1: refused",
    connect_ms=None,
    first_byte_ms=None,
    models=[],
    cached=True,
    age_s=12,
)
TESTED: dict[str, Any] = {"ok": False, "live": True, "providers": [connection("openai"), UNREACHABLE]}
GENERATED: dict[str, Any] = {
    "items": [
        {
            "provider": "openai",
            "ok": True,
            "model": "gpt-4o",
            "request_id": "req_1",
            "message": "it answered 200",
            "first_byte_ms": 100,
            "total_ms": 120,
            "cost_nano_usd": 66_000,
            "cost_usd": "0.000066",
        },
        {"provider": "local", "ok": False, "message": "it has no chat model to ask"},
    ]
}
LISTING = {
    "live": True,
    "items": [
        {"id": "gpt-4o", "provider": "openai", "upstream_name": "gpt-4o", "origin": "config"},
        {"id": "gpt-new", "provider": "openai", "upstream_name": "gpt-new", "origin": "discovered"},
    ],
}
TESTS_SHOWN = """\
Asked by the daemon at http://127.0.0.1:8484.
provider  state        connect ms  first byte ms  total ms  models  age               message
openai    ok                  1.5           20.2      21.0       2  new               it lists 2 models
local     unreachable           -              -      21.0       0  cached, 12 s old  \
no connection to 127.0.0.1:1: refused
"""
CALLS_SHOWN = """
provider  call    model   first byte ms  total ms          cost  request  message
openai    ok      gpt-4o          100.0     120.0  0.000066 USD  req_1    it answered 200
local     failed  -                   -         -             -  -        it has no chat model to ask
"""
FOUND_SHOWN = """\
Asked by the daemon at http://127.0.0.1:8484.
openai: 2 models, 1 not in the configuration
local: unreachable, no connection to 127.0.0.1:1: refused
provider  model    configured
openai    gpt-4o   yes
openai    gpt-new  no, new
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OKEY", SECRET)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cache_file(folder: Path) -> Path:
    return folder / "CACHE" / "palyra" / "checks.json"


@pytest.fixture
def live() -> ModelsShell:
    return models_shell({"test": deepcopy(TESTED), "list": LISTING, "generated": GENERATED})


def provider(name: str, url: str, **fields: str | bool) -> str:
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return (
        f'[[providers]]\nid = "{name}"\nkind = "openai_compatible"\nbase_url = "{url}"\n'
        f'credential = "env:OKEY"\n{more}'
    )


@pytest.fixture
def config(stub: Stub) -> str:
    """One provider that answers, with one configured model."""
    return provider("stub", f"{stub.url}/v1") + '[[models]]\nid = "stub-model"\nprovider = "stub"\n'


@pytest.fixture
def offline(folder: Path, config: str) -> ModelsShell:
    shell = without_daemon(folder, config)
    shell.owner_key = ""
    return shell


class TestWithADaemon:
    def test_the_tests_are_a_table_and_one_that_fails_is_exit_4(self, live: ModelsShell) -> None:
        assert live.text("test-connection", code=4) == TESTS_SHOWN
        live.desk.documents["test"]["ok"] = True
        live.text("test-connection", code=0)

    def test_options_are_passed_on(self, live: ModelsShell) -> None:
        words = ["--provider", "local", "--timeout-ms", "250", "--refresh"]
        ConnectionsTested.model_validate(live.json("test-connection", *words, code=4))
        assert live.desk.asked == [
            {"provider": "local", "timeout_s": 0.25, "refresh": True, "discover": False}
        ]

    def test_calls_that_are_made_are_a_table_too(self, live: ModelsShell) -> None:
        assert live.text("test-connection", "--generate", code=4) == TESTS_SHOWN + CALLS_SHOWN
        assert live.json("test-connection", "--generate", code=4)["generated"] == GENERATED["items"]

    def test_what_is_found_is_compared_with_the_configuration(self, live: ModelsShell) -> None:
        assert live.text("discover", code=4) == FOUND_SHOWN
        document = live.json("discover", "--provider", "openai", code=4)
        ConnectionsTested.model_validate(document)
        assert [each["new"] for each in document["providers"]] == [["gpt-new"], []]
        assert live.desk.asked[-1] == {
            "provider": "openai",
            "timeout_s": 5.0,
            "refresh": True,
            "discover": True,
        }

    @pytest.mark.parametrize("milliseconds", ["99", "60001", "soon"])
    def test_a_timeout_has_bounds(self, live: ModelsShell, milliseconds: str) -> None:
        assert live.run("test-connection", "--timeout-ms", milliseconds).exit_code == 2


class TestWithoutADaemon:
    def test_this_machine_asks_the_providers(self, offline: ModelsShell, stub: Stub) -> None:
        document = offline.json("test-connection")
        ConnectionsTested.model_validate(document)
        (found,) = document["providers"]
        assert set(found) == set(connection("stub"))
        assert (document["ok"], document["live"], found["state"]) == (True, False, "ok")
        assert found["models"] == stub.models
        assert len(stub.calls) == 1

    def test_a_result_is_given_again_until_it_is_too_old(
        self, offline: ModelsShell, stub: Stub, cache_file: Path
    ) -> None:
        offline.json("test-connection")
        (again,) = offline.json("test-connection")["providers"]
        assert (again["cached"], again["models"], len(stub.calls)) == (True, stub.models, 1)
        assert " s old  it lists 3 models" in offline.text("test-connection")
        assert offline.json("test-connection", "--refresh")["providers"][0]["cached"] is False
        assert len(stub.calls) == 2
        stored = json.loads(cache_file.read_text())
        for check in stored["checks"].values():
            check["at"] -= 61 * 1_000_000_000
        cache_file.write_text(json.dumps(stored))
        assert offline.json("test-connection")["providers"][0]["cached"] is False

    def test_another_credential_or_address_is_another_test(
        self, offline: ModelsShell, stub: Stub, config: str, folder: Path
    ) -> None:
        offline.json("test-connection")
        offline.json("test-connection", OKEY="sk-another")
        assert len(stub.calls) == 2
        (folder / "palyra.toml").write_text(config.replace("/v1", "/v2"))
        offline.run("test-connection")
        assert len(stub.calls) == 3

    def test_status_and_list_know_what_was_tested(self, offline: ModelsShell) -> None:
        offline.json("test-connection")
        (shown,) = offline.json("status")["providers"]
        assert (shown["check"]["state"], shown["models"]) == ("ok", 3)
        listed = {each["id"]: each["origin"] for each in offline.json("list")["items"]}
        assert listed == {"stub-model": "config", "stub-embed": "discovered", "stub-claude": "discovered"}

    def test_the_cache_is_private_and_holds_no_credential(
        self, offline: ModelsShell, cache_file: Path
    ) -> None:
        offline.json("test-connection")
        assert SECRET not in cache_file.read_text()
        assert "OKEY" not in cache_file.read_text()
        assert [each.name for each in cache_file.parent.iterdir()] == ["checks.json"]
        if os.name == "posix":
            assert cache_file.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        "content",
        ["", "{", "[]", '{"version": 9, "checks": {}}', '{"version": 1, "checks": {"a": 1}}', "\xff"],
    )
    def test_a_broken_cache_is_ignored(self, offline: ModelsShell, cache_file: Path, content: str) -> None:
        cache_file.parent.mkdir(parents=True)
        cache_file.write_bytes(content.encode("latin-1"))
        assert offline.json("test-connection")["providers"][0]["cached"] is False
        assert offline.json("test-connection")["providers"][0]["cached"] is True

    def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
        self, offline: ModelsShell, cache_file: Path
    ) -> None:
        cache_file.mkdir(parents=True)
        assert offline.json("test-connection")["ok"] is True

    def test_one_of_several_that_is_down_is_exit_4(
        self, offline: ModelsShell, config: str, folder: Path
    ) -> None:
        down = provider("down", "http://127.0.0.1:1/v1")
        (folder / "palyra.toml").write_text(config + down)
        document = offline.json("test-connection", code=4)
        assert [each["well"] for each in document["providers"]] == [True, False]
        offline.json("test-connection", "--provider", "stub")
        offline.json("discover", code=4)
        (folder / "palyra.toml").write_text(config + down + "enabled = false\n")
        document = offline.json("test-connection")
        assert [each["state"] for each in document["providers"]] == ["ok", "disabled"]

    def test_a_missing_credential_is_told_and_not_remembered(
        self, offline: ModelsShell, cache_file: Path
    ) -> None:
        shown = offline.text("test-connection", code=4, OKEY="")
        assert "missing_credential" in shown
        assert "env:OKEY is not set" in shown
        assert not cache_file.exists()

    @pytest.mark.parametrize("verb", ["test-connection", "discover"])
    def test_an_unknown_provider_is_exit_8(self, offline: ModelsShell, verb: str) -> None:
        result = offline.run(verb, "--provider", "stab")
        assert (result.exit_code, "configured: stub" in result.stderr) == (8, True)

    def test_a_call_is_only_made_where_it_is_counted(self, offline: ModelsShell, stub: Stub) -> None:
        result = offline.run("test-connection", "--generate")
        assert (result.exit_code, stub.calls) == (7, [])
        assert "palyra serve" in result.stderr

    def test_discover_shows_what_is_new(self, offline: ModelsShell, stub: Stub) -> None:
        shown = offline.text("discover").splitlines()
        assert shown[1] == "stub: 3 models, 2 not in the configuration"
        assert [line.split(maxsplit=2) for line in shown[3:]] == [
            ["stub", "stub-model", "yes"],
            ["stub", "stub-embed", "no, new"],
            ["stub", "stub-claude", "no, new"],
        ]
        document = offline.json("discover")
        assert document["providers"][0]["new"] == ["stub-embed", "stub-claude"]
        assert len(stub.calls) == 2, "what is listed is asked for anew every time"


class TestCache:
    def settings(self, **fields: Any) -> ProviderSettings:
        base: dict[str, Any] = {
            "id": "a",
            "kind": Kind.OPENAI,
            "base_url": "https://a",
            "credential": Secret("x"),
        }
        return ProviderSettings(**base | fields)

    def test_each_part_of_a_provider_counts(self) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"id": "b"},
            {"kind": Kind.ANTHROPIC},
            {"base_url": "https://b"},
            {"credential": Secret("y")},
            {"credential": None},
            {"credential_ref": "env:A"},
            {"ca_file": Path("ca.pem")},
        ]
        assert len({digest(self.settings(**change)) for change in changes}) == len(changes)
        assert digest(self.settings(display_name="A")) == digest(self.settings())

    @pytest.mark.parametrize(
        ("age", "kept"), [(0, True), (6 * DAY_NS, True), (8 * DAY_NS, False), (-DAY_NS, False)]
    )
    def test_what_is_old_or_from_the_future_is_forgotten(self, tmp_path: Path, age: int, kept: bool) -> None:
        cache, one = CheckCache(tmp_path / "new" / "checks.json"), self.settings()
        check = Check(Probe(ProbeState.OK, "fine"), Instant(time.time_ns() - age))
        cache.save({"a": check}, [one])
        assert cache.load([one]) == ({"a": check} if kept else {})

    def test_others_stay_when_one_is_saved(self, tmp_path: Path) -> None:
        cache, now = CheckCache(tmp_path / "checks.json"), Instant(time.time_ns())
        for name in ("a", "b"):
            cache.save({name: Check(Probe(ProbeState.OK, name), now)}, [self.settings(id=name)])
        both = [self.settings(id=name) for name in ("a", "b")]
        assert [check.probe.message for check in cache.load(both).values()] == ["a", "b"]
