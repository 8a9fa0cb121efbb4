"""A principal of its own on a daemon that many tests share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.daemon import Api, Config, DaemonProcess, budget
from harness.raw import Reply
from harness.talk import CHAT, ask

SharedDaemons = Callable[[Config], DaemonProcess]
"""Starts a daemon that ends with the test module."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One principal with a key, and budgets that bind only it."""

    daemon: DaemonProcess
    principal: str
    key: str

    @property
    def api(self) -> Api:
        """The control plane, with the owner key."""
        return self.daemon.api

    def ask(
        self, body: object = None, path: str = CHAT, headers: Mapping[str, str] | None = None, key: str = ""
    ) -> Reply:
        """One call of this principal."""
        return ask(self.daemon, key or self.key, body, path, headers)

    def policy(self, hard_limit: str | int | None, name: str = "own", **fields: object) -> dict[str, object]:
        """A budget on this principal as a document; fields that are None are left out."""
        document = budget(f"{self.principal}-{name}", 0, scope=f"principal:{self.principal}")
        document |= {"hard_limit": hard_limit} | fields
        return {field: value for field, value in document.items() if value is not None}

    def budget(self, hard_limit: str | int | None, name: str = "own", **fields: object) -> str:
        """Create a budget on this principal; returns its id."""
        document = self.policy(hard_limit, name, **fields)
        self.api.post("/budgets", document)
        return str(document["id"])
