"""Signing in and out, the palette, live updates, roles, and pages of other sites."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, budget, config
from harness.stub import Stub
from harness.talk import ask, chat
from harness.tenant import SharedDaemons
from harness.window import NARROW, Window, window


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    asks = budget("asks", "0.000001", scope="principal:bob", action="approval_required")
    return module_daemons(config(module_stub.url, budgets=[asks]))


@pytest.fixture
def owner(chromium: Browser, world: DaemonProcess) -> Iterator[Window]:
    with window(chromium, world.url, world.owner_key) as opened:
        yield opened


def test_a_wrong_key_is_refused_and_a_good_one_leads_to_the_page_that_was_asked_for(
    chromium: Browser, world: DaemonProcess
) -> None:
    with window(chromium, world.url) as opened:
        opened.refused.add(401)
        opened.open("/keys")
        field = opened.page.get_by_placeholder("sk-palyra-…")
        field.fill("sk-palyra-wrong")
        opened.page.get_by_role("button", name="Sign in").click()
        expect(opened.page.get_by_role("alert")).to_contain_text("Not signed in")
        field.fill(world.owner_key)
        opened.page.get_by_role("button", name="Sign in").click()
        expect(opened.page.get_by_role("heading", name="Keys")).to_be_visible()
        cookies = {each["name"]: each for each in opened.page.context.cookies()}
        assert cookies["palyra_session"]["httpOnly"]
        assert cookies["palyra_session"]["sameSite"] == "Strict"
        assert opened.page.evaluate("document.cookie") == ""


def test_signing_out_ends_the_session(owner: Window) -> None:
    owner.refused.add(401)
    owner.open("/usage")
    owner.page.get_by_role("button", name="Signed in as").click()
    owner.page.get_by_role("menuitem", name="Sign out").click()
    expect(owner.page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_revoked_key_ends_its_sessions(chromium: Browser, world: DaemonProcess) -> None:
    made = world.api.post("/keys", {"principal": "gone", "roles": ["viewer"]})
    with window(chromium, world.url, str(made["key"])) as opened:
        opened.refused.add(401)
        opened.open("/usage")
        expect(opened.page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
        world.api.request("DELETE", f"/keys/{made['id']}")
        expect(opened.page.get_by_role("button", name="Sign in")).to_be_visible()


def test_the_palette_leads_everywhere_by_keyboard(owner: Window) -> None:
    page = owner.page
    owner.open("/usage")
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
    page.keyboard.press("Control+k")
    page.get_by_label("Go to", exact=True).last.fill("audit")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Audit", level=1)).to_be_visible()


def test_a_request_for_more_shows_in_the_badge_without_reloading(owner: Window, world: DaemonProcess) -> None:
    owner.open("/usage")
    expect(owner.page.locator("[data-live=live]")).to_be_visible()
    assert ask(world, world.create_key("bob"), chat()).status == 402
    expect(owner.page.get_by_role("navigation", name="Pages").get_by_label("1 waiting")).to_be_visible()


def test_a_caller_sees_the_pages_that_its_key_may_use(chromium: Browser, world: DaemonProcess) -> None:
    with window(chromium, world.url, world.create_key("carol")) as opened:
        opened.open("/usage")
        ways = opened.page.get_by_role("navigation", name="Pages")
        expect(ways.get_by_role("link", name="Approvals")).to_be_visible()
        expect(ways.get_by_role("link", name="Keys")).to_have_count(0)


def test_the_menu_of_a_phone_closes_when_a_page_is_chosen(chromium: Browser, world: DaemonProcess) -> None:
    with window(chromium, world.url, world.owner_key, width=NARROW) as opened:
        opened.open("/usage")
        opened.page.get_by_role("button", name="Pages").click()
        opened.page.get_by_role("link", name="Budgets").click()
        expect(opened.page.get_by_role("heading", name="Budgets", level=1)).to_be_visible()
        expect(opened.page.get_by_role("link", name="Models")).not_to_be_in_viewport()


def test_another_site_can_change_nothing_in_the_name_of_who_is_signed_in(
    owner: Window, world: DaemonProcess
) -> None:
    """``localhost`` is another site than ``127.0.0.1``: the browser sends the request, without the cookie."""
    owner.open("/usage")
    evil = owner.page.context.new_page()
    evil.goto(f"{world.url.replace('127.0.0.1', 'localhost')}/healthz")
    status = evil.evaluate(
        """async (url) => {
          try {
            const answer = await fetch(`${url}/api/v1/budgets`, {
              method: "POST", credentials: "include", mode: "no-cors", body: JSON.stringify(
                {id: "evil", scope: "global", metric: "requests", interval: "day", hard_limit: 0}),
            });
            return answer.type;
          } catch (error) { return "refused"; }
        }""",
        world.url,
    )
    assert status in ("opaque", "refused")
    assert all(each["id"] != "evil" for each in owner.api("/budgets")["items"])


def test_the_page_runs_no_script_that_was_put_into_it(owner: Window) -> None:
    owner.open("/usage")
    ran = owner.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          return window.injected === true;
        }"""
    )
    assert ran is False
    owner.errors[:] = [each for each in owner.errors if "Content Security Policy" not in each]
