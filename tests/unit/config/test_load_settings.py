"""What a configuration means: files, variables, options, and a start without any file."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from palyra.budgets.terms import Mode, UnknownPrice
from palyra.cli.init import TEMPLATE
from palyra.config.lines import lines_of
from palyra.config.load import default_database, load_settings
from palyra.config.problems import ConfigError
from palyra.config.settings import Settings
from palyra.core.secret import Secret
from palyra.registry.models import Capability, Kind

PROVIDER = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:KEY"\n'


@pytest.fixture(autouse=True)
def no_user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home-config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home-data"))


def load(
    folder: Path,
    text: str,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    path = folder / "some.toml"
    path.write_text(text)
    return load_settings(path, env or {}, folder, overrides or {})


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [server]
        host = "127.0.0.1"
        port = 8484
        database = "sqlite:///palyra.db"
        max_body_bytes = 33_554_432
        [auth]
        owner_key = "env:PALYRA_OWNER_KEY"
        [governance]
        mode = "enforced"
        timezone = "Europe/Prague"
        unknown_price = "deny"
        default_model = "gpt-4o-mini"
        [[providers]]
        id = "openai"
        kind = "openai"
        base_url = "https://api.openai.com/v1"
        credential = "env:OPENAI_API_KEY"
        [[models]]
        id = "gpt-4o-mini"
        provider = "openai"
        upstream_name = "gpt-4o-mini"
        cost_tier = "low"
        latency_tier = "low"
        context_window = 128_000
        output_limit = 16_384
        capabilities = ["tools", "json", "vision", "streaming"]
        price = { input = "0.15", output = "0.60", cache_read = "0.075" }
        [[budgets]]
        id = "each-principal-daily"
        scope = "principal:*"
        metric = "cost_usd"
        interval = "day"
        soft_limit = "4.00"
        hard_limit = "5.00"
        action = "approval_required"
        thresholds = [{ at = 0.8, then = "notify" }]
        [[keys]]
        id = "ci"
        sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        principal = "ci-bot"
        agent = "nightly"
        roles = ["caller"]
        models = ["gpt-4o-mini", "auto"]
        tags = { team = "platform" }
        [[prices]]
        provider = "openai"
        model = "gpt-4o*"
        valid_from = 2026-01-01T00:00:00Z
        input = "2.00"
        """,
        {"OPENAI_API_KEY": "sk-1", "PALYRA_OWNER_KEY": "sk-palyra-owner"},
    )
    assert settings.server.database == tmp_path / "palyra.db"
    assert settings.auth.owner_key == Secret("sk-palyra-owner")
    assert settings.governance.mode is Mode.ENFORCED
    (provider,) = settings.providers
    assert (provider.kind, provider.credential) == (Kind.OPENAI, Secret("sk-1"))
    (model,) = settings.models
    assert Capability.VISION in (model.capabilities or ())
    (budget,) = settings.budgets
    assert (budget.timezone, budget.hard_limit, budget.origin) == ("Europe/Prague", 5_000_000_000, "file")
    assert [(price.provider, price.model) for price in settings.prices] == [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-4o*"),
    ]
    assert settings.keys[0].principal == "ci-bot"


def test_an_inline_price_is_for_the_upstream_name(tmp_path: Path) -> None:
    model = '[[models]]\nid = "house"\nprovider = "openai"\nupstream_name = "gpt-4o"\n'
    settings = load(tmp_path, PROVIDER + model + 'price = { input = "1" }\n')
    assert settings.prices[0].entry_id == "openai/gpt-4o"


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    settings = load(tmp_path, PROVIDER)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8484)
    assert settings.server.database == default_database() == tmp_path / "home-data/palyra/palyra.db"
    assert settings.governance.unknown_price is UnknownPrice.DENY
    assert settings.providers[0].base_url == "https://api.openai.com/v1"
    assert settings.source.endswith("some.toml")


def test_variables_win_over_the_file_and_options_win_over_both(tmp_path: Path) -> None:
    text = f"[server]\nport = 1\nhost = '127.0.0.2'\n{PROVIDER}"
    env = {
        "PALYRA_SERVER_PORT": "2",
        "PALYRA_SERVER_MAX_BODY_BYTES": "4096",
        "PALYRA_SERVER_ALLOWED_HOSTS": "a.example, b.example",
        "PALYRA_SERVER_BEHIND_PROXY": "true",
        "PALYRA_GOVERNANCE_MODE": "dry_run",
        "PALYRA_AUTH_OWNER_KEY": "sk-palyra-in-clear",
        "PALYRA_KEY": "is not a setting",
    }
    settings = load(tmp_path, text, env, {"server.port": "0"})
    assert (settings.server.port, settings.server.host) == (0, "127.0.0.2")
    assert settings.server.max_body_bytes == 4096
    assert settings.server.allowed_hosts == ("a.example", "b.example")
    assert settings.server.behind_proxy
    assert settings.governance.mode is Mode.DRY_RUN
    assert settings.auth.owner_key == Secret("sk-palyra-in-clear")
    assert settings.auth.owner_key_ref == "env:PALYRA_AUTH_OWNER_KEY"


