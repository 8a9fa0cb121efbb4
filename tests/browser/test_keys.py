"""Keys in the console: made, shown once in clear, listed, and revoked."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, config
from harness.stub import Stub
from harness.talk import ask, chat
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    daemon = module_daemons(config(module_stub.url))
    daemon.create_key("listed", tags={"team": "<b>core</b>"})
    return daemon


@pytest.fixture
def owner(chromium: Browser, world: DaemonProcess) -> Iterator[Window]:
    with window(chromium, world.url, world.owner_key) as opened:
        yield opened


def test_a_key_is_made_shown_once_works_and_is_revoked(owner: Window, world: DaemonProcess) -> None:
    page = owner.page
    owner.open("/keys")
    page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Principal").fill("dora")
    dialog.locator("button[type=submit]").click()
    clear = dialog.get_by_text("sk-palyra-").first
    expect(clear).to_be_visible()
    key = clear.inner_text().strip()
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(key)).to_have_count(0)

    assert ask(world, key, chat()).status == 200
    (made,) = (each for each in owner.api("/keys")["items"] if each["principal"] == "dora")
    page.get_by_role("button", name=f"Revoke {made['prefix']} of dora").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").last.click()
    expect(page.locator(f"[data-row='{made['id']}']")).to_have_count(0)
    assert ask(world, key, chat()).status == 401


def test_a_tag_is_shown_as_it_was_written(owner: Window) -> None:
    owner.open("/keys")
    shown: Any = next(each for each in owner.api("/keys")["items"] if each["principal"] == "listed")
    expect(owner.page.locator(f"[data-row='{shown['id']}']")).to_contain_text("<b>core</b>")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_can_be_used_by_all(
    chromium: Browser, world: DaemonProcess, width: int, theme: Theme
) -> None:
    with window(chromium, world.url, world.owner_key, width=width, theme=theme) as opened:
        opened.open("/keys")
        expect(opened.page.locator("[data-row]").first).to_be_visible()
        opened.settle()
        opened.shoot(f"keys-{width}-{theme}")
        opened.check_fits()
        opened.check_accessible()
