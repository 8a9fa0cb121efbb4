"""What people and programs call things is shown as text on every page, whatever it is made of."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Dialog, expect

from harness.daemon import DaemonProcess, config, model
from harness.hostile import HOSTILE, SCRIPTS
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, Window, window

LONG = "very-long-" * 19
TURNED = "\u05d0\u05d1\u05d2 <b>\u05d3\u05d4</b> 1"
TEXTS = (*HOSTILE[: len(SCRIPTS)], LONG, TURNED, "a/b/../c", "50% & more?x=1#y", "__proto__")
MODELS = [each for each in TEXTS if each.isascii() and len(each) < len(LONG)]
LED_BY = (*TEXTS[:3], LONG, *TEXTS[-3:])
"""Those that an address might not bear: one page each."""
OWN = "img[src^='/console/']"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """Each text as a principal, an agent, a tag, a session where a header can hold it, and some as models."""
    started = module_daemons(config(module_stub.url, models=[model(each) for each in MODELS]))
    for text in TEXTS:
        grant = {"agent": text, "tags": {"team": text.replace("=", "-")}}
        headers = {"x-palyra-session": text} if text.isascii() else {}
        named = text if text in MODELS else TEXTS[0]
        reply = ask(started, started.create_key(text, **grant), chat(model=named), headers=headers)
        started.api.settled(request_id(reply))
    return started


@pytest.fixture(scope="module")
def own_window(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    with window(chromium, daemon.url, daemon.owner_key) as made:
        made.page.on("dialog", lambda dialog: fail(made, dialog))
        yield made


@pytest.fixture
def opened(own_window: Window) -> Iterator[Window]:
    """The owner's window, which the tests of this module share; each opens the page that it is about."""
    yield own_window
    own_window.check_quiet()


def fail(opened: Window, dialog: Dialog) -> None:
    opened.errors.append(f"a text was run: {dialog.message}")
    dialog.dismiss()


def check_inert(opened: Window) -> None:
    """Nothing on the page was made of a text: no picture, script, frame, style or handler of its own."""
    made = opened.page.evaluate(
        f"""[...document.querySelectorAll("img:not({OWN}), iframe, svg[onload], [onerror], [onload],"""
        """ [onmouseover], x, body script, a[href^='javascript:']")].map((each) => each.outerHTML)"""
    )
    assert made == []


def texts_on(opened: Window) -> set[str]:
    found: list[str] = opened.page.evaluate("[...document.querySelectorAll('bdi')].map((e) => e.textContent)")
    return set(found)


@pytest.mark.parametrize("view", ["principals", "agents", "models", "sessions", "tags"])
def test_usage_shows_them_as_they_are(opened: Window, view: str) -> None:
    wanted = {
        "models": set(MODELS),
        "sessions": {each for each in TEXTS if each.isascii()},
        "tags": {each.replace("=", "-") for each in TEXTS},
    }.get(view, set(TEXTS))
    opened.open(f"/usage?since=24h&view={view}&by=agent&sort=name")
    rows = opened.page.get_by_role("table").locator("tbody tr")
    more = opened.page.get_by_role("button", name="Show more")
    expect(rows.first).to_be_visible()
    if len(wanted) > 25:
        more.click()
    expect(rows).to_have_count(len(wanted))
    assert wanted <= texts_on(opened)
    opened.page.get_by_role("button", name="Show as a table").click()
    expect(opened.page.get_by_role("table", name="Usage over time")).to_be_visible()
    check_inert(opened)
    opened.check_fits()


def test_decisions_and_insights_show_them(opened: Window) -> None:
    opened.open("/decisions?since=24h")
    expect(opened.page.get_by_role("table", name="Calls").locator("tbody tr")).to_have_count(len(TEXTS))
    assert set(TEXTS) <= texts_on(opened)
    check_inert(opened)
    opened.open("/insights?since=24h")
    expect(opened.page.get_by_role("region", name="By model")).to_be_visible()
    check_inert(opened)


@pytest.mark.parametrize("text", LED_BY)
def test_each_is_filtered_by_and_leads_to_its_session_and_decision(opened: Window, text: str) -> None:
    page = opened.page
    opened.open(f"/usage?since=24h&view=sessions&principal={quote(text, safe='')}")
    pill = page.get_by_text(f"principal: {text}", exact=True)
    expect(pill).to_be_visible()
    check_inert(opened)
    rows = page.get_by_role("table", name="Sessions").locator("tbody tr")
    expect(rows).to_have_count(1)
    rows.click()
    calls = page.get_by_role("table", name="Calls").locator("tbody tr")
    expect(calls).to_have_count(1)
    assert text in texts_on(opened)
    check_inert(opened)
    page.reload()
    calls.click()
    expect(page.locator("[data-headline]")).to_contain_text(f"The call of {text} ({text})")
    check_inert(opened)


def test_long_ones_do_not_widen_a_narrow_page(chromium: Browser, daemon: DaemonProcess) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=NARROW) as narrow:
        address = f"/usage/sessions/{LONG}?principal={LONG}"
        for path in (f"/usage?since=24h&by=agent&principal={LONG}", address, f"/export?agent={LONG}"):
            narrow.open(path)
            expect(narrow.page.get_by_role("heading", level=1)).to_be_visible()
            narrow.settle()
            narrow.check_fits()
