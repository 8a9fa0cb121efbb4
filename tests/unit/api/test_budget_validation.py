"""A budget is looked at while somebody writes it: all that is wrong, and nothing is written."""

from typing import Any

import pytest

from palyra.api.schemas.budgets import PolicyCheck

GOOD: dict[str, object] = {
    "id": "daily",
    "scope": "principal:*",
    "metric": "cost_usd",
    "interval": "day",
    "soft_limit": "4",
    "hard_limit": "5.00",
}


def check(plane: Any, **changes: object) -> dict[str, Any]:
    document = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    answer = plane.call("POST", "/api/v1/budgets/validate", "viewer", json=document)
    assert answer.status_code == 200, answer.text
    found = PolicyCheck.model_validate(answer.json())
    assert found.model_dump(exclude_unset=True, mode="json") == answer.json()
    assert found.ok == (not found.problems) == (found.policy is not None)
    return answer.json()


def fields(document: dict[str, Any]) -> list[str]:
    return [each["field"] for each in document["problems"]]


def test_a_good_budget_is_shown_as_it_would_be_and_is_not_there(plane: Any) -> None:
    document = check(plane)

    assert (document["ok"], document["exists"]) == (True, False)
    assert document["policy"]["hard_limit_nano_usd"] == 5_000_000_000
    assert document["policy"]["version"] == 1
    assert plane.call("GET", "/api/v1/budgets/daily").status_code == 404
    assert not plane.records.versions
    assert all(each.kind == "key.created" for each in plane.records.audit)


def test_a_budget_that_is_there_would_be_replaced(plane: Any) -> None:
    plane.call("POST", "/api/v1/budgets", json=GOOD)

    document = check(plane, hard_limit="9")

    assert (document["ok"], document["exists"], document["policy"]["version"]) == (True, True, 2)
    assert plane.call("GET", "/api/v1/budgets/daily").json()["hard_limit_usd"] == "5.00"


def test_all_problems_are_told_at_once(plane: Any) -> None:
    document = check(
        plane,
        id="with blanks",
        interval="fortnight",
        hard_limit="-1",
        timezone="Europe/Prag",
        enabled="yes",
        colour="red",
        thresholds=[{"at": 0.5}, {"at": 99}, {"at": 0.6, "then": "explode"}],
    )

    assert fields(document) == [
        "colour",
        "id",
        "interval",
        "timezone",
        "hard_limit",
        "thresholds[1].at",
        "thresholds[2].then",
        "enabled",
    ]
    assert all(each["detail"] for each in document["problems"])


def test_an_empty_document_lacks_every_field_that_is_needed(plane: Any) -> None:
    answer = plane.call("POST", "/api/v1/budgets/validate", json={}).json()
    assert fields(answer) == ["id", "scope", "metric", "interval"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"soft_limit": "6"}, "soft_limit"),
        ({"hard_limit": ..., "soft_limit": ...}, "hard_limit"),
        ({"scope": "model:gpt-5-nonsense"}, "scope"),
        ({"action": "degrade", "degrade_to": "gpt-5-nonsense"}, "degrade_to"),
        ({"valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}, "valid_until"),
        ({"thresholds": [{"at": 0.5}, {"at": 0.5}]}, "thresholds[1]"),
        ({"thresholds": "half"}, "thresholds"),
        ({"updated_by": "me"}, "updated_by"),
        ({"metric": "eur"}, "metric"),
        ({"id": "from-file"}, "id"),
        ({"id": "status"}, "id"),
    ],
)
def test_a_problem_names_its_field_as_creating_does(
    plane: Any, changes: dict[str, object], field: str
) -> None:
    document = check(plane, **changes)
    assert fields(document) == [field]
    body = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    refused = plane.call("PUT", f"/api/v1/budgets/{body['id']}", json=body)
    if refused.status_code == 422:
        assert refused.json()["field"] == field
        assert refused.json()["detail"] == document["problems"][0]["detail"]
    else:
        assert (refused.status_code, changes) == (409, {"id": "from-file"})


def test_several_fields_can_be_wrong_together_in_several_ways(plane: Any) -> None:
    document = check(
        plane,
        soft_limit="6",
        scope="model:nonsense",
        degrade_to="gpt-4o-mini",
        routing_mode_override="dry_run",
    )
    assert fields(document) == ["soft_limit", "scope"]
    document = check(plane, soft_limit=..., degrade_to="gpt-4o-mini", routing_mode_override="dry_run")
    assert fields(document) == ["routing_mode_override", "degrade_to"]


def test_a_document_full_of_mistakes_has_a_bounded_answer(plane: Any) -> None:
    answer = plane.call("POST", "/api/v1/budgets/validate", json={f"f{number}": 1 for number in range(5_000)})
    assert len(answer.json()["problems"]) == 100


def test_what_is_no_object_is_refused(plane: Any) -> None:
    for body, status in ((b"[]", 400), (b"{", 400), (b" " * (1024 * 1024 + 1), 413)):
        assert plane.call("POST", "/api/v1/budgets/validate", content=body).status_code == status
    assert plane.call("POST", "/api/v1/budgets/validate", "caller", json=GOOD).status_code == 403