@pytest.mark.parametrize(
    ("env", "field", "place"),
    [
        ({"PALYRA_SERVER_PROT": "1"}, "server.prot", "PALYRA_SERVER_PROT"),
        ({"PALYRA_SERVER_PORT": "many"}, "server.port", "PALYRA_SERVER_PORT"),
        ({"PALYRA_SERVER_BEHIND_PROXY": "perhaps"}, "server.behind_proxy", "PALYRA_SERVER_BEHIND_PROXY"),
        ({"PALYRA_GOVERNANCE_MODE": "strict"}, "governance.mode", "PALYRA_GOVERNANCE_MODE"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, env: dict[str, str], field: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PROVIDER, env)
    (problem,) = caught.value.problems
    assert (problem.field, problem.place) == (field, place)


def test_without_a_file_the_provider_keys_of_the_environment_are_enough(tmp_path: Path) -> None:
    env = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "https://eu.api.openai.com/v1",
        "ANTHROPIC_API_KEY": "sk-2",
        "PALYRA_SERVER_PORT": "9",
    }
    settings = load_settings(None, env, tmp_path)
    assert settings.source == "environment"
    assert settings.server.port == 9
    assert [(each.id, each.base_url) for each in settings.providers] == [
        ("openai", "https://eu.api.openai.com/v1"),
        ("anthropic", "https://api.anthropic.com/v1"),
    ]
    (budget,) = settings.budgets
    assert (budget.id, str(budget.scope)) == ("default-principal-daily", "principal:*")
    assert (budget.soft_limit, budget.hard_limit) == (8_000_000_000, 10_000_000_000)


def test_without_file_and_keys_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"OPENAI_API_KEY": " "}, tmp_path)
    assert caught.value.hint is not None
    assert "palyra init" in caught.value.hint


def test_the_file_is_looked_for_here_then_in_the_users_folder(tmp_path: Path) -> None:
    user = tmp_path / "home-config/palyra/palyra.toml"
    user.parent.mkdir(parents=True)
    user.write_text(f"[server]\nport = 1\n{PROVIDER}")
    assert load_settings(None, {}, tmp_path).server.port == 1
    (tmp_path / "palyra.toml").write_text(f"[server]\nport = 2\n{PROVIDER}")
    assert load_settings(None, {}, tmp_path).server.port == 2
    (tmp_path / "other.toml").write_text(f"[server]\nport = 3\n{PROVIDER}")
    assert load_settings(None, {"PALYRA_CONFIG": "other.toml"}, tmp_path).server.port == 3


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        load_settings(tmp_path / "gone.toml", {}, tmp_path)


def test_a_secret_file_is_read_without_its_final_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-in-file\n")
    text = PROVIDER.replace("env:KEY", "file:key")
    assert load(tmp_path, text).providers[0].credential == Secret("sk-in-file")


def test_an_unset_variable_leaves_the_credential_open_for_doctor(tmp_path: Path) -> None:
    provider = load(tmp_path, PROVIDER).providers[0]
    assert (provider.credential, provider.credential_ref) == (None, "env:KEY")


def test_a_credential_in_clear_is_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PROVIDER.replace("env:KEY", "sk-very-secret"))
    assert "sk-very-secret" not in str(caught.value)
    assert "env:NAME" in str(caught.value)


def test_all_problems_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    text = """[server]
port = "x"
prot = 1

[[providers]]
id = "openai"
kind = "openia"

[[budgets]]
id = "one"
scope = "principal:*"
metric = "cost_usd"
interval = "day"
hard_limit = 5.0
soft_limt = "1"
"""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    found = {(problem.field, problem.line) for problem in caught.value.problems}
    assert found == {
        ("server.port", 2),
        ("server.prot", 3),
        ("providers[0].kind", 7),
        ("budgets[0].soft_limt", 15),
        ("budgets[0].hard_limit", 14),
    }
    assert "did you mean 'port'?" in str(caught.value)
    assert str(caught.value).startswith("5 problems")


