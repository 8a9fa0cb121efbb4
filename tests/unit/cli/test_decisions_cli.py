"""``palyra decisions list`` against a control plane on fakes."""

import asyncio
import json

import pytest
import typer
from typer.testing import CliRunner, Result

from fakes.calls import refused, served
from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.cli import decisions
from palyra.cli.output import PalyraGroup
from palyra.lifecycle.decision_search import DecisionsFound, Scanned
from unit.cli.test_usage_cli import Loopback


class Shell:
    """Runs command lines with the owner key."""

    def __init__(self) -> None:
        self.records, clock = FakeRecords(), FakeClock()
        rules = plane_rules(self.records, clock)
        with asyncio.Runner() as runner:
            self.key = runner.run(rules.ensure_owner_key(None)) or ""
        self.connector = Loopback(create_api(plane_deps(rules, self.records, clock)))
        self.root = typer.Typer(cls=PalyraGroup)
        self.root.add_typer(decisions.app)

    def run(self, *words: str) -> Result:
        environment = {"PALYRA_KEY": self.key, "PALYRA_URL": "http://localhost:1"}
        return CliRunner().invoke(self.root, ["decisions", *words], obj=self.connector, env=environment)


@pytest.fixture
def shell() -> Shell:
    made = Shell()
    made.records.stored |= {"req_1": served("req_1"), "req_2": refused("req_2", "bob")}
    return made


def test_calls_are_listed_the_newest_first(shell: Shell) -> None:
    page = shell.run("list").stdout
    assert page.index("req_2") < page.index("req_1")
    (line,) = (each for each in page.splitlines() if "req_1" in each)
    cells = line.split()
    assert cells == [
        "req_1",
        "2026-11-23",
        "12:00:00",
        "alice",
        "nightly",
        "gpt-4o-mini",
        "proceed",
        "settled",
        "ok",
        "200",
        "0.000066",
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--outcome", "deny"], ["req_2"]),
        (["--state", "settled", "--since", "1h"], ["req_1"]),
        (["--min-cost", "0.000066"], ["req_1"]),
        (["--min-cost", "1"], []),
        (["--tag", "team:platform", "--principal", "alice"], ["req_1"]),
        (["--rerouted"], []),
        (["--status", "200", "--provider", "openai", "--endpoint", "chat/completions"], ["req_1"]),
        (["--id", "req_2", "--route", "proceed"], ["req_2"]),
        (["--limit", "1", "--cursor", "req_2"], ["req_1"]),
    ],
)
def test_filters_are_passed_on(shell: Shell, words: list[str], found: list[str]) -> None:
    result = shell.run("list", *words, "--json")
    assert result.exit_code == 0, result.stderr
    assert [each["request_id"] for each in json.loads(result.stdout)["items"]] == found


def test_what_is_not_found_or_not_looked_at_is_told(shell: Shell) -> None:
    assert "No call matches." in shell.run("list", "--agent", "nobody").stdout
    assert "More: --cursor req_2" in shell.run("list", "--limit", "1").stdout

    async def stopping(wanted: object, inside: object) -> DecisionsFound:
        return DecisionsFound([], Scanned("req_0", NOON))

    shell.records.search_decisions = stopping
    page = shell.run("list", "--tag", "a:b").stdout
    assert "No call matches." not in page
    assert page.splitlines() == [
        "Looked at the calls back to 2026-11-23T12:00:00Z.",
        "More: --cursor req_0",
    ]


def test_a_wrong_filter_is_a_usage_error(shell: Shell) -> None:
    result = shell.run("list", "--tag", "team")
    assert (result.exit_code, "tag" in result.stderr) == (2, True)
