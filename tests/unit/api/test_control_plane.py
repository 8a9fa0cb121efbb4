"""What the control plane answers: documents, versions, problems; and never a secret."""

import json
import re
from typing import Any

import pytest

from fakes.calls import refused, served
from fakes.records import NOON
from palyra.api.deps import Health
from palyra.core.instant import Instant
from palyra.identity.keys import hash_key
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.standing import AccountStatus
from palyra.lifecycle.usage import UsageTotals

DAILY: dict[str, object] = {
    "id": "daily",
    "scope": "principal:*",
    "metric": "cost_usd",
    "interval": "day",
    "soft_limit": "4",
    "hard_limit": "5.00",
    "thresholds": [{"at": 0.8, "then": "notify"}],
}
DAY_START = Instant(NOON - 43_200_000_000_000)
DAY_END = Instant(NOON + 43_200_000_000_000)


def put(plane: Any, version: str | None = None, role: str = "admin", **changes: Any) -> Any:
    headers = {"if-match": version} if version else {}
    return plane.call("PUT", "/api/v1/budgets/daily", role, json={**DAILY, **changes}, headers=headers)


def test_a_budget_is_created_read_replaced_and_deleted(plane: Any) -> None:
    created = plane.call("POST", "/api/v1/budgets", json=DAILY)
    assert (created.status_code, created.headers["etag"]) == (201, '"1"')
    assert created.headers["location"] == "/api/v1/budgets/daily"
    assert created.json()["hard_limit_nano_usd"] == 5_000_000_000
    replaced = put(plane, '"1"', hard_limit="9")
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    shown = plane.call("GET", "/api/v1/budgets/daily", "viewer")
    assert (shown.json()["hard_limit_usd"], shown.headers["etag"]) == ("9.00", '"2"')
    listed = plane.call("GET", "/api/v1/budgets", "viewer").json()
    assert [item["id"] for item in listed["items"]] == ["daily", "from-file"]
    assert plane.call("DELETE", "/api/v1/budgets/daily", headers={"if-match": '"2"'}).status_code == 204
    assert plane.call("GET", "/api/v1/budgets/daily").json()["code"] == "not_found"


def test_put_creates_what_is_not_there(plane: Any) -> None:
    created = put(plane)
    assert (created.status_code, created.headers["etag"]) == (201, '"1"')
    assert plane.records.audit[-1].actor != "owner"


@pytest.mark.parametrize("tag", ['"1"', '"99"', "x", '"0"'])
def test_an_edit_of_what_has_changed_meanwhile_is_refused(plane: Any, tag: str) -> None:
    put(plane)
    put(plane)
    answer = put(plane, tag)
    assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")
    gone = plane.call("DELETE", "/api/v1/budgets/daily", headers={"if-match": tag})
    assert gone.status_code == 412


def test_if_match_of_any_needs_something_to_be_there(plane: Any) -> None:
    assert put(plane, "*").status_code == 412
    put(plane)
    assert put(plane, "*").status_code == 200
    only_new = plane.call("PUT", "/api/v1/budgets/daily", json=DAILY, headers={"if-none-match": "*"})
    assert only_new.status_code == 412


