"""Every route declares its role, and every role gets exactly what the table says."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from palyra.api.access import declared_access
from palyra.api.app import create_api
from palyra.api.routes import Routes
from palyra.identity.keys import Role

BODIES: dict[str, dict[str, object]] = {
    "/api/v1/budgets": {
        "id": "new",
        "scope": "global",
        "metric": "requests",
        "interval": "day",
        "hard_limit": 1,
    },
    "/api/v1/keys": {"principal": "admin"},
}
FREE = {("POST", "/api/v1/session"): 422, ("DELETE", "/api/v1/session"): 204}
"""What routes for everybody answer to an empty body, unless it is 200."""


def guarded_routes(plane: Any) -> list[tuple[str, APIRoute]]:
    app: FastAPI = plane.client.app
    return [
        (method, route)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


@pytest.mark.parametrize("role", [*(role.value for role in Role), None])
def test_a_role_reaches_exactly_the_routes_that_declare_it_or_a_lower_one(
    plane: Any, role: str | None
) -> None:
    routes = guarded_routes(plane)
    assert len(routes) >= 29
    for method, route in routes:
        (access,) = declared_access(route)
        path = re.sub(r"{\w+}", "none", route.path)
        answer = plane.call(method, path, role, json=BODIES.get(route.path, {}))
        if access.role is None:
            assert answer.status_code == FREE.get((method, path), 200), path
        elif role is None:
            assert answer.status_code == 401, path
        elif Role(role).rank < access.role.rank:
            assert answer.status_code == 403, path
        else:
            assert answer.status_code not in (401, 403), path


def test_a_caller_reaches_what_is_its_own_and_nothing_else(plane: Any) -> None:
    own = {
        (method, route.path)
        for method, route in guarded_routes(plane)
        if next(declared_access(route)).role is Role.CALLER
    }
    assert own == {
        ("GET", "/api/v1/session"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/decisions/{request_id}"),
        *(
            ("GET", f"/api/v1/usage/{view}")
            for view in ("summary", "timeline", "agents", "principals", "models", "providers", "export")
        ),
        ("GET", "/api/v1/usage/insights"),
        ("GET", "/api/v1/usage/sessions"),
        ("GET", "/api/v1/usage/sessions/{session:path}"),
        ("GET", "/api/v1/budgets/{policy_id}/status"),
        ("POST", "/api/v1/models/explain"),
        ("GET", "/api/v1/alerts"),
        ("GET", "/api/v1/alerts/{alert_id}"),
        ("GET", "/api/v1/approvals"),
        ("GET", "/api/v1/approvals/{approval_id}"),
        ("POST", "/api/v1/budgets/{policy_id}/override-request"),
    }


ASKING = {
    "/api/v1/models/explain": Role.CALLER,
    "/api/v1/budgets/validate": Role.VIEWER,
    "/api/v1/audit/verify": Role.OPERATOR,
    "/api/v1/models/test-connection": Role.OPERATOR,
    "/api/v1/budgets/{policy_id}/override-request": Role.CALLER,
    "/api/v1/alerts/test": Role.OPERATOR,
    "/api/v1/alerts/notices/{notice_id}/retry": Role.OPERATOR,
}
"""What is posted and changes nothing that is in force."""

DECIDING = {
    "/api/v1/approvals/{approval_id}/decision",
    "/api/v1/approvals/{approval_id}/revoke",
    "/api/v1/alerts/{alert_id}/acknowledge",
}


def test_every_write_needs_an_admin_and_every_decision_an_operator(plane: Any) -> None:
    for method, route in guarded_routes(plane):
        if method != "GET" and route.path != "/api/v1/session":
            least = ASKING.get(route.path, Role.OPERATOR if route.path in DECIDING else Role.ADMIN)
            assert [access.role for access in declared_access(route)] == [least], route.path


def test_a_route_without_a_role_fails_at_start_up(plane: Any) -> None:
    async def forgotten() -> dict[str, str]:
        return {}

    def add(app: FastAPI, _: Routes) -> None:
        app.add_api_route("/api/v1/forgotten", forgotten)

    with pytest.raises(ValueError, match="/api/v1/forgotten declares 0 roles"):
        create_api(plane.deps, more=[add])


def test_a_mounted_application_fails_at_start_up_too(plane: Any) -> None:
    def add(app: FastAPI, _: Routes) -> None:
        app.mount("/inner", FastAPI())

    with pytest.raises(ValueError, match="declares 0 roles"):
        create_api(plane.deps, more=[add])


@pytest.mark.parametrize("key", ["", "sk-palyra-wrong", "é", "x" * 5000])
def test_a_wrong_key_is_told_so_and_no_more(plane: Any, key: str) -> None:
    answer = plane.client.get("/api/v1/keys", headers={"x-api-key": key.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "invalid_api_key"


def test_both_headers_carry_a_key(plane: Any) -> None:
    key = plane.keys["viewer"]
    for headers in ({"x-api-key": key}, {"authorization": f"bearer {key}"}):
        assert plane.client.get("/api/v1/keys", headers=headers).status_code == 200
