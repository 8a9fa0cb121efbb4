"""Usage reports of a real daemon over real calls: equal to the ledger, on every page and in every file."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from harness import command
from harness.daemon import Api, DaemonProcess, config, model
from harness.gate import Gate
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import chat, message, request_id
from harness.tenant import SharedDaemons, Tenant

MODELS = (
    model("stub-model"),
    model("dear-model", price={"input": "10.00", "output": "20.00"}),
    model("stub-claude", "stub-anthropic"),
)
VIEWS = ("agents", "principals", "models", "providers")


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, models=MODELS))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    made: Tenant = tenant_of(daemon)
    return made


def settled(tenant: Tenant, replies: Sequence[Any]) -> list[dict[str, Any]]:
    """The calls as the ledger has them, each when it is over."""
    return [tenant.api.settled(request_id(each)) for each in replies]


def make_calls(tenant: Tenant, stub: Stub) -> list[dict[str, Any]]:
    """Calls of two agents to three models at two providers, and one that a budget refuses."""
    replies: list[Any] = []
    for number, (name, agent) in enumerate(
        (("stub-model", "coder"), ("dear-model", "coder"), ("stub-model", "=cmd"), ("dear-model", "coder"))
    ):
        stub.script = Answer(usage=fixed(100 + number, 30 * number))
        body = chat(model=name)
        replies.append(tenant.ask(body, headers={"x-palyra-agent": agent}))
    stub.script = Answer(usage=fixed(11, 13))
    replies.append(tenant.ask(message(), "/v1/messages"))
    assert [each.status for each in replies] == [200] * 5
    tenant.budget(0, metric="requests")
    refused = tenant.ask()
    assert refused.status == 402
    return settled(tenant, replies)


def own(tenant: Tenant, path: str, **params: str) -> dict[str, Any]:
    return cast("dict[str, Any]", tenant.api.get(f"/usage/{path}", principal=tenant.principal, **params))


def cost_of(calls: Sequence[dict[str, Any]]) -> int:
    return sum(each["settlement"]["cost_nano_usd"] for each in calls)


def exported(tenant: Tenant, **params: str) -> list[dict[str, str]]:
    answer = tenant.api.request("GET", "/usage/export", principal=tenant.principal, **params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="palyra-usage-')
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_w38_w39_w42_every_report_is_the_ledger_to_the_nano_usd(tenant: Tenant, shared_stub: Stub) -> None:
    """L2: costs are there, by the model that ran, each call at its own price."""
    calls = make_calls(tenant, shared_stub)
    whole = cost_of(calls)
    assert whole > 0
    by_model: dict[str, int] = {}
    for each in calls:
        by_model[each["model"]] = by_model.get(each["model"], 0) + each["settlement"]["cost_nano_usd"]
    summary = own(tenant, "summary", group_by="model")
    assert summary["totals"]["cost_nano_usd"] == whole
    assert (summary["totals"]["requests"], summary["totals"]["denied"]) == (5, 1)
    told = {group["group"]["model"]: group["cost_nano_usd"] for group in summary["groups"]}
    assert {name: cost for name, cost in told.items() if cost} == by_model
    for view in VIEWS:
        assert sum(each["cost_nano_usd"] for each in own(tenant, view)["items"]) == whole
    rows = own(tenant, "models")["items"]
    assert {each["model"]: each["cost_nano_usd"] for each in rows if each["requests"]} == by_model
    for zone in ("UTC", "Europe/Prague", "Asia/Kolkata"):
        shown = own(tenant, "timeline", timezone=zone, by="model", since="24h")
        assert sum(each["cost_nano_usd"] for each in shown["buckets"]) == whole
        assert sum(sum(each["points"]) for each in shown["series"]) == whole
    for dataset in ("timeline", *VIEWS, "hours"):
        assert sum(int(row["cost_nano_usd"]) for row in exported(tenant, dataset=dataset)) == whole
    focus = exported(tenant, format="focus")
    assert sum(round(float(row["BilledCost"]) * 10**9) for row in focus) == whole
    assert all(datetime.fromisoformat(row["ChargePeriodStart"]).minute == 0 for row in focus)


def test_w44_a_caller_sees_its_own_usage_in_every_report(
    daemon: DaemonProcess, tenant: Tenant, tenant_of: Callable[..., Tenant], shared_stub: Stub
) -> None:
    other = tenant_of(daemon)
    shared_stub.script = Answer(usage=fixed(7, 7))
    mine = settled(tenant, [tenant.ask()])
    settled(other, [other.ask()])
    api = Api(daemon.url, tenant.key)
    for view in ("summary", "timeline", *VIEWS):
        shown = cast("dict[str, Any]", api.get(f"/usage/{view}"))
        assert other.principal not in json.dumps(shown)
        found = shown["totals"]["cost_nano_usd"] if "totals" in shown else shown["all_cost_nano_usd"]
        assert found == cost_of(mine)
    assert api.request("GET", "/usage/agents", principal=other.principal).status_code == 422


def test_w46_the_command_line_prints_what_the_daemon_counts(
    daemon: DaemonProcess, tenant: Tenant, shared_stub: Stub, tmp_path: Path
) -> None:
    calls = make_calls(tenant, shared_stub)
    key, only = daemon.api.key, ("--principal", tenant.principal)
    document = command.run_json(daemon, key, "usage", "agents", *only)
    assert document["all_cost_nano_usd"] == cost_of(calls)
    for words in (("agents",), ("models",), ("timeline",), ("summary", "--by", "agent")):
        page, _ = command.run(daemon, key, "usage", *words, *only)
        assert document["all_cost_usd"] in page
    written = tmp_path / "usage.csv"
    command.run(daemon, key, "usage", "export", "agents", "-o", str(written), *only)
    rows = list(csv.DictReader(io.StringIO(written.read_text(), newline="")))
    assert sum(int(row["cost_nano_usd"]) for row in rows) == cost_of(calls)
    assert "'=cmd" in [row["agent"] for row in rows]
    _, error = command.run(daemon, key, "usage", "export", "-o", str(written), code=7)
    assert "--force" in error
    out, error = command.run(daemon, key, "usage", "top", "--since", "24h")
    assert "USD" in out
    assert error == ""


def test_w38_w41_w42_w44_insights_and_sessions_are_of_the_calls_of_the_ledger(
    daemon: DaemonProcess, tenant: Tenant, shared_stub: Stub
) -> None:
    gate = Gate()
    tenant.budget(4, metric="requests")
    headers = {"x-palyra-session": "run/1", "x-palyra-agent": "coder", "x-palyra-tags": "stage=trial"}
    calls: list[dict[str, Any]] = []
    for name in ("stub-model", "dear-model", "dear-model"):
        shared_stub.script = Answer(usage=fixed(1_000, 300))
        calls += settled(tenant, [tenant.ask(chat(model=name), headers=headers)])
    shared_stub.script = Answer(usage=fixed(10, 10), gate=gate)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenant.ask, chat(model="dear-model"), headers=headers)
        gate.wait_for(1)
        summary = own(tenant, "summary")
        (pending,) = cast("list[Any]", tenant.api.get("/decisions", **only(tenant), state="pending")["items"])
        held = tenant.api.get(f"/decisions/{pending['request_id']}")
        gate.open()
        calls += settled(tenant, [waiting.result()])
    assert (summary["running"], summary["held_now_nano_usd"]) == (
        1,
        cast("dict[str, Any]", held["estimate"])["cost_bound_nano_usd"],
    )
    assert own(tenant, "summary")["held_now_nano_usd"] == 0
    refused = tenant.ask(headers=headers)
    assert refused.status == 402
    calls += settled(tenant, [refused])
    whole = cost_of([each for each in calls if each["settlement"]])

    for api in (tenant.api, Api(daemon.url, tenant.key)):
        shown = cast("dict[str, Any]", api.get("/usage/insights", **only(tenant), since="1h"))
        assert shown["totals"]["cost_nano_usd"] == whole
        for mix in ("model_mix", "principal_mix", "agent_mix"):
            assert sum(each["cost_nano_usd"] for each in shown[mix]) == whole
        assert {each["name"] for each in shown["principal_mix"]} == {tenant.principal}
        assert shown["routing"]["modes"]["enforced"] == shown["routing"]["calls"] == len(calls)
        assert [(each["policy_id"], each["why"]) for each in shown["budgets"]] == [
            (f"{tenant.principal}-own", "hard_limit")
        ]
        assert shown["hints"][0]["kind"] == "budget_exhausted"
        session = cast(
            "dict[str, Any]", api.get("/usage/sessions/run%2F1", principal=tenant.principal, limit="2")
        )
        for part in (session["timeline"]["buckets"], session["models"]):
            assert sum(each["cost_nano_usd"] for each in part) == whole == session["session"]["cost_nano_usd"]
            assert sum(each["denied"] for each in part) == 1
        assert len(session["items"]) == 2
    assert {each["provider"] for each in shown_health(tenant)} == {"stub", "stub-anthropic"}


def shown_health(tenant: Tenant) -> list[dict[str, Any]]:
    return own(tenant, "insights")["health"]


def only(tenant: Tenant) -> dict[str, str]:
    return {"principal": tenant.principal}


def test_w46_calls_are_found_by_the_api_and_the_command_line_alike(
    daemon: DaemonProcess, tenant: Tenant, shared_stub: Stub
) -> None:
    calls = make_calls(tenant, shared_stub)
    dearest = max(calls, key=lambda each: cost_of([each]))
    cost = dearest["settlement"]["cost_usd"]
    for words, params in (
        (("--min-cost", cost), {"min_cost": cost}),
        (("--provider", "stub-anthropic"), {"provider": "stub-anthropic"}),
        (("--endpoint", "messages"), {"endpoint": "messages"}),
        (("--outcome", "deny", "--since", "1h"), {"outcome": "deny", "since": "1h"}),
        (("--status", "blocked"), {"status": "blocked"}),
        (("--id", dearest["request_id"][:-2]), {"request_id": dearest["request_id"][:-2]}),
    ):
        found = cast("list[Any]", tenant.api.get("/decisions", **only(tenant), **params)["items"])
        assert found, params
        listed = command.run_json(
            daemon, daemon.api.key, "decisions", "list", "--principal", tenant.principal, *words
        )
        assert listed["items"] == found
    assert [
        each["request_id"]
        for each in cast("list[Any]", tenant.api.get("/decisions", **only(tenant), min_cost=cost)["items"])
    ] == [dearest["request_id"]]