def test_an_id_that_is_taken_and_a_budget_of_the_file_are_conflicts(plane: Any) -> None:
    put(plane)
    assert plane.call("POST", "/api/v1/budgets", json=DAILY).json()["code"] == "already_exists"
    for method, body in (("PUT", {**DAILY, "id": "from-file"}), ("DELETE", None)):
        answer = plane.call(method, "/api/v1/budgets/from-file", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "read_only")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hard_limit": "-1"}, "hard_limit"),
        ({"hard_limit": 5.5}, "hard_limit"),
        ({"soft_limit": "6"}, "soft_limit"),
        ({"colour": "red"}, "colour"),
        ({"interval": "fortnight"}, "interval"),
        ({"timezone": "Europe/Prag"}, "timezone"),
        ({"scope": "model:gpt-5-nonsense"}, "scope"),
        ({"thresholds": [{"at": 0}]}, "thresholds[0].at"),
        ({"updated_by": "me"}, "updated_by"),
        ({"id": "other"}, "id"),
    ],
)
def test_a_wrong_value_names_its_field(plane: Any, change: dict[str, Any], field: str) -> None:
    answer = put(plane, **change)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["field"]) == (422, 422, field)
    assert {"type", "title", "detail", "code"} <= set(problem)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"a": NaN}', 400),
        (b'{"id": "a", "id": "b"}', 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b'{"id": "' + b"x" * (1024 * 1024) + b'"}', 413),
    ],
)
def test_a_body_that_is_no_small_json_object_is_refused(plane: Any, body: bytes, status: int) -> None:
    answer = plane.call("POST", "/api/v1/budgets", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_status_shows_the_accounts_of_open_windows_and_of_the_last(plane: Any) -> None:
    put(plane)
    today = AccountKey("daily", "cost_usd", "alice", DAY_START)
    yesterday = AccountKey("daily", "cost_usd", "alice", DAY_START - 1)
    plane.records.account_rows += [
        AccountStatus(today, DAY_END, Balance(0, 1_500_000_000, 0, 1_500_000_000), sliced=9),
        AccountStatus(yesterday, DAY_START, Balance(6_000_000_000, 0, 7, 0)),
    ]
    accounts = plane.call("GET", "/api/v1/budgets/daily/status", "viewer").json()["accounts"]
    live, ended = accounts
    assert (live["entity"], live["open"], live["held_usd"], live["held_nano_usd"]) == (
        "alice",
        True,
        "1.50",
        1_500_000_000,
    )
    assert (live["remaining_usd"], live["limit_usd"]) == ("3.50", "5.00")
    assert (live["sliced_nano_usd"], ended["sliced_nano_usd"]) == (9, 0)
    assert (live["window_start"], live["window_end"]) == ("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z")
    assert (ended["open"], ended["posted_usd"], ended["remaining_usd"]) == (False, "6.00", "-1.00")
    assert ended["shadow_posted_nano_usd"] == 7


def test_a_budget_of_one_entity_has_an_account_before_the_first_call(plane: Any) -> None:
    (account,) = plane.call("GET", "/api/v1/budgets/from-file/status").json()["accounts"]
    assert (account["entity"], account["posted"], account["remaining"]) == ("*", 0, 10)


def test_a_caller_sees_its_own_account_and_no_budget_of_others(plane: Any) -> None:
    put(plane)
    for entity in ("alice", "caller"):
        key = AccountKey("daily", "cost_usd", entity, DAY_START)
        plane.records.account_rows.append(AccountStatus(key, DAY_END, Balance(0, 0, 0, 0)))
    own = plane.call("GET", "/api/v1/budgets/daily/status", "caller").json()
    assert [account["entity"] for account in own["accounts"]] == ["caller"]
    put(plane, scope="principal:alice")
    for policy_id in ("daily", "from-file", "none"):
        assert plane.call("GET", f"/api/v1/budgets/{policy_id}/status", "caller").status_code == 404


def test_a_decision_of_another_principal_does_not_exist_for_a_caller(plane: Any) -> None:
    plane.records.stored |= {"req_1": served("req_1", "alice"), "req_2": refused("req_2", "caller")}
    assert plane.call("GET", "/api/v1/decisions/req_2", "caller").json()["error_code"] == "budget_exceeded"
    others = plane.call("GET", "/api/v1/decisions/req_1", "caller")
    missing = plane.call("GET", "/api/v1/decisions/req_9", "caller")
    assert (others.status_code, missing.status_code) == (404, 404)
    assert others.json() | {"detail": ""} == missing.json() | {"detail": ""}
    assert (
        plane.call("GET", "/api/v1/decisions/req_1", "viewer").json()["settlement"]["cost_nano_usd"] == 66_000
    )


def test_decisions_are_paged_newest_first_without_repeats(plane: Any) -> None:
    plane.records.stored |= {f"req_{n}": served(f"req_{n}") for n in range(1, 6)}
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = plane.call("GET", f"/api/v1/decisions?limit=2{cursor and '&cursor=' + cursor}").json()
        seen += [item["request_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ["req_5", "req_4", "req_3", "req_2", "req_1"]


def test_decisions_are_filtered(plane: Any) -> None:
    plane.records.stored |= {"req_1": served("req_1", "alice"), "req_2": refused("req_2", "bob")}

    def ids(query: str) -> list[str]:
        page = plane.call("GET", f"/api/v1/decisions?{query}").json()
        return [item["request_id"] for item in page["items"]]

    assert ids("principal=bob") == ["req_2"]
    assert ids("state=settled") == ["req_1"]
    assert ids("outcome=deny&agent=nightly") == ["req_2"]
    assert ids("until=2026-11-23T12:00:00Z") == []
    assert ids("since=2026-11-23T12:00:00Z") == ["req_2", "req_1"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("decisions?limit=0", "limit"),
        ("decisions?limit=201", "limit"),
        ("decisions?limit=x", "limit"),
        ("decisions?state=lost", "state"),
        ("decisions?since=yesterday", "since"),
        ("usage/summary?group_by=colour", "group_by"),
        ("usage/summary?until=2026-01-01", "until"),
        ("usage/summary?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
    ],
)
def test_a_wrong_parameter_is_named(plane: Any, path: str, field: str) -> None:
    answer = plane.call("GET", f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def totals(principal: str, model: str, cost: int) -> tuple[Instant, UsageTotals]:
    group = {"principal": principal, "model": model}
    return NOON, UsageTotals(group, 2, 1, 0, 0, 10, 20, 0, 0, 0, cost)


def test_usage_is_summed_and_grouped_the_dearest_first(plane: Any) -> None:
    plane.records.totals += [totals("alice", "m", 5), totals("bob", "m", 7), totals("caller", "m", 1)]
    summary = plane.call("GET", "/api/v1/usage/summary?group_by=principal").json()
    assert (summary["totals"]["cost_nano_usd"], summary["totals"]["requests"]) == (13, 6)
    assert [group["group"]["principal"] for group in summary["groups"]] == ["bob", "alice", "caller"]
    assert summary["since"] == "2026-10-24T12:00:00Z"
    assert plane.call("GET", "/api/v1/usage/summary").json()["groups"] == []


def test_a_caller_sums_only_its_own_usage(plane: Any) -> None:
    plane.records.totals += [totals("alice", "m", 5), totals("caller", "m", 1)]
    for query in ("", "?group_by=model", "?group_by=principal,model"):
        summary = plane.call("GET", f"/api/v1/usage/summary{query}", "caller").json()
        assert summary["totals"]["cost_nano_usd"] == 1
        assert "alice" not in json.dumps(summary)


def test_a_key_is_in_clear_once_and_stops_with_its_revocation(plane: Any) -> None:
    created = plane.call("POST", "/api/v1/keys", "admin", json={"principal": "bob", "roles": ["viewer"]})
    assert (created.status_code, created.headers["cache-control"]) == (201, "no-store")
    plane.keys["bob"] = created.json()["key"]
    assert plane.call("GET", "/api/v1/keys", "bob").status_code == 200
    key_id = created.json()["id"]
    assert plane.call("DELETE", f"/api/v1/keys/{key_id}", "admin").status_code == 204
    assert plane.call("GET", "/api/v1/keys", "bob").status_code == 401
    assert plane.call("DELETE", f"/api/v1/keys/{key_id}", "admin").status_code == 204


def test_a_client_that_lost_the_answer_makes_no_second_key(plane: Any) -> None:
    def make(token: str, principal: str = "bob") -> Any:
        headers = {"idempotency-key": token}
        return plane.call("POST", "/api/v1/keys", "admin", json={"principal": principal}, headers=headers)

    made, again, other = make("t-1"), make("t-1"), make("t-1", "carol")
    assert (made.status_code, again.status_code, other.status_code) == (201, 409, 422)
    assert again.json()["key_id"] == made.json()["id"]
    assert (again.json()["code"], other.json()["code"]) == ("already_exists", "idempotency_mismatch")
    assert made.json()["key"] not in again.text
    keys = plane.call("GET", "/api/v1/keys", "viewer").json()["items"]
    assert [each["principal"] for each in keys if each["principal"] in ("bob", "carol")] == ["bob"]


@pytest.mark.parametrize("tokens", [[""], ["k" * 257], ["a", "b"], ["\xe9"]])
def test_an_idempotency_key_that_cannot_be_accepted_is_named(plane: Any, tokens: list[str]) -> None:
    headers = [("authorization", f"Bearer {plane.keys['admin']}".encode())]
    headers += [("idempotency-key", each.encode("latin-1")) for each in tokens]
    answer = plane.client.post("/api/v1/keys", json={"principal": "bob"}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


def test_an_admin_cannot_make_or_revoke_an_owner(plane: Any) -> None:
    answer = plane.call("POST", "/api/v1/keys", "admin", json={"principal": "x", "roles": ["owner"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "roles")
    (owner,) = [key for key in plane.call("GET", "/api/v1/keys").json()["items"] if key["roles"] == ["owner"]]
    assert plane.call("DELETE", f"/api/v1/keys/{owner['id']}", "admin").status_code == 403
    assert plane.call("DELETE", f"/api/v1/keys/{owner['id']}", "owner").json()["code"] == "read_only"


def test_no_answer_ever_holds_a_key_or_its_hash(plane: Any) -> None:
    put(plane)
    plane.records.stored["req_1"] = served()
    paths = (
        "keys",
        "budgets",
        "budgets/daily",
        "decisions",
        "decisions/req_1",
        "prices",
        "models",
        "openapi.json",
    )
    text = "".join(plane.call("GET", f"/api/v1/{path}").text for path in paths)
    text += plane.call("GET", "/metrics").text + repr(plane.records.audit)
    for clear in plane.keys.values():
        assert clear not in text
        assert hash_key(clear) not in text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8484", "", "[::2]:8484"])
def test_a_foreign_host_is_refused_before_anything_else(plane: Any, host: str) -> None:
    answer = plane.call("GET", "/healthz", None, headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8484", "localhost."])
def test_an_allowed_host_is_served_on_any_port(plane: Any, host: str) -> None:
    assert plane.call("GET", "/healthz", None, headers={"host": host}).status_code == 200


def test_ready_says_why_it_is_not(plane: Any) -> None:
    assert plane.call("GET", "/readyz", None).json() == {"status": "ready"}
    plane.health.append(Health(writable=False, reason="The disk is full."))
    answer = plane.call("GET", "/readyz", None)
    assert (answer.status_code, answer.json()["detail"]) == (503, "The disk is full.")
    assert answer.headers["retry-after"]


def test_a_write_that_is_not_durable_is_503_and_not_in_force(plane: Any) -> None:
    plane.records.fail = True
    assert put(plane).status_code == 503
    plane.records.fail = False
    assert plane.call("GET", "/api/v1/budgets/daily").status_code == 404


def test_metrics_are_prometheus_text(plane: Any) -> None:
    answer = plane.call("GET", "/metrics", "viewer")
    assert 'palyra_calls_total{outcome="admit"} 3.0' in answer.text


def test_unknown_paths_and_methods_are_problems_too(plane: Any) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("PATCH", "/api/v1/keys", 405, "method_not_allowed"),
    ):
        answer = plane.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_description_is_openapi_3_1_and_names_the_role_of_each_route(plane: Any) -> None:
    document = plane.call("GET", "/api/v1/openapi.json", None).json()
    assert document["openapi"].startswith("3.1")
    operations = [
        (path, operation) for path, item in document["paths"].items() for operation in item.values()
    ]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, operation in operations:
        public = path in ("/healthz", "/readyz", "/api/v1/openapi.json")
        public = public or operation["operationId"] in ("sign_in", "sign_out")
        assert ("x-palyra-role" in operation) != public, path
    assert "PolicyShown" in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("?principle=alice", "principle", "Did you mean 'principal'?"),
        ("?agent=a&agent=b", "agent", "twice"),
        ("?session=a%00b", "session", "NUL"),
        ("?session=" + "s" * 4_097, "session", "4096"),
        ("?since=2263-01-01T00:00:00Z", "since", "out of range"),
        ("?until=1969-12-31T00:00:00Z", "until", "out of range"),
    ],
)
def test_a_parameter_that_no_route_can_use_is_named(plane: Any, query: str, field: str, words: str) -> None:
    answer = plane.call("GET", f"/api/v1/decisions{query}", "viewer")
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, field)
    assert words in problem["detail"]


def test_a_route_without_parameters_takes_none(plane: Any) -> None:
    answer = plane.call("GET", "/api/v1/budgets?page=2", "viewer")
    assert (answer.status_code, answer.json()["field"]) == (422, "page")


def test_a_path_can_hold_no_nul(plane: Any) -> None:
    answer = plane.call("GET", "/api/v1/decisions/req%00", "viewer")
    assert (answer.status_code, answer.json()["field"]) == (422, "request_id")


def test_probes_take_whatever_a_balancer_adds(plane: Any) -> None:
    assert plane.call("GET", "/healthz?nocache=1", None).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "\\ud800"}',
        b'{"id": "x", "\\uDfff": 1}',
        b'{"id": "x", "thresholds": [{"then": ["\\ud83d"]}]}',
        b'{"id": "\xff"}',
        b'{"id": "\xed\xa0\x80"}',
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_half_of_a_character_is_refused_and_not_sent_back(plane: Any, body: bytes) -> None:
    answer = plane.call("POST", "/api/v1/budgets", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request_error")


def test_a_whole_character_may_be_written_as_two_halves(plane: Any) -> None:
    body = b'{"principal": "a\\ud83d\\ude00"}'
    assert plane.call("POST", "/api/v1/keys", content=body).json()["principal"] == "a\U0001f600"


def test_a_wrong_method_is_told_which_there_are(plane: Any) -> None:
    answer = plane.call("PATCH", "/api/v1/budgets/from-file")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PUT")
    assert plane.call("DELETE", "/api/v1/keys").headers["allow"] == "GET, POST"


def test_a_refusal_of_a_foreign_host_is_marked_as_all_answers_are(plane: Any) -> None:
    answer = plane.call("GET", "/healthz", None, headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (421, "nosniff")


def test_the_description_says_of_each_route_which_statuses_it_has(plane: Any) -> None:
    document = plane.call("GET", "/api/v1/openapi.json", None).json()
    put = document["paths"]["/api/v1/budgets/{policy_id}"]["put"]
    statuses = {"200", "201", "400", "401", "403", "404", "409", "412", "413", "421", "422", "503"}
    assert set(put["responses"]) == statuses
    assert put["responses"]["200"]["headers"]["ETag"]["required"] is True
    assert set(document["paths"]["/healthz"]["get"]["responses"]) == {"200", "421"}
    for item in document["paths"].values():
        for operation in item.values():
            assert "default" not in operation["responses"]


def test_the_description_has_every_shape_that_it_points_to(plane: Any) -> None:
    text = plane.call("GET", "/api/v1/openapi.json", None).text
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named
    assert named <= json.loads(text)["components"]["schemas"].keys()


def test_the_description_of_a_parameter_has_its_bounds(plane: Any) -> None:
    document = plane.call("GET", "/api/v1/openapi.json", None).json()
    parameters = document["paths"]["/api/v1/decisions"]["get"]["parameters"]
    schemas = {each["name"]: each["schema"] for each in parameters}
    assert schemas["session"]["maxLength"] == 4_096
    assert schemas["state"]["enum"] == ["pending", "settled", "released", "in_doubt", "denied"]
    assert (schemas["limit"]["minimum"], schemas["limit"]["maximum"]) == (1, 200)
