"""The written pages of the repository: where they are, and what stands in them."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "palyra"
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block of a page. ``line`` is that of its first line."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it is, for test ids."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown page that users and contributors read."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def reference() -> str:
    """All pages of the reference as one text."""
    return "\n".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))


def snippets(language: str) -> list[Snippet]:
    """Every fenced block in a language, over all pages."""
    return [each for page in pages() for each in _snippets(page) if each.language == language]


def links(page: Path) -> list[str]:
    """Targets of the links of a page, code left out."""
    return _LINK.findall(_FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    return {_anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))}


def tracked_files() -> Sequence[Path]:
    """Files of the checkout that are, or may be, committed; everything that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    found = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in found if path.is_file()]


def source_text() -> str:
    """All Python files of the package as one text."""
    return "\n".join(path.read_text("utf-8") for path in sorted(SOURCE.rglob("*.py")))


def _snippets(page: Path) -> Iterator[Snippet]:
    text = page.read_text("utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Snippet(page, line, match["language"], match["text"])


def _anchor(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return words.strip().replace(" ", "-")
