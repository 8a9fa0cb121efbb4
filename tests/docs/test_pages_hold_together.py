"""Links lead somewhere, decisions have their parts, and no page names a place that only we have."""

import re
from pathlib import Path

import pytest

from harness.pages import DOCS, ROOT, anchors, links, pages, tracked_files

DECISIONS = [path for path in sorted((DOCS / "decisions").glob("*.md")) if path.name != "template.md"]
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives"]
PLACES = [
    # Written in pieces, so that this file does not name them itself.
    "/" + r"work\b",
    "/" + r"tmp/",
    "/" + r"root\b",
    "/" + r"home/",
    "/" + r"Users/",
    r"\bpy" + r"pi\.",
    r"python" + r"hosted",
    r"npm" + r"js\.",
    r"crates" + r"\.io",
    r"proxy\.go" + r"lang",
    r"arti" + r"factory",
    r"--(?:extra-)?index" + r"-url",
]
PLACE = re.compile("|".join(PLACES))
NOT_OURS = {"uv.lock", "LICENSE"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=relative)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    broken: list[str] = []
    for link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in pages() if DOCS in page.parents], ids=relative)
def test_every_page_can_be_reached_from_the_index(page: Path) -> None:
    index = DOCS / "index.md"
    listed = {(index.parent / link).resolve() for link in links(index)}
    assert page == index or page.resolve() in listed


@pytest.mark.parametrize("page", pages(), ids=relative)
def test_every_page_begins_with_its_title(page: Path) -> None:
    assert page.read_text("utf-8").startswith("# ")


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=relative)
def test_every_decision_has_the_parts_of_the_template(decision: Path) -> None:
    text = decision.read_text("utf-8")
    assert text.startswith(f"# {decision.name[:4]}: ")
    assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    parts = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert all(part.strip() for part in parts)


def test_no_file_names_a_place_of_one_machine_or_a_registry() -> None:
    found: list[str] = []
    for path in tracked_files():
        if path.name in NOT_OURS:
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if PLACE.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:120]}")
    assert found == []
