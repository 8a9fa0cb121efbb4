"""``palyra models status|list``: what they show, and whether a daemon or the file is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.models_cli import SECRET, ModelsShell, models_shell, without_daemon
from palyra.api.schemas.models import ModelList, ModelStatus

CONFIG = f"""
[governance]
default_model = "house"

[[providers]]
id = "openai"
kind = "openai"
credential = "env:OKEY"

[[providers]]
id = "local"
kind = "openai_compatible"
base_url = "http://127.0.0.1:1/v1"

[[providers]]
id = "old"
kind = "anthropic"
credential = "env:UNSET"
enabled = false

[[models]]
id = "house"
provider = "local"
context_window = 32_768
output_limit = 4_096
capabilities = ["tools", "json"]
cost_tier = "low"
price = {{ input = "0.15", output = "0.60" }}

[[models]]
id = "bare"
provider = "local"
fallbacks = ["nobody"]

[[models]]
id = "gone"
provider = "old"
# {SECRET}
"""

HEALTH = {
    "breaker": "open",
    "retry_at": "2026-11-23T12:00:30Z",
    "attempts": 9,
    "faults": 5,
    "first_byte_ms": 212,
    "last_ok_at": None,
    "last_fault": {"at": "2026-11-23T11:59:58Z", "reason": "timeout", "message": "no first byte"},
    "cooldowns": [{"model": None, "until": "2026-11-23T12:01:00Z", "reason": "rate_limited"}],
}
CHECK = {
    "provider": "openai",
    "enabled": True,
    "state": "ok",
    "well": True,
    "message": "it lists 3 models",
    "status": 200,
    "connect_ms": 1.5,
    "first_byte_ms": 9.0,
    "total_ms": 12.0,
    "models": ["gpt-4o"],
    "cached": False,
    "checked_at": "2026-11-23T11:59:48Z",
    "age_s": 12,
}


def provider(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "display_name": name,
        "kind": "openai",
        "enabled": True,
        "base_url": "https://api.openai.com/v1",
        "endpoints": ["chat_completions"],
        "discovered_at": None,
        "discovery_age_s": None,
        "load": [],
        "credential": {"reference": f"env:{name.upper()}", "present": True, "needed": True},
        "models": 3,
        "priced": 2,
        "health": None,
        "check": None,
    } | fields


STATUS: dict[str, Any] = {
    "live": True,
    "source": "team.toml",
    "default_model": "gpt-4o-mini",
    "mode": "enforced",
    "routing": {
        "smart": "always",
        "candidates": "all",
        "failover": True,
        "sticky_s": 3600,
        "retries": 2,
        "breaker_failures": 5,
        "breaker_open_s": 30.0,
    },
    "providers": [
        provider("openai", health=HEALTH, check=CHECK),
        provider("two", credential={"reference": None, "present": False, "needed": True}),
        provider("off", enabled=False, credential={"reference": "env:X", "present": False, "needed": True}),
    ],
    "models": 9,
    "priced": 6,
    "prices": {"version": "b1", "own": 1},
    "problems": [{"severity": "error", "field": "providers.x.credential", "message": "env:X is not set"}],
}
SHOWN = """\
Live from http://127.0.0.1:8484.
configuration   team.toml
default model   gpt-4o-mini
mode            enforced
routing         for every call, among all models, a session keeps its model 3600 s
failover        on
retries         2
breaker         opens after 5 failures, for 30 s
models          9, 6 with a price (own price entries: 1)

id      kind    enabled  credential      models  priced  b\
reaker                                     first byte ms  last fault                       last check
openai  openai  yes      env:OPENAI set       3       2  o\
pen until 2026-11-23T12:00:30Z, 1 cooling            212  timeout at 2026-11-23T11:59:58Z  ok, 12 s ago
two     openai  yes      missing              3       2  -\
                                                       -  -                                -
off     openai  no       env:X missing        3       2  -\
                                                       -  -                                -
error: providers.x.credential: env:X is not set
"""


def price(into: str | None, out: str | None) -> dict[str, str | None]:
    names = ("input_usd_per_million", "output_usd_per_million", "cache_read_usd_per_million", "source")
    return dict(zip(names, (into, out, None, None if into is None else "config"), strict=True))


def model(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "provider": "openai",
        "upstream_name": name,
        "role": "chat",
        "cost_tier": "standard",
        "latency_tier": "low",
        "context_window": 128_000,
        "output_limit": 16_384,
        "capabilities": ["json", "tools", "vision"],
        "origin": "config",
        "enabled": True,
        "aliases": [],
        "fallbacks": [],
        "price": price("2.5", "10"),
        "health": "ok",
        "breaker": "closed",
        "cooldown": None,
        "sources": {"role": "config", "price": "genai-prices 1", "context_window": "price_book"},
    } | fields


NO_PRICE = price(None, None)
CHEAP = price("0.15", "0.6")
LISTING: dict[str, Any] = {
    "live": True,
    "items": [
        model("gpt-4o"),
        model("house", provider="local", price=CHEAP, capabilities=["json"], context_window=32_768),
        model("bare", provider="local", price=NO_PRICE, capabilities=None, context_window=None),
        model("embed", role="embeddings", capabilities=[], price=CHEAP),
        model("off", enabled=False, health="open"),
    ],
}
LISTED = """\
Live from http://127.0.0.1:8484.
id      provider  role        capabilities       context  ou\
tput  cost tier  latency tier    in  out  enabled  health
gpt-4o  openai    chat        json,tools,vision  128,000  16\
,384  standard   low            2.5   10  yes      ok
house   local     chat        json                32,768  16\
,384  standard   low           0.15  0.6  yes      ok
bare    local     chat        -                        -  16\
,384  standard   low              -    -  yes      ok
embed   openai    embeddings  none               128,000  16\
,384  standard   low           0.15  0.6  yes      ok
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OKEY", SECRET)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def live() -> ModelsShell:
    return models_shell({"status": STATUS, "list": LISTING})


