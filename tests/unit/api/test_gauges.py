"""Where budgets stand: forecasts of their accounts, and all budgets on one page."""

from typing import Any

import pytest

from fakes.records import NOON
from palyra.api.schemas.budgets import PolicyGauges, PolicyStatus
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.standing import AccountStatus
from palyra.lifecycle.usage import UsageTotals

DAY_START, DAY_END = Instant(NOON - 12 * HOUR_NS), Instant(NOON + 12 * HOUR_NS)
USD = 1_000_000_000


def create(plane: Any, policy_id: str, **fields: object) -> None:
    document = {"id": policy_id, "scope": "principal:*", "metric": "cost_usd", "interval": "day"}
    made = plane.call("POST", "/api/v1/budgets", json={**document, "hard_limit": "5.00", **fields})
    assert made.status_code == 201, made.text


def stand(
    plane: Any, policy_id: str, entity: str, posted: int, held: int = 0, metric: str = "cost_usd"
) -> None:
    key = AccountKey(policy_id, metric, entity, DAY_START)
    plane.records.account_rows.append(AccountStatus(key, DAY_END, Balance(posted, held, posted, held)))


def spend(plane: Any, principal: str, each_hour: int, days: int = 5) -> None:
    for hour in range(1, days * 24 + 1):
        at = Instant(NOON - hour * HOUR_NS)
        plane.records.totals.append(
            (at, UsageTotals({"principal": principal}, 1, 0, 0, 0, 0, 0, 0, 0, 0, each_hour))
        )


def status(plane: Any, policy_id: str, role: str = "viewer") -> list[dict[str, Any]]:
    answer = plane.call("GET", f"/api/v1/budgets/{policy_id}/status", role)
    assert answer.status_code == 200, answer.text
    assert (
        PolicyStatus.model_validate(answer.json()).model_dump(exclude_unset=True, mode="json")
        == answer.json()
    )
    return answer.json()["accounts"]


def gauges(plane: Any, **params: object) -> dict[str, Any]:
    answer = plane.call("GET", "/api/v1/budgets/status", "viewer", params=params)
    assert answer.status_code == 200, answer.text
    assert (
        PolicyGauges.model_validate(answer.json()).model_dump(exclude_unset=True, mode="json")
        == answer.json()
    )
    return answer.json()


