"""The real daemon in a process of its own: started on a free port, killed, restarted on the same database."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar, cast

import httpx2

from harness import nursery, toml_text
from harness.new_file import give_file
from harness.postgres import new_database

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.02
STUB_CREDENTIAL = "stub-credential-0123456789"
FILE_URL = "sqlite:///palyra.db"
SCRUBBED = (
    "PALYRA_",
    "OPENAI_",
    "ANTHROPIC_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
)

T = TypeVar("T")
_databases: list[Callable[[], str]] = []
Config = Mapping[str, object]
Entries = Sequence[Mapping[str, object]]


def unaware() -> dict[str, str]:
    """The environment without what would tell ``palyra`` of a daemon, a key or a provider."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}


def model(model_id: str, provider: str = "stub", **fields: object) -> dict[str, object]:
    """A ``[[models]]`` entry: 1.00 USD per million tokens in, 2.00 out, at most 4096 tokens out."""
    price = {"input": "1.00", "output": "2.00"}
    entry: dict[str, object] = {"id": model_id, "provider": provider, "output_limit": 4096, "price": price}
    return entry | fields


def choose_database(*, postgres: bool) -> None:
    """What ``config`` names as the database: a new one on PostgreSQL, or a file in the daemon's folder."""
    _databases.append(new_database if postgres else lambda: FILE_URL)


def config(
    upstream: str,
    *,
    budgets: Entries = (),
    models: Entries | None = None,
    providers: Entries | None = None,
    **tables: Mapping[str, object] | Entries,
) -> dict[str, object]:
    """The config of most tests: a stub of both kinds at ``upstream`` and three priced models.

    ``tables`` are merged over ``server``, ``governance`` and so on, e.g. ``governance={"mode": "dry_run"}``;
    lists (``keys``, ``prices``) become arrays of tables.
    """
    stub = {"base_url": f"{upstream}/v1", "credential": "env:STUB_CREDENTIAL"}
    document: dict[str, object] = {
        "server": {"host": "127.0.0.1", "port": 0, "database": _databases[-1]()},
        "governance": {"mode": "enforced", "timezone": "UTC"},
        "scale": {"lease_s": 1.0},
        "routing": {"retry_base_s": 0.01},
    }
    for name, table in tables.items():
        if isinstance(table, Mapping):
            document[name] = {**cast("Mapping[str, object]", document.get(name, {})), **table}
        else:
            document[name] = list(table)
    document["providers"] = list(
        providers
        if providers is not None
        else (
            {"id": "stub", "kind": "openai_compatible", **stub},
            {"id": "stub-anthropic", "kind": "anthropic", **stub},
        )
    )
    document["models"] = list(
        models
        if models is not None
        else (
            model("stub-model"),
            model("stub-embed", price={"input": "0.50"}, output_limit=None, role="embeddings"),
            model("stub-claude", "stub-anthropic"),
        )
    )
    document["budgets"] = list(budgets)
    return document


def budget(budget_id: str, hard_limit: str | int, **fields: object) -> dict[str, object]:
    """A ``[[budgets]]`` entry: a global daily money budget that blocks, unless ``fields`` say otherwise."""
    entry: dict[str, object] = {
        "id": budget_id,
        "scope": "global",
        "metric": "cost_usd",
        "interval": "day",
        "hard_limit": hard_limit,
        "action": "block",
    }
    return entry | fields


@dataclass(slots=True)
class Api:
    """The control plane, spoken to with one key."""

    url: str
    key: str

    def request(self, method: str, path: str, body: object = None, **params: str) -> httpx2.Response:
        """One request below ``/api/v1``; whatever comes back."""
        return httpx2.request(
            method,
            f"{self.url}/api/v1{path}",
            json=body,
            params=params or None,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=30.0,
        )

    def get(self, path: str, **params: str) -> dict[str, object]:
        """A document. AssertionError, with the answer, unless it is 200."""
        return self._document(self.request("GET", path, **params))

    def post(self, path: str, body: object) -> dict[str, object]:
        """Create something. AssertionError, with the answer, unless it is 2xx."""
        return self._document(self.request("POST", path, body))

    def decision(self, request_id: str) -> dict[str, object]:
        """A decision by request id."""
        return self.get(f"/decisions/{request_id}")

    def settled(self, request_id: str, deadline_s: float = 10.0) -> dict[str, object]:
        """A decision once it is over. AssertionError if it is still pending after ``deadline_s``."""
        return poll(
            lambda: self.decision(request_id),
            lambda document: document["state"] != "pending",
            deadline_s,
            f"the end of {request_id}",
        )

    def accounts(self, policy_id: str) -> list[dict[str, object]]:
        """The accounts of a policy."""
        return cast("list[dict[str, object]]", self.get(f"/budgets/{policy_id}/status")["accounts"])

    @staticmethod
    def _document(answer: httpx2.Response) -> dict[str, object]:
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return cast("dict[str, object]", answer.json())


