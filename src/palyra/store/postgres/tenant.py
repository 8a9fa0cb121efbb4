"""Who has a writer write: what the writer asks of it, and tells it."""

from collections.abc import Sequence
from typing import Protocol

from palyra.store.postgres.flight import Node
from palyra.store.postgres.link import Connection
from palyra.store.write import Write


class Tenant(Protocol):
    """Who has the writer write, and hears what it cannot settle by itself."""

    async def attach(self, node: Node) -> tuple[Connection, Node | None]:
        """A new connection, and the node under a new term; None if it belongs to somebody else now."""
        ...

    def orphaned(self, write: Write) -> None:
        """A reservation whose caller was told that it failed is stored after all: release it."""
        ...

    def evicted(self, kept: Sequence[Write]) -> None:
        """Another gateway has taken the node over. ``kept``: essential writes, and reservations of doubt."""
        ...

    @property
    def spools(self) -> bool:
        """Whether writes that wait are kept on a disk."""
        ...

    def retained(self, writes: Sequence[Write]) -> None:
        """These essential writes wait for the database to come back."""
        ...

    def recovered(self) -> None:
        """Nothing waits any more."""
        ...
