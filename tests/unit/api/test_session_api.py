"""Signing in with a key: what the cookie gives, what it does not, and when it is over."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.testclient import TestClient

from palyra.api.app import create_api
from palyra.api.site import Site

SESSION = "/api/v1/session"
ORIGIN = "http://127.0.0.1:8484"
BUDGET = {"id": "made", "scope": "global", "metric": "requests", "interval": "day", "hard_limit": 1}


def sign_in(
    plane: Any,
    role: str = "owner",
    headers: Mapping[str, str] | None = None,
    client: TestClient | None = None,
) -> Any:
    """A sign-in; the client keeps no cookie, so that each request says which it carries."""
    chosen: TestClient = client or plane.client
    answer = chosen.post(SESSION, json={"key": plane.keys[role]}, headers=headers)
    chosen.cookies.clear()
    return answer


def token_of(answer: Any) -> str:
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return morsel.value


def with_cookie(answer: Any, *, csrf: bool = True) -> dict[str, str]:
    """The headers with which a page of ours asks."""
    token = {"x-palyra-csrf": answer.json()["csrf_token"]} if csrf else {}
    return {"cookie": f"theme=dark; palyra_session={token_of(answer)}", "origin": ORIGIN} | token


def ask(plane: Any, method: str, path: str, headers: Mapping[str, str], **more: Any) -> Any:
    return plane.call(method, path, None, headers=dict(headers), **more)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_sign_in_shows_who_it_is_and_sets_a_cookie_that_scripts_cannot_read(plane: Any) -> None:
    answer = sign_in(plane, "operator")
    assert answer.status_code == 201
    shown = answer.json()
    assert {name: value for name, value in shown.items() if name not in ("key_id", "csrf_token")} == {
        "principal": "operator",
        "agent": None,
        "roles": ["operator"],
        "role": "operator",
        "signed_in_at": "2026-11-23T12:00:00Z",
        "expires_at": "2026-11-24T00:00:00Z",
        "version": "0",
    }
    token, *attributes = answer.headers["set-cookie"].split("; ")
    assert token.startswith("palyra_session=")
    assert len(token.partition("=")[2]) == 43
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/api/v1", "Max-Age=43200"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_does_what_the_key_does_and_no_more(plane: Any) -> None:
    owner, viewer = sign_in(plane), sign_in(plane, "viewer")
    assert ask(plane, "GET", "/api/v1/budgets", with_cookie(viewer, csrf=False)).status_code == 200
    assert ask(plane, "GET", "/metrics", with_cookie(viewer, csrf=False)).status_code == 200
    assert ask(plane, "POST", "/api/v1/budgets", with_cookie(owner), json=BUDGET).status_code == 201
    refused = ask(plane, "DELETE", "/api/v1/budgets/made", with_cookie(viewer))
    assert code(refused) == (403, "forbidden")


def test_a_caller_may_sign_in_and_sees_its_own_things_only(plane: Any) -> None:
    headers = with_cookie(sign_in(plane, "caller"))
    assert ask(plane, "GET", SESSION, headers).json()["role"] == "caller"
    assert ask(plane, "GET", "/api/v1/approvals", headers).status_code == 200
    assert code(ask(plane, "GET", "/api/v1/keys", headers)) == (403, "forbidden")


def test_the_session_is_shown_to_a_cookie_with_its_token_and_to_a_key_without(plane: Any) -> None:
    answer = sign_in(plane, "viewer")
    assert ask(plane, "GET", SESSION, with_cookie(answer, csrf=False)).json() == answer.json()
    shown = plane.call("GET", SESSION, "viewer").json()
    nothing = dict.fromkeys(("signed_in_at", "expires_at", "csrf_token"))
    assert shown == answer.json() | nothing


@pytest.mark.parametrize("key", ["", "sk-palyra-wrong", "é", "revoked"])
def test_a_key_that_cannot_sign_in_is_told_so_and_not_why(plane: Any, key: str) -> None:
    if key == "revoked":
        shown = plane.call("POST", "/api/v1/keys", json={"principal": "gone"}).json()
        key = shown["key"]
        plane.call("DELETE", f"/api/v1/keys/{shown['id']}")
    answer = plane.client.post(SESSION, json={"key": key})
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == ((401, "key") if key else (422, "key"))
    assert "set-cookie" not in answer.headers
    if key:
        assert (
            problem["detail"] == "This is no key that can sign in: check it, or ask an admin for a new one."
        )


@pytest.mark.parametrize("body", [{}, {"key": 7}, {"key": None}, {"key": "k", "role": "owner"}])
def test_a_body_that_is_no_sign_in_is_refused(plane: Any, body: dict[str, object]) -> None:
    assert code(plane.client.post(SESSION, json=body)) == (422, "invalid_field")


def test_a_body_of_somebody_unknown_is_not_collected(plane: Any) -> None:
    body = b'{"key": "' + b"x" * 64 * 1024 + b'"}'
    assert plane.client.post(SESSION, content=body).status_code == 413


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_change_needs_the_token_of_this_very_sign_in(plane: Any, method: str) -> None:
    answer, other = sign_in(plane), sign_in(plane)
    path = "/api/v1/budgets" + ("" if method == "POST" else "/made")
    stolen = other.json()["csrf_token"]
    for token in (None, "", "x", stolen, "é", token_of(answer)):
        headers = with_cookie(answer, csrf=False) | ({} if token is None else {"x-palyra-csrf": token})
        refused = plane.client.request(
            method, path, json=BUDGET, headers={name: value.encode() for name, value in headers.items()}
        )
        assert code(refused) == (403, "csrf_token")
        assert "GET /api/v1/session" in refused.json()["detail"]
    assert not plane.records.versions


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:8484"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://127.0.0.1:8484.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "something-new"},
        {"sec-fetch-site": "cross-site", "origin": ORIGIN},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_others_get_nothing_by_the_cookie(plane: Any, headers: dict[str, str], method: str) -> None:
    good = with_cookie(sign_in(plane))
    paths = {"GET": "/api/v1/keys", "POST": "/api/v1/budgets", "DELETE": SESSION}
    refused = ask(plane, method, paths[method], good | headers, json=BUDGET)
    assert code(refused) == (403, "cross_site")
    assert "server.public_url" in refused.json()["detail"]
    assert not plane.records.versions
    assert ask(plane, "GET", SESSION, good).status_code == 200


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "same-site"}])
def test_pages_of_others_sign_nobody_in(plane: Any, headers: dict[str, str]) -> None:
    refused = sign_in(plane, headers=headers)
    assert code(refused) == (403, "cross_site")
    assert "set-cookie" not in refused.headers
    assert not plane.records.kept.sign_ins


@pytest.mark.parametrize("fetched", ["same-origin", "none"])
def test_pages_of_ours_and_the_person_at_the_browser_get_everything(plane: Any, fetched: str) -> None:
    headers = with_cookie(sign_in(plane, headers={"sec-fetch-site": fetched})) | {"sec-fetch-site": fetched}
    assert ask(plane, "GET", "/api/v1/keys", headers).status_code == 200
    assert ask(plane, "POST", "/api/v1/budgets", headers, json=BUDGET).status_code == 201


def test_a_key_in_a_header_counts_and_the_cookie_beside_it_does_not(plane: Any) -> None:
    headers = with_cookie(sign_in(plane), csrf=False) | {"sec-fetch-site": "cross-site"}
    shown = plane.call("GET", SESSION, "viewer", headers=headers).json()
    assert (shown["principal"], shown["csrf_token"]) == ("viewer", None)
    assert plane.call("POST", "/api/v1/budgets", "admin", headers=headers, json=BUDGET).status_code == 201
    for wrong in ({"authorization": "Bearer sk-palyra-wrong"}, {"x-api-key": ""}):
        assert ask(plane, "GET", SESSION, with_cookie(sign_in(plane)) | wrong).status_code == 401
    proxied = with_cookie(sign_in(plane)) | {"authorization": "Basic dTpw"}
    assert ask(plane, "GET", SESSION, proxied).status_code == 200
    assert plane.call("DELETE", SESSION, "viewer", headers=headers).status_code == 204
    assert len(plane.records.kept.sign_ins) == 4


def test_signing_out_ends_it_and_takes_the_cookie_back(plane: Any) -> None:
    answer, other = sign_in(plane), sign_in(plane)
    out = ask(plane, "DELETE", SESSION, with_cookie(answer))
    assert (out.status_code, out.content) == (204, b"")
    cleared = "palyra_session=; HttpOnly; SameSite=Strict; Path=/api/v1; Max-Age=0"
    assert out.headers["set-cookie"] == cleared
    refused = ask(plane, "GET", "/api/v1/keys", with_cookie(answer))
    assert code(refused) == (401, "invalid_api_key")
    assert "sign in again" in refused.json()["detail"]
    assert ask(plane, "GET", "/api/v1/keys", with_cookie(other)).status_code == 200


@pytest.mark.parametrize(
    "cookie", [{}, {"cookie": "palyra_session="}, {"cookie": "palyra_session=" + "A" * 43}]
)
def test_signing_out_without_a_sign_in_is_fine(plane: Any, cookie: dict[str, str]) -> None:
    out = ask(plane, "DELETE", SESSION, cookie)
    assert (out.status_code, "Max-Age=0" in out.headers["set-cookie"]) == (204, True)


def test_signing_out_needs_the_token_too(plane: Any) -> None:
    answer = sign_in(plane)
    refused = ask(plane, "DELETE", SESSION, with_cookie(answer, csrf=False))
    assert code(refused) == (403, "csrf_token")
    assert ask(plane, "GET", SESSION, with_cookie(answer)).status_code == 200


def test_signing_in_again_in_the_same_browser_ends_the_sign_in_before(plane: Any) -> None:
    first, other = sign_in(plane, "viewer"), sign_in(plane, "viewer")
    second = sign_in(plane, "operator", {"cookie": with_cookie(first)["cookie"]})
    assert ask(plane, "GET", SESSION, with_cookie(first)).status_code == 401
    for answer in (other, second):
        assert ask(plane, "GET", SESSION, with_cookie(answer)).status_code == 200


def test_it_is_over_after_its_hours_however_much_it_is_used(plane: Any) -> None:
    headers = with_cookie(sign_in(plane))
    for _ in range(11):
        plane.clock.advance(3_600)
        assert ask(plane, "GET", "/api/v1/keys", headers).status_code == 200
    plane.clock.advance(3_599)
    assert ask(plane, "GET", "/api/v1/keys", headers).status_code == 200
    plane.clock.advance(1)
    assert ask(plane, "GET", "/api/v1/keys", headers).status_code == 401
    sign_in(plane, "viewer")
    assert len(plane.records.kept.sign_ins) == 1


def test_it_is_over_with_its_key(plane: Any) -> None:
    headers = with_cookie(sign_in(plane, "viewer"))
    key_id = ask(plane, "GET", SESSION, headers).json()["key_id"]
    assert plane.call("DELETE", f"/api/v1/keys/{key_id}").status_code == 204
    assert code(ask(plane, "GET", "/api/v1/keys", headers)) == (401, "invalid_api_key")


def test_of_one_key_a_hundred_hold_and_the_oldest_ends(plane: Any) -> None:
    answers: list[Any] = []
    for _ in range(101):
        answers.append(sign_in(plane, "viewer"))
        plane.clock.advance(1)
    first, second, *_, last = (ask(plane, "GET", SESSION, with_cookie(each)).status_code for each in answers)
    assert (first, second, last) == (401, 200, 200)


def test_nothing_that_is_stored_or_shown_gives_the_sign_in_away(plane: Any) -> None:
    answer = sign_in(plane)
    token, (stored,) = token_of(answer), plane.records.kept.sign_ins.values()
    assert stored.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in repr(stored) + answer.text
    key_sha256 = hashlib.sha256(plane.keys["owner"].encode()).hexdigest()
    assert plane.keys["owner"] not in answer.text
    assert key_sha256 not in repr(stored)


def test_of_two_cookies_the_one_of_the_longer_path_counts(plane: Any) -> None:
    mine, planted = sign_in(plane, "owner"), sign_in(plane, "viewer")
    cookies = f"palyra_session={token_of(mine)}; palyra_session={token_of(planted)}"
    assert ask(plane, "GET", SESSION, {"cookie": cookies}).json()["principal"] == "owner"


def test_a_sign_in_makes_no_call_of_a_model(plane: Any) -> None:
    headers = with_cookie(sign_in(plane, "operator"))
    path = "/api/v1/models/test-connection"
    refused = ask(plane, "POST", path, headers, json={"generate": True})
    assert (code(refused), refused.json()["field"]) == ((422, "invalid_field"), "generate")
    assert ask(plane, "POST", path, headers, json={}).status_code == 200


def test_a_database_that_fails_lets_nobody_in_by_a_cookie(plane: Any) -> None:
    plane.records.fail = True
    assert code(sign_in(plane)) == (503, "ledger_unavailable")


def test_after_ten_wrong_keys_an_address_waits_but_who_is_in_goes_on(plane: Any) -> None:
    signed_in = with_cookie(sign_in(plane))
    fail_ten_times(plane.client)
    refused = sign_in(plane)
    assert code(refused) == (429, "too_many_attempts")
    assert refused.headers["retry-after"] == "6"
    assert ask(plane, "GET", SESSION, signed_in).status_code == 200
    assert plane.call("GET", "/api/v1/budgets", "owner").status_code == 200


@pytest.mark.parametrize(
    ("site", "peer", "told", "other", "is_same"),
    [
        (Site(), "10.0.0.1", "10.9.9.1", "10.9.9.2", True),
        (Site(behind_proxy=True), "10.0.0.1", "10.9.9.1", "10.9.9.2", False),
        (Site(behind_proxy=True), "10.0.0.1", "10.8.8.1, 10.9.9.1", "10.8.8.2,10.9.9.1", True),
        (Site(behind_proxy=True), "10.0.0.1", "2001:db8::1", "2001:db8::2", True),
        (Site(behind_proxy=True), "10.0.0.1", "2001:db8::1", "2001:db8:0:1::1", False),
        (Site(behind_proxy=True), "10.0.0.1", "::ffff:10.9.9.1", "10.9.9.1", True),
        (Site(behind_proxy=True), "10.0.0.1", "::ffff:10.9.9.1", "::ffff:10.9.9.2", False),
        (Site(behind_proxy=True), "10.0.0.1", "nobody", "x" * 1_000, True),
        (Site(behind_proxy=True), "a socket", "", "", True),
    ],
)
def test_an_address_is_a_host_or_its_network_and_behind_a_proxy_what_the_proxy_says(
    plane: Any, site: Site, peer: str, told: str, other: str, is_same: bool
) -> None:
    application = create_api(replace(plane.deps, site=site))
    client = TestClient(application, base_url="http://127.0.0.1:8484", client=(peer, 40_000))
    fail_ten_times(client, {"x-forwarded-for": told})
    answer = sign_in(plane, headers={"x-forwarded-for": other}, client=client)
    assert answer.status_code == (429 if is_same else 201)


def fail_ten_times(client: TestClient, headers: Mapping[str, str] | None = None) -> None:
    """Sign in with what is no key, as often as it is allowed."""
    for _ in range(10):
        answer = client.post(SESSION, json={"key": "a guess"}, headers=headers)
        assert code(answer) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("site", "host", "origin", "is_own", "is_secure"),
    [
        (Site(), "127.0.0.1:8484", "http://127.0.0.1:8484", True, False),
        (Site(), "localhost", "http://localhost", True, False),
        (Site(), "localhost:80", "http://localhost", True, False),
        (Site(), "LocalHost:8484", "http://localhost:8484", True, False),
        (Site(), "[::1]:8484", "http://[::1]:8484", True, False),
        (Site(), "localhost:8484", "https://localhost:8484", False, False),
        (Site(behind_proxy=True), "localhost", "https://localhost", True, True),
        (Site(behind_proxy=True), "localhost", "https://localhost:444", False, False),
        (Site("https://p.example"), "127.0.0.1:8484", "https://p.example", True, True),
        (Site("https://p.example"), "127.0.0.1:8484", "http://127.0.0.1:8484", True, True),
        (Site("https://p.example"), "127.0.0.1:8484", "http://p.example", False, True),
        (Site("https://localhost", behind_proxy=True), "localhost", "http://localhost", False, True),
        (Site("https://p.example:443/in"), "127.0.0.1:8484", "https://p.example", True, True),
        (Site("http://p.example:8080"), "127.0.0.1:8484", "http://p.example:8080", True, False),
        (Site("http://p.example:8080"), "127.0.0.1:8484", "http://p.example", False, False),
    ],
)
def test_our_own_pages_are_those_of_the_address_that_people_open(
    plane: Any, site: Site, host: str, origin: str, is_own: bool, is_secure: bool
) -> None:
    client = TestClient(create_api(replace(plane.deps, site=site)), base_url="http://127.0.0.1:8484")
    answer = sign_in(plane, headers={"host": host, "origin": origin}, client=client)
    assert answer.status_code == (201 if is_own else 403)
    if is_own:
        assert answer.headers["set-cookie"].endswith("; Secure") == is_secure
