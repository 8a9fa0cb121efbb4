"""The audit page: who changed what, from what to what, and the proof of the books."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, budget, config
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    daemon = module_daemons(config(module_stub.url))
    daemon.api.post("/budgets", budget("daily", "5.00"))
    daemon.api.request("PUT", "/budgets/daily", budget("daily", "7.50"))
    daemon.api.settled(request_id(ask(daemon, daemon.create_key("alice"), chat())))
    return daemon


@pytest.fixture
def owner(chromium: Browser, world: DaemonProcess) -> Iterator[Window]:
    with window(chromium, world.url, world.owner_key) as opened:
        yield opened


def test_a_change_shows_what_became_of_what_and_leads_to_it(owner: Window) -> None:
    page = owner.page
    owner.open("/audit?kind=policy&ref=daily")
    changed = page.locator("[data-change='policy.updated']")
    expect(changed.locator("[data-field='hard_limit'] del")).to_have_text("5.00")
    expect(changed.locator("[data-field='hard_limit'] ins")).to_have_text("7.50")
    listed: Any = owner.api("/audit?kind=policy&ref=daily")["items"]
    expect(page.locator("[data-change]")).to_have_count(len(listed))
    changed.get_by_role("link", name="daily").click()
    expect(page.locator("[data-version='2']")).to_be_visible()


def test_filters_are_in_the_address_and_nothing_found_says_so(owner: Window) -> None:
    page = owner.page
    owner.open("/audit")
    page.get_by_placeholder("Id of what changed").fill("nothing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No such change")).to_be_visible()
    assert "ref=nothing" in page.url


def test_the_books_are_proven_while_the_daemon_works(owner: Window) -> None:
    owner.open("/audit")
    owner.page.get_by_role("button", name="Verify").click()
    told = owner.page.get_by_role("status").filter(has_text="Nothing was changed")
    expect(told).to_contain_text("records and")
    checked: Any = owner.page.evaluate("document.querySelector('code').innerText")
    assert len(checked) >= 64
    with owner.page.expect_download() as saving:
        owner.page.get_by_role("link", name="Export the journal").click()
    assert saving.value.path().read_text().count("\n") > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_can_be_used_by_all(
    chromium: Browser, world: DaemonProcess, width: int, theme: Theme
) -> None:
    with window(chromium, world.url, world.owner_key, width=width, theme=theme) as opened:
        opened.open("/audit")
        expect(opened.page.locator("[data-change]").first).to_be_visible()
        opened.settle()
        opened.shoot(f"audit-{width}-{theme}")
        opened.check_fits()
        opened.check_accessible()
