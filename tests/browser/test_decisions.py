"""Decisions in the console: looked for by what was decided, and one explained with all its numbers."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness import command
from harness.daemon import DaemonProcess, budget, config, model
from harness.gate import Gate
from harness.raw import Reply
from harness.script import Answer, Call, failing, fixed
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

MODELS = (
    model("stub-model"),
    model("dear-model", price={"input": "10.00", "output": "20.00"}),
    {"id": "priceless", "provider": "stub", "output_limit": 4096},
)
BUDGETS = (
    budget("everything", "50.00", soft_limit="40.00"),
    budget("one-call", 0, scope="principal:mallory", metric="requests"),
    budget("asked-first", "0.000001", scope="principal:trudy", action="approval_required"),
    budget("tried", "0.000001", scope="principal:dora", mode="dry_run"),
)


@dataclass(frozen=True, slots=True)
class World:
    """A daemon on which calls ended in many ways, and the request id of each."""

    daemon: DaemonProcess
    ids: Mapping[str, str]


def refusing_once() -> Any:
    """A provider that fails the first time and then answers."""
    failed: list[Call] = []

    def script(call: Call) -> Answer:
        if failed:
            return Answer(usage=fixed(40, 20))
        failed.append(call)
        return failing(500)(call)

    return script


@pytest.fixture(scope="module")
def world(module_daemons: SharedDaemons, module_stub: Stub) -> World:
    daemon = module_daemons(
        config(
            module_stub.url,
            models=MODELS,
            governance={"unknown_price": "allow", "default_model": "dear-model"},
            budgets=BUDGETS,
        )
    )
    stories: dict[str, tuple[str, dict[str, object], Any]] = {
        "cheap": ("alice", chat(), Answer(usage=fixed(100, 30))),
        "dear": ("alice", chat(model="dear-model"), Answer(usage=fixed(2_000, 60))),
        "auto": ("alice", chat(model="auto"), Answer(usage=fixed(50, 10))),
        "priceless": ("bob", chat(model="priceless"), Answer(usage=fixed(70, 7))),
        "refused": ("mallory", chat(), Answer()),
        "asked": ("trudy", chat(), Answer()),
        "would": ("dora", chat(), Answer(usage=fixed(9, 9))),
        "retried": ("bob", chat(), refusing_once()),
    }
    keys = {name: daemon.create_key(name, agent=f"{name}-agent") for name, _, _ in stories.values()}
    ids: dict[str, str] = {}
    for story, (name, body, script) in stories.items():
        module_stub.script = script
        headers = {"x-palyra-session": f"{story}-session", "x-palyra-tags": f"story={story}"}
        ids[story] = request_id(ask(daemon, keys[name], body, headers=headers))
        daemon.api.settled(ids[story])
    return World(daemon, ids)


@pytest.fixture(scope="module")
def own_window(chromium: Browser, world: World) -> Iterator[Window]:
    with window(chromium, world.daemon.url, world.daemon.owner_key) as made:
        yield made


@pytest.fixture
def opened(own_window: Window) -> Iterator[Window]:
    """The owner's window, which the tests of this module share; each opens the page that it is about."""
    yield own_window
    own_window.check_quiet()


def explained(opened: Window, world: World, story: str) -> dict[str, Any]:
    """Open the page of a call; what the API says of it."""
    opened.open(f"/decisions/{world.ids[story]}")
    expect(opened.page.locator("[data-headline]")).to_be_visible()
    return cast("dict[str, Any]", opened.api(f"/decisions/{world.ids[story]}"))


def step(opened: Window, name: str) -> Locator:
    return opened.page.locator(f"[data-step='{name}']")


