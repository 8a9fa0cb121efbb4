"""``palyra usage`` against a control plane on fakes: pages, files, the live view."""

import asyncio
import csv
import io
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from rich.console import Console
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from fakes.till import decision, settlement
from palyra.api.app import create_api
from palyra.cli import usage
from palyra.cli.client import Client, Connector
from palyra.cli.output import CommandError, PalyraGroup
from palyra.cli.usage_draw import bar, curve
from palyra.cli.usage_top import Top
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.usage import UsageTotals
from palyra.pricing.usage import Usage


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

    def __init__(self) -> None:
        self.records, clock = FakeRecords(), FakeClock()
        rules = plane_rules(self.records, clock)
        with asyncio.Runner() as runner:
            self.key = runner.run(rules.ensure_owner_key(None)) or ""
        self.connector = Loopback(create_api(plane_deps(rules, self.records, clock)))
        self.root = typer.Typer(cls=PalyraGroup)
        self.root.add_typer(usage.app, name="usage")

    def run(self, *words: str) -> Result:
        environment = {"PALYRA_KEY": self.key, "PALYRA_URL": "http://localhost:1"}
        return CliRunner().invoke(self.root, ["usage", *words], obj=self.connector, env=environment)

    def page(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.page(*words, "--json"))

    @property
    def client(self) -> Client:
        return Client(self.connector, "http://localhost:1", self.key)

    def use(self, hours_ago: int, cost: int, unpriced: int = 0, **names: str) -> None:
        group = {"principal": "alice", "agent": "nightly", "model": "small", "provider": "stub"} | names
        at = Instant(NOON - hours_ago * HOUR_NS)
        self.records.totals.append((at, UsageTotals(group, 4, 1, 0, unpriced, 100, 50, 10, 0, 0, cost)))


@pytest.fixture
def shell() -> Shell:
    made = Shell()
    made.use(1, 3_000_000_000)
    made.use(5, 1_000_000_000, agent="coder", model="large")
    made.use(30, 2_000_000_000, principal="bob", agent="")
    return made


def test_a_summary_is_compared_with_the_time_before(shell: Shell) -> None:
    shell.use(49, 0)
    page = shell.page("summary", "--since", "24h")
    assert page.splitlines()[-1] == (
        "2.00 USD (100.00 %) more than before: 2.00 USD from 2026-11-21T12:00:00Z to 2026-11-22T12:00:00Z."
    )
    shell.use(27, 6_000_000_000)
    assert "4.00 USD (50.00 %) less than before" in shell.page("summary", "--since", "24h")
    assert (
        shell.page("summary", "--since", "24h", "--agent", "nobody").splitlines()[-1].startswith("As much as")
    )


def test_a_summary_is_not_compared_with_a_time_of_which_only_a_part_is_kept(shell: Shell) -> None:
    assert shell.page("summary", "--since", "24h").splitlines()[-1] == (
        "Not compared with the time before: usage is kept since 2026-11-22T06:00:00Z."
    )
    shell.records.totals.clear()
    assert "There is no usage yet." in shell.page("summary", "--since", "24h")


def test_a_summary_tells_of_latencies_and_of_what_runs(shell: Shell) -> None:
    at, row = shell.records.totals[0]
    shell.records.totals.append((at, replace(row, cost=0, timed=2, latency_ms=2_468)))
    end = settlement(CallState.SETTLED, NOON, cost=1, usage=Usage(1, 1), total_ms=3_000)
    for number, (state, ended) in enumerate(((CallState.SETTLED, end), (CallState.PENDING, None))):
        made = decision(f"req_{number}", Instant(NOON - HOUR_NS))
        shell.records.stored[made.request_id] = StoredDecision(made, state, ended)
    page = shell.page("summary", "--since", "24h")
    assert page.splitlines()[-2:] == [
        "Calls took 1,234 ms on average, 95 of 100 within 2,815 ms.",
        "Running now: 1, holding 0.000001 USD at most.",
    ]
    document = shell.json("summary", "--since", "24h")
    assert (document["running"], document["p95_latency_ms"]) == (1, 2_815)


