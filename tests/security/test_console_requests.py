"""What pages of others can do with a browser that is signed in to the console: nothing; in a Chromium."""

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from harness.browser import COOKIE
from harness.chromium import open_chromium
from harness.daemon import DaemonProcess, config
from harness.stub import Stub
from harness.tenant import SharedDaemons
from harness.window import Window, window

PLANTED = '{"id": "planted", "scope": "global", "metric": "requests", "interval": "day", "hard_limit": 0}'
SEND = """
async ([url, init]) => {
  try {
    const answer = await fetch(url, init);
    return {type: answer.type, status: answer.status, text: await answer.text()};
  } catch (error) {
    return {type: "error", status: 0, text: ""};
  }
}
"""
LOAD_IMAGE = """
(url) => new Promise((tell) => {
  const image = new Image();
  image.onload = () => tell("loaded");
  image.onerror = () => tell("refused");
  image.src = url;
})
"""


class Site:
    """A web site of somebody else on loopback: another port of the same host is the same site, and cookies of
    it are sent along; ``localhost`` is another one."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>Not Palyra</title><body>")

            def log_message(self, *args: object, **more: object) -> None:
                pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, host: str) -> str:
        """Its address under a name of this machine."""
        return f"http://{host}:{self._server.server_address[1]}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of this file."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.fixture
def victim(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    """An owner who is signed in, and has the console open."""
    with window(chromium, daemon.url, daemon.owner_key) as opened:
        opened.open("/keys")
        expect(opened.page.get_by_role("heading", name="Keys", level=1)).to_be_visible()
        yield opened


@pytest.fixture(params=["127.0.0.1", "localhost"])
def evil(request: pytest.FixtureRequest, victim: Window, site: Site) -> Page:
    """A page of somebody else in the same browser: on the same site, or on another one."""
    page = victim.page.context.new_page()
    page.goto(site.url(request.param))
    return page


def send(page: Page, url: str, **init: object) -> dict[str, Any]:
    """A request of a script of the page, with the cookies that the browser gives it."""
    found: dict[str, Any] = page.evaluate(SEND, [url, {"credentials": "include", **init}])
    return found


def ids(daemon: DaemonProcess, path: str) -> set[str]:
    """The ids of what there is."""
    found: Any = daemon.api.get(path)["items"]
    return {each["id"] for each in found}


def refusal_of(evil: Page) -> str:
    """How the daemon refuses a page: the cookie comes along from our own site, and not from others."""
    return "cross_site" if evil.evaluate("location.hostname") == "127.0.0.1" else "invalid_api_key"


def is_signed_in(victim: Window) -> bool:
    """Whether the cookie of the browser still stands for somebody."""
    return victim.page.request.get(f"{victim.url}/api/v1/session").status == 200


def test_a_script_of_others_changes_nothing_and_reads_nothing(
    victim: Window, evil: Page, daemon: DaemonProcess
) -> None:
    api, budgets, keys = f"{daemon.url}/api/v1", ids(daemon, "/budgets"), ids(daemon, "/keys")
    json = {"content-type": "application/json"}
    own_token = victim.api("/session")["csrf_token"]
    tries: list[tuple[str, dict[str, object]]] = [
        ("/budgets", {"method": "POST", "mode": "no-cors", "body": PLANTED}),
        ("/budgets", {"method": "POST", "body": PLANTED, "headers": json}),
        # Even one who knows the token that a page of ours sends.
        ("/budgets", {"method": "POST", "body": PLANTED, "headers": {"x-palyra-csrf": own_token}}),
        ("/keys", {"method": "POST", "mode": "no-cors", "body": '{"principal": "evil"}'}),
        ("/session", {"method": "DELETE"}),
        ("/keys", {}),
        ("/usage/summary", {}),
        ("/session", {}),
        ("/keys", {"mode": "no-cors"}),
    ]
    for path, init in tries:
        answer = send(evil, f"{api}{path}", **init)
        # What cannot be read: an opaque answer has neither status nor text.
        assert (answer["type"], answer["status"], answer["text"]) in (
            ("opaque", 0, ""),
            ("error", 0, ""),
        ), (path, init, answer)
    assert (ids(daemon, "/budgets"), ids(daemon, "/keys")) == (budgets, keys)
    assert is_signed_in(victim)


def test_a_form_of_others_changes_nothing(victim: Window, evil: Page, daemon: DaemonProcess) -> None:
    """A form can send what looks like JSON, and its answer is a page of the daemon, with the cookie of it."""
    budgets, refusal = ids(daemon, "/budgets"), refusal_of(evil)
    name, value = PLANTED[:-1] + ', "name": "', '"}'
    evil.evaluate(
        """([url, name, value]) => {
          const form = document.createElement("form");
          Object.assign(form, {method: "POST", action: url, enctype: "text/plain"});
          const field = document.createElement("input");
          Object.assign(field, {name, value});
          form.append(field);
          document.body.append(form);
          form.submit();
        }""",
        [f"{daemon.url}/api/v1/budgets", name, value],
    )
    expect(evil.locator("body")).to_contain_text(refusal)
    assert ids(daemon, "/budgets") == budgets
    assert is_signed_in(victim)


def test_a_form_of_others_signs_nobody_in_or_out(victim: Window, evil: Page, daemon: DaemonProcess) -> None:
    other = daemon.create_key("mallory")
    send(evil, f"{daemon.url}/api/v1/session", method="POST", mode="no-cors", body=f'{{"key": "{other}"}}')
    assert victim.api("/session")["principal"] == "owner"


def test_an_image_or_a_link_of_others_reads_nothing(
    victim: Window, evil: Page, daemon: DaemonProcess
) -> None:
    address, refusal = f"{daemon.url}/api/v1/keys", refusal_of(evil)
    assert evil.evaluate(LOAD_IMAGE, address) == "refused"
    evil.evaluate("(url) => { location.href = url }", address)
    expect(evil.locator("body")).to_contain_text(refusal)
    assert "sk-palyra-" not in evil.content()
    assert is_signed_in(victim)


def test_the_console_cannot_be_put_into_a_page_of_others(
    victim: Window, evil: Page, daemon: DaemonProcess
) -> None:
    told: list[str] = []
    evil.on("console", lambda message: told.append(message.text))
    with evil.expect_console_message(lambda message: "frame-ancestors" in message.text):
        evil.evaluate(
            """(url) => {
              const frame = document.createElement("iframe");
              frame.src = url;
              document.body.append(frame);
            }""",
            f"{daemon.url}/console/keys",
        )
    assert all("Keys" not in frame.content() for frame in evil.frames[1:] if frame.url.startswith("http"))
    answer = victim.page.request.get(f"{daemon.url}/console/")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_page_runs_no_script_that_was_put_into_it(victim: Window) -> None:
    page = victim.page
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.planted = 'inline'";
          document.body.append(script);
          const place = document.createElement("div");
          document.body.append(place);
          place.innerHTML = "<img src=/console/nothing.png onerror=\\"window.planted = 'handler'\\">" +
            "<a id=way href=\\"javascript:window.planted = 'address'\\">x</a>";
          document.getElementById("way").click();
          setTimeout("window.planted = 'text'", 0);
        }"""
    )
    # Playwright waits for conditions by evaluating their text again and again, which the page forbids.
    page.evaluate(
        """() => new Promise((done) => {
          const image = document.querySelector("img[onerror]");
          if (image.complete) done();
          for (const end of ["load", "error"]) image.addEventListener(end, () => done());
        })"""
    )
    assert page.evaluate("window.planted === undefined")
    blocked = [each for each in victim.errors if "Content Security Policy" in each]
    assert len(blocked) >= 4, blocked
    victim.errors[:] = [each for each in victim.errors if each not in blocked]


