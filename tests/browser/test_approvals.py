"""Approvals in the console: what is asked for, in context, decided by somebody else; live, and on a phone."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.daemon import Api, DaemonProcess, config
from harness.people import allow, asked, asking, deny, pending, showing
from harness.stub import Stub
from harness.talk import INPUT_NANO, OUTPUT_NANO, ask, chat, request_id
from harness.tenant import SharedDaemons, Tenant
from harness.window import NARROW, WIDE, Theme, Window, window

BUDGET = "each-daily"
LIMIT_USD = "0.0005"
NANO = 10**9


@dataclass(frozen=True, slots=True)
class Asked:
    """A principal whose call a budget stopped, and what it asks for."""

    tenant: Tenant
    id: str
    body: dict[str, object]

    @property
    def path(self) -> str:
        """Its page."""
        return f"/approvals?id={self.id}"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=[asking(BUDGET, LIMIT_USD, metric="cost_usd")]))


@pytest.fixture(scope="module")
def olga(daemon: DaemonProcess) -> str:
    """The key of an operator, who asks for nothing."""
    return daemon.create_key("olga", roles=["operator"])


@pytest.fixture
def desk(chromium: Browser, daemon: DaemonProcess, olga: str) -> Iterator[Window]:
    with window(chromium, daemon.url, olga) as opened:
        yield opened


@pytest.fixture
def stopped(daemon: DaemonProcess, tenant_of: Callable[..., Tenant]) -> Callable[..., Asked]:
    """``stopped()``: another principal whose third call is stopped."""

    def make(**fields: object) -> Asked:
        tenant = tenant_of(daemon, **fields)
        for _ in range(2):
            reply = tenant.ask(headers={"x-palyra-session": "run-7"})
            assert daemon.api.settled(request_id(reply))["state"] == "settled"
        body = chat(100)
        reply = tenant.ask(body, headers={"x-palyra-session": "run-7"})
        return Asked(tenant, asked(reply), body)

    return make


def shown(window: Window, asked: Asked) -> Locator:
    """The request on the page."""
    return window.page.locator(f"[data-request='{asked.id}']")


def now(daemon: DaemonProcess, asked: Asked) -> dict[str, Any]:
    """The request as the API has it."""
    return daemon.api.get(f"/approvals/{asked.id}")


def badge(window: Window) -> Locator:
    """How many wait, at the way to the page."""
    pages = window.page.get_by_role("navigation", name="Pages")
    return pages.get_by_role("link", name="Approvals").get_by_label("waiting")


@pytest.fixture
def nobody_waits(daemon: DaemonProcess, olga: str) -> None:
    """Whatever other tests have left is decided."""
    api = Api(daemon.url, olga)
    for each in pending(api):
        deny(api, each)


def test_a_request_shows_who_why_what_it_costs_and_the_budget_now(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request = stopped(agent="nightly")
    desk.open("/approvals")
    desk.page.locator(f"[data-approval='{request.id}']").click()
    card = shown(desk, request)
    for text in (request.tenant.principal, "nightly", "run-7", "stub-model", BUDGET):
        expect(card.get_by_text(text, exact=True).first).to_be_visible()
    document = now(daemon, request)
    held = document["amount_nano_usd"]
    assert held == document["projected_nano_usd"] - document["consumed_nano_usd"] > 100 * OUTPUT_NANO
    assert document["consumed_nano_usd"] == document["budget_now"]["posted_nano_usd"] > 2 * INPUT_NANO
    for moment, figures in (("then", document), ("now", document["budget_now"])):
        for name in ("consumed", "limit", "remaining"):
            cell = card.locator(f"[data-{moment}={name}] [data-nano-usd]")
            expect(cell).to_have_attribute("data-nano-usd", str(figures[f"{name}_nano_usd"]))
    heading = card.get_by_role("heading").locator("[data-nano-usd]")
    expect(heading).to_have_attribute("data-nano-usd", str(document["asked_nano_usd"]))
    gauge = card.get_by_role("img", name=f"Budget {BUDGET} of {request.tenant.principal} now")
    expect(gauge).to_be_visible()
    card.get_by_role("link", name="See its decision").click()
    expect(desk.page).to_have_url(f"{daemon.url}/console/decisions/{document['request_id']}")


def test_an_approval_lets_the_very_call_run_once(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request = stopped()
    desk.open(request.path)
    card = shown(desk, request)
    expect(card.get_by_role("radio", name="This call, once")).to_be_checked()
    card.get_by_label("Why").fill("month end")
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_text("Approved by olga")).to_be_visible()
    expect(card.get_by_text("month end")).to_be_visible()
    expect(card.locator("[data-grant=once]")).to_have_attribute("data-live", "true")
    document = now(daemon, request)
    assert (document["state"], document["decided_by"], document["decision_reason"]) == (
        "approved",
        "olga",
        "month end",
    )
    assert request.tenant.ask(request.body, headers=showing(request.id)).status == 200
    assert request.tenant.ask(request.body, headers=showing(request.id)).status == 402
    desk.page.reload()
    expect(card.locator("[data-grant=once]")).to_have_attribute("data-live", "false")
    expect(card.get_by_role("link", name="The call that it let through")).to_be_visible()


def test_a_call_that_waits_goes_on_and_the_badge_counts_without_a_reload(
    desk: Window,
    daemon: DaemonProcess,
    nobody_waits: None,
    stopped: Callable[..., Asked],
    tenant_of: Callable[..., Tenant],
) -> None:
    tenant = tenant_of(daemon)
    desk.open("/approvals")
    expect(desk.page.get_by_text("Nobody waits for a decision")).to_be_visible()
    expect(desk.page.locator("[data-live=live]")).to_be_visible()
    expect(badge(desk)).to_have_count(0)
    with ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(ask, daemon, tenant.key, chat(400), headers=showing(wait=True))
        expect(badge(desk)).to_have_text("1")
        card = desk.page.locator("[data-request]")
        expect(card.get_by_text(tenant.principal).first).to_be_visible()
        another = stopped()
        expect(badge(desk)).to_have_text("2")
        # The newer one does not push the one away that is being looked at.
        expect(card.get_by_role("heading")).to_contain_text(tenant.principal)
        card.get_by_role("button", name="Approve").click()
        assert waiting.result(60).status == 200
    expect(card.get_by_text("Approved by olga")).to_be_visible()
    expect(badge(desk)).to_have_text("1")
    card.get_by_role("link", name=f"Next: {another.tenant.principal}").click()
    shown(desk, another).get_by_role("button", name="Deny").click()
    expect(badge(desk)).to_have_count(0)


def test_more_in_this_window_is_granted_used_and_taken_back(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request = stopped()
    desk.open(request.path)
    card = shown(desk, request)
    card.get_by_role("radio", name="More in this window").check()
    amount = card.get_by_label("How much more, in USD")
    expect(amount).to_have_value(str(now(daemon, request)["asked_usd"]))
    amount.fill("-1")
    desk.refused.add(422)
    card.get_by_role("button", name="Approve").click()
    expect(amount).to_have_attribute("aria-invalid", "true")
    assert now(daemon, request)["state"] == "pending"
    amount.fill("0.0100")
    card.get_by_role("button", name="Approve").click()
    granted = card.locator("[data-grant=amount]")
    expect(granted.locator("[data-nano-usd]").first).to_have_attribute("data-nano-usd", str(NANO // 100))
    assert request.tenant.ask(request.body).status == 200
    used = now(daemon, request)["grant"]["extra_used_nano_usd"]
    assert used > 0
    desk.page.reload()
    expect(granted.locator("[data-nano-usd]").nth(1)).to_have_attribute("data-nano-usd", str(used))
    card.get_by_role("button", name="Take it back").click()
    card.get_by_label("Why it is taken back").fill("wrong project")
    card.get_by_role("button", name="Take it back").click()
    expect(card.get_by_text("Taken back by olga")).to_be_visible()
    expect(card.get_by_text("wrong project")).to_be_visible()
    assert now(daemon, request)["revocation"]["reason"] == "wrong project"
    assert request.tenant.ask(request.body).status == 402


def test_more_until_a_time_is_granted(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request = stopped()
    desk.open(request.path)
    card = shown(desk, request)
    card.get_by_role("radio", name="More until a time").check()
    card.get_by_text("Other", exact=True).click()
    desk.refused.add(422)
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_role("alert").get_by_text("is required with 'timeboxed'")).to_be_visible()
    card.get_by_text("8 hours", exact=True).click()
    card.get_by_role("button", name="Approve").click()
    expect(card.locator("[data-grant=timeboxed]")).to_have_attribute("data-live", "true")
    ends = datetime.fromisoformat(now(daemon, request)["grant"]["expires_at"])
    assert timedelta(hours=7.9) < ends - datetime.now(UTC) <= timedelta(hours=8)


def test_a_denial_is_told_with_its_reason_as_text(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request, why = stopped(), "<img src=x onerror=alert(1)> wait for Monday"
    desk.open(request.path)
    card = shown(desk, request)
    card.get_by_label("Why").fill(why)
    card.get_by_role("button", name="Deny").click()
    expect(card.get_by_text("Denied by olga")).to_be_visible()
    expect(card.get_by_text(why)).to_be_visible()
    document = now(daemon, request)
    assert (document["state"], document["decision_reason"]) == ("denied", why)
    assert request.tenant.ask(request.body).status == 402


def test_who_was_too_slow_is_told_and_sees_what_was_decided(
    desk: Window, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request = stopped()
    desk.page.route("**/api/v1/events", lambda route: route.abort())
    desk.open(request.path)
    card = shown(desk, request)
    expect(card.get_by_role("button", name="Approve")).to_be_visible()
    allow(Api(daemon.url, daemon.create_key("oscar", roles=["operator"])), request.id, reason="mine")
    desk.refused.add(409)
    card.get_by_role("button", name="Deny").click()
    expect(desk.page.get_by_text("Decided already")).to_be_visible()
    expect(card.get_by_text("Approved by oscar")).to_be_visible()
    expect(card.get_by_role("button", name="Deny")).to_have_count(0)
    assert now(daemon, request)["decided_by"] == "oscar"


def test_nobody_is_offered_what_they_may_not_decide(
    chromium: Browser, daemon: DaemonProcess, stopped: Callable[..., Asked]
) -> None:
    request, other = stopped(roles=["operator", "caller"]), stopped()
    viewer = daemon.create_key("vera", roles=["viewer"])
    for key, path, why in (
        (request.tenant.key, request.path, "somebody else must decide"),
        (viewer, other.path, "needs the role operator"),
        (other.tenant.key, other.path, "somebody else must decide"),
    ):
        with window(chromium, daemon.url, key) as opened:
            opened.open(path)
            expect(opened.page.locator("[data-not-yours]")).to_contain_text(why)
            expect(opened.page.get_by_role("button", name="Approve")).to_have_count(0)
    with window(chromium, daemon.url, other.tenant.key) as caller:
        caller.open("/approvals?state=any")
        expect(caller.page.locator("[data-approval]")).to_have_count(1)
        caller.refused.add(404)
        caller.open(request.path)
        expect(caller.page.get_by_text("There is no approval")).to_be_visible()


def test_earlier_requests_are_found_by_what_became_of_them(
    desk: Window, daemon: DaemonProcess, olga: str, stopped: Callable[..., Asked]
) -> None:
    denied, granted = stopped(), stopped()
    deny(Api(daemon.url, olga), denied.id)
    allow(Api(daemon.url, olga), granted.id)
    desk.open("/approvals")
    desk.page.get_by_text("Denied", exact=True).click()
    expect(desk.page.locator(f"[data-approval='{denied.id}']")).to_be_visible()
    expect(desk.page.locator(f"[data-approval='{granted.id}']")).to_have_count(0)
    desk.page.reload()
    expect(desk.page).to_have_url(f"{daemon.url}/console/approvals?state=denied")
    expect(desk.page.locator(f"[data-approval='{denied.id}']")).to_be_visible()


def test_a_phone_shows_the_list_then_the_request_and_is_enough_to_decide(
    chromium: Browser, daemon: DaemonProcess, olga: str, stopped: Callable[..., Asked]
) -> None:
    request = stopped()
    with window(chromium, daemon.url, olga, width=NARROW) as phone:
        phone.open("/approvals")
        item = phone.page.locator(f"[data-approval='{request.id}']")
        item.tap()
        expect(item).to_have_count(0)
        approve = shown(phone, request).get_by_role("button", name="Approve")
        # However long the request is, the decision is at hand.
        expect(approve).to_be_in_viewport()
        approve.tap()
        expect(shown(phone, request).get_by_text("Approved by olga")).to_be_visible()
        phone.check_fits()
        phone.page.get_by_role("link", name="All requests").tap()
        expect(phone.page.get_by_role("radiogroup", name="State")).to_be_visible()
        expect(item).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_can_be_used_by_all(
    chromium: Browser,
    daemon: DaemonProcess,
    olga: str,
    stopped: Callable[..., Asked],
    width: int,
    theme: Theme,
) -> None:
    request, denied = stopped(agent="nightly"), stopped()
    deny(Api(daemon.url, olga), denied.id, "wait for Monday")
    with window(chromium, daemon.url, olga, width=width, theme=theme) as opened:
        for name, path in (
            ("approvals", "/approvals"),
            ("approval", request.path),
            ("approval-denied", f"{denied.path}&state=denied"),
            ("approvals-none", "/approvals?state=void"),
        ):
            opened.open(path)
            expect(opened.page.get_by_role("heading", level=1)).to_be_visible()
            opened.settle()
            opened.shoot(f"{name}-{width}-{theme}")
            opened.check_fits()
            opened.check_accessible()
