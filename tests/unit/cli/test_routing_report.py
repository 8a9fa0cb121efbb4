"""``palyra models routing-report`` and its route, against a control plane on fakes."""

import asyncio
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
import typer
from msgspec.structs import replace
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from fakes.calls import served
from fakes.engines import NoCatalog
from fakes.plane import plane_deps, plane_rules
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.api import routing
from palyra.api.app import create_api
from palyra.api.routing import EnginePrices, with_routing_report
from palyra.cli.client import Connector
from palyra.cli.output import PalyraGroup
from palyra.cli.routing_report import EPILOG, routing_report
from palyra.core.instant import Instant
from palyra.identity.keys import Grant, Role
from palyra.lifecycle.decision import CallState, RoutingRecord, StoredDecision
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.ports import DecisionFilter
from palyra.pricing.book import PriceBook
from palyra.pricing.entry import PriceEntry, parse_price_entry
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.registry.registry import Registry
from palyra.routing.choose import Option
from palyra.routing.complexity import Features

SINCE = "2026-11-20T00:00:00Z"
WORDS = ("models", "routing-report", "--since", SINCE)


def entry(model: str, dollars: str) -> PriceEntry:
    return parse_price_entry({"provider": "openai", "model": model, "input": dollars, "output": dollars}, "p")


BOOK = PriceBook((entry("gpt-4o-mini", "1"), entry("gpt-small", "0.5"), entry("gpt-large", "5")), None)


def price_of(model_id: str, _provider: str | None, _endpoint: str, at: Instant, /) -> PriceSheet | None:
    return BOOK.find("openai", "openai", model_id, at)


def routed(number: int, recommended: str = "gpt-small", principal: str = "alice") -> StoredDecision:
    """A call of 200 tokens that ran on its default for 200,000 nano-USD."""
    stored = served(f"req_{number:06d}", principal)
    assert stored.settlement is not None
    options = tuple(Option(model, "openai", 1, 1, 1) for model in ("gpt-4o-mini", "gpt-small", "gpt-large"))
    record = RoutingRecord(1, Features(9, 9, 1, 0, 0, False), 100, True, "gpt-4o-mini", None, options, "", "")
    decision = replace(stored.decision, recommended_model=recommended, routing=record)
    return StoredDecision(decision, CallState.SETTLED, replace(stored.settlement, cost=200_000))


