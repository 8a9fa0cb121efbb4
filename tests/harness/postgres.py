"""A real PostgreSQL for tests: one server a process, a new database for each test that asks."""

import asyncio
import atexit
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from palyra.cli.database_server import PostgresServer
from palyra.core.secret import Secret
from palyra.store.postgres.revision import upgrade_server

TEMPLATE = "palyra_template"
_UNDERTAKER = """
import contextlib, os, signal, sys
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.kill(int(sys.argv[1]), signal.SIGQUIT)
"""
_counter = itertools.count(1)
T = TypeVar("T")


@cache
def server() -> PostgresServer:
    """The server of this process, started when it is first asked for and removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="palyra-postgres-tests-"))
    started = PostgresServer(directory / "data", {"fsync": "off", "max_connections": "200"}).start()
    _end_with_us(started)
    atexit.register(started.remove)
    _execute(started.url, f"CREATE DATABASE {TEMPLATE}")
    _on_a_thread(lambda: upgrade_server(Secret(_named(started.url, TEMPLATE))))
    return started


def new_database(*, empty: bool = False) -> str:
    """The URL of a database that nobody else uses, with the newest schema unless it shall be ``empty``."""
    name = f"test_{os.getpid()}_{next(_counter)}"
    _execute(server().url, f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else TEMPLATE}")
    return _named(server().url, name)


async def rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *parameters)]
    finally:
        await connection.close()


def _end_with_us(server: PostgresServer) -> None:
    """A test run that is killed must not leave its server behind: who outlives it stops the server."""
    assert server.process is not None
    undertaker = subprocess.Popen(
        [sys.executable, "-c", _UNDERTAKER, str(server.process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )

    def dismiss() -> None:
        """Not needed any more; until then its stdin stays open."""
        undertaker.communicate()

    atexit.register(dismiss)


def _named(url: str, database: str) -> str:
    return url.rpartition("/")[0] + f"/{database}"


def _execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
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