def test_binding_wider_is_allowed_with_a_flag_and_a_proxy_or_tls(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("pem")
    wide = '[server]\nhost = "0.0.0.0"\nallow_remote = true\n'
    assert load(tmp_path, f"{wide}behind_proxy = true\n{PROVIDER}").server.behind_proxy
    tls = f'{wide}tls_cert = "cert.pem"\ntls_key = "key.pem"\n{PROVIDER}'
    assert load(tmp_path, tls).server.tls_cert == tmp_path / "cert.pem"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.9", "::1"])
def test_every_loopback_address_is_local(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, f'[server]\nhost = "{host}"\n{PROVIDER}').server.host == host


def test_two_providers_may_serve_a_model_of_the_same_id(tmp_path: Path) -> None:
    text = PROVIDER + PROVIDER.replace('"openai"\nkind', '"second"\nkind')
    for provider in ("openai", "second"):
        text += f'[[models]]\nid = "m"\nprovider = "{provider}"\n'
    assert [model.provider for model in load(tmp_path, text).models] == ["openai", "second"]


def test_the_template_of_init_loads_without_change(tmp_path: Path) -> None:
    settings = load(tmp_path, TEMPLATE, {"OPENAI_API_KEY": "sk-1"})
    assert [provider.id for provider in settings.providers] == ["openai", "anthropic"]
    assert settings.budgets[0].hard_limit == 10_000_000_000


def test_every_commented_line_of_the_template_is_valid_too(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("pem")
    lines: list[str] = []
    for line in TEMPLATE.replace("/etc/palyra/", f"{tmp_path}/").splitlines():
        bare = line.removeprefix("# ")
        is_code = bare != line and (bare.startswith("[[") or " = " in bare.partition("#")[0])
        lines.append(bare if is_code and not bare.startswith("PALYRA_") else line)
    text = "\n".join(lines)
    env = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "PALYRA_OWNER_KEY": "c"}
    env |= {"OPS_CHAT_URL": "json://ops.example.com", "BILLING_WEBHOOK_SECRET": "s" * 32}
    settings = load(tmp_path, text, env)
    assert set(tomllib.loads(text)) == {each.name for each in fields(Settings)} - {"source"}
    assert [provider.id for provider in settings.providers] == ["openai", "anthropic", "local"]
    assert [len(part) for part in (settings.models, settings.budgets, settings.keys)] == [1, 2, 1]
    assert [target.id for target in settings.notify] == ["ops-chat", "billing"]


def test_lines_are_found_in_tables_entries_and_nested_tables() -> None:
    text = "[a]\nb = 1\n[[c]]\nd = 2\n[c.e]\nf = 3\n[[c]]\nd = 4\n"
    assert lines_of(text) == {
        "a": 1,
        "a.b": 2,
        "c[0]": 3,
        "c[0].d": 4,
        "c[0].e": 5,
        "c[0].e.f": 6,
        "c[1]": 7,
        "c[1].d": 8,
    }


@pytest.mark.parametrize(
    "url", ["palyra.example.com", "ftp://palyra.example.com", "https://", "https://a?b=c"]
)
def test_an_address_for_people_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[server]\npublic_url = "{url}"\n' + PROVIDER)
    assert [problem.field for problem in caught.value.problems] == ["server.public_url"]


def test_the_terms_of_people_are_read(tmp_path: Path) -> None:
    text = "[approvals]\nexpire_after_s = 60\npending_per_principal = 3\nwait_max_s = 9\n"
    text += "[alerts]\ncheck_s = 0.5\n"
    settings = load(tmp_path, '[server]\npublic_url = "https://a.example/"\n' + text + PROVIDER)
    terms = settings.approvals
    assert (terms.expire_after_ns, terms.pending_max, terms.wait_max_s) == (60 * 10**9, 3, 9)
    assert settings.alerts.check_s == 0.5
    assert settings.server.public_url == "https://a.example"


def test_how_long_a_sign_in_holds_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, PROVIDER).console.session_hours == 12
    assert load(tmp_path, "[console]\nsession_hours = 168\n" + PROVIDER).console.session_hours == 168


@pytest.mark.parametrize("line", ["session_hours = 0", "session_hours = 169", "hours = 1"])
def test_what_is_no_time_to_be_signed_in(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[console]\n{line}\n" + PROVIDER)
    assert [problem.field for problem in caught.value.problems] == [f"console.{line.partition(' ')[0]}"]
