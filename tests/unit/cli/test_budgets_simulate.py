"""``palyra budgets simulate`` and ``POST /budgets/simulate``: the report on calls that a bench made."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from fakes.engines import Bench, budget
from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from harness import toml_text
from palyra.api import simulate
from palyra.api.app import create_api
from palyra.api.simulate import with_simulation
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.cli.app import app
from palyra.cli.client import Connector
from palyra.core.errors import PalyraError
from palyra.core.instant import NANOSECONDS, Instant
from palyra.identity.keys import Grant, Role
from palyra.lifecycle.history import Line, Reading
from palyra.store.lock import OwnerLock

ROUTE = "/api/v1/budgets/simulate"
LARGE = 1_000_000
"""Nano-USD of 20 input and 40 output tokens on the model of that name."""
DAILY = budget("old", "0.004")
HOUR_NS = 3_600 * NANOSECONDS


async def _past() -> Bench:
    """The bot of alice makes three calls of 0.001 USD, an hour apart; a budget stops the third."""
    bench = Bench(DAILY)
    for _ in range(3):
        with suppress(PalyraError):
            running = bench.start(bench.call(model="large", max_tokens=40, headers={"x-palyra-agent": "bot"}))
            for _ in range(30):
                await asyncio.sleep(0)
            if bench.upstream.calls and not running.done():
                bench.upstream.calls[-1].answer(20, 40)
            await running
        bench.clock.advance(3_600)
    return bench


class Loopback(Connector):
    """Reaches the application in this process."""

    def __init__(self, application: Any) -> None:
        self.app = application

    def open(self, url: str) -> httpx2.Client:
        return TestClient(self.app, base_url=url)


class Plane:
    """The control plane with the history of a bench, and a shell that speaks to it."""

    def __init__(self, in_force: Sequence[Policy] = ()) -> None:
        self.bench = asyncio.run(_past())
        self.clock = FakeClock(Instant(NOON + 4 * HOUR_NS))
        rules = plane_rules(FakeRecords(), self.clock, in_force)
        with asyncio.Runner() as runner:
            self.key = runner.run(rules.ensure_owner_key(None)) or ""
            owner = rules.snapshot.subject(self.key)
            assert owner is not None
            self.keys = {
                role: runner.run(rules.create_key(Grant(role, roles=frozenset({role})), issuer=owner))[1]
                for role in Role
            }
        deps = plane_deps(rules, FakeRecords(), self.clock)
        install = with_simulation(self.bench.store.history, self.bench.engine, PolicyDefaults())
        self.connector = Loopback(create_api(deps, (install,)))
        self.http = TestClient(self.connector.app, base_url="http://localhost:1")

    def post(self, key: str | None = None, /, **document: object) -> httpx2.Response:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return self.http.post(ROUTE, json=document, headers=headers)

    def document(self, **asked: object) -> Any:
        answer = self.post(**asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, *words: str) -> Result:
        environment = {"PALYRA_KEY": self.key}
        return CliRunner().invoke(app, ["budgets", "simulate", *words], obj=self.connector, env=environment)


def read(document: dict[str, object]) -> Policy:
    return parse_policy(document, defaults=PolicyDefaults(), version=3, actor="config", origin="file")


@pytest.fixture
def plane() -> Plane:
    return Plane([read(DAILY)])


def policy(document: Any, policy_id: str) -> Any:
    return next(each for each in document["policies"] if each["policy_id"] == policy_id)


def test_the_report_compares_what_happened_with_what_would_have(plane: Plane) -> None:
    document = plane.document(policies=[budget("one", 1, metric="requests", scope="agent:*")])
    totals = document["totals"]
    assert (totals["calls"], totals["stopped"], totals["let_in"]) == (3, 1, 0)
    assert totals["really"] == {
        "ran": 2,
        "blocked": 1,
        "asked": 0,
        "other": 0,
        "clamped": 0,
        "degraded": 0,
        "cost_nano_usd": 2 * LARGE,
        "cost_usd": "0.002",
    }
    assert totals["simulated"] == {
        **totals["really"],
        "ran": 1,
        "blocked": 2,
        "cost_nano_usd": LARGE,
        "cost_usd": "0.001",
    }
    assert (totals["saved_nano_usd"], totals["saved_usd"]) == (LARGE, "0.001")
    one = policy(document, "one")
    assert (one["candidate"], one["replaces_version"], one["binds"], one["blocked"]) == (True, None, True, 2)
    assert one["first_hard"] == {"at": "2026-11-23T13:00:00Z", "request_id": "req_0002", "entity": "bot"}
    assert one["examples"] == {"blocked": ["req_0002", "req_0003"]}
    assert document["examples"] == {"stopped": ["req_0002"], "let_in": []}
    assert [each["agent"] for each in document["agents"]] == ["bot"]
    assert [each["principal"] for each in document["principals"]] == ["alice"]


def test_a_candidate_replaces_the_budget_in_force_of_its_id(plane: Plane) -> None:
    document = plane.document(policies=[budget("old", "1.00")])
    (old,) = document["policies"]
    assert (old["candidate"], old["replaces_version"], old["policy"]["version"]) == (True, 3, 4)
    assert document["totals"]["let_in"] == 1
    assert document["totals"]["let_in_cost_nano_usd"] > 0
    assert old["really_stopped"] == 1
    assert document["examples"]["let_in"] == ["req_0003"]
    assert any("never ran and would have" in note for note in document["notes"])


def test_the_budgets_in_force_are_tried_too_unless_only_the_new_ones_are_wanted(plane: Plane) -> None:
    new = budget("new", "1.00")
    together, alone = plane.document(policies=[new]), plane.document(policies=[new], only=True)
    assert [each["policy_id"] for each in together["policies"]] == ["new", "old"]
    assert [each["policy_id"] for each in alone["policies"]] == ["new"]
    assert [each["totals"]["let_in"] for each in (together, alone)] == [0, 1]


def test_calls_before_the_period_fill_its_windows_and_are_not_reported(plane: Plane) -> None:
    limit = budget("two", 2, metric="requests", interval="day")
    document = plane.document(policies=[limit], only=True, since="2026-11-23T13:30:00Z")
    assert document["read_since"] == "2026-11-23T00:00:00Z"
    assert (document["read"], document["totals"]["calls"]) == (3, 1)
    assert policy(document, "two")["blocked"] == 1
    hourly = budget("two", 2, metric="requests", interval="hour")
    document = plane.document(policies=[hourly], only=True, since="2026-11-23T13:30:00Z")
    assert policy(document, "two")["blocked"] == 0
    until = plane.document(policies=[limit], only=True, until="2026-11-23T12:30:00Z")
    assert until["totals"]["calls"] == 1


def test_a_budget_that_binds_no_call_is_named(plane: Plane) -> None:
    document = plane.document(policies=[budget("typo", "1.00", scope="model:larg")])
    assert not policy(document, "typo")["binds"]
    assert "No call of this period is bound by typo." in document["notes"]


def test_a_dry_run_tells_what_enforcement_would_save(plane: Plane) -> None:
    document = plane.document(policies=[budget("one", 1, metric="requests", mode="dry_run")])
    assert policy(document, "one")["would_block"] == 1
    assert (document["totals"]["stopped"], document["totals"]["would_save_nano_usd"]) == (0, LARGE)


def test_a_forced_mode_holds_for_every_call(plane: Plane) -> None:
    document = plane.document(policies=[budget("one", 1, metric="requests")], mode="suggest")
    assert document["mode"] == "suggest"
    assert document["totals"]["simulated"]["blocked"] == 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "policies"),
        ({"policies": []}, "policies"),
        ({"policies": [1]}, "policies[0]"),
        ({"policies": [budget("a", "-1")]}, "policies[0].hard_limit"),
        ({"policies": [budget("a", "1.00"), budget("a", "2.00")]}, "policies[1].id"),
        ({"policies": [budget("a", "1.00")], "since": "yesterday"}, "since"),
        ({"policies": [budget("a", "1.00")], "since": "2027-01-01T00:00:00Z"}, "since"),
        ({"policies": [budget("a", "1.00")], "mode": "strict"}, "mode"),
        ({"policies": [budget("a", "1.00")], "only": "yes"}, "only"),
        ({"policies": [budget("a", "1.00")], "days": 3}, "days"),
    ],
)
def test_what_is_wrong_with_a_question_is_told_by_its_field(
    plane: Plane, asked: dict[str, object], field: str
) -> None:
    answer = plane.post(**asked)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_too_many_budgets_are_refused(plane: Plane) -> None:
    many = [budget(f"b{number}", "1.00") for number in range(1_001)]
    assert plane.post(policies=many).json()["field"] == "policies"


def test_viewers_may_simulate_and_callers_may_not(plane: Plane) -> None:
    asked = {"policies": [budget("a", "1.00")]}
    found = {role: plane.post(key, **asked).status_code for role, key in plane.keys.items()}
    assert found == {role: 403 if role is Role.CALLER else 200 for role in Role}


def test_more_calls_than_a_request_goes_through_are_refused_with_the_way_out(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "CALLS_MAX", 2)
    answer = plane.post(policies=[budget("a", "1.00")])
    assert (answer.status_code, answer.json()["field"]) == (422, "since")
    assert "palyra budgets simulate" in answer.json()["detail"]


class _Endless:
    """A history that lets a second request in while it is read."""

    def __init__(self) -> None:
        self.during: list[httpx2.Response] = []
        self.plane: Plane | None = None

    async def read(self, since: Instant) -> Reading:
        del since
        return self

    done, total = 0, 1

    async def next(self) -> Sequence[Line] | None:
        assert self.plane is not None
        self.during.append(await asyncio.to_thread(self.plane.post, policies=[budget("a", "1.00")]))
        return None


def test_one_simulation_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Plane()
    endless = _Endless()
    endless.plane = made
    monkeypatch.setattr(made.bench.store.history, "read", endless.read)
    assert made.post(policies=[budget("a", "1.00")]).status_code == 200
    (second,) = endless.during
    assert (second.status_code, second.json()["code"]) == (429, "overloaded")
    endless.during.clear()
    assert made.post(policies=[budget("a", "1.00")]).status_code == 200


# The command.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "team.toml"
    path.write_text(toml_text.dump({"budgets": [budget("one", 1, metric="requests", scope="agent:*")]}))
    return path


def test_the_command_shows_both_sides_and_the_first_moment(plane: Plane, file: Path) -> None:
    result = plane.run(str(file), "--url", "http://localhost:1", "--since", "2026-11-23T00:00:00Z")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines == [
        "From 2026-11-23T00:00:00Z to 2026-11-23T16:00:00Z: 3 calls",
        "calls that really would have",
        "ran 2 1",
        "blocked 1 2",
        "asked for approval 0 0",
        "refused otherwise 0 0",
        "cut short 0 0",
        "made cheaper 0 0",
        "cost in USD 0.002 0.001",
        "1 call that ran would have been stopped; 0.001 USD would have been saved.",
        "",
        "old (in force): nothing to do",
        "really stopped 1",
        "",
        "one (new): blocked 2",
        "saves 0.001 USD",
        "hard limit first reached 2026-11-23T13:00:00Z, by bot (req_0002)",
        "blocked: req_0002, req_0003",
        "",
        "principal calls stopped let in cut short cheaper USD would be saved",
        "alice 3 1 0 0 0 0.002 0.001 0.001",
        "",
        "agent calls stopped let in cut short cheaper USD would be saved",
        "bot 3 1 0 0 0 0.002 0.001 0.001",
        "",
        "Would have been stopped: req_0002",
    ]


def test_budgets_in_force_without_anything_to_do_are_only_counted(file: Path) -> None:
    idle = [read(budget(f"idle-{number}", "9.00")) for number in range(3)]
    result = Plane(idle).run(str(file), "--url", "http://localhost:1", "--since", "2026-11-23T00:00:00Z")
    assert "idle-" not in result.stdout
    assert "3 budgets in force would have had nothing to do." in result.stdout


def test_without_calls_there_is_nothing_to_show(plane: Plane, file: Path) -> None:
    result = plane.run(
        str(file),
        "--url",
        "http://localhost:1",
        "--since",
        "2026-11-24T00:00:00Z",
        "--until",
        "2026-11-25T00:00:00Z",
    )
    assert result.stdout.splitlines()[-1] == "No call is recorded since then."


def test_json_is_the_document_of_the_route(plane: Plane, file: Path) -> None:
    words = (
        "--url",
        "http://localhost:1",
        "--since",
        "2026-11-23T00:00:00Z",
        "--until",
        "2026-11-23T16:00:00Z",
    )
    result = plane.run(str(file), *words, "--only", "--mode", "enforced", "--json")
    assert result.exit_code == 0, result.output
    asked = {
        "since": "2026-11-23T00:00:00Z",
        "until": "2026-11-23T16:00:00Z",
        "only": True,
        "mode": "enforced",
    }
    documents = [budget("one", 1, metric="requests", scope="agent:*")]
    assert json.loads(result.stdout) == plane.document(policies=documents, **asked)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--since", "soon"), 2, "--since"),
        (("--since", "2026-11-23T00:00:00Z", "--until", "2026-11-22T00:00:00Z"), 2, "--since"),
        (("--url", "http://localhost:1", "--database", "x.db"), 2, "--url asks a daemon"),
        (("--mode", "strict"), 2, "--mode"),
    ],
)
def test_what_cannot_be_asked_is_told(
    plane: Plane, file: Path, words: Sequence[str], code: int, told: str
) -> None:
    result = plane.run(str(file), *words)
    assert result.exit_code == code
    assert told in result.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "palyra.toml"
    provider = {"id": "stub", "kind": "openai_compatible", "base_url": "http://127.0.0.1:9/v1"}
    server = {"database": f"sqlite:///{tmp_path}/palyra.db"}
    path.write_text(toml_text.dump({"server": server, "providers": [provider]}))
    return path


def test_a_database_that_is_not_there_is_not_found(plane: Plane, file: Path, config: Path) -> None:
    result = plane.run(str(file), "--config", str(config))
    assert (result.exit_code, "there is no database" in result.output) == (8, True)


def test_a_database_that_a_daemon_has_is_left_to_it(plane: Plane, file: Path, config: Path) -> None:
    database = config.parent / "palyra.db"
    database.touch()
    owner = OwnerLock(database)
    result = plane.run(str(file), "--config", str(config))
    owner.release()
    assert result.exit_code == 7
    assert "--url" in result.output


def test_a_file_that_is_no_ledger_is_refused(plane: Plane, file: Path, config: Path) -> None:
    (config.parent / "palyra.db").touch()
    result = plane.run(str(file), "--config", str(config))
    assert result.exit_code == 7
    assert "revision none" in result.output
