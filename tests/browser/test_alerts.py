"""Alerts in the console: what is wrong, who has seen it, and what became of the messages about it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from fakes.receivers import WebReceiver
from harness.daemon import DaemonProcess, budget, config, poll
from harness.stub import Stub
from harness.talk import chat
from harness.tenant import SharedDaemons, Tenant
from harness.window import NARROW, WIDE, Theme, Window, window

BUDGET = "each-daily"
LIMIT_USD = "0.0005"


def target(name: str, web: WebReceiver) -> dict[str, object]:
    """A webhook on loopback."""
    secret = "env:STUB_CREDENTIAL"
    return {"id": name, "webhook": f"{web.url}/{name}", "secret": secret, "allow_private": True}


def settings(stub: Stub, *targets: dict[str, object]) -> dict[str, object]:
    """Calls of a principal are stopped by its third one, and that is told to ``targets``."""
    each = budget(BUDGET, LIMIT_USD, scope="principal:*")
    return config(stub.url, budgets=[each], alerts={"check_s": 0.2}, notify=targets)


@dataclass(frozen=True, slots=True)
class World:
    """A daemon that tells two targets, of which only ``ops`` takes what it gets."""

    daemon: DaemonProcess
    operator: str
    ops: WebReceiver


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> Iterator[World]:
    with WebReceiver() as ops, WebReceiver(status=410) as gone:
        daemon = module_daemons(settings(module_stub, target("ops", ops), target("gone", gone)))
        yield World(daemon, daemon.create_key("olga", roles=["operator"]), ops)


@pytest.fixture
def desk(chromium: Browser, world: World) -> Iterator[Window]:
    with window(chromium, world.daemon.url, world.operator) as opened:
        yield opened


@pytest.fixture
def exhaust(tenant_of: Callable[..., Tenant]) -> Callable[[DaemonProcess], tuple[Tenant, dict[str, Any]]]:
    """``exhaust(daemon)``: another principal whose budget is used up, and the alert about it."""

    def run(daemon: DaemonProcess) -> tuple[Tenant, dict[str, Any]]:
        tenant = tenant_of(daemon)
        assert [tenant.ask(chat(size)).status for size in (64, 64, 100)] == [200, 200, 402]
        found = poll(lambda: exhausted(daemon, tenant), bool, 15.0, "the alert")
        return tenant, found[0]

    return run


Exhaust = Callable[[DaemonProcess], tuple[Tenant, dict[str, Any]]]


def exhausted(daemon: DaemonProcess, tenant: Tenant) -> list[dict[str, Any]]:
    """The alert about its budget, if there is one."""
    found: Any = daemon.api.get("/alerts", kind="budget_exhausted", principal=tenant.principal)["items"]
    return found


def card(window: Window, alert: dict[str, Any]) -> Locator:
    """The alert on the page."""
    return window.page.locator(f"[data-alert='{alert['id']}']")


def test_an_alert_shows_by_itself_what_is_wrong_and_leads_to_more(
    desk: Window, world: World, exhaust: Exhaust
) -> None:
    desk.open("/alerts?kind=budget_exhausted")
    expect(desk.page.locator("[data-live=live]")).to_be_visible()
    tenant, alert = exhaust(world.daemon)
    shown = card(desk, alert)
    expect(shown.get_by_role("heading")).to_have_text(alert["title"])
    expect(shown.get_by_text(alert["message"])).to_be_visible()
    expect(shown.get_by_text("critical")).to_be_visible()
    facts: Any = alert["facts"]
    assert facts["limit"] == 500_000
    expect(shown.get_by_role("definition").filter(has_text="of $0.0005")).to_be_visible()
    shown.get_by_role("link", name=f"Budget {BUDGET}").click()
    expect(desk.page).to_have_url(f"{world.daemon.url}/console/budgets/{BUDGET}")
    desk.page.go_back()
    shown.get_by_role("link", name=f"Usage of {tenant.principal}").click()
    expect(desk.page).to_have_url(f"{world.daemon.url}/console/usage?principal={tenant.principal}")


def test_who_acknowledges_it_is_told_to_all_and_the_badge_counts_what_nobody_has_seen(
    chromium: Browser, desk: Window, world: World, exhaust: Exhaust
) -> None:
    _, alert = exhaust(world.daemon)
    desk.open("/alerts")
    with window(chromium, world.daemon.url, world.operator) as other:
        other.open("/alerts")
        shown = card(desk, alert)
        shown.get_by_role("button", name="Acknowledge").click()
        shown.get_by_label("Note").fill("on it <b>now</b>")
        shown.get_by_role("button", name="Acknowledge").click()
        expect(shown).to_have_count(0)
        expect(card(other, alert)).to_have_count(0)
        other.page.get_by_text("Acknowledged", exact=True).click()
        expect(card(other, alert).locator("[data-seen]")).to_contain_text("Seen by olga")
        expect(card(other, alert).get_by_text("on it <b>now</b>")).to_be_visible()
        expect(card(other, alert).get_by_role("button", name="Acknowledge")).to_have_count(0)
        other.page.reload()
        expect(card(other, alert)).to_be_visible()
    stored: Any = world.daemon.api.get(f"/alerts/{alert['id']}")["acknowledged"]
    assert (stored["principal"], stored["note"]) == ("olga", "on it <b>now</b>")
    waiting: Any = world.daemon.api.get("/alerts", state="firing", acknowledged="false")["items"]
    badge = desk.page.get_by_role("link", name="Alerts").get_by_label("waiting")
    expect(badge).to_have_text(str(len(waiting))) if waiting else expect(badge).to_have_count(0)


def test_an_alert_whose_cause_is_gone_is_told_as_over(desk: Window, world: World, exhaust: Exhaust) -> None:
    _, alert = exhaust(world.daemon)
    desk.open("/alerts")
    expect(card(desk, alert)).to_be_visible()
    tenant = Tenant(world.daemon, "passing", world.daemon.create_key("passing"))
    world.daemon.api.post("/budgets", budget("passing", "0.0004", scope="principal:passing"))
    assert [tenant.ask(chat(size)).status for size in (64, 200)] == [200, 402]
    found: Any = poll(
        lambda: world.daemon.api.get("/alerts", policy_id="passing", kind="budget_exhausted")["items"],
        bool,
        15.0,
        "the alert",
    )
    expect(card(desk, found[0])).to_be_visible()
    assert world.daemon.api.request("DELETE", "/budgets/passing").status_code == 204
    expect(card(desk, found[0])).to_have_count(0)
    desk.page.get_by_text("Resolved", exact=True).click()
    expect(card(desk, found[0]).locator("[data-resolution]")).to_contain_text("Over since")


def test_filters_are_in_the_address_and_can_be_taken_away(
    desk: Window, world: World, exhaust: Exhaust
) -> None:
    tenant, alert = exhaust(world.daemon)
    desk.open(f"/alerts?principal={tenant.principal}&kind=cost_spike")
    expect(desk.page.get_by_text("No alert like this")).to_be_visible()
    desk.page.get_by_label("Kind").select_option("Budget exhausted")
    expect(desk.page.locator("[data-alert]")).to_have_count(1)
    expect(card(desk, alert)).to_be_visible()
    desk.page.get_by_role("button", name="Remove the filter on principal").click()
    expect(desk.page).to_have_url(f"{world.daemon.url}/console/alerts?kind=budget_exhausted")


def test_a_caller_sees_its_own_alerts_and_acknowledges_none(
    chromium: Browser, world: World, exhaust: Exhaust
) -> None:
    (tenant, alert), (_, other) = exhaust(world.daemon), exhaust(world.daemon)
    with window(chromium, world.daemon.url, tenant.key) as caller:
        caller.open("/alerts")
        expect(card(caller, alert)).to_be_visible()
        expect(card(caller, other)).to_have_count(0)
        expect(caller.page.get_by_role("button", name="Acknowledge")).to_have_count(0)
        expect(caller.page.get_by_role("button", name="Test message")).to_have_count(0)
        expect(caller.page.get_by_role("radiogroup", name="View")).to_have_count(0)


def test_a_test_message_is_sent_and_its_row_says_how_it_fares(desk: Window, world: World) -> None:
    page = desk.page
    desk.open("/alerts")
    page.get_by_role("button", name="Test message").click()
    page.get_by_label("Target").fill("nobody")
    desk.refused.add(422)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("'nobody' is not configured")).to_be_visible()
    page.get_by_label("Target").fill("ops")
    page.get_by_role("button", name="Send", exact=True).click()
    row = page.get_by_role("row").filter(has_text="Test message of Palyra").first
    expect(row).to_contain_text("ops")
    expect(row).to_contain_text("sent")
    assert any(b"Test message of Palyra" in each.body for each in world.ops.received)
    page.get_by_label("Target").wait_for(state="hidden")
    page.get_by_text("Waiting", exact=True).last.click()
    page.get_by_role("button", name="Test message").click()
    page.get_by_label("Target").fill("gone")
    page.get_by_role("button", name="Send", exact=True).click()
    row = page.get_by_role("row").filter(has_text="gone").filter(has_text="Test message of Palyra")
    expect(row).to_contain_text("answered with HTTP status 410")


@pytest.mark.sqlite
def test_a_message_that_was_given_up_is_sent_once_more(
    chromium: Browser, daemon_factory: Callable[..., DaemonProcess], stub: Stub, exhaust: Exhaust
) -> None:
    with WebReceiver(status=503) as hook:
        daemon = daemon_factory(settings(stub, target("hook", hook)))
        exhaust(daemon)
        poll(lambda: list(hook.received), bool, 15.0, "an attempt")
        daemon.terminate()
        # A day of failed attempts is told by its outcome.
        with closing(sqlite3.connect(daemon.database)) as stored, stored:
            stored.execute(
                "UPDATE notices SET state = 'dead', over_at = due_at, "
                """body = replace(body, '"state":"waiting"', '"state":"dead"')"""
            )
        daemon.restart()
        hook.status = 204
        with window(chromium, daemon.url, daemon.owner_key) as opened:
            opened.open("/alerts?view=messages&messages=dead")
            row = opened.page.get_by_role("row").filter(has_text="exhausted")
            expect(row).to_contain_text("given up")
            expect(row).to_contain_text("answered with HTTP status 503")
            row.get_by_role("button", name="Try again").click()
            expect(row).to_have_count(0)
            opened.page.get_by_text("Sent", exact=True).first.click()
            expect(row).to_contain_text("hook")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_can_be_used_by_all(
    chromium: Browser, world: World, exhaust: Exhaust, width: int, theme: Theme
) -> None:
    tenant, _ = exhaust(world.daemon)
    with window(chromium, world.daemon.url, world.operator, width=width, theme=theme) as opened:
        for name, path in (
            ("alerts", f"/alerts?principal={tenant.principal}"),
            ("alerts-none", "/alerts?kind=cost_spike"),
            ("messages", "/alerts?view=messages&messages=sent"),
        ):
            opened.open(path)
            expect(opened.page.get_by_role("heading", level=1)).to_be_visible()
            opened.settle()
            opened.shoot(f"{name}-{width}-{theme}")
            opened.check_fits()
            opened.check_accessible()