class Loopback(Connector):
    """Reaches the application in this process."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def open(self, url: str) -> httpx2.Client:
        return TestClient(self.app, base_url=url)


class Shell:
    """Runs ``palyra models routing-report`` with the owner key, or with that of a caller."""

    def __init__(self) -> None:
        self.records, self.clock = FakeRecords(), FakeClock()
        rules = plane_rules(self.records, self.clock)
        with asyncio.Runner() as runner:
            self.key = runner.run(rules.ensure_owner_key(None)) or ""
            owner = rules.snapshot.subject(self.key)
            assert owner is not None
            caller = Grant("alice", roles=frozenset({Role.CALLER}))
            self.caller_key = runner.run(rules.create_key(caller, issuer=owner))[1]
        deps = plane_deps(rules, self.records, self.clock)
        self.connector = Loopback(create_api(deps, (with_routing_report(price_of),)))
        models = typer.Typer(name="models")
        models.callback()(_models)
        models.command("routing-report", epilog=EPILOG)(routing_report)
        self.root = typer.Typer(cls=PalyraGroup)
        self.root.add_typer(models)

    def store(self, *calls: StoredDecision) -> None:
        for each in calls:
            self.records.stored[each.decision.request_id] = each

    def run(self, *words: str, key: str | None = None) -> Result:
        environment = {"PALYRA_KEY": self.key if key is None else key, "PALYRA_URL": "http://localhost:1"}
        return CliRunner().invoke(self.root, list(words), obj=self.connector, env=environment)

    def json(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


def _models() -> None:
    """Models."""


@pytest.fixture
def shell() -> Shell:
    return Shell()


def test_the_report_is_a_table_a_verdict_and_counts(shell: Shell) -> None:
    shell.store(routed(1), routed(2), routed(3, "gpt-large"), served("req_000004"))
    result = shell.run(*WORDS)
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:6] == [
        ["From", SINCE, "to", "2026-11-23T12:00:00Z"],
        ["on", "the", "same", "calls", "USD", "saves", "USD", "saves", "%"],
        ["what", "ran", "0.0006", "0.00", "0.00"],
        ["always", "default", "0.0006", "0.00", "0.00"],
        ["always", "recommended", "0.0012", "-0.0006", "-100.00"],
        ["shuffled", "0.0012", "-0.0006", "-100.00"],
    ]
    told = " ".join(result.stdout.split())
    assert "saves nothing beyond the mix" in told
    assert "easy 3 0.0006 0.0006 0.0012 -100.00" in told
    assert "gpt-small 0 2 0" in told
    assert "4 calls read: 3 compared, 1 with nothing to choose, 0 left out." in told


def test_json_is_the_document_of_the_route(shell: Shell) -> None:
    shell.store(routed(1), routed(2, principal="bob"))
    document = shell.json(*WORDS, "--principal", "bob", "--until", "2026-11-24T00:00:00Z")
    assert (document["since"], document["until"]) == (SINCE, "2026-11-24T00:00:00Z")
    assert (document["principal"], document["calls"]["counted"]) == ("bob", 1)
    assert document["always_recommended"]["saving_nano_usd"] == 100_000
    assert document["truncated"] is False


def test_without_calls_it_says_how_to_collect_them(shell: Shell) -> None:
    result = shell.run(*WORDS)
    assert result.exit_code == 0
    assert 'set smart = "always" in [routing] and mode = "suggest"' in result.stdout
    assert "0 calls read" in result.stdout


def test_what_limits_the_report_is_told(shell: Shell) -> None:
    dear = routed(1, "gpt-unknown")
    estimated, failed_over = routed(2), routed(3)
    assert estimated.settlement is not None
    shell.store(
        dear,
        replace(estimated, settlement=replace(estimated.settlement, source="estimated")),
        replace(failed_over, decision=replace(failed_over.decision, routing=None, continues="req_000000")),
    )
    told = " ".join(shell.run(*WORDS).stdout.split())
    assert "3 calls read: 2 compared, 0 with nothing to choose, 1 left out." in told
    assert "Left out, without a price on the actual, default or recommended model: 1." in told
    assert "Compared by an estimated usage: 1." in told
    assert "Taken up elsewhere when a provider failed: 1." in told
    assert "Without a price: gpt-unknown." in told


@pytest.mark.parametrize(("calls", "truncated"), [(4, False), (5, True)])
def test_no_more_than_the_newest_calls_are_read(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, calls: int, truncated: bool
) -> None:
    monkeypatch.setattr(routing, "CALLS_MAX", 4)
    monkeypatch.setattr(routing, "PAGE", 2)
    shell.store(*(routed(number) for number in range(calls)))
    document = shell.json(*WORDS)
    assert (document["calls"]["read"], document["truncated"]) == (4, truncated)
    told = "Only the newest 4 calls were read, back to 2026-11-23T12:00:00Z"
    assert (told in shell.run(*WORDS).stdout) is truncated


def test_no_longer_than_clients_wait_are_calls_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    read = FakeRecords.decisions

    async def slow(records: FakeRecords, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        shell.clock.advance(15)
        return await read(records, wanted)

    monkeypatch.setattr(routing, "PAGE", 2)
    monkeypatch.setattr(FakeRecords, "decisions", slow)
    shell.store(*(routed(number) for number in range(9)))
    document = shell.json(*WORDS)
    assert (document["calls"]["read"], document["truncated"]) == (4, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--since", "soon"], 2, "--since"),
        (["--since", "2026-11-20T00:00:00"], 2, "since"),
        (["--since", SINCE, "--until", SINCE], 2, "must be before"),
    ],
)
def test_a_wrong_period_is_named(shell: Shell, words: list[str], code: int, told: str) -> None:
    result = shell.run("models", "routing-report", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_callers_do_not_see_it(shell: Shell) -> None:
    assert shell.run(*WORDS, key=shell.caller_key).exit_code == 3


def test_help_has_an_example(shell: Shell) -> None:
    assert "palyra models routing-report --since 7d" in " ".join(
        shell.run("models", "routing-report", "--help").stdout.split()
    )


def test_the_loop_turns_while_a_page_is_gone_through(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []
    sleep: Callable[[float], Any] = asyncio.sleep

    async def counted(seconds: float) -> None:
        turns.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(routing.asyncio, "sleep", counted)
    shell.store(*(routed(number) for number in range(120)))
    shell.run(*WORDS)
    assert turns == [0, 0, 0]


def test_prices_are_those_of_the_registry_and_the_book_of_now() -> None:
    book = PriceBook((entry("gpt-4o-mini", "1"), entry("gone", "2"), entry("renamed-at-home", "3")), None)
    providers = (Provider("openai", Kind.OPENAI_COMPATIBLE), Provider("spare", Kind.OPENAI_COMPATIBLE))
    mini = ModelEntry("mini", "openai", "gpt-4o-mini", aliases=("small",))
    engine = SimpleNamespace(registry=_registry(providers, mini), prices=book)
    prices = EnginePrices(cast("Engine", engine))

    def of_input(model_id: str, provider: str | None) -> Decimal | None:
        found = prices(model_id, provider, "chat_completions", NOON)
        return None if found is None else found.standard.input

    asked = (("mini", "openai"), ("small", None), ("auto", None), ("mini", "spare"))
    assert [of_input(*each) for each in asked] == [1, 1, 1, None]
    assert of_input("gone", "openai") == 2, "no model of the configuration any more"
    assert [of_input("gone", None), of_input("gone", "away"), of_input("gone", "spare")] == [None] * 3
    engine.registry = _registry(providers, ModelEntry("mini", "openai", "renamed-at-home"))
    assert of_input("mini", "openai") == 3


def _registry(providers: Sequence[Provider], *models: ModelEntry) -> Registry:
    return Registry(providers, models, NoCatalog(), "mini")