@pytest.fixture
def offline(folder: Path) -> ModelsShell:
    return without_daemon(folder, CONFIG)


class TestStatus:
    def test_a_daemon_tells_how_providers_do(self, live: ModelsShell) -> None:
        assert live.text("status") == SHOWN

    def test_json_is_the_document_of_the_api(self, live: ModelsShell) -> None:
        document = live.json("status")
        assert document == STATUS
        ModelStatus.model_validate(document)

    def test_a_file_tells_what_it_can(self, offline: ModelsShell, folder: Path) -> None:
        told = offline.text("status").splitlines()
        assert told[:3] == [
            f"From {folder}/palyra.toml; no daemon was asked.",
            f"configuration   {folder}/palyra.toml",
            "default model   house",
        ]
        assert [line.split()[:5] for line in told[11:14]] == [
            ["openai", "openai", "yes", "env:OKEY", "set"],
            ["local", "openai_compatible", "yes", "none", "2"],
            ["old", "anthropic", "no", "env:UNSET", "missing"],
        ]
        assert told[14].startswith("warning: models.bare.fallbacks: no model 'nobody'")

    def test_json_of_a_file_has_the_same_shape(self, offline: ModelsShell) -> None:
        document = offline.json("status")
        ModelStatus.model_validate(document)
        assert document["live"] is False
        assert set(document) == set(STATUS)
        assert set(STATUS["providers"][0]) <= set(document["providers"][0])
        assert set(document["routing"]) == set(STATUS["routing"])

    def test_no_default_model_is_told(self, live: ModelsShell) -> None:
        live.desk.documents["status"] = STATUS | {"default_model": None}
        assert "none: the model name 'auto' is refused" in live.text("status")


