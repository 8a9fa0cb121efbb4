"""Insights in the console: what needs attention, each with a way to the page where something can be done."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, budget, config, model
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import ask, chat
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

CALLS = 4
REFUSED = 24


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """Calls at a model without a price, and a budget that refuses most of one agent's."""
    models = (model("stub-model"), {"id": "priceless", "provider": "stub", "output_limit": 4096})
    started = module_daemons(
        config(
            module_stub.url,
            models=models,
            governance={"unknown_price": "allow"},
            budgets=[budget("tight", 1, scope="agent:runaway", metric="requests")],
        )
    )
    module_stub.script = Answer(usage=fixed(900, 200))
    good = started.create_key("alice", agent="coder")
    for number in range(CALLS):
        ask(started, good, chat(model=("stub-model", "priceless")[number % 2]))
    runaway = started.create_key("mallory", agent="runaway")
    for _ in range(1 + REFUSED):
        ask(started, runaway, chat())
    return started


@pytest.fixture
def opened(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    with window(chromium, daemon.url, daemon.owner_key) as made:
        yield made


def test_each_hint_says_what_to_do_and_leads_there(opened: Window) -> None:
    page = opened.page
    opened.open("/insights?since=24h")
    hints: Any = opened.api("/usage/insights?since=24h")["hints"]
    assert {each["kind"] for each in hints} >= {"budget_exhausted", "unpriced_calls", "many_denied"}
    shown = page.locator("[data-hint]")
    expect(shown).to_have_count(len(hints))
    for at, hint in enumerate(hints):
        for text in (hint["title"], hint["detail"], hint["action"], hint["severity"]):
            expect(shown.nth(at)).to_contain_text(text)
        expect(shown.nth(at).get_by_role("link")).to_have_attribute("href", f"/console{hint['link']}")
    page.locator("[data-hint=budget_exhausted]").get_by_role("link").click()
    expect(page.get_by_role("heading", name="tight").first).to_be_visible()
    page.go_back()
    page.locator("[data-hint=many_denied]").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Decisions", exact=True)).to_be_visible()
    expect(page.get_by_label("Outcome")).to_have_value("deny")


def test_the_mixes_budgets_and_prices_are_the_apis(opened: Window) -> None:
    page = opened.page
    opened.open("/insights?since=24h")
    told: Any = opened.api("/usage/insights?since=24h")
    for title, mix in (
        ("By model", "model_mix"),
        ("By principal", "principal_mix"),
        ("By agent", "agent_mix"),
    ):
        section = page.get_by_role("region", name=title)
        amounts = [str(each["cost_nano_usd"]) for each in told[mix] if each["requests"] > each["unpriced"]]
        found = section.locator("[data-nano-usd]")
        expect(found).to_have_count(len(amounts))
        assert [each.get_attribute("data-nano-usd") for each in found.all()] == amounts
    expect(page.get_by_role("region", name="By model")).to_contain_text("2 unpriced")
    expect(page.locator("[data-pressed]")).to_have_count(len(told["budgets"]))
    expect(page.get_by_role("table", name="Providers").locator("tbody tr")).to_have_count(len(told["health"]))
    routing = page.get_by_role("region", name="Routing and prices")
    expect(routing).to_contain_text(f"{told['routing']['calls']} calls")


def test_a_filter_narrows_them(opened: Window) -> None:
    opened.open("/insights?since=24h&principal=alice")
    hints: Any = opened.api("/usage/insights?since=24h&principal=alice")["hints"]
    expect(opened.page.locator("[data-hint]")).to_have_count(len(hints))
    assert "many_denied" not in {each["kind"] for each in hints}


def test_nothing_to_do_is_said(chromium: Browser, daemon: DaemonProcess) -> None:
    with window(chromium, daemon.url, daemon.create_key("nobody")) as own:
        own.open("/insights")
        expect(own.page.get_by_role("region", name="What needs attention")).to_contain_text("Nothing.")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_is_accessible_and_fits(
    chromium: Browser, daemon: DaemonProcess, theme: Theme, width: int
) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=width, theme=theme) as shown:
        shown.open("/insights?since=24h")
        expect(shown.page.locator("[data-hint]").first).to_be_visible()
        shown.settle()
        shown.check_accessible()
        shown.check_fits()
        shown.shoot(f"insights-{theme}-{width}")
