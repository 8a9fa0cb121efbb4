"""``palyra db``: the database as a whole: its revision, its condition, the move from SQLite to PostgreSQL."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line, print_table
from palyra.config.databases import read_database
from palyra.config.load import load_settings
from palyra.config.references import Surroundings
from palyra.config.settings import SharedDatabase
from palyra.core.errors import FieldError, PalyraError
from palyra.core.instant import Instant, isoformat
from palyra.core.invariant import InvariantViolation
from palyra.core.money import format_usd
from palyra.store.lock import DatabaseLocked, OwnerLock
from palyra.store.migrate import HEAD, migrate

if TYPE_CHECKING:
    from palyra.store.checkup import Condition
    from palyra.store.copy import AccountSums, Copied
    from palyra.store.rebuild import Progress as Told
    from palyra.store.rebuild import Rebuilt

app = typer.Typer(
    name="db", help="The database: upgrade it, check it, move to PostgreSQL.", no_args_is_help=True
)

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///PATH, postgresql://… or env:NAME that holds one of them.",
        show_default="server.database of the config",
    ),
]
_UPGRADE = "stop all gateways and run: palyra db upgrade"
_FINISH = "run the same palyra db copy again, or drop the database"
_STEPS = {
    "source": "Checking the source",
    "audit": "Replaying the journal of the target",
    "calls": "Adding up calls",
}


@app.command(
    epilog="Examples: palyra db upgrade | palyra db upgrade --database env:PALYRA_DATABASE_URL --json"
)
def upgrade(
    config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Bring the database to the newest revision of its schema; make it where there is none.

    No daemon must be running on a SQLite file, and no gateway on PostgreSQL: stop them all first.
    """
    found = _database(config, database)
    with _told(found):
        before = _upgrade_file(found) if isinstance(found, Path) else _upgrade_shared(found)
    document = {"database": str(found), "from": before, "to": HEAD, "changed": before != HEAD}

    def render(console: Console) -> None:
        if before == HEAD:
            print_line(console, f"{found} is at revision {HEAD}; there is nothing to do.")
        else:
            print_line(console, f"{found} went from {_named(before)} to revision {HEAD}.")

    emit(document, as_json=as_json, render=render)


