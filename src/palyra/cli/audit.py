"""``palyra audit``: proof that nobody changed the books. One process opens a SQLite file: stop the daemon."""

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
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
    from palyra.store.restore import Audit

app = typer.Typer(
    name="audit",
    help="The journal: check that nothing in it was changed, hand it to auditors.",
    no_args_is_help=True,
)

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="A SQLite file, or sqlite:///PATH, postgresql://… or env:NAME that holds one of them.",
        show_default="server.database of the config",
    ),
]
STDOUT = Path("-")
_BESIDE = ("", "-wal", "-shm", ".lock")
"""What the names of the files of a SQLite ledger end with."""


@app.command(
    "verify",
    epilog="Examples: palyra audit verify | palyra audit verify --database palyra.db --json | "
    "palyra audit verify --export journal.jsonl --head 5f0c…",
)
def verify_journal(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    export: Annotated[
        Path | None, typer.Option(help="A file of palyra audit export, to be checked alone: no database.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="The chain head that was printed before: it must be the end.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the journal: its SHA-256 chain must be whole, and its sums must be the stored balances.

    Prints the head of the chain: kept elsewhere, it also proves that nothing was cut off the end. No daemon
    must be running on a SQLite file: stop it first, or check a copy. PostgreSQL is checked while its gateways
    run; each has a chain of its own. Of an export, every page and every record is checked against the chain.
    """
    from palyra.store.export import read_heads

    try:
        recorded = None if head is None else read_heads(head)
    except ValueError as error:
        raise FieldError("--head", str(error)) from None
    if export is not None:
        if database is not None:
            raise FieldError("--export", "is read alone: leave --database away")
        _verify_export(export, recorded, as_json)
        return
    found = _database(config, database)
    with _told(found):
        audit = _verify_file(found, as_json) if isinstance(found, Path) else _verify_shared(found, as_json)
    if recorded is not None and read_heads(audit.head) != recorded:
        raise CommandError(
            f"the journal of {found} ends with {audit.head or 'nothing'}, not with the recorded head",
            ExitCode.PRECONDITION,
            hint="its end was cut off, it is another journal, or it went on after the head was recorded",
        )
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


@app.command(
    "export",
    epilog="Examples: palyra audit export journal.jsonl | "
    "palyra audit export - --since 30d --database palyra.db",
)
def export_journal(
    file: Annotated[Path, typer.Argument(help="The file to write, readable for you only; - is stdout.")],
    config: ConfigOption = None,
    database: DatabaseOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only what was recorded from then on: a span such as 30d, or a time such as "
            "2026-11-01T00:00:00Z.",
            show_default="the whole journal",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the journal for auditors: JSON lines that anybody can check without the database.

    Each line is a page with its records and what the chain of hashes needs. Keep the printed head elsewhere,
    and give it with the file: palyra audit verify --export FILE --head HEAD. No daemon must be running on a
    SQLite file; PostgreSQL is exported while its gateways run.
    """
    from palyra.store.export import Request

    now = Instant(time.time_ns())
    start = _start(since, now)
    found = _database(config, database)
    # A path may have bytes that are no text.
    request = Request(os.fsencode(str(found)).decode(errors="replace"), now, start)
    with _told(found):
        if file == STDOUT:
            contents = _export(found, request, sys.stdout.buffer.write, as_json)
            sys.stdout.buffer.flush()
        else:
            _refuse_target(file, found, force)
            with _replaced(file, force) as write:
                contents = _export(found, request, write, as_json)
    document = {"file": str(file), **_document(contents)}

    def render(console: Console) -> None:
        print_line(
            console, f"{file} has {contents.header.records} journal records in {contents.pages} pages."
        )
        print_line(console, f"Chain head, to be kept elsewhere: {contents.head or 'none yet'}")

    # On stdout there is the export, and nothing else.
    if file != STDOUT:
        emit(document, as_json=as_json, render=render)
    elif not as_json:
        render(Console(stderr=True, highlight=False))


def _verify_export(path: Path, recorded: dict[int, str] | None, as_json: bool) -> None:
    from palyra.store.export import ExportFlaw, check_export

    if not path.exists():
        raise CommandError(f"there is no file {path}", ExitCode.NOT_FOUND, hint="name it with --export")
    try:
        with path.open("rb") as file, _progress("Checking the export", as_json) as tell:
            size = path.stat().st_size
            contents = check_export(file, recorded, lambda done: tell(done, size))
    except ExportFlaw as flaw:
        raise CommandError(
            f"{path} does not hold: {flaw}",
            ExitCode.PRECONDITION,
            hint="it is not what palyra audit export wrote, or not for this head: ask for a new export",
        ) from None
    document = {"export": str(path), **_document(contents)}

    def render(console: Console) -> None:
        header = contents.header
        print_line(console, f"{header.records} journal records in {contents.pages} pages hold.")
        print_line(console, f"Of {header.database}, exported {header.made_at}")
        for each in header.journals:
            print_line(console, f"Node {each.node}: records {each.first} to {each.last}")
        print_line(console, f"Chain head: {contents.head or 'none yet'}")
        if recorded is None:
            print_line(console, "Compare it with one that was kept elsewhere, or give that one with --head.")

    emit(document, as_json=as_json, render=render)


def _document(contents: "Contents") -> dict[str, object]:
    header = contents.header
    return {
        "database": header.database,
        "made_at": header.made_at,
        "since": header.since,
        "pages": contents.pages,
        "records": header.records,
        "head": contents.head,
        "journals": [
            {"node": each.node, "first": each.first, "last": each.last, "head": each.head}
            for each in header.journals
        ],
    }


def _database(config: Path | None, database: str | None) -> Path | SharedDatabase:
    if database is None:
        return load_settings(config, os.environ, Path.cwd()).server.database
    if "://" not in database and not database.startswith(("env:", "file:")):
        return Path(database)
    return read_database(database, Surroundings(os.environ, Path.cwd()), "--database")


def _start(since: str | None, now: Instant) -> Instant | None:
    if since is None:
        return None
    try:
        return Instant(max(parse_instant(start_of(since, now) or since), 0))
    except (ValueError, OverflowError):
        raise FieldError("--since", f"{since!r} is not a span such as 7d, nor a time with its zone") from None


@contextmanager
def _told(database: Path | SharedDatabase) -> Generator[None]:
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
def _owned(path: Path) -> Generator[None]:
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


def _verify_file(path: Path, quiet: bool) -> "Audit":
    # The store brings SQLAlchemy: a second that the other commands need not wait.
    from palyra.store.restore import verify

    with _owned(path), _progress("Replaying the journal", quiet) as tell:
        return verify(path, tell)


def _verify_shared(database: SharedDatabase, quiet: bool) -> "Audit":
    from palyra.store.postgres.verify import verify_shared

    with _progress("Replaying the journal", quiet) as tell:
        return asyncio.run(verify_shared(database.url, tell))


def _export(database: Path | SharedDatabase, request: "Request", write: "Write", quiet: bool) -> "Contents":
    from palyra.store.export import export_file
    from palyra.store.postgres.export import export_shared

    if isinstance(database, SharedDatabase):
        with _progress("Exporting the journal", quiet) as tell:
            return asyncio.run(export_shared(database.url, request, write, tell))
    with _owned(database), _progress("Exporting the journal", quiet) as tell:
        return export_file(database, request, write, tell)


def _refuse_target(file: Path, database: Path | SharedDatabase, force: bool) -> None:
    """Raise CommandError for a file that must stay."""
    if isinstance(database, Path):
        ledger = database.resolve()
        if file.resolve() in [ledger.with_name(ledger.name + end) for end in _BESIDE]:
            raise CommandError(f"{file} belongs to the ledger itself", ExitCode.PRECONDITION)
    if not file.parent.is_dir():
        raise CommandError(f"there is no folder {file.parent}", ExitCode.PRECONDITION, hint="make it first")
    if not os.path.lexists(file):
        return
    if not force:
        raise _there(file)
    if not file.is_file():
        raise CommandError(
            f"{file} is no file that could be replaced", ExitCode.PRECONDITION, hint="- is stdout"
        )


def _there(file: Path) -> CommandError:
    return CommandError(
        f"{file} is there already", ExitCode.PRECONDITION, hint="name another one, or add --force"
    )


@contextmanager
def _replaced(file: Path, force: bool) -> Generator[Callable[[bytes], Any]]:
    """What is written becomes the file when all of it is on the disk, and nothing before."""
    descriptor, name = tempfile.mkstemp(prefix=".palyra-export-", dir=file.parent)  # with mode 0600
    written = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out.write
            out.flush()
            os.fsync(descriptor)
        if not force:
            _take_name(file)
        written.replace(file)
        _sync(file.parent)
    finally:
        written.unlink(missing_ok=True)


def _take_name(file: Path) -> None:
    """Make the file, empty, so that no other one of that name is replaced. Raises CommandError."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise _there(file) from None


def _sync(folder: Path) -> None:
    """The name is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _progress(what: str, quiet: bool) -> Generator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    # Where it is no terminal, a bar would leave an empty line behind.
    disable = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
