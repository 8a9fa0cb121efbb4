"""Usage in the console: figures, chart and tables that are the ledger's, and the way down to one decision."""

from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Request, expect

from harness.daemon import DaemonProcess, budget, config, model
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, ask, chat, message, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

MODELS = (
    model("stub-model"),
    model("dear-model", price={"input": "10.00", "output": "20.00"}),
    model("stub-claude", "stub-anthropic"),
    {"id": "priceless", "provider": "stub", "output_limit": 4096},
)
TEAMS = {"alice": ("coder", "web"), "bob": ("reviewer", "web"), "mallory": ("runaway", "ops")}
DAY = "since=24h"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """Three principals at three models, one of which has no price, and a budget that refuses one of them."""
    started = module_daemons(
        config(
            module_stub.url,
            models=MODELS,
            governance={"unknown_price": "allow"},
            budgets=[budget("tight", 1, scope="principal:mallory", metric="requests")],
        )
    )
    for name, (agent, team) in TEAMS.items():
        key = started.create_key(name, agent=agent, tags={"team": team})
        replies = [
            ask(started, key, body, path, {"x-palyra-session": f"{name}-{number % 2}"})
            for number, (body, path) in enumerate(
                (
                    (chat(), CHAT),
                    (chat(model="dear-model"), CHAT),
                    (message(), MESSAGES),
                    (chat(model="priceless"), CHAT),
                )
            )
            if script(module_stub, number)
        ]
        for reply in replies:
            started.api.settled(request_id(reply))
    return started


def script(stub: Stub, number: int) -> bool:
    """Have the next answer use tokens of its own."""
    stub.script = Answer(usage=fixed(1_000 + 100 * number, 300 + number))
    return True


