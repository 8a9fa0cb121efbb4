"""The history of a budget: every version with who made it and what it changed, from the journal."""

import asyncio
from typing import Any

import pytest

from palyra.api.schemas.changes import PolicyHistory
from palyra.budgets.policy import PolicyDefaults, parse_policy
from palyra.lifecycle.configured import described, journal_configuration

DAILY: dict[str, object] = {
    "scope": "principal:*",
    "metric": "cost_usd",
    "interval": "day",
    "hard_limit": "5.00",
    "thresholds": [{"at": 0.8}],
}


def put(plane: Any, **changes: object) -> None:
    answer = plane.call("PUT", "/api/v1/budgets/daily", "admin", json={**DAILY, **changes})
    assert answer.status_code in (200, 201), answer.text


def history(plane: Any, policy_id: str = "daily", **params: object) -> dict[str, Any]:
    answer = plane.call("GET", f"/api/v1/budgets/{policy_id}/history", "viewer", params=params)
    assert answer.status_code == 200, answer.text
    shown = PolicyHistory.model_validate(answer.json())
    assert shown.model_dump(exclude_unset=True, mode="json") == answer.json()
    return answer.json()


def test_every_version_says_who_made_it_and_what_it_changed(plane: Any) -> None:
    put(plane)
    put(plane, hard_limit="9", thresholds=[])
    plane.call("DELETE", "/api/v1/budgets/daily", "admin")

    deleted, changed, created = history(plane)["items"]

    assert [each["action"] for each in (created, changed, deleted)] == ["created", "changed", "deleted"]
    assert [each["version"] for each in (created, changed, deleted)] == [1, 2, 2]
    admin = plane.deps.rules.snapshot.subject(plane.keys["admin"])
    assert {(each["by"], each["by_principal"]) for each in (created, changed, deleted)} == {
        (admin.key_id, "admin")
    }
    assert changed["changes"] == [
        {"field": "hard_limit", "before": "5.00", "after": "9.00"},
        {"field": "thresholds", "before": [{"at": "0.8", "then": "notify"}], "after": None},
    ]
    assert (changed["policy"]["hard_limit_nano_usd"], changed["policy"]["version"]) == (9_000_000_000, 2)
    assert {"field": "scope", "before": None, "after": "principal:*"} in created["changes"]
    assert {"field": "scope", "before": "principal:*", "after": None} in deleted["changes"]
    assert deleted["policy"] is None
    assert all(each["before"] != each["after"] for each in (*created["changes"], *deleted["changes"]))


def test_a_budget_that_comes_again_goes_on_with_its_history(plane: Any) -> None:
    put(plane)
    plane.call("DELETE", "/api/v1/budgets/daily", "admin")
    put(plane)

    steps = [(each["version"], each["action"]) for each in history(plane)["items"]]

    assert steps == [(2, "created"), (1, "deleted"), (1, "created")]


def test_a_budget_of_the_file_is_by_config_and_has_no_versions(plane: Any) -> None:
    def configure(hard_limit: int) -> None:
        document = {"id": "from-file", "scope": "global", "metric": "requests", "interval": "day"}
        policy = parse_policy(
            {**document, "hard_limit": hard_limit},
            defaults=PolicyDefaults(),
            version=1,
            actor="config",
            origin="file",
        )
        asyncio.run(journal_configuration(plane.records, described([policy], [], []), "config"))

    configure(10)
    configure(12)

    changed, created = history(plane, "from-file")["items"]

    assert (changed["by"], changed["by_principal"], changed["version"]) == ("config", None, None)
    assert changed["changes"] == [{"field": "hard_limit", "before": 10, "after": 12}]
    assert (created["policy"]["hard_limit"], created["policy"]["origin"]) == (10, "file")


def test_history_comes_page_by_page(plane: Any) -> None:
    for limit in range(1, 6):
        put(plane, hard_limit=str(limit))

    first = history(plane, limit=2)
    put(plane, hard_limit="99")
    second = history(plane, limit=2, cursor=first["next_cursor"])
    third = history(plane, limit=2, cursor=second["next_cursor"])

    pages = [[each["version"] for each in page["items"]] for page in (first, second, third)]
    assert pages == [[5, 4], [3, 2], [1]]
    assert third["next_cursor"] is None


def test_what_never_was_has_no_history(plane: Any) -> None:
    put(plane)
    for policy_id in ("dail", "none"):
        assert plane.call("GET", f"/api/v1/budgets/{policy_id}/history").status_code == 404
    assert plane.call("GET", "/api/v1/budgets/daily/history", "caller").status_code == 403


@pytest.mark.parametrize("cursor", ["x", "1.2", "1.2.x", f"{2**63}.0.1", "-1.0.1", "1.0.1.1", ""])
def test_a_cursor_that_no_page_ended_with_is_refused(plane: Any, cursor: str) -> None:
    put(plane)
    answer = plane.call("GET", "/api/v1/budgets/daily/history", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_a_version_that_todays_rules_refuse_is_listed_without_its_policy(plane: Any) -> None:
    put(plane)
    (change,) = [each for each in plane.records.changed if each.ref == "daily"]
    change.after["interval"] = "fortnight"

    (item,) = history(plane)["items"]

    assert (item["action"], item["policy"]) == ("created", None)
