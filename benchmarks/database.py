"""A PostgreSQL of the benchmarks' own: fsync and synchronous_commit on, on one core or on all of them."""

import asyncio
import itertools
import os
import signal
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg

from benchmarks.processes import TICKS_PER_S, on_cores
from palyra.cli.database_server import PostgresServer
from palyra.core.secret import Secret
from palyra.store.postgres.revision import upgrade_server

SETTINGS: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "256MB"}
TEMPLATE = "palyra_template"


@dataclass(slots=True)
class Database:
    """A server that runs until ``end``; freezes and wakes like other processes that are measured."""

    _server: PostgresServer
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def start(cls, folder: Path, cores: Collection[int]) -> Self:
        """Start it on these cores, with its data in ``folder``. Raises ServerMissing if there is none."""
        with on_cores(cores):
            return cls(PostgresServer(folder / "postgres", SETTINGS).start())

    @property
    def url(self) -> str:
        """What ``server.database`` takes: the database that every server has."""
        return self._server.url

    def new(self) -> str:
        """The URL of a new database with the newest schema."""
        number = next(self._numbers)
        if number == 1:
            self._administer(f"CREATE DATABASE {TEMPLATE}")
            asyncio.run(upgrade_server(Secret(self._named(TEMPLATE))))
        self._administer(f"CREATE DATABASE bench_{number} TEMPLATE {TEMPLATE}")
        return self._named(f"bench_{number}")

    def drop(self, url: str) -> None:
        """Delete a database, and let the server write to its files what is still due."""
        self._administer(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
        self._administer("CHECKPOINT")

    def cpu_s(self) -> float:
        """Seconds of CPU time, user and system, of the server and all its processes, ended ones too."""
        return sum(sum(map(int, stat[11:15])) for stat in self._stats().values()) / TICKS_PER_S

    def freeze(self) -> None:
        """Let it use no CPU until ``wake``."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Undo ``freeze``."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Stop it and delete its data."""
        self.wake()
        self._server.remove()

    def _signal(self, which: signal.Signals) -> None:
        for pid in self._stats():
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    def _stats(self) -> dict[int, list[str]]:
        """By process id: the fields of /proc/<pid>/stat that follow the command, of it and its children."""
        process = self._server.process
        found: dict[int, list[str]] = {}
        if process is None:
            return found
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if process.pid in {int(entry.name), int(fields[1])}:
                found[int(entry.name)] = fields
        return found

    def _administer(self, statement: str) -> None:
        rows(self.url, statement)

    def _named(self, database: str) -> str:
        return f"{self.url.rpartition('/')[0]}/{database}"


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement; all its rows."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(run())
