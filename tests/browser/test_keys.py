"""Keys in the console: made once in clear, found again by their names, revoked by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Request, expect

from harness.daemon import DaemonProcess, config
from harness.stub import Stub
from harness.talk import ask
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

FILED = {"id": "ci", "sha256": "ab" * 32, "principal": "ci-bot", "agent": "nightly", "models": ["stub-*"]}


@dataclass(frozen=True, slots=True)
class World:
    """A daemon with a key in its file, and keys of people."""

    daemon: DaemonProcess
    admin: str
    viewer: str


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> World:
    daemon = module_daemons(config(module_stub.url, keys=[FILED]))
    admin = daemon.create_key("ada", roles=["admin"], tags={"team": "platform"})
    return World(daemon, admin, daemon.create_key("vera", roles=["viewer"]))


@pytest.fixture
def admin(chromium: Browser, world: World) -> Iterator[Window]:
    with window(chromium, world.daemon.url, world.admin) as opened:
        yield opened


def keys_of(daemon: DaemonProcess, principal: str) -> list[dict[str, Any]]:
    """The keys of a principal, as the API lists them."""
    found: Any = daemon.api.get("/keys", principal=principal)["items"]
    return found


def row(window: Window, text: str) -> Locator:
    """The row of a key."""
    return window.page.get_by_role("row").filter(has_text=text)


def fill_in(window: Window, principal: str) -> None:
    """The form of a new key; this admin's keys all carry its tag."""
    page = window.page
    page.get_by_role("button", name="New key").click()
    page.get_by_role("textbox", name="Principal").fill(principal)
    page.get_by_role("combobox", name="Tags").fill("team=platform")


def test_a_key_is_made_shown_once_copied_and_used(admin: Window, world: World) -> None:
    page = admin.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=world.daemon.url)
    admin.open("/keys")
    fill_in(admin, "dana")
    page.get_by_role("textbox", name="Agent").fill("nightly")
    page.get_by_role("combobox", name="Models").fill("stub-*")
    page.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("It is shown this once")).to_be_visible()
    dialog.get_by_role("button", name="Copy: Key").click()
    expect(dialog.get_by_text("Copied")).to_be_visible()
    clear = str(page.evaluate("navigator.clipboard.readText()"))
    assert clear.startswith("sk-palyra-")
    expect(dialog.get_by_text(f"curl {world.daemon.url}/v1/models")).to_contain_text(clear)
    assert ask(world.daemon, clear).status == 200
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="I have kept it").click()
    expect(dialog).to_have_count(0)
    assert clear not in page.content()
    (made,) = keys_of(world.daemon, "dana")
    assert (made["agent"], made["models"], made["tags"], made["roles"]) == (
        "nightly",
        ["stub-*"],
        {"team": "platform"},
        ["caller"],
    )
    for text in (made["prefix"], "nightly", "stub-*", "team=platform", "by ada"):
        expect(row(admin, "dana")).to_contain_text(text)
    page.reload()
    expect(row(admin, "dana")).to_be_visible()
    assert clear not in page.content()


def test_what_is_wrong_with_a_key_stands_beside_its_field(admin: Window, world: World) -> None:
    page = admin.page
    admin.open("/keys")
    page.get_by_role("button", name="New key").click()
    make = page.get_by_role("button", name="Make the key")
    expect(make).to_be_disabled()
    roles = page.get_by_label("Role").get_by_role("option")
    expect(roles).to_have_text(["caller", "viewer", "operator", "admin"])
    page.get_by_role("textbox", name="Principal").fill("erin")
    page.get_by_role("combobox", name="Tags").fill("team")
    page.keyboard.press("Enter")
    expect(page.get_by_text('"team" is no tag; write name=value.')).to_be_visible()
    expect(make).to_be_disabled()
    page.get_by_role("combobox", name="Tags").press("Backspace")
    admin.refused.add(422)
    make.click()
    expect(page.get_by_text("your key carries team=platform; write the same tag.")).to_be_visible()
    assert keys_of(world.daemon, "erin") == []
    page.get_by_role("combobox", name="Tags").fill("team=platform")
    make.click()
    expect(page.get_by_text("It is shown this once")).to_be_visible()


