"""``palyra alerts`` in this process, against a control plane on fakes: pages, JSON, exit codes, help."""

import asyncio
import json
from typing import Any

import pytest
from msgspec import structs
from typer.testing import CliRunner, Result

from fakes.alarms import unpriced
from fakes.models_cli import Loopback
from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.alerts import words
from palyra.alerts.alert import NoticeState
from palyra.alerts.course import raised, resolved
from palyra.alerts.notices import Event, Target, notices_for
from palyra.api.app import create_api
from palyra.cli.app import app
from palyra.core.instant import NANOSECONDS, Instant

SHOWN = """\
No price for m (warning, firing)
m of stub was called, and what it costs is not known. The call ran. Add its price to the \
configuration, under [[prices]].

  kind        unpriced_model
  seen        3 times, first 2026-11-23T12:00:00Z, last 2026-11-23T12:00:00Z

Say that you have seen it: palyra alerts ack alr_1 --note '…'
"""


class Shell:
    """Two alerts and a message that was given up; runs command lines with the owner key."""

    def __init__(self) -> None:
        self.records, clock = FakeRecords(), FakeClock()
        rules = plane_rules(self.records, clock)
        with asyncio.Runner() as runner:
            self.key = runner.run(rules.ensure_owner_key(None)) or ""
            runner.run(self._fill())
        self.connector = Loopback(create_api(plane_deps(rules, self.records, clock)))

    async def _fill(self) -> None:
        firing = raised("alr_1", unpriced(), NOON, times=3)
        notices = notices_for(firing, Event.RAISED, (Target("ops"),), NOON, lambda: "ntc_1")
        await self.records.save_alert(firing, notices, None)
        dead = structs.replace(
            notices[0], version=2, state=NoticeState.DEAD, attempts=23, error="it answered 500"
        )
        await self.records.save_notice(dead)
        over = raised("alr_2", words.overrun("stub", "m", "req_1", "cost_usd", 1_000, 2_000, "bob"), NOON)
        await self.records.save_alert(over, (), None)
        end = Instant(NOON + 90 * NANOSECONDS + 1_000_000)
        await self.records.save_alert(resolved(over, end, "It did not happen again for a day."), (), None)

    def run(self, *words: str) -> Result:
        env = {"PALYRA_KEY": self.key, "PALYRA_URL": "http://localhost:1", "COLUMNS": "200"}
        return CliRunner().invoke(app, list(words), obj=self.connector, env=env, terminal_width=200)

    def text(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"

    def json(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shell() -> Shell:
    return Shell()


def test_alerts_are_a_table_newest_first(shell: Shell) -> None:
    lines = [line.split() for line in shell.text("alerts", "list").splitlines()]
    assert lines[0][:4] == ["id", "severity", "state", "times"]
    assert [line[:4] for line in lines[1:]] == [
        ["alr_2", "warning", "resolved", "1"],
        ["alr_1", "warning", "firing", "3"],
    ]


def test_the_list_is_filtered_and_paged(shell: Shell) -> None:
    assert [each["id"] for each in shell.json("alerts", "list", "--state", "firing")["items"]] == ["alr_1"]
    assert [each["id"] for each in shell.json("alerts", "list", "--kind", "overrun")["items"]] == ["alr_2"]
    assert [each["id"] for each in shell.json("alerts", "list", "--principal", "bob")["items"]] == ["alr_2"]
    assert shell.text("alerts", "list", "--policy", "daily") == "No alerts.\n"
    first = shell.json("alerts", "list", "--limit", "1")
    assert f"--cursor {first['next_cursor']}" in shell.text("alerts", "list", "--limit", "1")
    rest = shell.json("alerts", "list", "--limit", "1", "--cursor", first["next_cursor"])
    assert [each["id"] for each in rest["items"]] == ["alr_1"]


def test_an_alert_is_a_page_that_says_what_to_do(shell: Shell) -> None:
    assert shell.text("alerts", "show", "alr_1") == SHOWN


def test_an_alert_that_is_over_says_when_and_why(shell: Shell) -> None:
    page = shell.text("alerts", "show", "alr_2")
    assert "  principal   bob\n" in page
    assert page.endswith("  over        2026-11-23T12:01:30Z: It did not happen again for a day.\n")


def test_an_acknowledgement_tells_who_has_seen_it_also_the_second_time(shell: Shell) -> None:
    told = "Acknowledged by owner at 2026-11-23T12:00:00Z: on it\n"
    assert shell.text("alerts", "ack", "alr_1", "--note", "on it") == told
    assert shell.text("alerts", "ack", "alr_1", "--note", "me too") == told
    assert f"  history     {told}" in shell.text("alerts", "show", "alr_1")
    assert shell.json("alerts", "ack", "alr_2")["acknowledged"]["note"] == ""


def test_messages_are_listed_with_their_errors_and_sent_again(shell: Shell) -> None:
    (row,) = shell.text("alerts", "notices", "--state", "dead").splitlines()[1:]
    assert row.split()[:5] == ["ntc_1", "dead", "ops", "raised", "23"]
    assert row.endswith("it answered 500")
    assert shell.text("alerts", "notices", "--target", "none") == "No messages.\n"

    assert shell.text("alerts", "retry", "ntc_1").startswith("ntc_1 to ops is on its way.")
    assert shell.json("alerts", "notices", "--state", "waiting")["items"][0]["id"] == "ntc_1"


def test_a_test_message_says_where_to_look(shell: Shell) -> None:
    assert shell.text("alerts", "test").startswith("On its way to ops, pager. Look there")
    assert [each["target"] for each in shell.json("alerts", "test", "ops")["notices"]] == ["ops"]


@pytest.mark.parametrize(
    ("words_", "code", "told"),
    [
        (["alerts", "show", "none"], 8, "no alert 'none'"),
        (["alerts", "ack", "none"], 8, "no alert 'none'"),
        (["alerts", "retry", "none"], 8, "no notice 'none'"),
        (["alerts", "test", "nobody"], 2, "there is ops, pager"),
        (["alerts", "list", "--kind", "gossip"], 2, "gossip"),
        (["alerts", "ack", "alr_1", "--note", "x" * 1_001], 2, "note"),
    ],
)
def test_an_error_has_its_exit_code_and_names_what_is_wrong(
    shell: Shell, words_: list[str], code: int, told: str
) -> None:
    result = shell.run(*words_)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_a_message_that_was_sent_is_exit_7(shell: Shell) -> None:
    notice = shell.records.kept.notices["ntc_1"]
    shell.records.kept.notices["ntc_1"] = structs.replace(notice, state=NoticeState.SENT)
    assert shell.run("alerts", "retry", "ntc_1").exit_code == 7


@pytest.mark.parametrize("name", ["list", "show", "ack", "notices", "retry", "test"])
def test_help_has_an_example(shell: Shell, name: str) -> None:
    assert f"palyra alerts {name}" in " ".join(shell.run("alerts", name, "--help").stdout.split())
