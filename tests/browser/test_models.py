"""Models in the console: health and traffic, the test of a connection, what routing saved, the playground."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, budget, config
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

CALLS = 4


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    daemon = module_daemons(config(module_stub.url, budgets=[budget("tight", "0.01", scope="agent:tiny")]))
    key = daemon.create_key("alice")
    for _ in range(CALLS):
        daemon.api.settled(request_id(ask(daemon, key, chat())))
    return daemon


@pytest.fixture
def owner(chromium: Browser, world: DaemonProcess) -> Iterator[Window]:
    with window(chromium, world.url, world.owner_key) as opened:
        yield opened


def test_a_provider_shows_its_health_and_answers_a_test(owner: Window) -> None:
    owner.open("/models")
    (provider, *_) = owner.api("/models/status")["providers"]
    shown = owner.page.locator(f"[data-provider='{provider['id']}']")
    expect(shown).to_contain_text("healthy")
    expect(shown).to_contain_text("closed")
    expect(shown).to_contain_text("Not tested yet")
    owner.page.get_by_role("button", name=f"Test the connection to {provider['id']}", exact=True).click()
    expect(shown.locator("[data-check='ok']")).to_be_visible()


def test_models_show_price_tier_and_their_share_of_the_calls(owner: Window) -> None:
    owner.open("/models")
    owner.page.get_by_role("tab", name="Models").click()
    used: Any = owner.api("/usage/models?since=7d")["items"]
    assert [(each["model"], each["requests"]) for each in used] == [("stub-model", CALLS)]
    row = owner.page.locator("[data-row='stub/stub-model']")
    expect(row).to_contain_text("100 %")
    expect(row.get_by_role("cell", name=str(CALLS), exact=True)).to_be_visible()
    price = next(each for each in owner.api("/models")["items"] if each["id"] == "stub-model")["price"]
    expect(row.get_by_role("cell", name=price["output_usd_per_million"], exact=True)).to_be_visible()
    owner.page.get_by_label("Find a model").fill("nothing-like-it")
    expect(owner.page.get_by_text("No such model")).to_be_visible()


def test_the_routing_report_says_why_it_has_nothing_to_say(owner: Window) -> None:
    owner.open("/models?view=routing")
    expect(owner.page.get_by_text("No call was routed in this period")).to_be_visible()


def test_the_playground_shows_what_a_call_would_get_and_holds_nothing(owner: Window) -> None:
    page = owner.page
    owner.open("/models?view=playground")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="stub-model", exact=True).click()
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("[data-would-run=true]")).to_contain_text("It would run on stub-model")
    expect(page.get_by_role("region", name="Candidates").first).to_contain_text("stub-model")

    page.get_by_label("Agent").fill("tiny")
    page.get_by_label("Output tokens at most").fill("4096")
    page.get_by_label("Prompt").fill("word " * 9_000)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("[data-would-run=false]")).to_contain_text("It would not run")
    expect(page.locator("[data-evaluation='tight']")).to_contain_text("limit $0.01")
    held = owner.api("/budgets/tight/status")["accounts"]
    assert all(each["held_nano_usd"] == 0 for each in held)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_pages_fit_and_can_be_used_by_all(
    chromium: Browser, world: DaemonProcess, width: int, theme: Theme
) -> None:
    with window(chromium, world.url, world.owner_key, width=width, theme=theme) as opened:
        for view in ("providers", "models", "routing", "playground"):
            opened.open(f"/models?view={view}")
            expect(opened.page.get_by_role("tabpanel")).to_be_visible()
            opened.settle()
            opened.shoot(f"models-{view}-{width}-{theme}")
            opened.check_fits()
            opened.check_accessible()
