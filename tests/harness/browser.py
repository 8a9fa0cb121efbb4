"""What a browser sends to the control plane: a cookie, the site of the page that asks, and its token."""

import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Self, cast

import httpx2

COOKIE = "palyra_session"


@dataclass(slots=True)
class Browser:
    """One signed-in browser. ``ask`` sends what a page of the daemon itself would, but for ``headers``."""

    url: str
    cookie: str = ""
    csrf_token: str = ""
    shown: dict[str, object] = field(default_factory=dict[str, object])
    attributes: set[str] = field(default_factory=set[str])

    @classmethod
    def signed_in(cls, url: str, key: str) -> Self:
        """Sign in. AssertionError, with the answer, unless that goes well."""
        browser = cls(url)
        answer = browser.sign_in(key)
        assert answer.status_code == 201, f"{answer.status_code} {answer.text}"
        return browser

    def sign_in(self, key: str, **headers: str) -> httpx2.Response:
        """Sign in with a key; whatever comes back."""
        answer = self.ask("POST", "/session", {"key": key}, **headers)
        if answer.status_code == 201:
            self.cookie = cookie_of(answer)
            self.shown = cast("dict[str, object]", answer.json())
            self.csrf_token = cast("str", self.shown["csrf_token"])
            self.attributes = set(answer.headers["set-cookie"].split("; ")[1:])
        return answer

    def at(self, url: str) -> Self:
        """The same browser at another gateway."""
        return type(self)(url, self.cookie, self.csrf_token, self.shown, self.attributes)

    def ask(
        self, method: str, path: str, body: object = None, *, root: str = "/api/v1", **headers: str
    ) -> httpx2.Response:
        """One request. ``headers`` with ``_`` for ``-`` win; an empty one is not sent at all."""
        told = {"origin": self.url, "sec-fetch-site": "same-origin", "x-palyra-csrf": self.csrf_token}
        told |= {"cookie": f"{COOKIE}={self.cookie}" if self.cookie else ""}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body).encode()
        sent = {name: value for name, value in told.items() if value}
        return httpx2.request(method, f"{self.url}{root}{path}", content=content, headers=sent, timeout=30.0)


def cookie_of(answer: httpx2.Response) -> str:
    """The token that an answer sets."""
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE].value
