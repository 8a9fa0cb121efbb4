"""``palyra demo --write``: a month that a daemon starts with, and whose books are in order."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from harness.command import run, run_json
from harness.daemon import Api, DaemonProcess

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(300)]

WRITE_S = 240.0
TEAMS = {"support", "platform", "sales", "research", "evaluations"}
RUNAWAY_DAYS = 5
NANO = 1_000_000_000
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Month:
    """A folder as the demo wrote it, and what it said of it."""

    folder: Path
    told: Mapping[str, Any]

    def figure(self, statement: str) -> int:
        """The only figure that a statement on the ledger gives."""
        with sqlite3.connect(f"file:{self.folder / 'palyra.db'}?mode=ro", uri=True) as ledger:
            return ledger.execute(statement).fetchone()[0]


def palyra(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command line that needs no daemon."""
    return subprocess.run(
        [sys.executable, "-m", "palyra", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WRITE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """A month, written once for all tests here."""
    folder = tmp_path_factory.mktemp("month") / "demo"
    ran = palyra(folder.parent, "demo", "--write", str(folder), "--json")
    assert ran.returncode == 0, ran.stderr
    return Month(folder, json.loads(ran.stdout))


@pytest.fixture(scope="module")
def audited(month: Month) -> str:
    """What ``palyra audit verify`` says of it, before a daemon has it."""
    ran = palyra(month.folder, "audit", "verify")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def daemon(month: Month, audited: str) -> Iterator[DaemonProcess]:
    """A daemon that started in the folder."""
    assert "hold" in audited
    started = DaemonProcess(month.folder, None, owner_key=month.told["owner_key"]).start()
    yield started
    started.close()


@pytest.fixture
def api(daemon: DaemonProcess) -> Api:
    """Its control plane, with the owner key that was printed."""
    return daemon.api


def test_the_books_of_the_month_hold(month: Month, audited: str) -> None:
    assert "Chain head" in audited
    assert 18_000 <= month.told["calls"] <= 32_000
    checked = palyra(month.folder, "db", "check")
    assert checked.returncode == 0, checked.stderr


def test_a_folder_that_is_in_use_is_refused(month: Month) -> None:
    again = palyra(month.folder, "demo", "--write", str(month.folder))

    assert again.returncode == 7
    assert "is there already" in again.stderr


def test_the_summary_is_what_the_ledger_has(month: Month, daemon: DaemonProcess) -> None:
    told = run_json(daemon, daemon.owner_key, "usage", "summary", "--since", "90d")["totals"]

    posted = "SELECT sum(posted) FROM accounts WHERE policy_id = '{}'"
    assert told["cost_nano_usd"] == month.figure(posted.format("all-monthly"))
    tokens = told["input_tokens"] + told["output_tokens"]
    assert tokens == month.figure(posted.format("each-agent-hourly"))
    assert told["denied"] > 200
    assert told["failed"] > 0
    assert told["clamped"] > 0
    assert told["unpriced"] > 0
    assert told["estimated"] > 0
    assert told["cache_read_tokens"] > 0
    assert told["reasoning_tokens"] > 0


def test_five_teams_call_three_providers(api: Api) -> None:
    for name, wanted in (("principal", TEAMS), ("provider", {"openai", "anthropic", "local"})):
        groups = cast("list[Row]", api.get("/usage/summary", since="90d", group_by=name)["groups"])
        assert {each["group"][name] for each in groups} == wanted
        assert all(each["cost_nano_usd"] > 0 for each in groups)


def test_at_weekends_there_is_less_than_a_third_of_the_work(api: Api) -> None:
    buckets = cast(
        "list[Row]", api.get("/usage/timeline", since="31d", bucket="day", metric="cost")["buckets"]
    )
    whole = buckets[1:-RUNAWAY_DAYS]
    costs: dict[bool, list[int]] = {True: [], False: []}
    for bucket in whole:
        weekend = datetime.fromisoformat(bucket["start"]).weekday() > 4
        costs[weekend].append(bucket["cost_nano_usd"])

    mean = {weekend: sum(each) / len(each) for weekend, each in costs.items()}
    assert len(costs[True]) >= 6
    assert 3 * mean[True] < mean[False]


def test_the_runaway_agent_spent_its_budget_and_what_was_granted(month: Month, api: Api) -> None:
    (account,) = api.accounts("crawler-project")
    posted = cast("int", account["posted_nano_usd"])

    assert 90 * NANO < posted <= (75 + 20) * NANO
    most = "SELECT max(posted) FROM accounts WHERE policy_id = 'each-agent-hourly'"
    assert 3_500_000 < month.figure(most) <= 4_000_000
    groups = cast("list[Row]", api.get("/usage/summary", since="90d", group_by="agent")["groups"])
    (crawler,) = (each for each in groups if each["group"]["agent"] == "crawler")
    assert crawler["denied"] > 100
    assert crawler["asked"] > 50


def test_people_decided_and_one_request_waits(api: Api) -> None:
    items = cast("list[Row]", api.get("/approvals", limit="200")["items"])
    states = {(each["policy_id"], each["state"]) for each in items}

    assert [each["policy_id"] for each in items if each["state"] == "pending"] == ["crawler-project"]
    assert {("crawler-project", "approved"), ("crawler-project", "denied")} <= states
    assert ("sales-daily", "approved") in states
    assert api.get("/budgets/sales-daily")["version"] == 3


def test_some_alerts_are_over_and_some_are_not(api: Api) -> None:
    items = cast("list[Row]", api.get("/alerts", limit="200")["items"])
    kinds = {
        state: {each["kind"] for each in items if each["state"] == state} for state in ("firing", "resolved")
    }

    assert {"budget_exhausted", "approval_pending"} <= kinds["firing"]
    over = {"budget_exhausted", "provider_health", "unpriced_model", "cost_spike", "budget_threshold"}
    assert over <= kinds["resolved"]


def test_each_kind_of_call_can_be_explained(month: Month, daemon: DaemonProcess, api: Api) -> None:
    with sqlite3.connect(f"file:{month.folder / 'palyra.db'}?mode=ro", uri=True) as ledger:
        found = ledger.execute("SELECT min(request_id), state FROM decisions GROUP BY state").fetchall()
    assert {state for _, state in found} == {"denied", "settled", "released", "in_doubt"}

    for request_id, state in found:
        assert api.decision(request_id)["state"] == state
        out, _ = run(daemon, daemon.owner_key, "explain", request_id)
        assert request_id in out


def test_routing_saved_money_and_a_trial_shows_what_it_would_have_stopped(
    month: Month, daemon: DaemonProcess
) -> None:
    report = run_json(daemon, daemon.owner_key, "models", "routing-report", "--since", "31d")
    assert report["calls"]["counted"] > 1_000

    less = "SELECT count(*) FROM accounts WHERE policy_id = 'support-trial' AND shadow_posted < posted"
    assert month.figure(less) > 3
