"""Where the commands about the journal read it: a database, or an export of one."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from palyra.cli.output import CommandError, ExitCode
from palyra.cli.usage import start_of
from palyra.config.databases import read_database
from palyra.config.load import load_settings
from palyra.config.references import Surroundings
from palyra.config.settings import SharedDatabase
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, parse_instant
from palyra.core.invariant import InvariantViolation
from palyra.store.lock import OwnerLock

if TYPE_CHECKING:
    from palyra.store.export import Contents, Request, Write

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="A SQLite file, or sqlite:///PATH, postgresql://… or env:NAME that holds one of them.",
        show_default="server.database of the config",
    ),
]


def find_database(config: Path | None, database: str | None) -> Path | SharedDatabase:
    """What ``--database`` names, else the database of the configuration. Raises FieldError."""
    if database is None:
        return load_settings(config, os.environ, Path.cwd()).server.database
    if "://" not in database and not database.startswith(("env:", "file:")):
        return Path(database)
    return read_database(database, Surroundings(os.environ, Path.cwd()), "--database")


def request_of(database: Path | SharedDatabase, since: str | None, now: Instant) -> "Request":
    """The part of the journal from ``since`` on, or all. Raises FieldError for what is no time."""
    from palyra.store.export import Request

    start = None
    if since is not None:
        try:
            start = Instant(max(parse_instant(start_of(since, now) or since), 0))
        except (ValueError, OverflowError):
            raise FieldError(
                "--since", f"{since!r} is not a span such as 7d, nor a time with its zone"
            ) from None
    # A path may have bytes that are no text.
    return Request(os.fsencode(str(database)).decode(errors="replace"), now, start)


@contextmanager
def told_of(database: Path | SharedDatabase) -> Generator[None]:
    """A journal that is broken or unreadable, in the words of the command line."""
    from asyncpg import InterfaceError, PostgresError

    try:
        yield
    except InvariantViolation as broken:
        raise CommandError(
            f"the journal of {database} does not hold: {broken}",
            ExitCode.PRECONDITION,
            hint="restore a backup, and compare its chain head with this one's",
        ) from broken
    except (PostgresError, InterfaceError, sqlite3.DatabaseError) as error:
        raise CommandError(f"{database} cannot be read: {error}", ExitCode.PRECONDITION) from error


@contextmanager
def owned(path: Path) -> Generator[None]:
    """No daemon has the file meanwhile."""
    if not path.exists():
        raise CommandError(
            f"there is no database at {path}", ExitCode.NOT_FOUND, hint="name it with --database"
        )
    owner = OwnerLock(path)
    try:
        yield
    finally:
        owner.release()


def read_journal(
    database: Path | SharedDatabase, request: "Request", write: "Write", what: str, *, quiet: bool
) -> "Contents":
    """Give ``write`` the lines of an export, page by page, each after it was checked. Raises CommandError."""
    # The store brings SQLAlchemy: a second that the other commands need not wait.
    from palyra.store.export import export_file
    from palyra.store.postgres.export import export_shared

    with told_of(database):
        if isinstance(database, SharedDatabase):
            with progress(what, quiet=quiet) as tell:
                return asyncio.run(export_shared(database.url, request, write, tell))
        with owned(database), progress(what, quiet=quiet) as tell:
            return export_file(database, request, write, tell)


def check_file(path: Path, recorded: Mapping[int, str] | None, *, quiet: bool) -> "Contents":
    """What is in an export, once all of it was checked. Raises CommandError with the place of a flaw."""
    from palyra.store.export import ExportFlaw, check_export

    if not path.exists():
        raise CommandError(f"there is no file {path}", ExitCode.NOT_FOUND, hint="name it with --export")
    try:
        with path.open("rb") as file, progress("Checking the export", quiet=quiet) as tell:
            size = path.stat().st_size
            return check_export(file, recorded, lambda done: tell(done, size))
    except ExportFlaw as flaw:
        raise CommandError(
            f"{path} does not hold: {flaw}",
            ExitCode.PRECONDITION,
            hint="it is not what palyra audit export wrote, or not for this head: ask for a new export",
        ) from None


@contextmanager
def progress(what: str, *, quiet: bool) -> Generator[Callable[[int, int], None]]:
    """Show how much is done, of how much."""
    console = Console(stderr=True)
    # Where it is no terminal, a bar would leave an empty line behind.
    disable = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
