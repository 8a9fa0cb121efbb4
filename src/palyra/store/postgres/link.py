"""Connections: how one is made, and which errors say what about a commit that was under way."""

from typing import Any, LiteralString, Protocol

import asyncpg

from palyra.core.errors import PalyraError
from palyra.core.secret import Secret
from palyra.store.postgres import sql

CONNECT_S = 5.0
STATEMENT_S = 5.0
"""How long one statement may take before its connection counts as lost."""
FENCED = "PY001"
"""SQLSTATE of ``palyra_commit``: this gateway does not own its journal any more."""
_OF_THE_DATA = ("22", "23")
_AT_ONCE = ("40", "23502")
"""A deadlock, and an Idempotency-Key that was taken meanwhile: the same again, and it is seen."""


class NotDurable(PalyraError):
    """The database acknowledges what it has not written."""

    status = 409
    code = "database_not_durable"


class Connection(Protocol):
    """The few things that are asked of an asyncpg connection."""

    async def fetch(self, query: LiteralString, /, *args: object) -> list[Any]:
        """All rows of one statement."""
        ...

    async def fetchrow(self, query: LiteralString, /, *args: object) -> Any:
        """Its first row, or None."""
        ...

    async def fetchval(self, query: LiteralString, /, *args: object) -> Any:
        """The first column of its first row."""
        ...

    async def execute(self, query: LiteralString, /, *args: object) -> str:
        """Run one statement."""
        ...

    def transaction(self) -> Any:
        """A transaction as an asynchronous context."""
        ...

    def is_closed(self) -> bool:
        """Whether it can be used no more."""
        ...

    def terminate(self) -> None:
        """End it at once."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 (asyncpg's)
        """End it in good order."""
        ...

    def add_termination_listener(self, callback: Any) -> None:
        """Hear of its end."""
        ...

    async def add_listener(self, channel: str, callback: Any) -> None:
        """Hear what is told on a channel."""
        ...


async def connect(url: Secret, name: str) -> Connection:
    """A new connection. Raises what asyncpg raises, OSError or TimeoutError where there is none to be had."""
    return await asyncpg.connect(  # pyright: ignore[reportReturnType] (asyncpg's stubs name a class of their own)
        url.reveal(),
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        server_settings={"application_name": name},
    )


async def check_durable(connection: Connection) -> None:
    """Raise NotDurable where a commit may be lost that was acknowledged (D1, D2)."""
    setting = await connection.fetchval(sql.SYNCHRONOUS)
    if setting == "off":
        raise NotDurable(
            "PostgreSQL runs with synchronous_commit = off: an acknowledged commit could be lost; "
            "set it to on, local, remote_write or remote_apply for this database"
        )


def is_fenced(error: BaseException) -> bool:
    """Whether another gateway has taken the journal over."""
    return getattr(error, "sqlstate", None) == FENCED


def is_of_the_data(error: BaseException) -> bool:
    """Whether one write cannot be stored, and the others can: a figure out of range, a row that is there."""
    return str(getattr(error, "sqlstate", None) or "")[:2] in _OF_THE_DATA


def may_be_repeated(error: BaseException) -> bool:
    """Whether the very same commit may succeed if it is tried again at once: nothing of it was stored."""
    return str(getattr(error, "sqlstate", None) or "").startswith(_AT_ONCE)