@pytest.mark.parametrize(
    ("field", "text", "query"),
    [
        ("Session", "dear-session", "session=dear-session"),
        ("Tag", "story:priceless", "tag=story:priceless"),
        ("Status", "blocked", "status=blocked"),
        ("Cost at least (USD)", "0.001", "min_cost=0.001"),
        ("Request id", "req_", "request_id=req_"),
    ],
)
def test_calls_are_found_by_what_they_were(opened: Window, field: str, text: str, query: str) -> None:
    page = opened.page
    opened.open("/decisions?since=24h")
    page.get_by_label(field).fill(text)
    page.get_by_role("button", name="Search").click()
    found: Any = opened.api(f"/decisions?since=24h&{query}")["items"]
    assert found
    table = page.get_by_role("table", name="Calls").locator("tbody tr")
    expect(table).to_have_count(len(found))
    for at, each in enumerate(found):
        expect(table.nth(at)).to_have_attribute("data-row", each["request_id"])
    page.reload()
    expect(page.get_by_label(field)).to_have_value(text)
    expect(table).to_have_count(len(found))


def test_choices_narrow_and_clear_widens(opened: Window) -> None:
    page = opened.page
    opened.open("/decisions?since=24h")
    page.get_by_label("Outcome").select_option("deny")
    page.get_by_label("State").select_option("denied")
    page.get_by_role("button", name="Search").click()
    table = page.get_by_role("table", name="Calls").locator("tbody tr")
    expect(table).to_have_count(1)
    expect(table).to_contain_text("mallory")
    page.get_by_role("button", name="Clear").click()
    expect(table).to_have_count(len(opened.api("/decisions?since=24h")["items"]))


def test_what_cannot_be_looked_for_is_told_beside_its_field(opened: Window) -> None:
    page = opened.page
    opened.refused.add(422)
    opened.open("/decisions?since=24h")
    page.get_by_label("Tag").fill("no colon")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_label("Tag")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("is no name:value").first).to_be_visible()
    opened.refused.discard(422)


@pytest.mark.parametrize("story", ["cheap", "auto", "priceless", "refused", "asked", "would", "retried"])
def test_a_call_is_told_in_the_words_of_the_command_line(opened: Window, world: World, story: str) -> None:
    explained(opened, world, story)
    out, _ = command.run(world.daemon, world.daemon.owner_key, "explain", world.ids[story])
    expect(opened.page.locator("[data-headline]")).to_have_text(out.partition("\n")[0])


def test_its_money_falls_from_the_estimate_to_the_cost(opened: Window, world: World) -> None:
    told = explained(opened, world, "cheap")
    held, cost = told["settlement"]["held_nano_usd"], told["settlement"]["cost_nano_usd"]
    assert 0 < cost < held
    wanted = {
        "expected": told["estimate"]["cost_expected_nano_usd"],
        "held": held,
        "settled": cost,
        "released": held - cost,
    }
    for name, amount in wanted.items():
        expect(step(opened, name)).to_have_attribute("data-amount", str(amount))
    told = explained(opened, world, "dear")
    over = told["settlement"]["cost_nano_usd"] - told["settlement"]["held_nano_usd"]
    assert over > 0
    expect(step(opened, "overrun")).to_have_attribute("data-amount", str(over))
    expect(opened.page.get_by_text("More than was held", exact=True)).to_be_visible()


def test_each_budget_is_a_bar_with_its_limit(opened: Window, world: World) -> None:
    told = explained(opened, world, "cheap")
    assert [each["policy_id"] for each in told["evaluations"]] == ["everything"]
    bar = opened.page.locator("[data-evaluation=everything]").get_by_role("img")
    expect(bar).to_have_attribute(
        "aria-label", f"Budget everything when the call was decided: {levels(told)}"
    )


def levels(told: Mapping[str, Any]) -> str:
    """As the bar says it: nothing consumed before, and amounts rounded to four digits behind the point."""
    one = told["evaluations"][0]
    assert (one["consumed_nano_usd"], one["hard_limit_usd"]) == (0, "50.00")
    return f"$0 consumed, ${one['amount_nano_usd'] / 10**9:.4f} asked for, limit $50.00"


def test_a_call_without_a_price_has_tokens_and_no_amount(opened: Window, world: World) -> None:
    told = explained(opened, world, "priceless")
    assert told["settlement"]["cost_nano_usd"] is None
    expect(step(opened, "settled")).to_have_attribute("data-amount", "77")
    section = opened.page.get_by_label("From estimate to cost")
    expect(section).to_contain_text("No price is known")
    expect(section).not_to_contain_text("$")


