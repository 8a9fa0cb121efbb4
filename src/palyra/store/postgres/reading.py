"""Reading beside the writer: a connection for plain statements, SQLAlchemy's for the questions of people."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import asyncpg

from palyra.core.errors import LedgerUnavailable
from palyra.core.secret import Secret
from palyra.store.postgres.link import STATEMENT_S, Connection, connect

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlConnection
    from sqlalchemy.ext.asyncio import AsyncEngine

READERS = 2
SQLALCHEMY_URL = "postgresql+asyncpg://"
"""Says how to talk; whom to is asyncpg's to read from the URL, with all that it knows of hosts and TLS."""

T = TypeVar("T")


class Reading:
    """Asks questions of the database. Both ways come back by themselves when the database does."""

    def __init__(self, url: Secret, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._engine: AsyncEngine | None = None

    async def rows(self, statement: LiteralString, *parameters: object) -> list[Any]:
        """All rows of one statement. Raises LedgerUnavailable."""
        return await self.use(lambda connection: connection.fetch(statement, *parameters))

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What ``work`` finds out on the connection for plain statements. Raises LedgerUnavailable."""
        async with self._one_at_a_time:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._url, self._name)
                return await work(self._connection)
            except Exception as error:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                reason = str(error) or type(error).__name__
                raise LedgerUnavailable(
                    f"the database of the ledger cannot be read: {reason}; retry shortly"
                ) from error

    async def ask(self, question: "Callable[[SqlConnection], T]") -> T:
        """The answer of ``question`` on a fresh snapshot of the committed data. Raises LedgerUnavailable."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            async with self._sqlalchemy().connect() as connection:
                return await connection.run_sync(question)
        except (SQLAlchemyError, asyncpg.PostgresError, OSError, TimeoutError) as error:
            raise LedgerUnavailable("the database of the ledger cannot be read; retry shortly") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._connection is not None:
            with suppress(Exception):
                await self._connection.close(timeout=1.0)
        if self._engine is not None:
            await self._engine.dispose()

    def _sqlalchemy(self) -> "AsyncEngine":
        if self._engine is None:
            from sqlalchemy.ext.asyncio import create_async_engine

            self._engine = create_async_engine(
                SQLALCHEMY_URL,
                async_creator=lambda: connect(self._url, self._name),
                pool_size=READERS,
                max_overflow=0,
                pool_timeout=STATEMENT_S,
                pool_pre_ping=True,
            )
        return self._engine
