"""What is around every page: the way to the others, on a phone and by keyboard, and the connection."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.daemon import DaemonProcess, config
from harness.people import asking, pending
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=[asking("calls", 1)]))


@pytest.fixture
def wide(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    with window(chromium, daemon.url, daemon.owner_key) as opened:
        yield opened


def heading(window: Window, name: str) -> Locator:
    """The title of a page."""
    return window.page.get_by_role("heading", name=name, level=1)


def focused(window: Window) -> str:
    """What has the focus, as people hear it."""
    found = window.page.evaluate(
        "(document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
    )
    return str(found)


def palette(window: Window, text: str) -> Locator:
    """Open the palette and write into it."""
    search = window.page.get_by_role("textbox", name="Go to")
    expect(search).to_have_count(0)
    window.page.keyboard.press("Control+k")
    expect(search).to_be_focused()
    window.page.keyboard.type(text)
    return search


def test_on_a_phone_the_menu_opens_and_closes_after_a_choice(
    chromium: Browser, daemon: DaemonProcess
) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=NARROW) as phone:
        phone.open("/usage")
        burger = phone.page.get_by_role("button", name="Pages")
        keys = phone.page.get_by_role("navigation", name="Pages").get_by_role("link", name="Keys")
        expect(burger).to_have_attribute("aria-expanded", "false")
        expect(keys).not_to_be_in_viewport()
        burger.tap()
        expect(burger).to_have_attribute("aria-expanded", "true")
        expect(keys).to_be_in_viewport()
        keys.tap()
        expect(heading(phone, "Keys")).to_be_visible()
        expect(burger).to_have_attribute("aria-expanded", "false")
        expect(keys).not_to_be_in_viewport()
        phone.check_fits()


def test_a_closed_menu_is_not_in_the_way_of_the_keyboard(chromium: Browser, daemon: DaemonProcess) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=NARROW) as phone:
        phone.open("/keys")
        expect(heading(phone, "Keys")).to_be_visible()
        phone.settle()
        names: list[str] = []
        for _ in range(8):
            phone.page.keyboard.press("Tab")
            names.append(focused(phone))
        assert names[:2] == ["Skip to the content", "Pages"]
        assert "New key" in names
        assert not {"Budgets", "Models", "Audit"} & set(names)


def test_the_keyboard_goes_past_the_ways_to_the_content(wide: Window) -> None:
    wide.open("/keys")
    expect(heading(wide, "Keys")).to_be_visible()
    wide.settle()
    wide.page.keyboard.press("Tab")
    skip = wide.page.get_by_role("button", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    wide.page.keyboard.press("Enter")
    expect(wide.page.get_by_role("main")).to_be_focused()
    wide.page.keyboard.press("Tab")
    assert focused(wide) == "New key"


def test_the_palette_goes_to_pages_by_keyboard_alone(wide: Window, daemon: DaemonProcess) -> None:
    wide.open("/usage")
    expect(heading(wide, "Usage")).to_be_visible()
    palette(wide, "audit")
    wide.page.keyboard.press("Enter")
    expect(heading(wide, "Audit")).to_be_visible()
    search = wide.page.get_by_role("textbox", name="Go to")
    expect(search).to_have_count(0)
    wide.page.keyboard.press("/")
    expect(search).to_be_focused()
    wide.page.keyboard.press("Escape")
    expect(search).to_have_count(0)
    palette(wide, "nothing that there is")
    expect(wide.page.get_by_text("Nothing by that name")).to_be_visible()


def test_the_palette_finds_a_call_and_an_approval_by_id(wide: Window, daemon: DaemonProcess) -> None:
    key = daemon.create_key("ken")
    ran, stopped = ask(daemon, key, chat(64)), ask(daemon, key, chat(65))
    assert (ran.status, stopped.status) == (200, 402)
    (wish,) = pending(daemon.api, "ken")
    wide.open("/usage")
    expect(heading(wide, "Usage")).to_be_visible()
    for found, address in ((request_id(ran), "decisions/{}"), (wish, "approvals?id={}")):
        palette(wide, found)
        wide.page.keyboard.press("Enter")
        expect(wide.page).to_have_url(f"{daemon.url}/console/{address.format(found)}")


def test_the_palette_changes_the_colours_and_signs_out(wide: Window) -> None:
    page = wide.page
    wide.open("/usage")
    expect(heading(wide, "Usage")).to_be_visible()
    colours = page.locator("html")
    expect(colours).to_have_attribute("data-mantine-color-scheme", "light")
    palette(wide, "dark or light")
    page.keyboard.press("Enter")
    expect(colours).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(colours).to_have_attribute("data-mantine-color-scheme", "dark")
    page.get_by_role("button", name="Use light colours").click()
    expect(colours).to_have_attribute("data-mantine-color-scheme", "light")
    wide.refused.add(401)
    palette(wide, "sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_placeholder("sk-palyra-…")).to_be_visible()


def test_a_cut_connection_is_told_and_what_was_missed_shows_when_it_is_back(
    chromium: Browser, daemon_factory: Callable[..., DaemonProcess], stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[asking("calls", 1)]))
    daemon.port = int(daemon.url.rpartition(":")[2])
    with window(chromium, daemon.url, daemon.owner_key) as opened:
        opened.open("/approvals")
        live = opened.page.get_by_role("status").and_(opened.page.locator("[data-live]"))
        expect(live).to_have_text("Live")
        expect(opened.page.get_by_text("Nobody waits for a decision")).to_be_visible()
        daemon.terminate()
        expect(live).to_have_text("Waiting")
        daemon.start()
        # Whether it happens before the page listens again or after: it must show.
        key = daemon.create_key("mia")
        assert [ask(daemon, key, chat(size)).status for size in (64, 65)] == [200, 402]
        expect(live).to_have_text("Live")
        expect(opened.page.get_by_role("heading", name="mia asks for 1 call")).to_be_visible()


def test_an_address_that_is_none_leads_back(wide: Window) -> None:
    wide.open("/nowhere/at/all")
    expect(heading(wide, "Not found")).to_be_visible()
    wide.page.get_by_role("link", name="Go to usage").click()
    expect(heading(wide, "Usage")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_frame_fits_and_can_be_used_by_all(
    chromium: Browser, daemon: DaemonProcess, width: int, theme: Theme
) -> None:
    def check(name: str) -> None:
        opened.shoot(f"{name}-{width}-{theme}")
        opened.check_fits()
        opened.check_accessible()

    with window(chromium, daemon.url, daemon.owner_key, width=width, theme=theme) as opened:
        page = opened.page
        opened.open("/nowhere")
        expect(heading(opened, "Not found")).to_be_visible()
        if width == NARROW:
            page.get_by_role("button", name="Pages").tap()
            expect(page.get_by_role("link", name="Keys")).to_be_in_viewport()
            check("menu")
            page.get_by_role("button", name="Pages").tap()
        page.get_by_role("button", name="Signed in as owner").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        check("person")
        page.keyboard.press("Escape")
        palette(opened, "a")
        expect(page.get_by_text("Who changed what; proof")).to_be_visible()
        check("palette")
