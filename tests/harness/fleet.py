"""Several gateways on one PostgreSQL ledger, each a daemon in a process of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import httpx2

from harness.daemon import Api, Config, DaemonProcess, poll

RULES_S = 20.0


@dataclass(slots=True)
class Fleet:
    """``start(n)`` starts n gateways; the first one makes the owner key, which all of them know."""

    directory: Path
    settings: Config
    database: str
    scale: Mapping[str, object] = field(default_factory=lambda: {"lease_s": 2.0})
    gateways: list[DaemonProcess] = field(default_factory=list[DaemonProcess])
    owner_key: str = ""
    made: int = 0

    @property
    def api(self) -> Api:
        """The control plane of the first gateway that runs."""
        return self.api_of(self.alive[0])

    @property
    def alive(self) -> list[DaemonProcess]:
        """The gateways that run."""
        return [each for each in self.gateways if each.is_running]

    def api_of(self, gateway: DaemonProcess) -> Api:
        """The control plane of one gateway."""
        return Api(gateway.url, self.owner_key)

    def start(self, count: int) -> Self:
        """Start so many gateways more."""
        for _ in range(count):
            self.add()
        return self

    def add(self) -> DaemonProcess:
        """Start one more."""
        self.made += 1
        server = cast("Mapping[str, object]", self.settings["server"])
        shared = {"server": {**server, "database": self.database}, "scale": {"spool": "spool", **self.scale}}
        settings = {**self.settings, **shared}
        gateway = DaemonProcess(self.directory / f"gateway-{self.made}", settings).start()
        self.owner_key = gateway.owner_key = gateway.owner_key or self.owner_key
        self.gateways.append(gateway)
        return gateway

    def create_key(self, principal: str = "alice", **fields: object) -> str:
        """A new key that every gateway knows."""
        body = {"principal": principal, "roles": ["caller"], **fields}
        key = cast("str", self.api.post("/keys", body)["key"])
        for gateway in self.alive:
            _await_ok(lambda gateway=gateway: _status(gateway, key), "the key")
        return key

    def set_budget(self, document: Mapping[str, object]) -> None:
        """A new budget that every gateway knows."""
        self.api.post("/budgets", document)
        path = f"/budgets/{document['id']}"
        for gateway in self.alive:
            api = self.api_of(gateway)
            _await_ok(lambda api=api: api.request("GET", path).status_code, path)

    def close(self) -> None:
        """End all of them."""
        for gateway in self.gateways:
            gateway.close()


def _await_ok(look: Callable[[], int], what: str) -> None:
    poll(look, lambda status: status == 200, RULES_S, what)


def _status(gateway: DaemonProcess, key: str) -> int:
    return httpx2.get(f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {key}"}).status_code