def test_insights_say_what_to_look_at_and_what_to_do(shell: Shell) -> None:
    shell.use(2, 0, unpriced=4, model="free")
    page = shell.page("insights", "--since", "24h")
    assert "4.00 USD, 12 calls, 3 denied, 0 failed, 4 without a known price." in page
    assert "WARNING: 4 calls have no known price" in page
    assert "palyra prices set" in page
    assert "75.00" in page
    assert "Of 0 calls, 0 ran elsewhere than asked" in page
    document = shell.json("insights", "--since", "24h", "--agent", "coder")
    assert [each["name"] for each in document["agent_mix"]] == ["coder"]
    assert "Nothing needs attention." in shell.page("insights", "--agent", "nobody")


@pytest.mark.parametrize("view", ["agents", "principals", "models", "providers"])
def test_w46_a_list_shows_what_the_daemon_counts_to_the_digit(shell: Shell, view: str) -> None:
    document = shell.json(view)
    page = shell.page(view)
    for each in document["items"]:
        line = next(
            line for line in page.splitlines() if each["cost_usd"] in line and each["last_hour"][:10] in line
        )
        assert each["share_percent"] in line
        assert each["average_cost_usd"] in line
    assert "All of them: 6.00 USD." in page
    with shell.connector.open("http://localhost:1") as http:
        answer = http.get(f"/api/v1/usage/{view}", headers={"x-api-key": shell.key})
    assert document == answer.json()


def test_a_list_is_a_table_with_bars_and_curves(shell: Shell) -> None:
    """A snapshot."""
    lines = shell.page(
        "agents", "--since", "2026-11-22T00:00:00Z", "--until", "2026-11-23T12:00:00Z"
    ).splitlines()
    assert lines[0] == "From 2026-11-22T00:00:00Z to 2026-11-23T12:00:00Z"
    told = [line.split() for line in lines[2:5]]
    assert told[0][:9] == ["nightly", "4", "1", "100", "50", "10", "3.00", "0.75", "50.00"]
    assert told[0][9] == "█████"
    assert told[1][:2] == ["-", "4"]
    assert told[2][0] == "coder"
    assert "█" in lines[2].split("█████", 1)[1]


def test_pages_are_paged_on_with_the_cursor(shell: Shell) -> None:
    page = shell.page("agents", "--limit", "2")
    cursor = page.splitlines()[-1].removeprefix("More: --cursor ")
    rest = shell.page("agents", "--limit", "2", "--cursor", cursor)
    assert "coder" in rest
    assert "nightly" not in rest
    assert "More" not in rest


def test_a_list_of_nothing_says_so_and_calls_without_a_price_are_told(shell: Shell) -> None:
    assert "Nothing was used." in shell.page("agents", "--principal", "nobody")
    shell.use(1, 0, unpriced=4, agent="free")
    assert "4 calls have no known price" in shell.page("agents")


def test_a_timeline_draws_a_bar_per_bucket_of_the_zone(shell: Shell) -> None:
    page = shell.page(
        "timeline",
        "--since",
        "2d",
        "--bucket",
        "day",
        "--timezone",
        "Europe/Prague",
        "--by",
        "agent",
        "--top",
        "1",
    )
    lines = page.splitlines()
    assert lines[0].endswith("cost per day in Europe/Prague")
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
    assert rows["2026-11-22"][0] == "2.00"
    assert rows["2026-11-23"] == ["4.00", "█" * 40]
    assert rows["total"] == ["6.00"]
    assert any(line.startswith("nightly") for line in lines)
    assert any(line.startswith("(other)") for line in lines)