def test_the_page_loads_and_tells_nothing_elsewhere(victim: Window, site: Site) -> None:
    """Whatever were put into it: there is nobody whom it could tell."""
    page, elsewhere = victim.page, site.url("127.0.0.1")
    loaded = page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    assert {each.partition("//")[2].partition("/")[0] for each in loaded} == {victim.url.partition("//")[2]}
    assert send(page, elsewhere, mode="no-cors")["type"] == "error"
    assert page.evaluate(LOAD_IMAGE, elsewhere) == "refused"
    blocked = [each for each in victim.errors if "Content Security Policy" in each]
    assert len(blocked) >= 2
    victim.errors[:] = [each for each in victim.errors if each not in blocked]


def test_scripts_cannot_read_the_cookie_and_other_addresses_do_not_get_it(
    victim: Window, daemon: DaemonProcess
) -> None:
    context: BrowserContext = victim.page.context
    (cookie,) = context.cookies()
    assert (cookie.get("name"), cookie.get("path")) == (COOKIE, "/api/v1")
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
    assert victim.page.evaluate("document.cookie") == ""
    sent: list[str] = []

    def look(request: Request) -> None:
        if COOKIE in request.all_headers().get("cookie", ""):
            sent.append(request.url)

    victim.page.on("request", look)
    victim.page.reload()
    expect(victim.page.get_by_role("heading", name="Keys", level=1)).to_be_visible()
    victim.settle()
    victim.page.remove_listener("request", look)
    assert sent
    assert all("/api/v1/" in url for url in sent)
    victim.refused.add(401)
    answer = send(victim.page, f"{daemon.url}/v1/models")
    assert answer["status"] == 401
