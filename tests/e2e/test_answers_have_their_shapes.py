"""What a daemon really answers is what its OpenAPI document names, and no field more."""

from typing import Any

from conftest import DaemonFactory
from harness.daemon import DaemonProcess, budget, config, model, poll
from harness.script import Answer
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.typed import misfits

BUDGETS = (
    budget("money", "0.01", thresholds=[{"at": 0.5}, {"at": 0.9, "then": "degrade", "to": "low"}]),
    budget("tokens", 100, scope="principal:*", metric="output_tokens", min_output_tokens=16),
    budget("dry", 1, metric="requests", mode="dry_run", soft_limit=1),
)


def fits(daemon: DaemonProcess, shape: str, document: object) -> None:
    schemas: Any = daemon.api.get("/openapi.json")["components"]
    assert misfits(document, schemas["schemas"][shape], schemas["schemas"]) == []


def used(daemon: DaemonProcess) -> str:
    """A daemon that let calls through, cut one short and refused some; returns a key."""
    key = daemon.create_key("alice", agent="nightly")
    replies = [ask(daemon, key, chat(number)) for number in (20, 80, 200)]
    replies.append(ask(daemon, daemon.owner_key, chat(64, model="auto")))
    for reply in replies:
        if reply.status == 200:
            daemon.api.settled(request_id(reply))
    return key


def test_answers_about_models_and_prices(daemon_factory: DaemonFactory, stub: Stub) -> None:
    models = (model("stub-model"), model("large", cost_tier="premium"), model("bare", price=None))
    settings = config(
        stub.url,
        budgets=BUDGETS,
        models=[{name: value for name, value in each.items() if value is not None} for each in models],
        governance={"default_model": "stub-model"},
        routing={"retry_base_s": 0.01, "breaker_failures": 2},
    )
    daemon = daemon_factory(settings)
    api = daemon.api
    used(daemon)
    stub.script = Answer(status=500)
    for _ in range(3):
        ask(daemon, daemon.owner_key, chat())
    stub.script = Answer(status=429, headers=[("retry-after", "60")])
    ask(daemon, daemon.owner_key, chat(model="large"))

    listed: Any = api.get("/models")
    status: Any = api.get("/models/status")
    tested: Any = api.post("/models/test-connection", {"generate": True, "refresh": True})

    fits(daemon, "ModelList", listed)
    fits(daemon, "ModelStatus", status)
    fits(daemon, "ModelStatus", api.get("/models/status"))
    fits(daemon, "ConnectionsTested", tested)
    fits(daemon, "PriceList", api.get("/prices"))
    fits(daemon, "RoutingReportShown", api.get("/models/routing-report"))
    fits(daemon, "CallExplained", api.post("/models/explain", {"prompt": "hi", "model": "auto"}))
    by_id = {each["id"]: each for each in listed["items"]}
    stub_provider = next(each for each in status["providers"] if each["id"] == "stub")
    assert by_id["stub-model"]["breaker"] == stub_provider["health"]["breaker"]
    assert by_id["stub-model"]["price"]["source"] == "config"
    assert by_id["bare"]["price"]["source"] is None
    assert tested["generated"], "it was asked for"


def test_a_model_that_was_turned_away_says_until_when(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url))
    stub.script = Answer(status=429, headers=[("retry-after", "60")])
    ask(daemon, daemon.owner_key, chat())

    def shown() -> dict[str, Any]:
        items: Any = daemon.api.get("/models")["items"]
        return next(each for each in items if each["id"] == "stub-model")

    found = poll(shown, lambda each: each["health"] == "cooling", 10.0, "a cooldown")

    assert found["cooldown"]["reason"] == "rate_limited"
    assert found["cooldown"]["until"] > "2026"
    fits(daemon, "ModelList", daemon.api.get("/models"))


def test_answers_about_budgets(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=BUDGETS))
    api = daemon.api
    used(daemon)

    fits(daemon, "PolicyPage", api.get("/budgets"))
    fits(daemon, "PolicyGauges", api.get("/budgets/status"))
    for policy_id in ("money", "tokens", "dry"):
        fits(daemon, "PolicyStatus", api.get(f"/budgets/{policy_id}/status"))
        fits(daemon, "PolicyHistory", api.get(f"/budgets/{policy_id}/history"))
    fits(daemon, "PolicyCheck", api.post("/budgets/validate", BUDGETS[0]))
    fits(daemon, "PolicyCheck", api.post("/budgets/validate", {"id": 7}))
    tried = {"policies": [budget("new", "0.000001"), budget("tokens", 50, metric="requests", soft_limit=1)]}
    fits(daemon, "SimulationShown", api.post("/budgets/simulate", tried))
    fits(daemon, "SimulationShown", api.post("/budgets/simulate", tried | {"only": True, "mode": "dry_run"}))
