"""Reading beside the writer: read-only connections on threads of their own, so the loop never waits."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

READERS = 2

T = TypeVar("T")


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; usable from any thread, one at a time."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)


class Reader:
    """Asks questions of the database off the loop."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="palyra-reader")

    @cached_property
    def _engine(self) -> "Engine":
        from sqlalchemy import create_engine
        from sqlalchemy.pool import QueuePool

        return create_engine(
            "sqlite://",
            creator=lambda: connect_read_only(self._path),
            poolclass=QueuePool,
            pool_size=READERS,
        )

    async def ask(self, question: "Callable[[Connection], T]") -> T:
        """The answer of ``question`` on a fresh snapshot of the committed data."""

        def run() -> T:
            with self._engine.connect() as connection:
                return question(connection)

        return await self._loop.run_in_executor(self._threads, run)

    async def rows(self, statement: LiteralString, *parameters: str | int) -> list[tuple[Any, ...]]:
        """All rows of one plain statement: what start-up needs, before anybody asks questions."""

        def run() -> list[tuple[Any, ...]]:
            connection = connect_read_only(self._path)
            try:
                return connection.execute(statement, parameters).fetchall()
            finally:
                connection.close()

        return await self._loop.run_in_executor(self._threads, run)

    def close(self) -> None:
        """Finish what is being read and close the connections."""
        self._threads.shutdown()
        if "_engine" in self.__dict__:
            self._engine.dispose()
