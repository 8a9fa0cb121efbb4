"""``palyra approvals watch``: every change once, through times without a daemon, until it shall end."""

import asyncio
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest
from rich.console import Console

from fakes.approvals_cli import ApprovalsShell, approvals_shell
from fakes.models_cli import Loopback
from fakes.records import NOON
from palyra.approvals.approval import Approval, GrantKind
from palyra.approvals.rules import Offer
from palyra.cli.approvals_watch import (
    AWAY_S_MAX,
    CHANGES_SHOWN,
    Change,
    Lines,
    Pace,
    Screen,
    Watch,
    change_line,
)
from palyra.cli.output import CommandError, ExitCode
from palyra.core.instant import NANOSECONDS, Instant

Step = Callable[[], object]


class FakePace(Pace):
    """Time passes only while it sleeps; after each sleep the next of ``steps`` is taken."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.slept: list[float] = []

    def now(self) -> Instant:
        return Instant(NOON + int(self.monotonic()) * NANOSECONDS)

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.steps:
            self.steps.pop(0)()


class Seen(Lines):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.changes: list[tuple[str, str]] = []
        self.pending: list[list[str]] = []

    def show(self, pending: list[Mapping[str, Any]], changes: list[Change], now: Instant) -> None:
        self.pending.append([each["id"] for each in pending])
        self.changes += [(each.kind, each.approval["id"] if each.approval else "") for each in changes]


@pytest.fixture
def shell() -> ApprovalsShell:
    return approvals_shell()


def watched(
    shell: ApprovalsShell, *steps: Step, for_s: float | None = 10.0, until_empty: bool = False
) -> Seen:
    seen = Seen()
    Watch(shell.client(), seen, FakePace(*steps)).run(for_s, until_empty=until_empty)
    return seen


def approve(shell: ApprovalsShell, ref: str, offer: Offer | None = None) -> Approval:
    by = shell.deps.rules.snapshot.subject(shell.keys["operator"])
    assert by is not None
    return asyncio.run(shell.deps.approvals.approve(ref, offer or Offer(GrantKind.ONCE), "fine", by=by))


def test_every_change_is_shown_once_in_its_order(shell: ApprovalsShell) -> None:
    shell.stop_call()
    shell.stop_call(cause="c2")
    seen = watched(
        shell,
        lambda: None,
        lambda: shell.stop_call("money"),
        lambda: approve(shell, "apr_001"),
        lambda: shell.stop_call(cause="c2"),
        lambda: shell.run("approvals", "deny", "apr_002"),
        lambda: shell.run("budgets", "delete", "money", role="owner"),
        lambda: asyncio.run(shell.deps.approvals.sweep()),
    )
    assert seen.changes == [
        ("opened", "apr_001"),
        ("opened", "apr_002"),
        ("opened", "apr_003"),
        ("approved", "apr_001"),
        ("asked_again", "apr_002"),
        ("denied", "apr_002"),
        ("void", "apr_003"),
    ]
    assert seen.pending[0] == ["apr_002", "apr_001"]
    assert seen.pending[-1] == []


def test_it_ends_when_the_time_is_up_or_nothing_is_pending(shell: ApprovalsShell) -> None:
    pace = FakePace()
    Watch(shell.client(), Seen(), pace).run(2.5, until_empty=False)
    assert pace.slept == [1.0, 1.0, 0.5]
    assert len(watched(shell, for_s=0.0).pending) == 1
    shell.stop_call()
    empty = watched(shell, lambda: None, lambda: approve(shell, "apr_001"), for_s=None, until_empty=True)
    assert empty.changes == [("opened", "apr_001"), ("approved", "apr_001")]
    assert len(watched(shell, for_s=None, until_empty=True).pending) == 1


def test_a_daemon_that_goes_away_is_waited_for_with_growing_pauses(shell: ApprovalsShell) -> None:
    shell.stop_call()

    def away() -> None:
        shell.connector.broken = True

    def back() -> None:
        shell.connector.broken = False
        approve(shell, "apr_001")

    seen, pace = Seen(), FakePace(away, *[lambda: None] * 6, back)
    Watch(shell.client(), seen, pace).run(None, until_empty=True)
    assert pace.slept == [1.0, 1.0, 2.0, 4.0, 8.0, AWAY_S_MAX, AWAY_S_MAX, AWAY_S_MAX]
    assert seen.changes == [("opened", "apr_001"), ("lost", ""), ("back", ""), ("approved", "apr_001")]
    assert seen.pending[1] == ["apr_001"], "what was known stays on the screen"


def test_a_daemon_that_never_answered_and_a_key_that_is_refused_end_it(shell: ApprovalsShell) -> None:
    def revoke() -> None:
        (key,) = [each for each in shell.deps.rules.all_keys if each.principal == "operator"]
        assert shell.run("keys", "revoke", key.id, role="owner").exit_code == 0

    with pytest.raises(CommandError) as caught:
        watched(shell, revoke)
    assert caught.value.exit_code is ExitCode.AUTH
    shell.connector.broken = True
    with pytest.raises(CommandError) as missing:
        watched(shell)
    assert missing.value.exit_code is ExitCode.CONNECTIVITY


class BreaksOnce(Loopback):
    """Fails once where one approval is asked for."""

    def __init__(self, application: Any) -> None:
        super().__init__(application)
        self.fails = True

    def open(self, url: str) -> httpx2.Client:
        client = super().open(url)
        client.event_hooks = {"request": [self._check]}
        return client

    def _check(self, request: httpx2.Request) -> None:
        if request.url.path.endswith("/apr_001") and self.fails:
            self.fails = False
            raise httpx2.ConnectError("reset")


def test_a_change_that_could_not_be_read_whole_is_shown_later(shell: ApprovalsShell) -> None:
    shell.connector = BreaksOnce(shell.connector.application)
    shell.stop_call()
    seen = watched(shell, lambda: approve(shell, "apr_001"))
    assert seen.changes == [("opened", "apr_001"), ("lost", ""), ("back", ""), ("approved", "apr_001")]


def test_more_than_one_page_is_read(shell: ApprovalsShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palyra.cli.approvals_watch.PAGE", "1")
    for number in range(3):
        shell.stop_call(cause=f"c{number}")
    assert watched(shell, for_s=0.0).pending == [["apr_003", "apr_002", "apr_001"]]


def test_a_command_that_is_interrupted_ends_well(shell: ApprovalsShell) -> None:
    shell.stop_call()

    class Interrupted(Loopback):
        def open(self, url: str) -> httpx2.Client:
            if self.opened:
                raise KeyboardInterrupt
            return super().open(url)

    shell.connector = Interrupted(shell.connector.application)
    result = shell.run("approvals", "watch", "--until-empty")
    assert result.exit_code == 0
    assert result.stdout.count("opened apr_001") == 1


def test_without_a_terminal_there_is_a_line_for_each_change(shell: ApprovalsShell) -> None:
    shell.stop_call()
    shell.stop_call()
    line = shell.text("approvals", "watch", "--for", "0")
    told = " opened apr_001 (2 times) alice (nightly) needs 10 tokens beyond tokens of alice, risk low, "
    assert line[8:].startswith(told + "expires in ")
    document = json.loads(shell.run("approvals", "watch", "--json", "--for", "0").stdout)
    assert (document["change"], document["approval"]["occurrences"]) == ("opened", 2)
    assert set(document) == {"at", "change", "approval"}


def test_lines_say_who_decided_what_and_why(shell: ApprovalsShell) -> None:
    shell.stop_call()
    approve(shell, "apr_001", Offer(GrantKind.AMOUNT, 30))
    approved = shell.json("approvals", "show", "apr_001")
    assert change_line(Change("approved", approved), NOON) == (
        "12:00:00 approved apr_001 by operator 30 tokens on top of the limit, "
        "until 2026-11-24T00:00:00Z: fine"
    )
    asked = shell.json("budgets", "override-request", "money", "--amount", "$1", "--reason", "demo")
    assert change_line(Change("asked_again", asked), NOON).endswith("expires in 12h: demo")
    shell.run("budgets", "delete", "money", role="owner")
    asyncio.run(shell.deps.approvals.sweep())
    void = shell.json("approvals", "show", asked["id"])
    assert change_line(Change("void", void), NOON) == f"12:00:00 void {asked['id']}: the budget was deleted"
    assert change_line(Change("lost", message="no answer"), NOON) == "12:00:00 lost: no answer"
    assert change_line(Change("back"), NOON) == "12:00:00 back"


def screen() -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=160, height=40, highlight=False)
    return Screen(console, "http://palyra.test"), written


def test_on_a_terminal_the_list_is_drawn_anew(shell: ApprovalsShell) -> None:
    shell.stop_call(agent="[red]x")
    shown = shell.json("approvals", "show", "apr_001")
    view, written = screen()
    with view:
        view.show([shown], [Change("opened", shown)], NOON)
        assert "1 pending at http://palyra.test. Ctrl-C ends." in written.getvalue()
        assert "alice ([red]x)" in written.getvalue()
        view.show([shown], [Change("lost", message="refused")], NOON)
        view.show([shown], [], NOON)
        assert written.getvalue().count("No answer: refused. Trying again.") == 2
        view.show([], [Change("back"), *[Change("denied", shown)] * CHANGES_SHOWN], NOON)
        last = written.getvalue().rpartition("0 pending")[2]
        assert "Nothing waits." in last
        assert (last.count("denied apr_001"), "back" in last) == (CHANGES_SHOWN, False)


def test_the_clock_of_this_machine_goes_forward() -> None:
    pace = Pace()
    before = (pace.now(), pace.monotonic())
    pace.sleep(0.0)
    assert pace.now() >= before[0] > NOON - 10 * 366 * 86_400 * NANOSECONDS
    assert pace.monotonic() >= before[1]
