"""``/api/v1/models``: who may ask what, as whom, and what is wrong with a question."""

from typing import Any

import pytest

from palyra.api.models import TIMEOUT_MS, TIMEOUT_MS_LEAST, TIMEOUT_MS_MOST

MODELS = "/api/v1/models"
EXPLAIN, TEST, DISCOVER = f"{MODELS}/explain", f"{MODELS}/test-connection", f"{MODELS}/discover"
ROLES = ["caller", "viewer", "operator", "admin", "owner"]


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", MODELS, "viewer"),
        ("GET", f"{MODELS}/list", "viewer"),
        ("GET", f"{MODELS}/status", "viewer"),
        ("POST", EXPLAIN, "caller"),
        ("POST", TEST, "operator"),
        ("POST", DISCOVER, "admin"),
    ],
)
def test_each_route_has_its_least_role(plane: Any, method: str, path: str, least: str) -> None:
    body: dict[str, object] = {"json": {}} if method == "POST" else {}
    for role in ROLES:
        status = plane.call(method, path, role, **body).status_code
        assert status == (200 if ROLES.index(role) >= ROLES.index(least) else 403), role
    assert plane.call(method, path, None, **body).status_code == 401


def test_the_list_is_at_two_paths(plane: Any) -> None:
    assert plane.call("GET", MODELS).json() == plane.call("GET", f"{MODELS}/list").json()
    assert plane.call("GET", MODELS).json()["items"] == [{"id": "gpt-4o-mini"}]


# Explain.


def asked(plane: Any, role: str, **document: object) -> dict[str, Any]:
    answer = plane.call("POST", EXPLAIN, role, json=document)
    assert answer.status_code == 200
    return answer.json()["asked"]


def key_id(plane: Any, role: str) -> str:
    subject = plane.deps.rules.snapshot.subject(plane.keys[role])
    assert subject is not None
    return subject.key_id


def test_a_caller_asks_as_itself_whatever_it_says(plane: Any) -> None:
    own = {"key_id": key_id(plane, "caller"), "principal": "caller"}
    assert asked(plane, "caller", prompt="hi") == {"prompt": "hi", **own}
    for said in (
        {"key_id": key_id(plane, "admin")},
        {"principal": "admin"},
        {"key_id": None, "principal": None},
        {"key_id": "nobody", "principal": "owner"},
    ):
        assert asked(plane, "caller", prompt="hi", **said) == {"prompt": "hi", **own}


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "owner"])
def test_from_viewer_on_one_may_ask_as_anybody(plane: Any, role: str) -> None:
    said = {"prompt": "hi", "key_id": "key-9", "principal": "bob"}
    assert asked(plane, role, **said) == said
    assert asked(plane, role, prompt="hi") == {"prompt": "hi"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a":1,"a":2}', b"\xff"])
@pytest.mark.parametrize("path", [EXPLAIN, TEST])
def test_a_body_that_is_no_json_object_is_refused(plane: Any, path: str, body: bytes) -> None:
    answer = plane.call("POST", path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


# Test.


def connection_test(plane: Any, **document: object) -> dict[str, Any]:
    answer = plane.call("POST", TEST, "operator", json=document)
    assert answer.status_code == 200
    return answer.json()


def test_without_a_word_all_providers_are_tested(plane: Any) -> None:
    found = connection_test(plane)
    assert found["asked"] == {
        "provider": None,
        "timeout_s": TIMEOUT_MS / 1_000,
        "refresh": False,
        "discover": False,
    }
    assert "generated" not in found


def test_all_that_is_said_is_passed_on(plane: Any) -> None:
    found = connection_test(plane, provider="openai", timeout_ms=250, refresh=True, generate=False)
    assert found["asked"] == {"provider": "openai", "timeout_s": 0.25, "refresh": True, "discover": False}


def test_null_is_the_same_as_nothing(plane: Any) -> None:
    nothing = dict.fromkeys(("provider", "timeout_ms", "refresh", "generate"))
    assert connection_test(plane, **nothing) == connection_test(plane)


def test_a_generation_is_made_with_the_key_of_who_asks(plane: Any) -> None:
    given: list[tuple[str | None, str]] = []

    async def generate(provider_id: str | None, clear_key: str) -> list[dict[str, object]]:
        given.append((provider_id, clear_key))
        return [{"provider": "openai", "ok": len(given) == 1}]

    plane.deps.models.generate = generate
    found = connection_test(plane, provider="openai", generate=True)
    assert (found["ok"], found["generated"]) == (True, [{"provider": "openai", "ok": True}])
    assert connection_test(plane, generate=True)["ok"] is False
    assert given == [("openai", plane.keys["operator"]), (None, plane.keys["operator"])]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"provider": 5}, "provider"),
        ({"provider": ["openai"]}, "provider"),
        ({"timeout_ms": "5"}, "timeout_ms"),
        ({"timeout_ms": 5.5}, "timeout_ms"),
        ({"timeout_ms": True}, "timeout_ms"),
        ({"timeout_ms": TIMEOUT_MS_LEAST - 1}, "timeout_ms"),
        ({"timeout_ms": TIMEOUT_MS_MOST + 1}, "timeout_ms"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"refresh": 1}, "refresh"),
        ({"generate": "yes"}, "generate"),
        ({"discover": True}, "discover"),
        ({"timeout": 5}, "timeout"),
    ],
)
def test_a_bad_field_of_a_test_is_named(plane: Any, document: dict[str, object], field: str) -> None:
    answer = plane.call("POST", TEST, "operator", json=document)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("timeout_ms", [TIMEOUT_MS_LEAST, TIMEOUT_MS_MOST])
def test_the_ends_of_the_range_are_in_it(plane: Any, timeout_ms: int) -> None:
    assert connection_test(plane, timeout_ms=timeout_ms)["asked"]["timeout_s"] == timeout_ms / 1_000
    answer = plane.call("POST", f"{DISCOVER}?timeout_ms={timeout_ms}", "admin")
    assert answer.json()["asked"]["timeout_s"] == timeout_ms / 1_000


# Discover.


def test_a_discovery_asks_anew(plane: Any) -> None:
    answer = plane.call("POST", f"{DISCOVER}?provider=openai&timeout_ms=250", "admin")
    assert answer.json()["asked"] == {
        "provider": "openai",
        "timeout_s": 0.25,
        "refresh": True,
        "discover": True,
    }
    answer = plane.call("POST", DISCOVER, "admin")
    assert answer.json()["asked"]["provider"] is None
    assert answer.json()["asked"]["timeout_s"] == TIMEOUT_MS / 1_000


@pytest.mark.parametrize("value", [str(TIMEOUT_MS_LEAST - 1), str(TIMEOUT_MS_MOST + 1), "soon", "1.5", ""])
def test_a_bad_time_of_a_discovery_is_named(plane: Any, value: str) -> None:
    answer = plane.call("POST", f"{DISCOVER}?timeout_ms={value}", "admin")
    assert (answer.status_code, answer.json()["field"]) == (422, "timeout_ms")