def test_an_account_says_where_it_will_end_and_when_it_runs_out(plane: Any) -> None:
    create(plane, "daily")
    stand(plane, "daily", "alice", 3 * USD, USD // 2)
    stand(plane, "daily", "bob", USD)
    spend(plane, "alice", USD // 4)

    alice, bob = status(plane, "daily")

    assert (alice["forecast_nano_usd"], alice["forecast_usd"]) == (6_500_000_000, "6.50")
    assert alice["forecast_at"] == alice["window_end"] == "2026-11-24T00:00:00Z"
    assert alice["exhausted_at"] == "2026-11-23T18:00:00Z", "1.50 is left at 0.25 an hour"
    assert (bob["forecast_nano_usd"], bob["exhausted_at"]) == (2 * USD, None), "he goes on evenly"
    assert "forecast" not in alice


def test_counts_have_their_forecast_in_their_own_unit(plane: Any) -> None:
    stand(plane, "from-file", "*", 4, 1, "requests")

    (account,) = status(plane, "from-file")

    assert (account["forecast"], account["exhausted_at"]) == (10, "2026-11-24T00:00:00Z")
    assert "forecast_usd" not in account


@pytest.mark.parametrize("fields", [{"enabled": False}, {"valid_until": "2026-11-23T06:00:00Z"}])
def test_a_budget_that_is_not_in_force_has_no_forecast(plane: Any, fields: dict[str, object]) -> None:
    create(plane, "daily", **fields)
    stand(plane, "daily", "alice", USD)

    (account,) = status(plane, "daily")

    assert (account["forecast_usd"], account["forecast_at"], account["exhausted_at"]) == (None, None, None)


def test_a_window_that_is_over_and_an_account_of_another_metric_have_no_forecast(plane: Any) -> None:
    create(plane, "daily")
    stand(plane, "daily", "alice", 7, metric="requests")
    key = AccountKey("daily", "cost_usd", "alice", DAY_START - 24 * HOUR_NS)
    plane.records.account_rows.append(AccountStatus(key, DAY_START, Balance(USD, 0, USD, 0)))

    before, ended = status(plane, "daily")

    assert (before["forecast"], before["limit"]) == (None, None)
    assert (ended["forecast_usd"], ended["exhausted_at"]) == (None, None)


def test_what_is_exhausted_or_has_no_hard_limit_does_not_run_out(plane: Any) -> None:
    create(plane, "full")
    create(plane, "soft", hard_limit=None, soft_limit="2.00")
    stand(plane, "full", "alice", 5 * USD)
    stand(plane, "soft", "alice", 3 * USD)

    for policy_id in ("full", "soft"):
        (account,) = status(plane, policy_id)
        assert account["forecast_nano_usd"] > account["consumed_nano_usd"]
        assert account["exhausted_at"] is None


def test_a_caller_sees_the_forecast_of_its_own_account(plane: Any) -> None:
    create(plane, "daily")
    stand(plane, "daily", "caller", USD)
    stand(plane, "daily", "alice", USD)

    (account,) = status(plane, "daily", "caller")

    assert (account["entity"], account["forecast_usd"]) == ("caller", "2.00")


def test_all_budgets_are_on_one_page_with_the_accounts_nearest_to_their_limit(plane: Any) -> None:
    create(plane, "daily")
    for number in range(30):
        stand(plane, "daily", f"p{number:02}", number * USD // 10)
    key = AccountKey("daily", "cost_usd", "p99", DAY_START - 24 * HOUR_NS)
    plane.records.account_rows.append(AccountStatus(key, DAY_START, Balance(5 * USD, 0, 5 * USD, 0)))

    document = gauges(plane)
    daily, from_file = document["items"]

    assert document["next_cursor"] is None
    assert (daily["policy"]["id"], daily["accounts_total"]) == ("daily", 30)
    assert [each["entity"] for each in daily["accounts"]] == [f"p{number:02}" for number in range(29, 9, -1)]
    assert daily["accounts"][0]["forecast_usd"] == "5.80"
    assert (from_file["policy"]["id"], from_file["accounts_total"]) == ("from-file", 1)
    assert [(each["entity"], each["consumed"]) for each in from_file["accounts"]] == [("*", 0)]


def test_gauges_are_paged_by_id_and_stay_stable_when_budgets_come_and_go(plane: Any) -> None:
    for policy_id in ("b", "d", "a"):
        create(plane, policy_id)

    first = gauges(plane, limit=2)
    create(plane, "aa")
    plane.call("DELETE", "/api/v1/budgets/b")
    second = gauges(plane, limit=2, cursor=first["next_cursor"])

    assert [each["policy"]["id"] for each in first["items"]] == ["a", "b"]
    assert [each["policy"]["id"] for each in second["items"]] == ["d", "from-file"]
    assert (first["next_cursor"], second["next_cursor"]) == ("b", None)


def test_a_budget_for_single_requests_has_no_account(plane: Any) -> None:
    create(plane, "each", interval="request", scope="global")

    item = next(each for each in gauges(plane)["items"] if each["policy"]["id"] == "each")

    assert (item["accounts"], item["accounts_total"]) == ([], 0)


def test_all_gauges_take_one_read_of_the_accounts(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        create(plane, f"b{number}")
    asked: list[int] = []
    standing = plane.records.standing

    async def counted(windows: Any, most: int) -> Any:
        asked.append(len(windows))
        return await standing(windows, most)

    monkeypatch.setattr(plane.records, "standing", counted)
    gauges(plane, limit=100)

    assert asked == [21]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"colour": "red"}])
def test_a_wrong_parameter_of_the_gauges_is_named(plane: Any, params: dict[str, object]) -> None:
    answer = plane.call("GET", "/api/v1/budgets/status", params=params)
    assert (answer.status_code, answer.json()["field"]) == (422, next(iter(params)))


def test_no_budget_takes_the_name_of_a_route(plane: Any) -> None:
    body = {"scope": "global", "metric": "requests", "interval": "day", "hard_limit": 1}
    for method, path, more in (("POST", "", {"id": "status"}), ("PUT", "/status", {})):
        answer = plane.call(method, f"/api/v1/budgets{path}", json={**body, **more})
        assert (answer.status_code, answer.json()["field"]) == (422, "id")
    assert plane.call("GET", "/api/v1/budgets/status/status").status_code == 404


def test_gauges_need_a_viewer(plane: Any) -> None:
    assert plane.call("GET", "/api/v1/budgets/status", "caller").status_code == 403
