"""The list of keys, by whose they are and page by page, and one of them."""

from typing import Any

import pytest

from palyra.api.schemas.keys import KeyPage, KeyShown


def make(plane: Any, principal: str) -> str:
    return str(plane.call("POST", "/api/v1/keys", "admin", json={"principal": principal}).json()["id"])


def listed(plane: Any, **params: object) -> dict[str, Any]:
    answer = plane.call("GET", "/api/v1/keys", "viewer", params=params)
    assert answer.status_code == 200, answer.text
    assert KeyPage.model_validate(answer.json()).model_dump() == answer.json()
    return answer.json()


def ids(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["items"]]


def test_keys_are_filtered_by_whose_they_are_and_whether_they_are_revoked(plane: Any) -> None:
    first, second, other = make(plane, "bob"), make(plane, "bob"), make(plane, "carol")
    plane.call("DELETE", f"/api/v1/keys/{first}", "admin")

    assert ids(listed(plane, principal="bob")) == [first, second]
    assert ids(listed(plane, principal="bob", revoked="false")) == [second]
    assert ids(listed(plane, revoked="true")) == [first]
    assert other not in ids(listed(plane, principal="nobody"))


def test_keys_come_page_by_page_while_others_are_made(plane: Any) -> None:
    made = [make(plane, "bob") for _ in range(5)]

    first = listed(plane, principal="bob", limit=2)
    plane.clock.advance(1)
    late = make(plane, "bob")
    second = listed(plane, principal="bob", limit=2, cursor=first["next_cursor"])
    third = listed(plane, principal="bob", limit=2, cursor=second["next_cursor"])

    seen = [*ids(first), *ids(second), *ids(third)]
    assert seen == [*sorted(made), late]
    assert third["next_cursor"] is None


def test_one_key_is_read_also_when_it_is_revoked(plane: Any) -> None:
    key_id = make(plane, "bob")
    plane.call("DELETE", f"/api/v1/keys/{key_id}", "admin")

    shown = plane.call("GET", f"/api/v1/keys/{key_id}", "viewer")

    assert KeyShown.model_validate(shown.json()).model_dump() == shown.json()
    assert (shown.json()["principal"], shown.json()["revoked_at"]) == ("bob", "2026-11-23T12:00:00Z")
    assert plane.call("GET", "/api/v1/keys/none", "viewer").status_code == 404
    assert plane.call("GET", f"/api/v1/keys/{key_id}", "caller").status_code == 403


@pytest.mark.parametrize(
    "params", [{"cursor": "x"}, {"cursor": "x.y"}, {"limit": 1_001}, {"revoked": "perhaps"}]
)
def test_a_wrong_parameter_is_named(plane: Any, params: dict[str, object]) -> None:
    answer = plane.call("GET", "/api/v1/keys", params=params)
    assert (answer.status_code, answer.json()["field"]) == (422, next(iter(params)))
