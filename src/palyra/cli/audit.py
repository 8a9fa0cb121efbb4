"""``palyra audit``: proof that nobody changed the books. One process opens a SQLite file: stop the daemon."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from palyra.cli import audit_list
from palyra.cli.audit_source import (
    DatabaseOption,
    check_file,
    find_database,
    owned,
    progress,
    read_journal,
    request_of,
    told_of,
)
from palyra.cli.new_file import refuse_target, written_whole
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
from palyra.config.settings import SharedDatabase
from palyra.core.errors import FieldError
from palyra.core.instant import Instant

if TYPE_CHECKING:
    from palyra.store.export import Contents
    from palyra.store.restore import Audit

app = typer.Typer(
    name="audit",
    help="The journal: check that nothing in it was changed, see who changed what, hand it to auditors.",
    no_args_is_help=True,
)
app.command("list", epilog=audit_list.EPILOG)(audit_list.list_changes)

STDOUT = Path("-")
_EXPORTING = "Exporting the journal"
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
    found = find_database(config, database)
    with told_of(found):
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
    found = find_database(config, database)
    request = request_of(found, since, Instant(time.time_ns()))
    if file == STDOUT:
        contents = read_journal(found, request, sys.stdout.buffer.write, _EXPORTING, quiet=as_json)
        sys.stdout.buffer.flush()
    else:
        _refuse_target(file, found, force)
        with written_whole(file, force=force) as write:
            contents = read_journal(found, request, write, _EXPORTING, quiet=as_json)
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
    contents = check_file(path, recorded, quiet=as_json)
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


def _verify_file(path: Path, quiet: bool) -> "Audit":
    # The store brings SQLAlchemy: a second that the other commands need not wait.
    from palyra.store.restore import verify

    with owned(path), progress("Replaying the journal", quiet=quiet) as tell:
        return verify(path, tell)


def _verify_shared(database: SharedDatabase, quiet: bool) -> "Audit":
    from palyra.store.postgres.verify import verify_shared

    with progress("Replaying the journal", quiet=quiet) as tell:
        return asyncio.run(verify_shared(database.url, tell))


def _refuse_target(file: Path, database: Path | SharedDatabase, force: bool) -> None:
    """Raise CommandError for a file that must stay."""
    if isinstance(database, Path):
        ledger = database.resolve()
        if file.resolve() in [ledger.with_name(ledger.name + end) for end in _BESIDE]:
            raise CommandError(f"{file} belongs to the ledger itself", ExitCode.PRECONDITION)
    refuse_target(file, force=force, hint="- is stdout")
