"""``palyra budgets|keys|usage|explain`` against a control plane on fakes: output, exit codes, hints."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from fakes.calls import served
from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.cli import budgets, keys, usage
from palyra.cli.client import Connector
from palyra.cli.explain import explain
from palyra.cli.output import PalyraGroup
from palyra.cli.usage import start_of
from palyra.lifecycle.usage import UsageTotals

LIMIT = ["--interval", "day", "--hard", "5.00"]
OPTIONS = ["--id", "daily", "--scope", "principal:*", "--metric", "cost_usd", *LIMIT]
ONE = 'scope = "global"\nmetric = "requests"\ninterval = "day"\nhard_limit = 5\n'
DATED = "valid_from = 2026-01-01T00:00:00Z\nthresholds = [{ at = 0.8 }]\n"


class Loopback(Connector):
    """Reaches the application in this process; ``broken`` stands for a daemon that is not there."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.broken = False

    def open(self, url: str) -> httpx2.Client:
        if self.broken:
            raise httpx2.ConnectError("Connection refused")
        return TestClient(self.app, base_url=url)


class Shell:
    """Runs command lines with the owner key."""

    def __init__(self, records: FakeRecords, connector: Loopback, key: str) -> None:
        self.records = records
        self.connector = connector
        self.key = key
        self.root = typer.Typer(cls=PalyraGroup)
        self.root.add_typer(budgets.app, name="budgets")
        self.root.add_typer(keys.app, name="keys")
        self.root.add_typer(usage.app, name="usage")
        self.root.command("explain")(explain)

    def run(self, *words: str, key: str | None = None) -> Result:
        environment = {"PALYRA_KEY": self.key if key is None else key, "PALYRA_URL": "http://localhost:1"}
        return CliRunner().invoke(self.root, list(words), obj=self.connector, env=environment)

    def json(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def shell() -> Shell:
    records, clock = FakeRecords(), FakeClock()
    rules = plane_rules(records, clock)
    with asyncio.Runner() as runner:
        clear = runner.run(rules.ensure_owner_key(None))
    deps = plane_deps(rules, records, clock)
    return Shell(records, Loopback(create_api(deps)), clear or "")


def test_a_budget_is_set_by_options_listed_shown_and_deleted(shell: Shell) -> None:
    done = shell.run("budgets", "set", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(
        "daily v1: cost_usd of principal:* per day, hard limit 5.00 USD, then block"
    )
    assert "5.00 USD" in shell.run("budgets", "list").stdout
    assert "min_output_tokens     256" in shell.run("budgets", "show", "daily").stdout
    assert "No call was counted yet." in shell.run("budgets", "status", "daily").stdout
    assert shell.run("budgets", "delete", "daily").exit_code == 0
    assert "No budgets yet" in shell.run("budgets", "list").stdout
    assert shell.run("budgets", "show", "daily").exit_code == 8


def test_the_history_of_a_budget_is_shown_page_by_page(shell: Shell) -> None:
    shell.run("budgets", "set", *OPTIONS)
    shell.run("budgets", "set", *OPTIONS, "--soft", "4.00")
    shell.run("budgets", "delete", "daily")

    shown = shell.run("budgets", "history", "daily").stdout

    assert "v2  deleted by " in shown
    assert "    soft_limit: - -> 4.00" in shown
    assert "    hard_limit=5.00" in shown
    page = shell.json("budgets", "history", "daily", "--limit", "1")
    older = shell.run("budgets", "history", "daily", "--limit", "1", "--cursor", page["next_cursor"])
    assert "changed by " in older.stdout
    assert "There are older ones: --cursor " in older.stdout
    assert shell.run("budgets", "history", "none").exit_code == 8


def test_a_budget_of_one_entity_shows_where_it_stands(shell: Shell) -> None:
    shell.run("budgets", "set", *OPTIONS, "--scope", "global")
    row = shell.run("budgets", "status", "daily").stdout.splitlines()[-1]
    assert row.split("  ")[0].strip() == "*"
    assert row.count("5.00 USD") == 2
    (account,) = shell.json("budgets", "status", "daily")["accounts"]
    assert account["remaining_nano_usd"] == 5_000_000_000


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        (
            "one.toml",
            f'id = "a"\n{ONE}{DATED}',
            1,
        ),
        (
            "many.toml",
            f'[[budgets]]\nid = "a"\n{ONE}[[budgets]]\nid = "b"\n{ONE}',
            2,
        ),
        (
            "one.json",
            '{"id":"a","scope":"global","metric":"requests","interval":"day","hard_limit":5}',
            1,
        ),
    ],
)
def test_budgets_are_set_from_files(shell: Shell, tmp_path: Path, name: str, text: str, count: int) -> None:
    path = tmp_path / name
    path.write_text(text)
    done = shell.run("budgets", "set", str(path))
    assert done.exit_code == 0, done.stderr
    assert len(shell.json("budgets", "list")["items"]) == count


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["budgets", "set", *OPTIONS, "--hard", "-1"], 2, "hard_limit"),
        (["budgets", "set", *OPTIONS, "--timezone", "Mars"], 2, "timezone"),
        (["budgets", "set"], 2, "give a file"),
        (["budgets", "set", "--scope", "global"], 2, "id"),
        (["budgets", "set", *OPTIONS, "--if-version", "4"], 7, "read it again"),
        (["budgets", "delete", "none"], 8, "no budget 'none'"),
        (["keys", "create", "--principal", "a", "--role", "king"], 2, "roles[0]"),
        (["keys", "create", "--principal", "a", "--tag", "x"], 2, "--tag"),
        (["keys", "revoke", "none"], 8, "no key 'none'"),
        (["keys", "revoke", "key-1"], 7, "last owner key"),
        (["usage", "summary", "--by", "colour"], 2, "group_by"),
        (["usage", "summary", "--since", "soon"], 2, "--since"),
        (["explain", "req_none"], 8, "no decision"),
        (["explain", "../keys"], 8, "Not Found"),
    ],
)
def test_an_error_has_its_exit_code_and_names_what_is_wrong(
    shell: Shell, words: list[str], code: int, told: str
) -> None:
    result = shell.run(*words)
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert result.stdout == ""


