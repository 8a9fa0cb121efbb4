"""``palyra audit``: proof that nobody changed the books. One process opens a SQLite file: stop the daemon."""

import asyncio
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
from palyra.config.load import load_settings
from palyra.config.settings import SharedDatabase
from palyra.core.invariant import InvariantViolation
from palyra.store.lock import OwnerLock

if TYPE_CHECKING:
    from palyra.store.restore import Audit

app = typer.Typer(
    name="audit", help="The journal: check that nothing in it was changed.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Keep ``verify`` a command of its own while it is the only one."""


@app.command(
    "verify", epilog="Examples: palyra audit verify | palyra audit verify --database palyra.db --json"
)
def verify_journal(
    config: ConfigOption = None,
    database: Annotated[
        Path | None, typer.Option(help="A SQLite file.", show_default="server.database of the config")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the journal: its SHA-256 chain must be whole, and its sums must be the stored balances.

    Prints the head of the chain: kept elsewhere, it also proves that nothing was cut off the end. No daemon
    must be running on a SQLite file: stop it first, or check a copy. PostgreSQL is checked while its gateways
    run; each has a chain of its own.
    """
    found = database or load_settings(config, os.environ, Path.cwd()).server.database
    try:
        audit = _verify_file(found, as_json) if isinstance(found, Path) else _verify_shared(found, as_json)
    except InvariantViolation as broken:
        raise CommandError(
            f"the journal of {found} does not hold: {broken}",
            ExitCode.PRECONDITION,
            hint="restore a backup, and compare its chain head with this one's",
        ) from broken
    document = {
        "database": str(found),
        "records": audit.records,
        "accounts": audit.accounts,
        "head": audit.head,
    }

    def render(console: Console) -> None:
        print_line(console, f"{audit.records} journal records and {audit.accounts} accounts hold.")
        print_line(console, f"Chain head: {audit.head or 'none yet'}")

    emit(document, as_json=as_json, render=render)


def _verify_file(path: Path, quiet: bool) -> "Audit":
    # The store brings SQLAlchemy: a second that the other commands need not wait.
    from palyra.store.restore import verify

    if not path.exists():
        raise CommandError(
            f"there is no database at {path}", ExitCode.NOT_FOUND, hint="name it with --database"
        )
    owner = OwnerLock(path)
    try:
        with _progress(quiet) as tell:
            return verify(path, tell)
    finally:
        owner.release()


def _verify_shared(database: SharedDatabase, quiet: bool) -> "Audit":
    from palyra.store.postgres.verify import verify_shared

    with _progress(quiet) as tell:
        return asyncio.run(verify_shared(database.url, tell))


@contextmanager
def _progress(quiet: bool) -> Generator[Callable[[int, int], None]]:
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("Replaying the journal", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