def poll(look: Callable[[], T], wanted: Callable[[T], bool], deadline_s: float, what: str) -> T:
    """Look until it is as wanted. AssertionError with the last look after ``deadline_s`` seconds."""
    end = time.monotonic() + deadline_s
    while not wanted(seen := look()):
        assert time.monotonic() < end, f"{what} did not come in {deadline_s} s; last seen: {seen}"
        time.sleep(POLL_S)
    return seen


async def eventually(condition: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Wait for ``condition`` while the test's loop runs on. AssertionError after ``deadline_s`` seconds."""
    await asyncio.to_thread(poll, condition, bool, deadline_s, what)


@dataclass(slots=True)
class DaemonProcess:
    """``palyra serve`` with a config in ``directory``. ``start`` it; ``close`` ends whatever runs.

    ``settings`` None starts it without ``--config``: it takes what it finds in ``directory`` or in the
    environment.
    """

    directory: Path
    settings: Config | str | None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    url: str = ""
    owner_key: str = ""
    process: nursery.Process | None = None
    starts: int = 0
    loads: bool = False
    """Whether it loads all of its code at each start as it does for users: where starts are timed."""
    port: int = 0
    """Where it listens from the next start on; 0 is a free one."""

    @property
    def config_path(self) -> Path:
        """The file it was started with."""
        return self.directory / "palyra.toml"

    @property
    def database(self) -> Path:
        """The SQLite file of the default config."""
        return self.directory / "palyra.db"

    @property
    def api(self) -> Api:
        """The control plane with the owner key."""
        return Api(self.url, self.owner_key)

    @property
    def log(self) -> str:
        """Everything the daemon has written to stderr, over all starts."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.directory.glob("daemon-*.stderr"))
        )

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start and wait for the line with its address; AssertionError with its stderr if none comes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        chosen: list[str] = []
        if self.settings is not None:
            text = self.settings if isinstance(self.settings, str) else toml_text.dump(self.settings)
            self.config_path.write_text(text)
            self._give_new_file()
            chosen = ["--config", str(self.config_path)]
        self.starts += 1
        out = self.directory / f"daemon-{self.starts}.stdout"
        errors = self.directory / f"daemon-{self.starts}.stderr"
        words = ["serve", *chosen, "--port", str(self.port), "--json"]
        fork = isinstance(self.settings, Mapping) and not self.loads
        with out.open("wb") as out_file, errors.open("wb") as error_file:
            self.process = nursery.start(
                words, self.directory, self._environment(), out_file, error_file, fork=fork
            )
        self._await_announcement(self.process, out, errors)
        return self

    def _give_new_file(self) -> None:
        """Who starts with a text, or with nothing, starts without a file, too: as a user's first start is."""
        if isinstance(self.settings, Mapping):
            server = cast("Mapping[str, object]", self.settings["server"])
            if server["database"] == FILE_URL:
                give_file(self.database)

    def _environment(self) -> dict[str, str]:
        return unaware() | {"STUB_CREDENTIAL": STUB_CREDENTIAL} | dict(self.environment)

    def _await_announcement(self, process: nursery.Process, out: Path, errors: Path) -> None:
        end = time.monotonic() + START_S
        while b"\n" not in (line := out.read_bytes()):
            told = (
                ""
                if process.poll() is None and time.monotonic() < end
                else errors.read_text(errors="replace")
            )
            assert process.poll() is None, f"the daemon ended with {process.returncode}:\n{told}"
            assert time.monotonic() < end, f"the daemon is silent after {START_S} s:\n{told}"
            time.sleep(POLL_S)
        announced = json.loads(line.partition(b"\n")[0])
        self.url = announced["url"]
        self.owner_key = announced.get("owner_key") or self.owner_key

    def create_key(self, principal: str = "alice", **fields: object) -> str:
        """A new key in clear. ``fields``: agent, roles, models, tags."""
        created = self.api.post("/keys", {"principal": principal, "roles": ["caller"], **fields})
        return cast("str", created["key"])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon, e.g. SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill9(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def terminate(self) -> int:
        """Ask it to end and wait; returns its exit code. Killed and AssertionError after 20 s."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f"the daemon did not end in {STOP_S} s:\n{self.log}") from None

    def restart(self) -> Self:
        """Start again on the same directory and database; the owner key stays the same."""
        if self.is_running:
            self.terminate()
        return self.start()

    def close(self) -> None:
        """End it if it runs."""
        if self.process is not None and self.is_running:
            self.process.send_signal(signal.SIGCONT)
            self.terminate()