@pytest.mark.parametrize(("metric", "total"), [("tokens", "450"), ("calls", "12"), ("denied", "3")])
def test_a_timeline_of_counts_has_whole_numbers(shell: Shell, metric: str, total: str) -> None:
    page = shell.page("timeline", "--since", "2d", "--bucket", "day", "--metric", metric)
    assert page.splitlines()[-1].split() == ["total", total]


def test_a_zone_of_half_hours_is_told(shell: Shell) -> None:
    assert "not whole hours from UTC" in shell.page(
        "timeline", "--timezone", "Asia/Kolkata", "--bucket", "day"
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["timeline", "--since", "soon"], 2, "--since"),
        (["agents", "--until", "2026"], 2, "--until"),
        (["timeline", "--timezone", "Mars"], 2, "timezone"),
        (["timeline", "--bucket", "week"], 2, "bucket"),
        (["models", "--sort", "age"], 2, "sort"),
        (["top", "sessions"], 2, "VIEW"),
        (["export", "calls"], 2, "dataset"),
        (["export", "--format", "xlsx", "-o", "x.csv"], 2, "format"),
        (["export", "--json"], 2, "-o"),
        (["export", "-o", "nowhere/x.csv"], 7, "no folder"),
    ],
)
def test_what_is_wrong_is_told_with_its_exit_code(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = shell.run(*words)
    assert (result.exit_code, told in result.stderr) == (code, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_goes_to_stdout_or_to_a_file_of_the_same_bytes(shell: Shell, tmp_path: Path) -> None:
    written = tmp_path / "agents.csv"
    assert "agents.csv is written" in shell.page("export", "agents", "-o", str(written))
    shown = shell.run("export", "agents").stdout_bytes
    assert shown == written.read_bytes()
    rows = list(csv.DictReader(io.StringIO(written.read_text(), newline="")))
    assert [row["agent"] for row in rows] == ["", "coder", "nightly"]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    document = shell.json("export", "agents", "-o", str(tmp_path / "again.csv"))
    assert document["bytes"] == written.stat().st_size


def test_an_export_replaces_a_file_only_if_told_to(shell: Shell, tmp_path: Path) -> None:
    written = tmp_path / "x.json"
    written.write_text("precious")
    refused = shell.run("export", "hours", "--format", "json", "-o", str(written))
    assert (refused.exit_code, "--force" in refused.stderr) == (7, True)
    assert written.read_text() == "precious"
    shell.page("export", "hours", "--format", "json", "-o", str(written), "--force")
    assert json.loads(written.read_text())["dataset"] == "hours"
    assert list(tmp_path.iterdir()) == [written], "nothing else is left behind"
    folder = shell.run("export", "-o", str(tmp_path), "--force")
    assert folder.exit_code == 7


def test_an_export_that_fails_leaves_no_file(shell: Shell, tmp_path: Path) -> None:
    for broken in (False, True):
        shell.connector.broken = broken
        result = shell.run("export", "--timezone", "Mars", "-o", str(tmp_path / "x.csv"))
        assert result.exit_code == (4 if broken else 2)
        assert list(tmp_path.iterdir()) == []


class BreakingOff(Connector):
    """A daemon whose file ends in the middle."""

    def open(self, url: str) -> httpx2.Client:
        def pieces() -> Any:
            yield b"head\r\n"
            raise httpx2.RemoteProtocolError("peer closed connection")

        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=pieces()))
        return httpx2.Client(transport=transport, base_url=url)


def test_a_file_that_breaks_off_is_no_file(shell: Shell, tmp_path: Path) -> None:
    shell.connector = BreakingOff()  # type: ignore[assignment]
    result = shell.run("export", "-o", str(tmp_path / "x.csv"))
    assert (result.exit_code, "broke off" in result.stderr) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_somebody_else_made_meanwhile_stays(shell: Shell, tmp_path: Path) -> None:
    written, real = tmp_path / "x.csv", shell.connector.open

    def meanwhile(url: str) -> httpx2.Client:
        written.write_text("theirs")
        return real(url)

    shell.connector.open = meanwhile  # type: ignore[method-assign]
    result = shell.run("export", "-o", str(written))
    assert (result.exit_code, written.read_text()) == (7, "theirs")
    assert list(tmp_path.iterdir()) == [written]


