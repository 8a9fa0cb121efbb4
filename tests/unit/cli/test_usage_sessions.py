"""``palyra usage sessions|session`` against a control plane on fakes."""

import json

import pytest

from fakes.records import NOON
from fakes.till import decision, settlement
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.pricing.usage import Usage
from unit.cli.test_usage_cli import Shell


@pytest.fixture
def shell() -> Shell:
    made = Shell()
    for number in range(7):
        at = Instant(NOON - (60 - number) * NANOSECONDS)
        call = decision(f"req_{number}", at, session=("run/1", "[b]x[/b]")[number % 2])
        end = settlement(CallState.SETTLED, at, cost=1_000_000_000, usage=Usage(1_000, 5))
        made.records.stored[call.request_id] = StoredDecision(call, CallState.SETTLED, end)
    return made


def test_sessions_are_listed_as_they_are_named(shell: Shell) -> None:
    page = shell.page("sessions", "--sort", "dearest")
    assert "run/1" in page
    assert "[b]x[/b]" in page
    assert "4,000" in page
    assert page.index("run/1") < page.index("[b]x[/b]")


def test_a_page_says_how_to_go_on(shell: Shell) -> None:
    first = json.loads(shell.run("sessions", "--limit", "1", "--json").stdout)
    assert [each["session"] for each in first["items"]] == ["run/1"]
    assert "--cursor" in shell.page("sessions", "--limit", "1")
    second = json.loads(
        shell.run("sessions", "--limit", "1", "--json", "--cursor", first["next_cursor"]).stdout
    )
    assert [each["session"] for each in second["items"]] == ["[b]x[/b]"]
    assert second["next_cursor"] is None


def test_they_are_found_by_provider(shell: Shell) -> None:
    assert "run/1" in shell.page("sessions", "--provider", "stub")
    assert "No session" in shell.page("sessions", "--provider", "other")


def test_no_session_is_told(shell: Shell) -> None:
    assert "No session" in shell.page("sessions", "--principal", "bob")


def test_one_session_has_its_calls(shell: Shell) -> None:
    page = shell.page("session", "run/1", "--principal", "alice")
    assert "Session run/1 of alice, 4 calls:" in page
    assert "4.00 USD, 4,000 tokens in, 20 out; 0 denied, 0 failed" in " ".join(page.split())
    assert "req_6" in page
    assert ["stub-model", "stub", "4", "4,000", "20", "4.00"] in [line.split() for line in page.splitlines()]
    assert "Calls by the minute from 2026-11-23 11:59:00" in page
    assert "req_5" not in page


def test_a_session_that_is_not_there_is_not_found(shell: Shell) -> None:
    assert shell.run("session", "other", "--principal", "alice").exit_code == 8