class TestWhoIsAsked:
    def test_a_daemon_that_answers_wins_over_the_file(self, live: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        assert live.json("status")["live"] is True

    @pytest.mark.parametrize("words", [["--offline"], ["--config", "palyra.toml"]])
    def test_the_file_if_it_is_wanted(self, live: ModelsShell, folder: Path, words: list[str]) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        assert live.json("status", *words)["live"] is False
        assert live.connector.opened == []

    def test_a_named_file_wins_over_the_environment(self, live: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        document = live.json("status", "--config", "palyra.toml", PALYRA_URL="http://localhost:1")
        assert document["live"] is False
        assert live.json("status", PALYRA_URL="http://localhost:1")["live"] is True

    def test_a_url_wins_over_a_named_file(self, live: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        words = ["--config", "palyra.toml", "--url", "http://localhost:1"]
        assert live.json("status", *words)["live"] is True

    def test_a_file_named_in_the_environment_is_only_where_to_look(
        self, live: ModelsShell, folder: Path
    ) -> None:
        (folder / "team.toml").write_text(CONFIG)
        assert live.json("status", PALYRA_CONFIG="team.toml")["live"] is True

    def test_both_at_once_is_a_mistake(self, live: ModelsShell) -> None:
        result = live.run("status", "--offline", "--url", "http://localhost:1")
        assert (result.exit_code, "leave --url out" in result.stderr) == (2, True)

    def test_without_a_key_the_file_is_shown_with_a_note(self, live: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        result = live.run("status", key="")
        assert result.exit_code == 0
        assert result.stderr == (
            f"note: shown from {folder}/palyra.toml; give a key with --key or PALYRA_KEY for live values\n"
        )
        noted = live.run("status", "--json", key="")
        assert json.loads(noted.stderr)["note"].startswith("shown from")
        assert json.loads(noted.stdout)["live"] is False

    @pytest.mark.parametrize("words", [["--url", "http://localhost:1"], ["--key", "sk-palyra-wrong"]])
    def test_who_insists_on_a_daemon_needs_a_good_key(
        self, live: ModelsShell, folder: Path, words: list[str]
    ) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        result = live.run("status", *words, key="")
        assert (result.exit_code, result.stdout) == (3, "")
        assert "PALYRA_KEY" in result.stderr

    def test_a_wrong_key_of_the_environment_is_an_error(self, live: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text(CONFIG)
        assert live.run("status", key="sk-palyra-wrong").exit_code == 3

    @pytest.mark.parametrize("words", [["--url", "http://localhost:1"], ["--key", "sk-palyra-x"]])
    def test_a_daemon_that_is_insisted_on_and_not_there(self, offline: ModelsShell, words: list[str]) -> None:
        result = offline.run("status", *words)
        assert (result.exit_code, "palyra serve" in result.stderr) == (4, True)

    def test_a_key_in_the_environment_is_for_the_daemon_if_there_is_one(self, offline: ModelsShell) -> None:
        result = offline.run("status")
        assert result.exit_code == 0
        assert result.stderr.startswith("note: no daemon answers at http://127.0.0.1:8484")
        assert offline.run("status", key="").stderr == ""

    def test_neither_a_daemon_nor_a_file(self, offline: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").unlink()
        result = offline.run("status")
        assert result.exit_code == 4
        assert "palyra init" in result.stderr
        assert "palyra serve" in result.stderr
        result = offline.run("status", "--offline")
        assert (result.exit_code, "palyra init" in result.stderr) == (2, True)

    def test_without_a_key_and_without_a_file(self, live: ModelsShell) -> None:
        assert live.run("status", key="").exit_code == 3

    def test_a_broken_file_is_an_error(self, offline: ModelsShell, folder: Path) -> None:
        (folder / "palyra.toml").write_text("[server\n")
        result = offline.run("list", "--json")
        assert (result.exit_code, json.loads(result.stderr)["error"]["code"]) == (2, "invalid_config")


class TestList:
    def test_every_model_that_is_enabled(self, live: ModelsShell) -> None:
        assert live.text("list") == LISTED

    def test_json_has_every_value_with_its_source(self, live: ModelsShell) -> None:
        document = live.json("list", "--all")
        ModelList.model_validate(document)
        assert document == {**LISTING, "unpriced_left_out": 0}

    def test_a_file_lists_its_models(self, offline: ModelsShell) -> None:
        document = offline.json("list", "--all")
        ModelList.model_validate(document)
        assert [each["id"] for each in document["items"]] == ["house", "bare", "gone"]
        assert set(document["items"][0]) == set(LISTING["items"][0])
        assert document["items"][0]["sources"]["price"] == "config"
        assert [each["id"] for each in offline.json("list")["items"]] == ["house", "bare"]
        assert offline.text("list").splitlines()[2].endswith("yes      -")

    @pytest.mark.parametrize(
        ("words", "ids"),
        [
            (["--all"], ["gpt-4o", "house", "bare", "embed", "off"]),
            (["--provider", "local"], ["house", "bare"]),
            (["--provider", "nobody"], []),
            (["--capability", "json"], ["gpt-4o", "house"]),
            (["--capability", "json", "--capability", "tools"], ["gpt-4o"]),
            (["--role", "embeddings"], ["embed"]),
            (["--max-price", "0.6"], ["house", "embed"]),
            (["--sort", "id"], ["bare", "embed", "gpt-4o", "house"]),
            (["--sort", "provider"], ["bare", "house", "embed", "gpt-4o"]),
            (["--sort", "input"], ["embed", "house", "gpt-4o", "bare"]),
            (["--sort", "output"], ["embed", "house", "gpt-4o", "bare"]),
            (["--sort", "context"], ["house", "embed", "gpt-4o", "bare"]),
        ],
    )
    def test_filters_and_orders(self, live: ModelsShell, words: list[str], ids: list[str]) -> None:
        assert [each["id"] for each in live.json("list", *words)["items"]] == ids

    def test_models_without_a_price_are_counted_where_the_price_matters(self, live: ModelsShell) -> None:
        assert live.json("list", "--max-price", "1")["unpriced_left_out"] == 1
        assert "Left out, because they have no price: 1" in live.text("list", "--max-price", "1")

    def test_sources_stand_beside_the_values(self, live: ModelsShell) -> None:
        row = live.text("list", "--sources").splitlines()[2]
        for part in ("chat (config)", "128,000 (price_book)", "2.5 (genai-prices 1)", "standard"):
            assert part in row

    def test_nothing_found_says_how_to_see_more(self, live: ModelsShell) -> None:
        assert "palyra models list --all" in live.text("list", "--provider", "nobody")

    @pytest.mark.parametrize("price", ["cheap", "-1", "NaN", "inf"])
    def test_a_price_is_an_amount(self, live: ModelsShell, price: str) -> None:
        result = live.run("list", "--max-price", price)
        assert (result.exit_code, "--max-price" in result.stderr) == (2, True)

    def test_a_wrong_capability_names_the_right_ones(self, live: ModelsShell) -> None:
        result = live.run("list", "--capability", "smell")
        assert (result.exit_code, "vision" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "name", ["status", "list", "explain", "test-connection", "discover", "set", "routing-report"]
)
def test_help_has_examples(live: ModelsShell, name: str) -> None:
    told = " ".join(live.run(name, "--help").stdout.split())
    assert f"Examples: palyra models {name}" in told
