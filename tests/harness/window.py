"""A window on the console of one daemon: signed in, in a theme and a width, and watched for errors."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, expect

Theme = Literal["light", "dark"]
WIDE, NARROW = 1440, 390
HEIGHT = 900
WAIT_MS = 20_000
AXE = Path(__file__).parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
SPILLED = """
Array.from(document.querySelectorAll("td > *, td > * > *"))
  .filter((each) => {
    const [inner, cell] = [each, each.closest("td")].map((one) => one.getBoundingClientRect());
    return inner.left < cell.left - 1 || inner.right > cell.right + 1;
  })
  .map((each) => each.closest("tr").innerText)
"""
"""The rows of cells whose content lies on their neighbours."""
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@dataclass
class Window:
    """A page and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list[str])
    refused: set[int] = field(default_factory=set[int])
    """Statuses of answers that a test brings about, and that are no error of the page."""

    def open(self, path: str) -> None:
        """Go to a page of the console, such as ``/usage?since=7d``."""
        self.page.goto(f"{self.url}/console{path}")

    def sign_in(self, key: str) -> None:
        """Sign in on the page that is open, and wait for the frame."""
        self.refused.add(401)
        self.page.get_by_placeholder("sk-palyra-…").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Signed in as")).to_be_visible()
        self.refused.discard(401)

    def api(self, path: str) -> Any:
        """What the control plane tells the session of this window."""
        answer = self.page.request.get(f"{self.url}/api/v1{path}")
        assert answer.ok, (path, answer.status, answer.text())
        return json.loads(answer.body())

    def settle(self) -> None:
        """Wait until nothing on the page is being loaded."""
        expect(self.page.locator("[aria-busy=true]")).to_have_count(0)

    def shoot(self, name: str) -> Path:
        """Keep a picture of the whole page under ``build/screenshots``, for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path

    def check_accessible(self) -> None:
        """Fail for what axe calls serious or critical."""
        self.page.evaluate(AXE.read_text())
        found: Any = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        bad = [
            (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:5])
            for each in found["violations"]
            if each["impact"] in SERIOUS
        ]
        assert not bad, json.dumps(bad, indent=1)

    def check_fits(self) -> None:
        """Fail if the page is wider than the window, or what is in a cell of a table than the cell."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth")
        seen: int = self.page.evaluate("window.innerWidth")
        assert wide <= seen, f"the page is {wide} px wide in a window of {seen} px"
        spilled: list[str] = self.page.evaluate(SPILLED)
        assert not spilled, f"over the edge of their cells: {spilled}"

    def check_quiet(self) -> None:
        """Fail for an error in the browser's console, or an answer that was refused."""
        assert not self.errors, "\n".join(self.errors)

    def hear(self, message: ConsoleMessage) -> None:
        """Keep what the browser's console complains of."""
        # A refused answer is told twice; the one with its status is looked at in `see`.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(f"{message.type}: {message.text}")

    def see(self, answer: Response) -> None:
        """Keep what was refused."""
        if answer.status >= 400 and answer.status not in self.refused:
            self.errors.append(f"{answer.status} {answer.request.method} {answer.url}")


@contextmanager
def window(
    browser: Browser,
    url: str,
    key: str | None = None,
    *,
    width: int = WIDE,
    theme: Theme = "light",
) -> Generator[Window]:
    """A window without a page; signed in if a ``key`` is given. At its end it must have been quiet.

    It is one that another test is done with, as good as new: to load the console for the first time takes
    four times what it takes from then on. Who listens to the page must end that. Signing in goes to the API:
    the page for it takes as long to show as what a test is about.
    """
    page = _page(browser, width)
    page.emulate_media(color_scheme=theme)
    made = Window(page, url)

    # Playwright keeps its own wrapper in whatever a bound method is bound to: these can be ended one by one.
    def hear(message: ConsoleMessage) -> None:
        made.hear(message)

    def catch(error: Error) -> None:
        made.errors.append(f"uncaught: {error}")

    def see(answer: Response) -> None:
        made.see(answer)

    page.on("console", hear)
    page.on("pageerror", catch)
    page.on("response", see)
    try:
        if key is not None:
            asked = page.context.request
            answer = asked.post(f"{url}/api/v1/session", headers={"origin": url}, data={"key": key})
            assert answer.status == 201, answer.text()
        yield made
        made.check_quiet()
    except BaseException:
        page.context.close()
        raise
    page.remove_listener("console", hear)
    page.remove_listener("pageerror", catch)
    page.remove_listener("response", see)
    if _clean(page, url):
        _unused[browser].append(page)
    else:
        page.context.close()


_unused: dict[Browser, list[Page]] = {}
"""Clean pages, until their browser ends."""


def _forget(browser: Browser) -> None:
    del _unused[browser]


def _page(browser: Browser, width: int) -> Page:
    """One that is not used now, else a new one."""
    if browser not in _unused:
        _unused[browser] = []
        browser.once("disconnected", _forget)
    for page in _unused[browser]:
        if page.viewport_size == {"width": width, "height": HEIGHT}:
            _unused[browser].remove(page)
            return page
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        locale="en-GB",
        timezone_id="Europe/Prague",
        has_touch=width == NARROW,
    )
    context.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    return context.new_page()


def _clean(page: Page, url: str) -> bool:
    """Leave nothing of what was done on a page; whether that can be said."""
    if not page.url.startswith(url):
        return False
    for other in page.context.pages[1:]:
        other.close()
    try:
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.unroute_all(behavior="ignoreErrors")
        page.mouse.move(0, 0)
        page.goto(f"{url}/healthz")
    except Error:
        return False
    page.context.clear_cookies()
    page.context.clear_permissions()
    return True
