"""The command line as a user meets it: results, errors, exit codes, JSON, help."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import palyra
from palyra import daemon
from palyra.cli.app import app
from palyra.cli.doctor import Prober
from palyra.cli.findings import Finding, Status
from palyra.cli.output import CommandError, ExitCode, exit_code_of, failure_of
from palyra.cli.serve import draw_announcement
from palyra.cli.verbs import VERBS, build_app, verbs_for
from palyra.config.problems import ConfigError, Problem
from palyra.config.settings import ProviderSettings, Settings
from palyra.core import errors
from palyra.store.lock import DatabaseLocked

PROVIDER = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:OPENAI_API_KEY"\n'


class Reachable(Prober):
    def ask(self, provider: ProviderSettings) -> Finding:
        return Finding(f"provider {provider.id}", Status.OK, "answers")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PALYRA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, env: dict[str, str] | None = None, obj: object = None) -> Any:
    return CliRunner().invoke(app, list(words), env=env, obj=obj)


def failing(error: Exception) -> typer.Typer:
    root = build_app()

    @root.command()
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:
        raise error

    del fail
    return root


def test_version() -> None:
    assert run("--version").stdout == f"palyra {palyra.__version__}\n"
    assert json.loads(run("--version", "--json").stdout) == {"version": palyra.__version__}


def test_without_words_the_help_is_shown() -> None:
    result = run()
    assert result.exit_code == 0
    assert "Commands" in result.stdout


def names(group: typer.Typer) -> list[str]:
    return [each.name or getattr(each.callback, "__name__", "") for each in group.registered_commands]


def commands() -> list[tuple[str, ...]]:
    groups = [each.typer_instance for each in app.registered_groups if each.typer_instance is not None]
    below = [(str(group.info.name), name) for group in groups for name in names(group)]
    return [*((name,) for name in names(app)), *below]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example_and_json(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], terminal_width=200, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "--json" in result.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("no", ExitCode.UNSUPPORTED), 5),
        (ConfigError([Problem("server.port", "no", "palyra.toml", 3)]), 2),
        (errors.FieldError("hard_limit", "no"), 2),
        (errors.InvalidRequest("no"), 2),
        (errors.InvalidApiKey("no"), 3),
        (errors.ModelNotAllowed("no"), 3),
        (errors.BudgetExceeded("no"), 6),
        (errors.ApprovalRequired("no"), 6),
        (errors.ModelNotFound("no"), 8),
        (errors.UpstreamFailed("no"), 4),
        (errors.LedgerUnavailable("no"), 4),
        (errors.IdempotencyInFlight("no"), 7),
        (DatabaseLocked("no"), 7),
        (PermissionError("no"), 7),
        (httpx2.ConnectError("no"), 4),
        (errors.PalyraError("no"), 1),
    ],
)
def test_errors_become_exit_codes_and_never_tracebacks(error: Exception, code: int) -> None:
    plain = CliRunner().invoke(failing(error), ["fail"])
    assert plain.exit_code == code
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: ")
    shown = CliRunner().invoke(failing(error), ["fail", "--json"])
    document = json.loads(shown.stderr)["error"]
    assert (shown.exit_code, document["exit_code"]) == (code, code)


def test_a_bug_keeps_its_traceback() -> None:
    result = CliRunner().invoke(failing(ZeroDivisionError("bug")), ["fail"])
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)
    assert failure_of(ZeroDivisionError()) is None


def test_ctrl_c_ends_with_130() -> None:
    root = build_app()

    @root.command()
    def wait() -> None:
        raise KeyboardInterrupt

    del wait
    assert CliRunner().invoke(root, ["wait"]).exit_code == 130


@pytest.mark.parametrize(
    "words", [("nope",), ("serve", "--port", "x"), ("completion", "tcsh"), ("init", "a", "b")]
)
def test_wrong_words_are_usage_errors_with_a_hint(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "--help" in result.stderr
    assert json.loads(run(*words, "--json").stderr)["error"]["code"] == "usage"


def test_the_exit_code_of_a_status_is_that_of_its_error() -> None:
    assert exit_code_of(errors.VersionConflict("no")) is ExitCode.PRECONDITION
    assert exit_code_of(errors.NotFound("no")) is ExitCode.NOT_FOUND


def test_init_writes_once_and_overwrites_only_by_force(folder: Path) -> None:
    assert run("init").exit_code == 0
    written = (folder / "palyra.toml").read_text()
    (folder / "palyra.toml").write_text("mine")
    again = run("init")
    assert again.exit_code == 7
    assert "--force" in again.stderr
    assert (folder / "palyra.toml").read_text() == "mine"
    assert json.loads(run("init", "--force", "--json").stdout) == {"path": "palyra.toml"}
    assert (folder / "palyra.toml").read_text() == written
    assert run("init", "gone/palyra.toml").exit_code == 7


def test_what_init_writes_passes_doctor(folder: Path) -> None:
    run("init")
    env = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
    result = run("doctor", "--json", env=env, obj=Reachable())
    assert result.exit_code == 0
    findings = json.loads(result.stdout)["findings"]
    assert {finding["status"] for finding in findings} == {"ok"}


def test_doctor_fails_with_7_and_draws_a_table(folder: Path) -> None:
    run("init")
    result = run("doctor", "--offline")
    assert result.exit_code == 7
    assert "fail" in result.stdout
    assert "set the variable OPENAI_API_KEY" in result.stdout


def test_doctor_of_a_broken_file_names_every_field(folder: Path) -> None:
    (folder / "palyra.toml").write_text(f"[server]\nprot = 1\nport = 'x'\n{PROVIDER}")
    result = run("doctor", "--json")
    assert result.exit_code == 2
    problems = json.loads(result.stderr)["error"]["problems"]
    assert {(each["field"], each["line"]) for each in problems} == {("server.prot", 2), ("server.port", 3)}


def test_without_anything_the_next_step_is_told() -> None:
    result = run("doctor")
    assert result.exit_code == 2
    assert "palyra init" in result.stderr


def test_prices_are_listed_without_any_configuration() -> None:
    result = run("prices", "list", "--model", "gpt-4o-mini", "--provider", "openai", "--json")
    items = json.loads(result.stdout)["items"]
    assert any(item["prices"].get("input") == "0.15" for item in items)
    assert {item["provider"] for item in items} == {"openai"}
    assert "gpt-4o-mini" in run("prices", "list", "--model", "gpt-4o-min*").stdout
    assert "No price matches" in run("prices", "list", "--model", "nope-nope").stdout


def test_own_prices_come_first_and_other_providers_only_by_all(folder: Path) -> None:
    price = '[[prices]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput = "1.25"\nsource = "contract"\n'
    (folder / "palyra.toml").write_text(PROVIDER + price)
    items = json.loads(run("prices", "list", "--json").stdout)["items"]
    assert (items[0]["source"], items[0]["prices"]["input"]) == ("contract", "1.25")
    assert {item["provider"] for item in items} == {"openai"}
    assert len(json.loads(run("prices", "list", "--all", "--json").stdout)["items"]) > len(items)


def test_prices_check(folder: Path) -> None:
    (folder / "palyra.toml").write_text(PROVIDER)
    assert run("prices", "check").exit_code == 0
    price = '[[prices]]\nprovider = "opnai"\nmodel = "gpt-4o"\ninput = "1.25"\n'
    (folder / "palyra.toml").write_text(PROVIDER + price)
    result = run("prices", "check", "--json")
    assert result.exit_code == 7
    assert json.loads(result.stdout)["problems"][0]["severity"] == "error"
    assert "opnai" in run("prices", "check").stdout


def test_a_broken_file_is_not_taken_for_none(folder: Path) -> None:
    (folder / "palyra.toml").write_text("nonsense")
    assert run("prices", "list").exit_code == 2


@pytest.mark.parametrize(
    ("shell", "told"), [("zsh", "#compdef palyra"), ("fish", "complete --command palyra")]
)
def test_completion_prints_the_script(shell: str, told: str) -> None:
    assert told in run("completion", shell).stdout
    assert told in json.loads(run("completion", shell, "--json").stdout)["script"]


def test_the_shell_gets_its_words() -> None:
    asked = {"_PALYRA_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "palyra pri"}
    assert "prices" in run(env=asked).stdout


ANNOUNCEMENT = daemon.Announcement(
    url="http://127.0.0.1:8484",
    owner_key="sk-palyra-owner",
    database="/var/palyra.db",
    providers=("openai", "anthropic"),
    warnings=("[openai] is slow",),
)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """A daemon that announces itself and ends."""
    seen: list[Settings] = []

    def serve(settings: Settings, announce: Callable[[daemon.Announcement], None]) -> None:
        seen.append(settings)
        announce(ANNOUNCEMENT)

    monkeypatch.setattr(daemon, "serve", serve)
    return seen


def test_serve_announces_itself_as_one_json_line(served: list[Settings], folder: Path) -> None:
    (folder / "team.toml").write_text(f"[server]\nport = 1\n{PROVIDER}")
    words = ["serve", "--config", "team.toml", "--port", "0", "--database", "sqlite:///x.db", "--json"]
    result = run(*words)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert json.loads(line) == {
        "url": "http://127.0.0.1:8484",
        "owner_key": "sk-palyra-owner",
        "database": "/var/palyra.db",
        "providers": ["openai", "anthropic"],
        "warnings": ["[openai] is slow"],
    }
    (settings,) = served
    assert (settings.server.port, settings.server.database) == (0, folder / "x.db")


def test_serve_for_people(served: list[Settings]) -> None:
    result = run("serve", env={"OPENAI_API_KEY": "sk-1"})
    assert "sk-palyra-owner" in result.stdout
    assert "OPENAI_BASE_URL=http://127.0.0.1:8484/v1" in result.stdout
    assert "[openai] is slow" in result.stdout
    assert served[0].source == "environment"


def test_serve_refuses_an_open_address_and_names_the_option(served: list[Settings]) -> None:
    result = run("serve", "--host", "0.0.0.0", env={"OPENAI_API_KEY": "sk-1"})
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --host: server.host: ")
    assert served == []


def test_a_long_key_is_never_broken_across_lines() -> None:
    console = Console(width=20, record=True)
    draw_announcement(console, ANNOUNCEMENT)
    assert "sk-palyra-owner" in console.export_text()


@pytest.mark.parametrize("verb", ["demo-scale", "keys"])
def test_a_verb_works_alone_as_it_does_among_the_others(verb: str) -> None:
    assert verbs_for([verb, "--help"]) == [verb]
    among, alone = (CliRunner().invoke(each, [verb, "--help"]) for each in (app, build_app([verb])))
    assert (alone.exit_code, alone.stdout) == (0, among.stdout)


@pytest.mark.parametrize("words", [[], ["--help"], ["--json", "keys"], ["kyes", "list"]])
def test_a_line_that_begins_with_no_verb_has_all_of_them(words: list[str]) -> None:
    assert verbs_for(words) == VERBS


def test_a_verb_does_not_wait_for_the_libraries_of_others() -> None:
    """A daemon, and its like, are started by the hundred; each would load what it never uses."""
    program = (
        "import sys; sys.argv[1:] = ['keys', '--help']\n"
        "from palyra.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'palyra.config.settings', 'palyra.cli.keys'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['palyra.cli.keys']"
