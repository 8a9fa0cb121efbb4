"""Export in the console: the file of what the filters show, by a link and by a line for a shell."""

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.daemon import DaemonProcess, config
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

NAMES = ("alice", "=cmd|' /C calc'!A1", "b'ob")


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    started = module_daemons(config(module_stub.url))
    for name in NAMES:
        started.api.settled(request_id(ask(started, started.create_key(name), chat())))
    return started


@pytest.fixture
def opened(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    with window(chromium, daemon.url, daemon.owner_key) as made:
        yield made


def downloaded(opened: Window) -> tuple[str, str]:
    """The name and the text of the file behind the link."""
    with opened.page.expect_download() as coming:
        opened.page.get_by_role("link", name="Download").click()
    found = coming.value
    return found.suggested_filename, Path(found.path()).read_text()


def test_the_link_gives_the_file_of_what_is_shown(opened: Window, daemon: DaemonProcess) -> None:
    page = opened.page
    opened.open("/export?since=24h")
    page.get_by_label("What").select_option("principals")
    expect(page.get_by_label("The first lines")).to_contain_text("principal,requests")
    name, text = downloaded(opened)
    assert name.startswith("palyra-usage-principals-")
    assert name.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    items: Any = opened.api("/usage/principals?since=24h")["items"]
    assert {row["principal"].lstrip("'"): int(row["cost_nano_usd"]) for row in rows} == {
        each["principal"]: each["cost_nano_usd"] for each in items
    }
    assert "'=cmd" in text, "what a spreadsheet would run has an apostrophe in front"


def test_json_has_the_filters_of_the_page(opened: Window) -> None:
    opened.open("/export?since=24h&principal=alice&dataset=models")
    opened.page.get_by_text("JSON", exact=True).click()
    expect(opened.page.get_by_label("The first lines")).to_contain_text('"dataset":"models"')
    _, text = downloaded(opened)
    items = json.loads(text)["items"]
    own = opened.api("/usage/summary?since=24h&principal=alice")["totals"]["cost_nano_usd"]
    assert sum(each["cost_nano_usd"] for each in items) == own > 0


def test_focus_is_of_hours(opened: Window) -> None:
    page = opened.page
    opened.open("/export?since=24h&dataset=agents")
    page.get_by_text("FOCUS 1.2", exact=True).click()
    expect(page.get_by_label("What")).to_be_disabled()
    expect(page.get_by_label("What")).to_have_value("hours")
    expect(page.get_by_label("The first lines")).to_contain_text("BilledCost,BillingAccountId")
    name, text = downloaded(opened)
    assert "focus-1.2" in name
    assert len(text.splitlines()) == 1 + len(NAMES)


def test_a_timeline_is_split_and_cut_as_chosen(opened: Window) -> None:
    page = opened.page
    opened.open("/export?since=24h")
    page.get_by_label("Period of a row").select_option("day")
    page.get_by_label("Split by").select_option("principal")
    page.get_by_label("Time zone").select_option("utc")
    expect(page.get_by_label("The line for curl")).to_contain_text("timezone=UTC")
    expect(page.get_by_label("The first lines")).to_contain_text("label,principal,other")
    _, text = downloaded(opened)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    whole = opened.api("/usage/summary?since=24h")["totals"]["cost_nano_usd"]
    assert sum(int(row["cost_nano_usd"]) for row in rows) == whole


def test_the_line_for_a_shell_gives_the_same_file(
    opened: Window, daemon: DaemonProcess, tmp_path: Path
) -> None:
    opened.open("/export?since=24h&dataset=principals&principal=b'ob")
    line = opened.page.get_by_label("The line for curl").text_content() or ""
    environment = {"PATH": os.environ["PATH"], "PALYRA_KEY": daemon.owner_key}
    subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (written,) = tmp_path.iterdir()
    assert written.read_text() == downloaded(opened)[1]
    assert "b'ob" in written.read_text()


def test_a_filter_that_is_refused_is_told(opened: Window) -> None:
    opened.refused.add(422)
    opened.open("/export?since=400d")
    expect(opened.page.get_by_role("alert")).to_contain_text("must be at most 366 days")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_is_accessible_and_fits(
    chromium: Browser, daemon: DaemonProcess, theme: Theme, width: int
) -> None:
    with window(chromium, daemon.url, daemon.owner_key, width=width, theme=theme) as shown:
        shown.open("/export?since=24h")
        expect(shown.page.get_by_label("The first lines")).to_be_visible()
        shown.check_accessible()
        shown.check_fits()
        shown.shoot(f"export-{theme}-{width}")
