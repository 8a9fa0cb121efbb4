"""``palyra models`` in this process: against a control plane with a desk of fixed documents, or a file."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from fakes.plane import plane_deps, plane_rules
from fakes.records import FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.cli.app import app
from palyra.cli.client import Connector
from palyra.core.errors import PalyraError

SECRET = "sk-provider-secret-0123456789"


@dataclass
class FixedDesk:
    """A desk that says what it was given, and keeps what it was asked. ``fails``: what explain raises."""

    documents: dict[str, dict[str, Any]]
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    fails: PalyraError | None = None

    def status(self) -> Mapping[str, object]:
        return self.documents["status"]

    def listing(self) -> Mapping[str, object]:
        return self.documents["list"]

    async def explain(self, document: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append(dict(document))
        if self.fails is not None:
            raise self.fails
        return self.documents["explain"]

    async def test(
        self, provider_id: str | None, timeout_s: float, *, refresh: bool, discover: bool = False
    ) -> Mapping[str, object]:
        asked = {"provider": provider_id, "timeout_s": timeout_s, "refresh": refresh, "discover": discover}
        self.asked.append(asked)
        return self.documents["test"]

    async def generate(self, provider_id: str | None, clear_key: str) -> Sequence[Mapping[str, object]]:
        del clear_key
        return [dict(each) for each in self.documents["generated"]["items"]]


class Loopback(Connector):
    """Reaches the application in this process; ``broken`` stands for a daemon that is not there."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.broken = False
        self.opened: list[str] = []

    def open(self, url: str) -> httpx2.Client:
        self.opened.append(url)
        if self.broken:
            raise httpx2.ConnectError("Connection refused")
        return TestClient(self.application, base_url=url)


@dataclass
class ModelsShell:
    """Runs ``palyra models …`` with the owner's key in the environment, unless ``key`` is another."""

    desk: FixedDesk
    connector: Loopback
    owner_key: str
    records: FakeRecords

    def run(
        self,
        *words: str,
        key: str | None = None,
        stdin: str | None = None,
        group: tuple[str, ...] = ("models",),
        **environment: str,
    ) -> Result:
        env: dict[str, str | None] = {
            "PALYRA_KEY": self.owner_key if key is None else key or None,
            "PALYRA_OWNER_KEY": None,
            "PALYRA_URL": None,
            "PALYRA_CONFIG": None,
            "COLUMNS": "200",
        }
        line = [*group, *words]
        result = CliRunner().invoke(
            app, line, obj=self.connector, env=env | environment, input=stdin, terminal_width=200
        )
        assert SECRET not in result.output, "no credential is ever shown"
        assert not isinstance(result.exception, AssertionError), result.exception
        return result

    def json(self, *words: str, code: int = 0, **more: Any) -> Any:
        result = self.run(*words, "--json", **more)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def text(self, *words: str, code: int = 0, **more: Any) -> str:
        """Stdout without the blanks that a table leaves at the end of its lines."""
        result = self.run(*words, **more)
        assert result.exit_code == code, result.output
        return "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"


def models_shell(documents: dict[str, dict[str, Any]]) -> ModelsShell:
    """A shell, with a control plane behind it whose desk says ``documents``."""
    records, clock, desk = FakeRecords(), FakeClock(), FixedDesk(documents)
    rules = plane_rules(records, clock)
    with asyncio.Runner() as runner:
        clear = runner.run(rules.ensure_owner_key(None))
    deps = plane_deps(rules, records, clock, desk)
    return ModelsShell(desk, Loopback(create_api(deps)), clear or "", records)


def without_daemon(folder: Path, config: str) -> ModelsShell:
    """A shell in front of no daemon, with ``config`` as the ``palyra.toml`` of ``folder``."""
    (folder / "palyra.toml").write_text(config)
    shell = models_shell({})
    shell.connector.broken = True
    return shell
