"""Budgets in the console: gauges, the form with its preview, history, and a request for more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.daemon import DaemonProcess, budget, config
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

CALLS = {"indexer": 6, "writer": 3}


@dataclass(frozen=True, slots=True)
class World:
    """A daemon on which two agents of two principals have called; what each call cost, in nano-USD."""

    daemon: DaemonProcess
    keys: Mapping[str, str]
    cost: int


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> World:
    daemon = module_daemons(
        config(module_stub.url, budgets=[budget("from-the-file", "9.00", scope="principal:*")])
    )
    keys = {role: daemon.create_key(role, roles=[role]) for role in ("viewer", "admin")}
    daemon.api.post("/budgets", budget("each-agent", "0.50", scope="agent:*", soft_limit="0.40"))
    cost = 0
    for agent, count in CALLS.items():
        key = daemon.create_key(f"team-{agent}", agent=agent)
        for _ in range(count):
            settled: Any = daemon.api.settled(request_id(ask(daemon, key, chat())))
            cost = int(settled["settlement"]["cost_nano_usd"])
    return World(daemon, keys, cost)


@pytest.fixture
def admin(chromium: Browser, world: World) -> Iterator[Window]:
    with window(chromium, world.daemon.url, world.keys["admin"]) as opened:
        # One simulation runs at a time; a draft that changed meanwhile is tried again.
        opened.refused.add(429)
        yield opened


def card(window: Window, policy_id: str) -> Locator:
    return window.page.locator(f"[data-policy='{policy_id}']")


def account(window: Window, entity: str) -> Locator:
    return window.page.locator(f"[data-account='{entity}']")


def fill_in(window: Window, policy_id: str, limit: str) -> None:
    """A budget on every agent, in money per day."""
    page = window.page
    page.get_by_label("Id").fill(policy_id)
    page.get_by_role("combobox", name="Whom it binds").click()
    page.get_by_role("option", name="Agent").click()
    page.get_by_label("Hard limit, in USD").fill(limit)


def test_every_budget_is_a_gauge_that_says_what_the_ledger_says(admin: Window, world: World) -> None:
    admin.open("/budgets")
    gauges: Any = admin.api("/budgets/status")["items"]
    assert {each["policy"]["id"] for each in gauges} >= {"from-the-file", "each-agent"}
    for gauge in gauges:
        shown = card(admin, gauge["policy"]["id"])
        for each in gauge["accounts"][:2]:
            found = shown.locator(f"[data-account='{each['entity']}']")
            expect(found).to_have_attribute("data-remaining", str(each["remaining_nano_usd"]))
    own = next(each for each in gauges if each["policy"]["id"] == "each-agent")
    posted = {each["entity"]: each["posted_nano_usd"] for each in own["accounts"]}
    assert posted == {agent: count * world.cost for agent, count in CALLS.items()}


def test_a_budget_is_tried_as_one_types_made_changed_and_has_a_history(admin: Window, world: World) -> None:
    page = admin.page
    admin.open("/budgets")
    page.get_by_role("link", name="New budget").first.click()
    create = page.get_by_role("button", name="Create the budget")
    expect(create).to_be_disabled()
    fill_in(admin, "agents tight", "5.00")
    expect(page.get_by_text("is not an id")).to_be_visible()
    page.get_by_label("Id").fill("agents-tight")
    page.get_by_label("Soft limit, in USD").fill("6.00")
    expect(page.locator("[aria-invalid=true]").first).to_be_visible()
    expect(create).to_be_disabled()
    page.get_by_label("Soft limit, in USD").fill("")

    # Room for two calls of each agent: four of the indexer and one of the writer would not have run.
    bound = 2 * world.cost + (world.cost // 2)
    page.get_by_label("Hard limit, in USD").fill(f"{bound / 1e9:.9f}")
    verdict = page.locator("[data-verdict]")
    expect(verdict).to_contain_text("of 2 agents")
    asked: Any = world.daemon.api.post(
        "/budgets/simulate",
        {"policies": [budget("agents-tight", f"{bound / 1e9:.9f}", scope="agent:*")]},
    )
    expect(verdict).to_have_attribute("data-verdict", str(asked["totals"]["stopped"]))
    assert asked["totals"]["stopped"] > 0

    expect(create).to_be_enabled()
    create.click()
    expect(page.get_by_role("heading", name="agents-tight")).to_be_visible()
    assert admin.api("/budgets/agents-tight")["version"] == 1

    page.get_by_role("tab", name="Edit").click()
    page.get_by_label("Hard limit, in USD").fill("7.25")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_text("is in force, version 2")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    newest = page.locator("[data-version='2']")
    expect(newest).to_contain_text("7.25")
    expect(newest.locator("[data-field='hard_limit'] del")).to_have_text(f"{bound / 1e9:.9f}".rstrip("0"))
    expect(page.locator("[data-version='1']")).to_contain_text("created")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete agents-tight").click()
    expect(page.get_by_text("is out of force")).to_be_visible()
    expect(card(admin, "agents-tight")).to_have_count(0)


def test_a_change_of_somebody_else_is_told_and_takes_nothing_that_was_typed(
    admin: Window, world: World
) -> None:
    world.daemon.api.post("/budgets", budget("contested", "1.00"))
    page = admin.page
    admin.open("/budgets/contested?view=edit")
    limit, save = page.get_by_label("Hard limit, in USD"), page.get_by_role("button", name="Save as a new")
    limit.fill("2.00")
    expect(save).to_be_enabled()
    world.daemon.api.request("PUT", "/budgets/contested", budget("contested", "3.00"))
    expect(page.get_by_role("alert").get_by_text("is at version 2 now")).to_be_visible()
    expect(limit).to_have_value("2.00")
    expect(save).to_be_disabled()
    page.get_by_role("button", name="Begin again with version 2").click()
    expect(limit).to_have_value("3.00")
    limit.fill("2.50")
    save.click()
    expect(page.get_by_text("is in force, version 3")).to_be_visible()
    assert admin.api("/budgets/contested")["hard_limit"] == "2.50"


def test_who_was_too_slow_overwrites_nothing(admin: Window, world: World) -> None:
    world.daemon.api.post("/budgets", budget("late", "1.00"))
    page = admin.page
    # As for who is not told in time: without events, the page knows what it was opened with.
    page.route("**/api/v1/events", lambda route: route.abort())
    admin.open("/budgets/late?view=edit")
    limit, save = page.get_by_label("Hard limit, in USD"), page.get_by_role("button", name="Save as a new")
    limit.fill("2.00")
    expect(save).to_be_enabled()
    world.daemon.api.request("PUT", "/budgets/late", budget("late", "3.00"))
    admin.refused.add(412)
    save.click()
    expect(page.get_by_role("alert").get_by_text("not at version")).to_be_visible()
    expect(page.get_by_role("alert").get_by_text("is at version 2 now")).to_be_visible()
    assert admin.api("/budgets/late")["hard_limit"] == "3.00"
    page.unroute("**/api/v1/events")


def test_more_can_be_asked_for_before_a_call_is_stopped(admin: Window) -> None:
    page = admin.page
    admin.open("/budgets/from-the-file")
    page.get_by_role("button", name="Request an override").click()
    page.get_by_label("How much more, in USD").fill("2.50")
    page.get_by_label("Why").fill("month end <b>close</b>")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("waits for somebody to decide")).to_be_visible()
    (found,) = admin.api("/approvals?state=pending")["items"]
    assert found["reason"] == "month end <b>close</b>"
    assert found["asked_nano_usd"] == 2_500_000_000


def test_a_viewer_may_try_and_not_save(chromium: Browser, world: World) -> None:
    with window(chromium, world.daemon.url, world.keys["viewer"]) as viewer:
        viewer.refused.add(429)
        viewer.open("/budgets/new")
        fill_in(viewer, "tried", "0.000001")
        expect(viewer.page.locator("[data-verdict]")).to_contain_text("would have")
        expect(viewer.page.get_by_role("button", name="Create the budget")).to_be_disabled()
        expect(viewer.page.get_by_text("Saving needs the role admin")).to_be_visible()


def test_a_budget_of_the_file_says_where_it_is_changed(admin: Window) -> None:
    admin.open("/budgets/from-the-file?view=edit")
    expect(admin.page.get_by_text("defined in the configuration file")).to_be_visible()
    expect(admin.page.get_by_role("button", name="Delete")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_pages_fit_and_can_be_used_by_all(
    chromium: Browser, world: World, width: int, theme: Theme
) -> None:
    with window(chromium, world.daemon.url, world.keys["admin"], width=width, theme=theme) as opened:
        opened.refused.add(429)
        for name, path in (
            ("budgets", "/budgets"),
            ("budget", "/budgets/each-agent"),
            ("budget-history", "/budgets/each-agent?view=history"),
            ("budget-edit", "/budgets/each-agent?view=edit"),
        ):
            opened.open(path)
            expect(opened.page.get_by_role("heading", level=1)).to_be_visible()
            opened.settle()
            opened.shoot(f"{name}-{width}-{theme}")
            opened.check_fits()
            opened.check_accessible()
