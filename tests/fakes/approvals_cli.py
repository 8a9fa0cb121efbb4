"""``palyra approvals`` in this process, against a control plane on fakes with budgets that ask."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner, Result

from fakes.asks import stopped_call
from fakes.models_cli import Loopback
from fakes.plane import plane_deps, plane_rules
from fakes.records import FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.api.deps import ApiDeps
from palyra.approvals.approval import Approval
from palyra.cli.app import app
from palyra.cli.client import Client
from palyra.identity.keys import Grant, Role

URL = "http://localhost:1"
TOKENS: dict[str, object] = {
    "id": "tokens",
    "scope": "principal:*",
    "metric": "total_tokens",
    "interval": "day",
    "hard_limit": 100,
    "action": "approval_required",
}
MONEY = TOKENS | {"id": "money", "scope": "global", "metric": "cost_usd", "hard_limit": "5.00"}
CALLS = TOKENS | {"id": "calls", "scope": "global", "metric": "requests", "hard_limit": 10}


@dataclass
class ApprovalsShell:
    """Runs command lines with the key of a role; ``keys``: role -> key, of the principal of that name."""

    deps: ApiDeps
    records: FakeRecords
    clock: FakeClock
    connector: Loopback
    keys: dict[str, str]

    def run(self, *words: str, role: str = "operator", **environment: str) -> Result:
        env = {"PALYRA_KEY": self.keys[role], "PALYRA_URL": URL, "COLUMNS": "200"} | environment
        return CliRunner().invoke(app, list(words), obj=self.connector, env=env, terminal_width=200)

    def text(self, *words: str, role: str = "operator") -> str:
        """Stdout without the blanks that a table leaves at the end of its lines."""
        result = self.run(*words, role=role)
        assert result.exit_code == 0, result.output
        return "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"

    def json(self, *words: str, role: str = "operator") -> Any:
        result = self.run(*words, "--json", role=role)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def client(self, role: str = "operator") -> Client:
        """The control plane as commands speak to it."""
        return Client(self.connector, URL, self.keys[role])

    def stop_call(self, policy_id: str = "tokens", requester: str = "alice", **fields: object) -> Approval:
        """A call was stopped and asks."""
        entity = requester if policy_id == "tokens" else "*"
        draft = stopped_call(self.deps, policy_id, requester, entity, **fields)
        return asyncio.run(self.deps.approvals.request(draft))


def approvals_shell() -> ApprovalsShell:
    """A shell; alice is a caller."""
    records, clock = FakeRecords(), FakeClock()
    rules = plane_rules(records, clock)
    keys: dict[str, str] = {}
    with asyncio.Runner() as runner:
        keys["owner"] = runner.run(rules.ensure_owner_key(None)) or ""
        owner = rules.snapshot.subject(keys["owner"])
        assert owner is not None
        for principal, role in (("operator", Role.OPERATOR), ("viewer", Role.VIEWER), ("alice", Role.CALLER)):
            grant = Grant(principal, roles=frozenset({role}))
            keys[principal] = runner.run(rules.create_key(grant, issuer=owner))[1]
        for policy in (TOKENS, MONEY, CALLS):
            runner.run(rules.set_policy(policy, actor="owner", expected_version=0))
    deps = plane_deps(rules, records, clock)
    return ApprovalsShell(deps, records, clock, Loopback(create_api(deps)), keys)