def test_a_refused_call_leads_to_what_can_be_done(opened: Window, world: World) -> None:
    page = opened.page
    explained(opened, world, "refused")
    expect(page.get_by_role("link", name="Open the budget one-call")).to_be_visible()
    expect(page.get_by_text("The call did not run.")).to_be_visible()
    explained(opened, world, "asked")
    page.get_by_role("link", name="Open approvals").click()
    expect(page.get_by_role("heading", name="Approvals", exact=True)).to_be_visible()


def test_every_candidate_is_told_of(opened: Window, world: World) -> None:
    told = explained(opened, world, "auto")
    candidates = opened.page.get_by_role("table", name="Candidates").locator("tbody tr")
    expect(candidates).to_have_count(len(told["routing"]["candidates"]))
    for at, each in enumerate(told["routing"]["candidates"]):
        expect(candidates.nth(at)).to_contain_text(each["model"])
        if each["lost"]:
            expect(candidates.nth(at)).to_contain_text(each["lost"])


def test_tries_and_dry_runs_are_told_of(opened: Window, world: World) -> None:
    told = explained(opened, world, "retried")
    tries = opened.page.get_by_role("table", name="Tries").locator("tbody tr")
    expect(tries).to_have_count(len(told["settlement"]["attempts"]))
    expect(tries.first).to_contain_text("500")
    told = explained(opened, world, "would")
    would = told["counterfactual"]["would"][0].replace("_", " ")
    section = opened.page.get_by_label("Grants, caps and dry runs")
    expect(section).to_contain_text("If everything were enforced")
    expect(section).to_contain_text(would)


def test_the_document_is_behind_a_button(opened: Window, world: World) -> None:
    told = explained(opened, world, "cheap")
    opened.page.get_by_role("button", name="Show the JSON").click()
    shown = opened.page.get_by_label("The decision as JSON").text_content()
    assert json.loads(shown or "") == told


def test_a_running_call_is_followed_to_its_end(opened: Window, world: World, module_stub: Stub) -> None:
    gate = Gate()
    module_stub.script = Answer(usage=fixed(80, 20), gate=gate)
    key = world.daemon.create_key("alice")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(ask, world.daemon, key, chat(), headers={"x-palyra-session": "running"})
        try:
            gate.wait_for(1)
            opened.open("/decisions?since=24h&session=running")
            row = opened.page.get_by_role("table", name="Calls").locator("tbody tr")
            expect(row).to_contain_text("running")
            row.click()
            expect(opened.page.locator("[data-headline]")).to_contain_text("it is still running.")
            expect(step(opened, "settled")).to_have_count(0)
        finally:
            gate.open()
        reply: Reply = call.result()
    cost = cast("dict[str, Any]", world.daemon.api.settled(request_id(reply)))["settlement"]["cost_nano_usd"]
    expect(step(opened, "settled")).to_have_attribute("data-amount", str(cost))


def test_a_call_that_is_not_there_is_said_to_be_missing(opened: Window) -> None:
    opened.refused.add(404)
    opened.open("/decisions/req_00000000000000000000000000000000")
    expect(opened.page.get_by_text("There is no such call")).to_be_visible()
    opened.refused.discard(404)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_is_accessible_and_fits(chromium: Browser, world: World, theme: Theme, width: int) -> None:
    with window(chromium, world.daemon.url, world.daemon.owner_key, width=width, theme=theme) as shown:
        pages = {"decisions": "/decisions?since=24h"}
        pages |= {story: f"/decisions/{world.ids[story]}" for story in ("auto", "asked")}
        for name, path in pages.items():
            shown.open(path)
            expect(
                shown.page.get_by_role("heading", level=2).or_(shown.page.get_by_role("table")).first
            ).to_be_visible()
            shown.settle()
            shown.check_accessible()
            shown.check_fits()
            shown.shoot(f"{name}-{theme}-{width}")