def test_a_wrong_key_is_exit_3_with_a_hint(shell: Shell) -> None:
    result = shell.run("keys", "list", key="sk-palyra-wrong")
    assert (result.exit_code, "PALYRA_KEY" in result.stderr) == (3, True)
    assert "sk-palyra-wrong" not in result.output


def test_no_daemon_is_exit_4_and_asks_whether_it_runs(shell: Shell) -> None:
    shell.connector.broken = True
    result = shell.run("budgets", "list")
    assert result.exit_code == 4
    assert "is `palyra serve` running?" in result.stderr


def test_errors_are_json_with_json(shell: Shell) -> None:
    result = shell.run("budgets", "show", "none", "--json")
    assert json.loads(result.stderr)["error"]["exit_code"] == 8


def test_a_key_is_printed_alone_on_stdout_once(shell: Shell) -> None:
    made = shell.run("keys", "create", "--principal", "bob", "--tag", "team=a", "--model", "gpt-*")
    clear = made.stdout.strip()
    assert clear.startswith("sk-palyra-")
    assert "\n" not in clear
    assert "shown this once" in made.stderr
    assert shell.run("keys", "list", key=clear).exit_code == 3
    listed = shell.run("keys", "list")
    assert "bob" in listed.stdout
    assert clear not in listed.stdout


def test_revoked_keys_are_listed_on_request(shell: Shell) -> None:
    made = shell.json("keys", "create", "--principal", "bob")
    assert shell.run("keys", "revoke", made["id"]).exit_code == 0
    assert "bob" not in shell.run("keys", "list").stdout
    assert "revoked 2026-11-23T12:00:00Z" in shell.run("keys", "list", "--all").stdout


def test_usage_is_a_table_with_totals(shell: Shell) -> None:
    for principal, cost in (("alice", 1_250_000_000), ("bob[red]", 250_000_000)):
        group = {"principal": principal, "model": "m"}
        row = UsageTotals(group, 1200, 1, 1, 2, 10, 20, 0, 0, 0, cost)
        shell.records.totals.append((NOON, row))
    lines = shell.run("usage", "summary", "--since", "2026-11-01T00:00:00Z").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["alice", "bob[red]", "total"]
    assert lines[4].split()[-1] == "1.50"
    assert "4 calls have no known price" in lines[5]
    document = shell.json("usage", "summary", "--since", "2026-11-01T00:00:00Z", "--by", "principal")
    assert document["totals"]["cost_usd"] == "1.50"


def test_spans_are_read_as_times_before_now() -> None:
    assert start_of("7d", NOON) == "2026-11-16T12:00:00Z"
    assert start_of("36h", NOON) == "2026-11-22T00:00:00Z"
    assert start_of("2026-01-01T00:00:00Z", NOON) == "2026-01-01T00:00:00Z"
    assert start_of("7", NOON) is None


def test_explain_reads_as_a_page_and_as_json(shell: Shell) -> None:
    shell.records.stored["req_1"] = served()
    page = shell.run("explain", "req_1").stdout
    assert page.startswith("The call of alice (nightly) to gpt-4o-mini was admitted")
    assert shell.json("explain", "req_1")["settlement"]["cost_usd"] == "0.000066"


@pytest.mark.parametrize(
    "words",
    [["budgets", "set"], ["keys", "create"], ["usage", "summary"], ["explain"], ["budgets", "status"]],
)
def test_help_has_an_example(shell: Shell, words: list[str]) -> None:
    assert "palyra " + " ".join(words) in " ".join(shell.run(*words, "--help").stdout.split())
