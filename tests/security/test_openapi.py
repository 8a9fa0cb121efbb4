"""The control plane does what its own document says, whoever asks and whatever is sent.

No answer is a 5xx, every status is declared for its route, every body has the declared media type and shape,
what breaks the declared shape of a request is refused, and every refusal is a problem (RFC 9457).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.specs.openapi import checks as openapi_checks

from harness.daemon import DaemonProcess, budget, config, poll
from harness.stub import Stub
from harness.talk import ask, chat, request_id
from harness.tenant import SharedDaemons
from harness.typed import misfits

KIT: Any = schemathesis
KIT_CHECKS: Any = openapi_checks
Operation = Any
Case = Any
"""The kit is typed in parts only."""
CHECKS: list[Any] = [
    KIT_CHECKS.status_code_conformance,
    KIT_CHECKS.content_type_conformance,
    KIT_CHECKS.response_headers_conformance,
    KIT_CHECKS.response_schema_conformance,
    KIT_CHECKS.unsupported_method,
    KIT_CHECKS.negative_data_rejection,
]
PROBLEM = "application/problem+json"
REFUSALS = ("400", "401", "403", "404", "405", "409", "412", "413", "422", "429")
"""412: a version that cannot be is looked at before the body is."""
POLICY: Mapping[str, object] = {"scope": "global", "metric": "requests", "interval": "day", "hard_limit": 10}
BODIES: Mapping[str, Mapping[str, object]] = {
    "create_budget": {"id": "another", **POLICY},
    "put_budget": POLICY,
    "validate_budget": {"id": "tried", **POLICY},
    "simulate_budgets": {"policies": [{"id": "tried", **POLICY}]},
    "request_override": {"amount": 5, "reason": "month end"},
    "decide_approval": {"decision": "allow", "grant": "amount", "amount_usd": "1.00"},
    "revoke_approval": {"reason": "no longer needed"},
    "create_key": {"principal": "carol", "roles": ["viewer"], "tags": {"team": "core"}},
    "explain_call": {"prompt": "hi", "model": "stub-model"},
    "test_connection": {"generate": True},
    "acknowledge_alert": {"note": "seen"},
    "test_messages": {"target": "nobody"},
}
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@dataclass(frozen=True, slots=True)
class World:
    """A daemon with something of everything. ``ids``: what the parameters of paths can name, by name."""

    daemon: DaemonProcess
    keys: Mapping[str, str]
    ids: Mapping[str, str]
    document: dict[str, Any]

    def operations(self) -> list[Operation]:
        """Every route, in the order of the document, but for the one whose answer does not end by itself."""
        found = [each.ok() for each in schema_of(self.document).get_all_operations()]
        return [each for each in found if name_of(each) != "stream_events"]

    def misfits(self, operation: Operation, answer: Any) -> list[str]:
        """Where a good answer differs from its shape: no member is missing, and none is made up."""
        content = operation.definition.raw["responses"][str(answer.status_code)].get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return (
            [] if schema is None else misfits(answer.json(), schema, self.document["components"]["schemas"])
        )


def schema_of(document: dict[str, Any]) -> Any:
    checks = {"negative_data_rejection": {"expected-statuses": list(REFUSALS)}}
    return KIT.openapi.from_dict(document, config=KIT.Config.from_dict({"checks": checks, "warnings": False}))


@pytest.fixture(scope="module")
def world(
    module_daemons: SharedDaemons, module_stub: Stub, tmp_path_factory: pytest.TempPathFactory
) -> World:
    budgets = [
        budget("wide", "5.00", scope="principal:*"),
        budget("asks", "0.000001", scope="principal:bob", action="approval_required"),
    ]
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text("a-secret-of-enough-bytes")
    # Nothing listens there: a message stays on its way.
    nobody = {"id": "nobody", "webhook": "http://127.0.0.1:1/", "secret": f"file:{secret}"}
    notify = [nobody | {"allow_private": True}]
    daemon = module_daemons(config(module_stub.url, budgets=budgets, notify=notify))
    api = daemon.api
    keys = {role: daemon.create_key(role, roles=[role]) for role in ("viewer", "operator", "admin")}
    keys |= {"owner": daemon.owner_key, "caller": daemon.create_key("alice"), "bob": daemon.create_key("bob")}
    spare = api.post("/keys", {"principal": "spare"})
    api.post("/budgets", budget("made", "7.00", thresholds=[{"at": 0.5}]))
    called = [ask(daemon, keys["caller"], chat()) for _ in range(3)]
    assert ask(daemon, keys["bob"], chat()).status == 402
    labelled = ask(daemon, daemon.owner_key, chat(), headers={"x-palyra-session": "run"})
    for each in (called[-1], labelled):
        api.settled(request_id(each))
    approvals: Any = api.get("/approvals")["items"]
    notices: Any = poll(lambda: api.get("/alerts/notices")["items"], bool, 10.0, "a message")
    ids = {
        "policy_id": "made",
        "approval_id": str(approvals[0]["id"]),
        "request_id": request_id(called[0]),
        "key_id": str(spare["id"]),
        "session": "run",
        "alert_id": str(notices[0]["alert_id"]),
        "notice_id": str(notices[0]["id"]),
    }
    return World(daemon, keys, ids, api.get("/openapi.json"))


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A client that is only what it is told to be: no proxy and no password from its environment."""
    with requests.Session() as made:
        made.trust_env = False
        yield made