def test_a_form_that_is_sent_twice_makes_one_key(admin: Window, world: World) -> None:
    page = admin.page
    sent: list[Request] = []

    def keep(request: Request) -> None:
        if request.method == "POST":
            sent.append(request)

    page.on("request", keep)
    admin.open("/keys")
    fill_in(admin, "frank")

    # The first answer gets lost on its way: nobody can know whether there is a key now.
    def answer_is_lost(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/v1/keys", answer_is_lost, times=1)
    make = page.get_by_role("button", name="Make the key")
    make.click()
    expect(page.get_by_role("alert")).to_contain_text("The daemon does not answer")
    admin.errors.clear()
    admin.refused.add(409)
    make.click()
    expect(page.get_by_role("alert")).to_contain_text("revoke the key and make another")
    page.remove_listener("request", keep)
    tokens = {each.headers["idempotency-key"] for each in sent if each.url.endswith("/keys")}
    assert (len(tokens), len(keys_of(world.daemon, "frank"))) == (1, 1)


def test_a_key_is_revoked_by_name_and_its_next_call_is_refused(admin: Window, world: World) -> None:
    page, clear = admin.page, world.daemon.create_key("gina", agent="nightly")
    assert ask(world.daemon, clear).status == 200
    admin.open("/keys?q=gina")
    shown = row(admin, "gina")
    shown.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog", name="Revoke the key of gina?")
    expect(dialog).to_contain_text(keys_of(world.daemon, "gina")[0]["prefix"])
    dialog.get_by_role("button", name="Keep it").click()
    assert ask(world.daemon, clear).status == 200
    shown.get_by_role("button", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke").click()
    # The dialog says the same of what will be: only what is told once it is gone is done.
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("its next call is refused")).to_be_visible()
    assert ask(world.daemon, clear).status == 401
    expect(shown).to_have_count(0)
    page.get_by_text("Revoked", exact=True).first.click()
    expect(shown).to_be_visible()
    expect(shown.get_by_role("button", name="Revoke")).to_have_count(0)


def test_keys_are_listed_as_they_come_and_found_by_any_name(admin: Window, world: World) -> None:
    admin.open("/keys")
    expect(admin.page.locator("[data-live=live]")).to_be_visible()
    expect(row(admin, "ci-bot")).to_contain_text("configuration file")
    expect(row(admin, "ci-bot").get_by_role("button", name="Revoke")).to_have_count(0)
    world.daemon.create_key("henry")
    expect(row(admin, "henry")).to_be_visible()
    admin.page.get_by_label("Find a key").fill("CI-BO")
    expect(row(admin, "henry")).to_have_count(0)
    expect(row(admin, "ci-bot")).to_be_visible()
    expect(admin.page).to_have_url(f"{world.daemon.url}/console/keys?q=CI-BO")
    admin.page.get_by_label("Find a key").fill("nobody at all")
    expect(admin.page.get_by_text("No such key")).to_be_visible()


def test_a_viewer_sees_keys_and_changes_none_and_a_caller_sees_none(chromium: Browser, world: World) -> None:
    with window(chromium, world.daemon.url, world.viewer) as viewer:
        viewer.open("/keys")
        expect(row(viewer, "ci-bot")).to_be_visible()
        expect(viewer.page.get_by_role("button", name="New key")).to_have_count(0)
        expect(viewer.page.get_by_role("button", name="Revoke")).to_have_count(0)
    with window(chromium, world.daemon.url, world.daemon.create_key("ivan")) as caller:
        caller.open("/usage")
        expect(caller.page.get_by_role("link", name="Usage", exact=True)).to_be_visible()
        expect(caller.page.get_by_role("link", name="Keys")).to_have_count(0)
        caller.refused.add(403)
        caller.open("/keys")
        expect(caller.page.get_by_role("alert")).to_contain_text("Your key does not reach this far")
        expect(row(caller, "ci-bot")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_and_its_dialogs_fit_and_can_be_used_by_all(
    chromium: Browser, world: World, width: int, theme: Theme
) -> None:
    def check(name: str) -> None:
        opened.shoot(f"{name}-{width}-{theme}")
        opened.check_fits()
        opened.check_accessible()

    with window(chromium, world.daemon.url, world.admin, width=width, theme=theme) as opened:
        page = opened.page
        opened.open("/keys")
        expect(row(opened, "ci-bot")).to_be_visible()
        opened.settle()
        check("keys")
        row(opened, "vera").get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        check("key-revoke")
        page.keyboard.press("Escape")
        fill_in(opened, "joan")
        check("key-new")
        page.get_by_role("button", name="Make the key").click()
        expect(page.get_by_text("It is shown this once")).to_be_visible()
        check("key-clear")
