"""A real PostgreSQL for tests: one server a process, a new database for each test that asks."""

import asyncio
import atexit
import itertools
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from palyra.core.secret import Secret
from palyra.store.postgres.revision import upgrade_server

TEMPLATE = "palyra_template"
_KEEPER = Path(__file__).with_name("postgres_keeper.py")
_counter = itertools.count(1)
_databases: list[str] = []
T = TypeVar("T")


@cache
def server() -> str:
    """The URL of the server of this process, started when it is first asked for; it ends with the process."""
    folder = tempfile.mkdtemp(prefix="palyra-postgres-tests-")
    keeper = subprocess.Popen(
        [sys.executable, _KEEPER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    atexit.register(keeper.stdin.close)
    url = keeper.stdout.readline().strip()
    assert url, "PostgreSQL did not start"
    _execute(url, f"CREATE DATABASE {TEMPLATE}")
    _on_a_thread(lambda: upgrade_server(Secret(_named(url, TEMPLATE))))
    return url


def port() -> int:
    """Where the server listens."""
    found = urlsplit(server()).port
    assert found is not None
    return found


def new_database(*, empty: bool = False) -> str:
    """The URL of a database that nobody else uses, with the newest schema unless it shall be ``empty``.

    It is there until the tests of the module are over.
    """
    name = f"test_{next(_counter)}"
    template = "template0" if empty else TEMPLATE
    # Copying its files takes half of what it takes to write them to the log as well.
    _execute(server(), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    _databases.append(name)
    return _named(server(), name)


def drop_databases() -> None:
    """Drop all that ``new_database`` has made."""
    if _databases:
        _execute(server(), *(f"DROP DATABASE {each} WITH (FORCE)" for each in _databases))
        _databases.clear()


async def rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *parameters)]
    finally:
        await connection.close()


def _named(url: str, database: str) -> str:
    return url.rpartition("/")[0] + f"/{database}"


def _execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for each in statements:
                await connection.execute(each)
        finally:
            await connection.close()

    _on_a_thread(run)


def _on_a_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> None:
    """Run to the end on a loop of its own, also where a loop runs already."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