def drive(world: World, role: str, case: Case, session: requests.Session) -> int:
    """Send one case with the key of ``role`` (``none``: without one) and hold the answer to the document."""
    headers = {} if role == "none" else {"Authorization": f"Bearer {world.keys[role]}"}
    answer = case.call(base_url=world.daemon.url, session=session, headers=headers)

    def told() -> object:
        return answer.status_code, answer.text, case.as_curl_command()

    assert answer.status_code < 500, told()
    case.validate_response(answer, checks=CHECKS, headers=headers)
    assert answer.headers["x-content-type-options"] == ["nosniff"], told()
    if answer.status_code >= 400 and case.method != "HEAD":
        problem = answer.json()
        assert answer.headers["content-type"] == [PROBLEM], told()
        assert problem["status"] == answer.status_code, told()
        assert problem["type"] == f"urn:palyra:problem:{problem['code']}", told()
    elif answer.headers.get("content-type") == ["application/json"] and case.method != "HEAD":
        assert world.misfits(case.operation, answer) == [], told()
    return answer.status_code


@pytest.mark.parametrize("role", ["owner"])
def test_the_edges_of_every_parameter_and_body(role: str, world: World, session: requests.Session) -> None:
    sent = 0
    for operation in world.operations():
        schema = operation.schema
        for case in schema.iter_coverage_cases(
            operation, generation_modes=list(MODES), generation_config=schema.config.generation
        ):
            drive(world, role, case, session)
            sent += 1
    assert sent > 1_000


def test_a_good_request_of_every_route(world: World, session: requests.Session) -> None:
    """In an order in which each finds what it needs: a grant is made before it is taken back."""
    last = ("revoke_approval", "delete_budget", "revoke_key")
    ordered = sorted(world.operations(), key=lambda each: name_of(each) in last)
    for operation in ordered:
        case = case_of(world, operation, {})
        assert drive(world, "owner", case, session) < 300, operation.label


@pytest.mark.parametrize(
    ("name", "status", "role", "changes"),
    [
        ("create_budget", 409, "owner", {"body": {"id": "wide", **POLICY}}),
        ("put_budget", 201, "owner", {"path_parameters": {"policy_id": "a-new-one"}, "body": POLICY}),
        ("put_budget", 409, "owner", {"path_parameters": {"policy_id": "wide"}, "body": POLICY}),
        (
            "put_budget",
            412,
            "owner",
            {"path_parameters": {"policy_id": "none"}, "headers": {"If-Match": "7"}},
        ),
        ("put_budget", 403, "viewer", {}),
        ("get_budget", 404, "owner", {"path_parameters": {"policy_id": "no-such"}}),
        ("get_decision", 404, "bob", {}),
        ("delete_budget", 409, "owner", {"path_parameters": {"policy_id": "wide"}}),
        ("decide_approval", 403, "bob", {}),
        ("decide_approval", 400, "owner", {"body": b"{"}),
        ("decide_approval", 413, "owner", {"body": b" " * (1024 * 1024 + 1)}),
        ("revoke_approval", 401, "none", {}),
        ("explain_call", 404, "caller", {"body": {"prompt": "hi", "model": "no-such-model"}}),
        ("test_connection", 404, "owner", {"body": {"provider": "nobody"}}),
        ("sign_in", 401, "none", {"body": {"key": "sk-palyra-wrong"}}),
        ("sign_in", 403, "none", {"headers": {"Origin": "https://evil.example"}}),
        (
            "sign_out",
            403,
            "none",
            {"headers": {"Cookie": "palyra_session=x", "Sec-Fetch-Site": "cross-site"}},
        ),
        ("list_keys", 403, "none", {"headers": {"Cookie": "palyra_session=x", "Origin": "null"}}),
        ("list_decisions", 422, "owner", {"query": {"limit": 0}}),
    ],
)
def test_each_kind_of_answer_is_declared(
    name: str, status: int, role: str, changes: Mapping[str, Any], world: World, session: requests.Session
) -> None:
    (operation,) = (each for each in world.operations() if name_of(each) == name)
    assert drive(world, role, case_of(world, operation, changes), session) == status


def test_the_stream_of_events_is_declared(world: World) -> None:
    operation = world.document["paths"]["/api/v1/events"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert set(operation["responses"]) == {"200", "401", "403", "421", "422", "503"}
    assert "Retry-After" in operation["responses"]["503"]["headers"]


@pytest.mark.parametrize(("role", "count"), [("owner", 4), ("viewer", 2), ("caller", 2), ("none", 1)])
def test_good_and_bad_requests_of_every_route(
    role: str, count: int, world: World, session: requests.Session
) -> None:
    fuzz(world, role, count, session)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ["owner", "admin", "operator", "viewer", "caller", "bob", "none"])
def test_many_requests_of_every_route(role: str, world: World, session: requests.Session) -> None:
    fuzz(world, role, 100, session)


def case_of(world: World, operation: Operation, changes: Mapping[str, Any]) -> Case:
    """A good request, but for ``changes``."""
    name = name_of(operation)
    parts = {
        "path_parameters": {each.name: world.ids[each.name] for each in operation.path_parameters},
        "body": {"key": world.keys["viewer"]} if name == "sign_in" else BODIES.get(name, NOT_SET),
        "media_type": "application/json" if name == "sign_in" or name in BODIES else None,
    }
    return operation.Case(**{**parts, **changes})


def name_of(operation: Operation) -> str:
    return str(operation.definition.raw["operationId"])


def fuzz(world: World, role: str, count: int, session: requests.Session) -> None:
    """Send ``count`` good and ``count`` bad requests to every route, the same on each run."""
    bounded = settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
    )
    for operation in world.operations():
        known = {each.name: world.ids[each.name] for each in operation.path_parameters}
        for mode in MODES:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=known)

            @bounded
            @given(strategy)
            def one(case: Case) -> None:
                drive(world, role, case, session)

            one()
