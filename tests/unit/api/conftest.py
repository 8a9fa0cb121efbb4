"""A control plane on fakes, and one key per role."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from fakes.plane import plane_deps, plane_rules
from fakes.records import FakeClock, FakeLedger, FakeRecords
from palyra.api.app import create_api
from palyra.api.deps import ApiDeps, Health, Sample
from palyra.budgets.policy import Known, PolicyDefaults, parse_policy
from palyra.identity.keys import Grant, Role

FILE_POLICY: dict[str, object] = {
    "id": "from-file",
    "scope": "global",
    "metric": "requests",
    "interval": "day",
    "hard_limit": 10,
}


@dataclass
class Plane:
    """The control plane under test. ``keys``: role -> key in clear, of the principal of the same name."""

    deps: ApiDeps
    records: FakeRecords
    ledger: FakeLedger
    clock: FakeClock
    health: list[Health]
    keys: dict[str, str] = field(default_factory=dict[str, str])
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = TestClient(create_api(self.deps), base_url="http://127.0.0.1:8484")

    def call(self, method: str, path: str, role: str | None = "owner", **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys[role]}"} if role else {}
        return self.client.request(method, path, headers=headers | more.pop("headers", {}), **more)


@pytest.fixture
def plane() -> Iterator[Plane]:
    records, clock = FakeRecords(), FakeClock()
    policy = parse_policy(FILE_POLICY, defaults=PolicyDefaults(), version=1, actor="config", origin="file")
    rules = plane_rules(records, clock, (policy,), lambda: Known(models=frozenset({"gpt-4o-mini"})))
    health = [Health(writable=True)]
    ledger = FakeLedger()
    deps = replace(
        plane_deps(rules, records, clock),
        ledger=ledger,
        prices=lambda: {"version": "b1", "items": [{"model": "gpt-4o-mini"}]},
        health=lambda: health[-1],
        samples=lambda: [Sample("palyra_calls", "counter", "Calls.", {"outcome": "admit"}, 3)],
    )
    with asyncio.Runner() as runner:
        made = Plane(deps, records, ledger, clock, health)
        made.keys["owner"] = runner.run(rules.ensure_owner_key(None)) or ""
        owner = rules.snapshot.subject(made.keys["owner"])
        assert owner is not None
        for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER, Role.CALLER):
            draft = Grant(role.value, roles=frozenset({role}))
            made.keys[role.value] = runner.run(rules.create_key(draft, issuer=owner))[1]
        with made.client:
            yield made