@pytest.fixture(scope="module")
def own_window(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    with window(chromium, daemon.url, daemon.owner_key) as made:
        yield made


@pytest.fixture
def opened(own_window: Window) -> Iterator[Window]:
    """The owner's window, which the tests of this module share; each opens the page that it is about."""
    yield own_window
    own_window.check_quiet()


def figure(window: Window, name: str) -> Locator:
    return window.page.locator(f"[data-figure='{name}']")


def rows(window: Window, label: str) -> Locator:
    return window.page.get_by_role("table", name=label).locator("tbody tr")


def calls_of(window: Window) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", window.api("/decisions?limit=200")["items"])


def asks(window: Window, act: Callable[[], object], **wanted: str) -> None:
    """After ``act`` the page asks for a timeline with at least these parameters."""

    def fits(request: Request) -> bool:
        address = urlsplit(request.url)
        given = parse_qs(address.query)
        return address.path == "/api/v1/usage/timeline" and all(
            given.get(name) == [value] for name, value in wanted.items()
        )

    with window.page.expect_request(fits):
        act()


def test_every_figure_is_the_ledgers(opened: Window) -> None:
    opened.open(f"/usage?{DAY}")
    totals: Any = opened.api(f"/usage/summary?{DAY}")["totals"]
    calls = calls_of(opened)
    cost = sum(each["cost_nano_usd"] or 0 for each in calls)
    assert totals["cost_nano_usd"] == cost > 0
    expect(figure(opened, "cost").locator("[data-nano-usd]")).to_have_attribute("data-nano-usd", str(cost))
    settled = [each for each in calls if each["state"] == "settled"]
    counts = {
        "requests": len(settled),
        "denied": len(calls) - len(settled),
        "input_tokens": sum(each["input_tokens"] for each in settled),
        "output_tokens": sum(each["output_tokens"] for each in settled),
        "asked": 0,
        "clamped": 0,
    }
    for name, count in counts.items():
        expect(figure(opened, name).locator("[data-value]")).to_have_attribute("data-value", str(count))
    expect(figure(opened, "held")).to_contain_text("0 running")
    expect(opened.page.get_by_text("Not compared with the time before: usage is kept since")).to_be_visible()
    expect(figure(opened, "average_latency")).to_contain_text("ms")


def test_calls_without_a_price_are_told_and_are_no_zero(opened: Window) -> None:
    opened.open(f"/usage?{DAY}&view=models")
    unpriced = opened.api(f"/usage/summary?{DAY}")["totals"]["unpriced"]
    assert unpriced > 0
    expect(opened.page.locator("[data-unpriced]")).to_have_attribute("data-unpriced", str(unpriced))
    priceless = rows(opened, "Usage by model").filter(has_text="priceless")
    expect(priceless).to_contain_text(f"{unpriced} unpriced")
    expect(priceless).not_to_contain_text("$0")


@pytest.mark.parametrize("view", ["principals", "agents", "models", "providers"])
def test_each_table_is_the_apis(opened: Window, view: str) -> None:
    opened.open(f"/usage?{DAY}&view={view}")
    items: Any = opened.api(f"/usage/{view}?{DAY}")["items"]
    name = view.removesuffix("s")
    found = rows(opened, f"Usage by {name}")
    expect(found).to_have_count(len(items))
    for at, item in enumerate(items):
        expect(found.nth(at)).to_contain_text(item[name] or "none")
        if item["requests"] > item["unpriced"]:
            money = found.nth(at).locator("[data-nano-usd]").first
            expect(money).to_have_attribute("data-nano-usd", str(item["cost_nano_usd"]))


def test_a_bar_leads_to_its_sessions_their_calls_and_one_decision(opened: Window) -> None:
    page = opened.page
    opened.open(f"/usage?{DAY}&by=principal")
    page.locator(".recharts-bar-rectangle path").first.click()
    panel = page.get_by_role("region", name="Sessions of the bar")
    start = panel.get_attribute("data-bucket")
    bucket = next(each for each in opened.api(f"/usage/timeline?{DAY}")["buckets"] if each["start"] == start)
    assert bucket["requests"] > 0
    sessions = panel.get_by_role("table", name="Sessions").locator("tbody tr")
    who = parse_qs(urlsplit(page.url).query)["pick"][0]
    query = f"since={bucket['start']}&until={bucket['end']}&principal={who}"
    listed: Any = opened.api(f"/usage/sessions?{query}")["items"]
    expect(sessions).to_have_count(len(listed))
    assert {each["principal"] for each in listed} == {who}
    sessions.filter(has_text=listed[0]["session"]).click()
    session: Any = opened.api(f"/usage/sessions/{listed[0]['session']}?principal={who}")
    expect(page.get_by_role("heading", name="Session", exact=True)).to_be_visible()
    cost = figure(opened, "cost").locator("[data-nano-usd]")
    expect(cost).to_have_attribute("data-nano-usd", str(session["session"]["cost_nano_usd"]))
    calls = rows(opened, "Calls")
    expect(calls).to_have_count(len(session["items"]))
    priced = next(each for each in session["items"] if each["cost_nano_usd"])
    page.locator(f"tr[data-row='{priced['request_id']}']").click()
    expect(page.get_by_role("heading", name="Decision", exact=True)).to_be_visible()
    settled = page.locator("[data-step='settled']")
    expect(settled).to_have_attribute("data-amount", str(priced["cost_nano_usd"]))


def test_sessions_are_those_with_a_call_of_what_is_filtered_by(opened: Window) -> None:
    for query in ("provider=stub", "model=priceless", "model=stub-model&provider=stub"):
        opened.open(f"/usage?{DAY}&view=sessions&{query}")
        listed: Any = opened.api(f"/usage/sessions?{DAY}&{query}")["items"]
        calls: Any = opened.api(f"/decisions?{query}&limit=200")["items"]
        assert {each["session"] for each in listed} == {each["session"] for each in calls} - {None}
        expect(rows(opened, "Sessions")).to_have_count(len(listed))
    opened.open(f"/usage?{DAY}&view=sessions&provider=nobody")
    expect(opened.page.get_by_text("No sessions here")).to_be_visible()


def test_a_bar_is_entered_by_keyboard_too(opened: Window) -> None:
    page = opened.page
    opened.open(f"/usage?{DAY}")
    way = page.get_by_role("button", name="Show as a table")
    way.focus()
    page.keyboard.press("Enter")
    buckets = rows(opened, "Usage over time")
    expect(buckets).not_to_have_count(0)
    told = sum(
        int(cell.get_attribute("data-nano-usd") or 0)
        for cell in page.get_by_role("table", name="Usage over time").locator("[data-nano-usd]").all()
    )
    assert told == opened.api(f"/usage/summary?{DAY}")["totals"]["cost_nano_usd"]
    buckets.first.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("region", name="Sessions of the bar")
    expect(panel).to_be_visible()
    panel.get_by_role("button", name="Close the sessions of the bar").press("Enter")
    expect(panel).to_have_count(0)


def test_the_chart_asks_for_what_was_chosen_in_the_readers_own_time(opened: Window) -> None:
    page = opened.page
    default = {"metric": "cost", "bucket": "auto", "by": "model", "timezone": "Europe/Prague"}
    asks(opened, lambda: opened.open(f"/usage?{DAY}"), **default)
    figures, buckets = page.get_by_label("Figure"), page.get_by_label("Buckets")
    asks(opened, lambda: figures.get_by_text("Tokens", exact=True).click(), metric="tokens")
    asks(opened, lambda: buckets.get_by_text("Day", exact=True).click(), metric="tokens", bucket="day")
    asks(opened, lambda: page.get_by_label("Time zone").select_option("utc"), timezone="UTC")
    page.reload()
    expect(page.get_by_role("heading", name="Tokens per day")).to_be_visible()
    expect(page.get_by_label("Time zone")).to_have_value("utc")


def test_a_row_narrows_the_page_and_the_address_keeps_it(opened: Window) -> None:
    page = opened.page
    opened.open(f"/usage?{DAY}")
    rows(opened, "Usage by principal").filter(has_text="bob").click()
    cost = figure(opened, "cost").locator("[data-nano-usd]")
    own = opened.api(f"/usage/summary?{DAY}&principal=bob")["totals"]["cost_nano_usd"]
    expect(cost).to_have_attribute("data-nano-usd", str(own))
    expect(figure(opened, "p95_latency").locator("[data-value]")).to_have_count(0)
    expect(figure(opened, "p95_latency")).to_contain_text("Kept by model and provider only")
    page.reload()
    expect(cost).to_have_attribute("data-nano-usd", str(own))
    page.get_by_role("main").get_by_role("link", name="Export").click()
    expect(page.get_by_text("principal: bob")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Remove the filter on principal").click()
    everybody = opened.api(f"/usage/summary?{DAY}")["totals"]["cost_nano_usd"]
    expect(cost).to_have_attribute("data-nano-usd", str(everybody))


def test_names_to_filter_by_are_those_that_called(opened: Window) -> None:
    page = opened.page
    opened.open(f"/usage?{DAY}")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("combobox", name="agent").click()
    page.get_by_role("option", name="reviewer").click()
    expect(page.get_by_text("agent: reviewer")).to_be_visible()
    expect(rows(opened, "Usage by principal")).to_have_count(1)


def test_tags_lead_to_their_calls(opened: Window) -> None:
    opened.open(f"/usage?{DAY}&view=tags")
    rows(opened, "Usage by tag").filter(has_text="ops").click()
    expect(opened.page.get_by_label("Tag", exact=True)).to_have_value("team:ops")
    own = [each for each in calls_of(opened) if each["principal"] == "mallory"]
    expect(rows(opened, "Calls")).to_have_count(len(own))


def test_calls_show_as_they_are_made(opened: Window, daemon: DaemonProcess) -> None:
    opened.open(f"/usage?{DAY}")
    requests = figure(opened, "requests").locator("[data-value]")
    before = opened.api(f"/usage/summary?{DAY}")["totals"]["requests"]
    expect(requests).to_have_attribute("data-value", str(before))
    expect(opened.page.locator("[data-live=live]")).to_be_visible()
    ask(daemon, daemon.create_key("alice", agent="coder"), chat())
    expect(requests).to_have_attribute("data-value", str(before + 1))


def test_a_caller_sees_its_own_usage_alone(chromium: Browser, daemon: DaemonProcess) -> None:
    with window(chromium, daemon.url, daemon.create_key("bob")) as own:
        own.open(f"/usage?{DAY}")
        expect(rows(own, "Usage by principal")).to_have_count(1)
        expect(own.page.get_by_role("tab", name="Tags")).to_have_count(0)
        expect(figure(own, "p95_latency").locator("[data-value]")).to_have_count(0)
        expect(figure(own, "p95_latency")).to_contain_text("Your key does not reach this far")


def test_an_empty_ledger_says_how_to_make_a_first_call(
    chromium: Browser, module_daemons: SharedDaemons, module_stub: Stub
) -> None:
    empty = module_daemons(config(module_stub.url, governance={"default_model": "stub-model"}))
    with window(chromium, empty.url, empty.owner_key) as opened:
        opened.open("/usage")
        line = opened.page.get_by_label("A first call")
        expect(line).to_contain_text(f"curl {empty.url}/v1/chat/completions")
        expect(opened.page.locator("[data-live=live]")).to_be_visible()
        ask(empty, empty.create_key("first"), chat(model="auto"))
        expect(figure(opened, "requests")).to_contain_text("1")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_is_accessible_and_fits(
    chromium: Browser, daemon: DaemonProcess, theme: Theme, width: int
) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=width, theme=theme) as shown:
        for name, path in (
            ("usage", f"/usage?{DAY}&by=principal"),
            ("sessions", f"/usage?{DAY}&view=sessions"),
            ("session", "/usage/sessions/alice-0?principal=alice"),
        ):
            shown.open(path)
            expect(shown.page.get_by_role("table").first).to_be_visible()
            shown.settle()
            shown.check_accessible()
            shown.check_fits()
            shown.shoot(f"{name}-{theme}-{width}")