@pytest.mark.parametrize(
    ("part", "whole", "drawn"),
    [(0, 9, ""), (5, 0, ""), (9, 9, "█" * 4), (99, 9, "█" * 4), (1, 10**9, "▏"), (1, 2, "██"), (3, 8, "█▌")],
)
def test_a_bar_is_as_long_as_its_part(part: int, whole: int, drawn: str) -> None:
    assert bar(part, whole, width=4) == drawn


def test_curves_rise_to_the_largest_and_need_no_more_than_ascii() -> None:
    assert curve([0, 1, 50, 100]) == " ▁▄█"
    assert curve([]) == ""
    assert curve([0, 0]) == "  "
    assert curve([1, 10**18], plain=True) == ".@"
    assert bar(1, 2, plain=True, width=8) == "####"


def test_top_without_a_terminal_is_printed_once(shell: Shell) -> None:
    shell.use(49, 0)
    page = shell.page("top", "--since", "24h")
    assert page.splitlines()[0] == "4.00 USD (+100.00 % against before), 8 calls, 2 denied, 300 tokens"
    assert "nightly" in page
    document = shell.json("top", "models")
    assert set(document) == {"summary", "timeline", "rows"}
    assert document["rows"]["items"][0]["model"] == "small"
    shell.records.totals.clear()
    assert "Nothing yet." in shell.page("top")


class FakePace:
    """Time that passes when somebody sleeps; then something may happen."""

    def __init__(self, *events: Callable[[], None]) -> None:
        self.at, self.slept = 0.0, list[float]()
        self._events = list(events)

    def now(self) -> Instant:
        return NOON

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept.append(seconds)
        if self._events:
            self._events.pop(0)()


def live(shell: Shell, pace: FakePace, for_s: float) -> str:
    out = Console(file=io.StringIO(), force_terminal=True, width=200, legacy_windows=False)
    Top(shell.client, "agents", "24h", "cost", 15).run(out, pace, for_s)  # type: ignore[arg-type]
    return out.file.getvalue()  # type: ignore[attr-defined]


def test_top_is_drawn_anew_every_two_seconds(shell: Shell) -> None:
    pace = FakePace(lambda: shell.use(1, 5_000_000_000, agent="runaway"))
    drawn = live(shell, pace, 5.0)
    assert pace.slept == [2.0, 2.0, 1.0]
    first, _, rest = drawn.partition("runaway")
    assert "4.00 USD" in first
    assert rest
    assert "9.00 USD" in drawn


def test_top_waits_for_a_daemon_that_went_away_and_not_for_one_that_never_was(shell: Shell) -> None:
    def goes() -> None:
        shell.connector.broken = True

    def comes() -> None:
        shell.connector.broken = False

    pace = FakePace(goes, lambda: None, comes)
    drawn = live(shell, pace, 12.0)
    assert pace.slept[:3] == [2.0, 2.0, 4.0]
    assert "No answer" in drawn
    shell.connector.broken = True
    with pytest.raises(CommandError):
        live(shell, FakePace(), 1.0)


def test_top_ends_where_the_key_is_refused(shell: Shell) -> None:
    def refuse() -> None:
        # Another daemon at the same address: it knows no key of the first one.
        records, clock = FakeRecords(), FakeClock()
        shell.connector.app = create_api(plane_deps(plane_rules(records, clock), records, clock))

    with pytest.raises(CommandError) as caught:
        live(shell, FakePace(refuse), 10.0)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("words", [["timeline"], ["agents"], ["models"], ["export"], ["top"]])
def test_help_has_an_example(shell: Shell, words: list[str]) -> None:
    assert "palyra usage " + " ".join(words) in " ".join(shell.run(*words, "--help").stdout.split())