@app.command(epilog="Examples: palyra db check | palyra db check --database sqlite:///palyra.db --json")
def check(config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Look at the database and change nothing; exit 4 if it cannot be reached, 7 if it is not fit for use."""
    from palyra.store.checkup import look_at_file, look_at_server

    found = _database(config, database)
    if isinstance(found, Path) and not found.is_file():
        hint = "the first start of the daemon makes it, or: palyra db upgrade"
        raise CommandError(f"there is no database at {found}", ExitCode.CONNECTIVITY, hint=hint)
    with _told(found):
        condition = look_at_file(found) if isinstance(found, Path) else asyncio.run(look_at_server(found.url))
    problems = _problems(condition)
    document = {
        "database": str(found),
        "usable": not problems,
        "revision": condition.revision,
        "head": HEAD,
        "version": condition.version,
        "synchronous_commit": condition.synchronous_commit,
        "gateways": [
            {"id": each.id, "name": each.name, "state": _state(each.is_late)} for each in condition.gateways
        ],
        "records": condition.records,
        "bytes": condition.size,
        "partitions": list(condition.months),
        "problems": [{"message": message, "next_step": step} for message, step in problems],
    }

    def render(console: Console) -> None:
        _draw(console, str(found), condition)
        for message, step in problems:
            print_line(console, f"\nfail: {message}\nnext: {step}")

    emit(document, as_json=as_json, render=render)
    if problems:
        raise typer.Exit(ExitCode.PRECONDITION)


@app.command(
    epilog="Examples: palyra db copy sqlite:///palyra.db env:PALYRA_DATABASE_URL | "
    "palyra db copy sqlite:///palyra.db postgresql://palyra@db/palyra --json"
)
def copy(
    source: Annotated[str, typer.Argument(help="The SQLite file, as sqlite:///PATH.")],
    target: Annotated[
        str,
        typer.Argument(
            help="An empty PostgreSQL database: postgresql://…, or env:NAME, which keeps its password off "
            "the command line."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy a SQLite ledger into an empty PostgreSQL database, and prove that both are equal.

    No daemon must be running on the source. A copy that broke off goes on when it is run again; no gateway
    starts on it before it is whole. Calls that were under way end in doubt when the first gateway joins.
    """
    from palyra.store.copy import copy_to_server

    around = Surroundings(os.environ, Path.cwd())
    path, database = read_database(source, around, "SOURCE"), read_database(target, around, "TARGET")
    if not isinstance(path, Path):
        raise FieldError("SOURCE", "must be a SQLite file such as sqlite:///palyra.db")
    if not isinstance(database, SharedDatabase):
        raise FieldError("TARGET", "must be PostgreSQL: postgresql://…, or env:NAME that holds such a URL")
    if not path.is_file():
        raise CommandError(
            f"there is no database at {path}", ExitCode.NOT_FOUND, hint="name the file of the daemon"
        )
    began = time.monotonic()
    with _told(database), _progress(as_json) as tell:
        copied = asyncio.run(copy_to_server(path, database.url, tell))
    seconds = round(time.monotonic() - began, 3)
    document = {
        "source": str(path),
        "target": str(database),
        "already_done": copied.was_done,
        "seconds": seconds,
        "rows": dict(copied.rows),
        "records": copied.records,
        "head": copied.head,
        "pending": copied.pending,
        "requests": copied.requests,
        "cost_usd": format_usd(copied.cost),
        "accounts": [_sums(each) for each in copied.accounts],
    }
    emit(document, as_json=as_json, render=lambda console: _draw_copy(console, document, copied))


@app.command(
    "rebuild-rollups",
    epilog="Examples: palyra db rebuild-rollups | "
    "palyra db rebuild-rollups --database env:PALYRA_DATABASE_URL --json",
)
def rebuild_rollups(
    config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Make the sums that reports show anew, from the calls they are sums of.

    Needed once after an upgrade that adds sums, to have those of the time before. Sums of calls that
    retention dropped stay as they are. No daemon must be running on a SQLite file, and no gateway on
    PostgreSQL.
    """
    found = _database(config, database)
    if isinstance(found, Path) and not found.is_file():
        hint = "name the file of the daemon"
        raise CommandError(f"there is no database at {found}", ExitCode.NOT_FOUND, hint=hint)
    with _told(found), _progress(as_json) as tell:

        def progress(done: int, total: int) -> None:
            tell("calls", done, total)

        rebuilt = (
            _rebuild_file(found, progress) if isinstance(found, Path) else _rebuild_shared(found, progress)
        )
    since = isoformat(Instant(rebuilt.since)) if rebuilt.calls else None
    document = {"database": str(found), "calls": rebuilt.calls, "since": since}

    def render(console: Console) -> None:
        if since is None:
            print_line(console, f"{found} has no calls; its sums stay as they are.")
        else:
            print_line(console, f"{found}: the sums of {rebuilt.calls:,} calls since {since} are made anew.")

    emit(document, as_json=as_json, render=render)


def _rebuild_file(path: Path, progress: "Told") -> "Rebuilt":
    from palyra.store.rebuild import rebuild_file

    owner = OwnerLock(path)
    try:
        migrate(path)
        return rebuild_file(path, progress)
    finally:
        owner.release()


def _rebuild_shared(database: SharedDatabase, progress: "Told") -> "Rebuilt":
    from palyra.store.postgres.rebuild import rebuild_shared

    _refuse_alive(database)
    return asyncio.run(rebuild_shared(database.url, progress))


def _database(config: Path | None, database: str | None) -> Path | SharedDatabase:
    if database is None:
        return load_settings(config, os.environ, Path.cwd()).server.database
    return read_database(database, Surroundings(os.environ, Path.cwd()), "--database")


@contextmanager
def _told(database: Path | SharedDatabase) -> Generator[None]:
    """Errors of the store in the words, and with the exit code, of the command line."""
    from asyncpg import PostgresError
    from sqlalchemy.exc import DBAPIError

    from palyra.store.copy import CopyError
    from palyra.store.postgres.revision import DatabaseUnreachable

    try:
        yield
    except CopyError as error:
        raise CommandError(str(error), ExitCode.PRECONDITION, hint=error.hint) from error
    except InvariantViolation as broken:
        raise CommandError(
            f"the journal of {database} does not hold: {broken}",
            ExitCode.PRECONDITION,
            hint="let no gateway work on it: drop it, and copy again",
        ) from broken
    except DatabaseUnreachable as error:
        raise CommandError(f"{database}: {error.message}", ExitCode.CONNECTIVITY, code=error.code) from error
    except DatabaseLocked:
        raise
    except PalyraError as error:
        raise CommandError(f"{database}: {error.message}", ExitCode.PRECONDITION, code=error.code) from error
    except (PostgresError, sqlite3.DatabaseError) as error:
        raise CommandError(f"{database} cannot be read: {error}", ExitCode.PRECONDITION) from error
    except DBAPIError as error:
        raise CommandError(f"{database} refuses it: {error.orig}", ExitCode.PRECONDITION) from error


def _upgrade_file(path: Path) -> str | None:
    """Returns the revision before."""
    from palyra.store.checkup import file_revision

    before = file_revision(path)
    if before == HEAD:
        return before
    _refuse_unknown(path, before)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = OwnerLock(path)
    try:
        migrate(path)
    finally:
        owner.release()
    return before


def _upgrade_shared(database: SharedDatabase) -> str | None:
    """Returns the revision before."""
    from palyra.store.postgres.revision import server_revision, upgrade_server

    before = asyncio.run(server_revision(database.url))
    if before == HEAD:
        return before
    _refuse_unknown(database, before)
    if before is not None:
        _refuse_alive(database)
    asyncio.run(upgrade_server(database.url))
    return before


def _refuse_alive(database: SharedDatabase) -> None:
    """Raise CommandError while gateways work on the database."""
    from palyra.store.checkup import gateways_of

    alive = [each for each in asyncio.run(gateways_of(database.url)) if not each.is_late]
    if alive:
        names = ", ".join(f"{each.name} ({each.id})" for each in alive)
        raise CommandError(
            f"{database} has gateways that are alive: {names}",
            ExitCode.PRECONDITION,
            hint="stop them all, then run the same command again; palyra db check lists them",
        )


def _refuse_unknown(database: Path | SharedDatabase, revision: str | None) -> None:
    """Raise CommandError where there is no way from this revision to the newest."""
    from palyra.store.checkup import is_known

    if revision is None or is_known(revision):
        return
    message, step = _wrong_revision(revision)
    raise CommandError(f"{database}: {message}", ExitCode.PRECONDITION, hint=step)


def _problems(condition: "Condition") -> list[tuple[str, str]]:
    """What keeps a gateway from using the database, each with the next step."""
    problems: list[tuple[str, str]] = []
    if condition.revision not in (None, HEAD):
        problems.append(_wrong_revision(condition.revision))
    if condition.synchronous_commit == "off":
        problems.append(
            (
                "synchronous_commit is off: an acknowledged commit could be lost",
                "set it to on, local, remote_write or remote_apply for this database",
            )
        )
    return problems


def _wrong_revision(revision: str) -> tuple[str, str]:
    """What is wrong with a revision that is not the newest, and the next step."""
    from palyra.store.checkup import is_known
    from palyra.store.copy import UNFINISHED

    if revision == UNFINISHED:
        return "it holds an unfinished copy of a SQLite file", _FINISH
    if is_known(revision):
        return f"it is at revision {revision}, this version needs {HEAD}", _UPGRADE
    return (
        f"it is at revision {revision}, which this version does not know",
        "use the version of Palyra that made it, or another database",
    )


def _named(revision: str | None) -> str:
    return "no schema" if revision is None else f"revision {revision}"


def _state(is_late: bool) -> str:
    return "late" if is_late else "alive"


def _draw(console: Console, database: str, condition: "Condition") -> None:
    revision = condition.revision
    newest = ", the newest" if revision == HEAD else ""
    rows = [
        ("database", database),
        ("revision", f"{revision}{newest}" if revision else "none; the first start makes the schema"),
        ("version", condition.version),
        ("size", f"{condition.size:,} bytes"),
    ]
    if condition.records is not None:
        rows.append(("journal", f"{condition.records:,} records"))
    if condition.synchronous_commit is not None:
        gateways = [f"{each.name} ({each.id}, {_state(each.is_late)})" for each in condition.gateways]
        rows += [
            ("synchronous_commit", condition.synchronous_commit),
            ("gateways", ", ".join(gateways) or "none"),
            ("months", ", ".join(condition.months) or "none"),
        ]
    print_table(console, ("what", "found"), rows)


def _sums(sums: "AccountSums") -> dict[str, object]:
    """An account line of the summary; money is USD."""
    figures = ("posted", "held", "shadow_posted", "shadow_held")
    document: dict[str, object] = {"metric": sums.metric, "accounts": sums.accounts}
    for name in figures:
        value: int = getattr(sums, name)
        if sums.metric == "cost_usd":
            document[f"{name}_usd"] = format_usd(value)
        else:
            document[name] = value
    return document


def _draw_copy(console: Console, document: Mapping[str, Any], copied: "Copied") -> None:
    source, target, seconds = document["source"], document["target"], document["seconds"]
    if copied.was_done:
        print_line(console, f"{source} was copied to {target} already; there is nothing to do.")
    else:
        print_line(console, f"{source} is copied to {target}, in {seconds:g} s; both are equal.")
    print_table(console, ("table", ">rows"), [(name, f"{rows:,}") for name, rows in copied.rows.items()])
    console.print()
    print_table(
        console,
        ("metric", ">accounts", ">posted", ">held"),
        [(each.metric, f"{each.accounts:,}", *_amounts(each)) for each in copied.accounts],
    )
    print_line(
        console, f"\n{copied.requests:,} calls that are over cost {document['cost_usd']} USD by the rollups."
    )
    if copied.pending:
        print_line(
            console,
            f"{copied.pending} calls were under way: the first gateway that joins ends them in doubt.",
        )
    print_line(console, f"{copied.records} journal records. Chain head: {copied.head or 'none yet'}")


def _amounts(sums: "AccountSums") -> Sequence[str]:
    if sums.metric == "cost_usd":
        return f"{format_usd(sums.posted)} USD", f"{format_usd(sums.held)} USD"
    return f"{sums.posted:,}", f"{sums.held:,}"


@contextmanager
def _progress(quiet: bool) -> Generator[Callable[[str, int, int], None]]:
    """One bar for each step of a copy."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, transient=True, disable=quiet) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(_STEPS.get(step, f"Copying {step}"), total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield tell
