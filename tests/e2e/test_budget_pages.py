"""What the pages about budgets are made of, from a real daemon: gauges, forecasts, validation, history."""

from typing import Any, cast

from conftest import DaemonFactory
from harness import command
from harness.daemon import DaemonProcess, budget, config
from harness.stub import Stub
from harness.talk import ask, chat, request_id


def call(daemon: DaemonProcess, key: str) -> None:
    daemon.api.settled(request_id(ask(daemon, key, chat())))


def test_every_budget_is_a_gauge_with_its_forecast(daemon_factory: DaemonFactory, stub: Stub) -> None:
    budgets = [
        budget("all", "5.00", interval="total"),
        budget("each", 1_000, scope="principal:*", metric="requests", interval="hour"),
        budget("status", 9, metric="requests", interval="total"),
    ]
    daemon = daemon_factory(config(stub.url, budgets=budgets))
    for name in ("alice", "bob"):
        call(daemon, daemon.create_key(name))

    page: Any = daemon.api.get("/budgets/status")
    gauges = {each["policy"]["id"]: each for each in page["items"]}

    assert list(gauges) == ["all", "each", "status"]
    assert gauges["each"]["accounts_total"] == 2
    assert {each["entity"]: each["posted"] for each in gauges["each"]["accounts"]} == {"alice": 1, "bob": 1}
    (everybody,) = gauges["all"]["accounts"]
    assert everybody["posted_nano_usd"] > 0
    assert everybody["window_end"] is None
    one: Any = daemon.api.get("/budgets/all/status")
    figures = (
        "posted_nano_usd",
        "held_nano_usd",
        "limit_usd",
        "remaining_usd",
        "forecast_usd",
        "exhausted_at",
    )
    assert [one["accounts"][0][name] for name in figures] == [everybody[name] for name in figures]
    assert cast("Any", daemon.api.get("/budgets/status/status"))["policy"]["id"] == "status"
    second: Any = daemon.api.get("/budgets/status", limit="2", cursor="all")
    assert [each["policy"]["id"] for each in second["items"]] == ["each", "status"]
    shown, _ = command.run(daemon, daemon.owner_key, "budgets", "status", "each", "--url", daemon.url)
    assert "forecast" in shown
    assert "runs out" in shown


def test_a_budget_is_validated_and_not_made(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("filed", "1.00")]))

    good: Any = daemon.api.post("/budgets/validate", budget("mine", "1.00"))
    bad: Any = daemon.api.post("/budgets/validate", budget("filed", "-1", interval="fortnight", colour="red"))

    assert (good["ok"], good["exists"], good["policy"]["hard_limit_usd"]) == (True, False, "1.00")
    assert [each["field"] for each in bad["problems"]] == ["colour", "interval", "hard_limit", "id"]
    assert (bad["ok"], bad["exists"], bad["policy"]) == (False, True, None)
    assert [each["id"] for each in cast("Any", daemon.api.get("/budgets"))["items"]] == ["filed"]


def test_the_history_of_a_budget_outlives_it_and_a_restart(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("filed", "1.00")]))
    daemon.api.post("/budgets", budget("mine", "1.00"))
    daemon.api.request("PUT", "/budgets/mine", budget("mine", "2.00"))
    key = daemon.create_key("alice")
    for _ in range(5):
        call(daemon, key)
    assert daemon.api.request("DELETE", "/budgets/mine").status_code == 204
    daemon.restart()

    page: Any = daemon.api.get("/budgets/mine/history")
    filed: Any = daemon.api.get("/budgets/filed/history")

    assert [(each["version"], each["action"]) for each in page["items"]] == [
        (2, "deleted"),
        (2, "changed"),
        (1, "created"),
    ]
    assert page["items"][1]["changes"] == [{"field": "hard_limit", "before": "1.00", "after": "2.00"}]
    assert {each["by_principal"] for each in page["items"]} == {"owner"}
    assert [(each["by"].partition("@")[0], each["action"]) for each in filed["items"]] == [
        ("config", "created")
    ]
    assert daemon.api.request("GET", "/budgets/never/history").status_code == 404
    shown, _ = command.run(daemon, daemon.owner_key, "budgets", "history", "mine", "--url", daemon.url)
    assert "hard_limit: 1.00 -> 2.00" in shown
