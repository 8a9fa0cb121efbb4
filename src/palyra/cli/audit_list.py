"""``palyra audit list``: who changed which rules, when, from what to what."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from palyra.cli.audit_source import DatabaseOption, check_file, find_database, read_journal, request_of
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
from palyra.core.errors import FieldError
from palyra.core.fields import closest
from palyra.core.instant import Instant, isoformat
from palyra.core.visible import visible
from palyra.reports.changes import KINDS, change_lines, changed_fields

if TYPE_CHECKING:
    from palyra.store.audited import ChangesFound, Found

EPILOG = (
    "Examples: palyra audit list --kind policy --since 30d | palyra audit list --ref daily --json | "
    "palyra audit list --kind key.revoked --export journal.jsonl"
)
LIMIT_MOST = 10_000


def list_changes(
    kind: Annotated[
        str | None,
        typer.Option(
            help=f"Only changes of this kind: {', '.join(KINDS)}; or what was done: policy.updated.",
        ),
    ] = None,
    ref: Annotated[
        str | None, typer.Option(help="Only changes of this object: a budget, key, price or approval.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only changes from then on: a span such as 30d, or a time such as 2026-11-01T00:00:00Z.",
            show_default="the whole journal",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MOST, help="At most so many, the newest.")] = 50,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    export: Annotated[
        Path | None, typer.Option(help="A file of palyra audit export, to be read alone: no database.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List who changed which budget, key, price or approval, when, and from what to what, the newest first.

    Changes of the configuration file are found at the next start, and are by 'config'. What is read is
    checked against the chain of hashes. No daemon must be running on a SQLite file; PostgreSQL is read while
    its gateways run.
    """
    from palyra.store.audited import ChangesFound, Wanted

    if kind is not None and kind.partition(".")[0] not in KINDS:
        raise FieldError("--kind", f"{kind!r} is none.{closest(kind, KINDS)} There are: {', '.join(KINDS)}.")
    if export is not None and database is not None:
        raise FieldError("--export", "is read alone: leave --database away")
    source = export if export is not None else find_database(config, database)
    request = request_of(source, since, Instant(time.time_ns()))
    found = ChangesFound(Wanted(kind, ref, request.since, limit))
    if export is None:
        read_journal(source, request, found.read, "Reading the journal", quiet=as_json)
    else:
        _read_file(export, found, quiet=as_json)
    try:
        items = [_item(each) for each in found.newest]
    except (OverflowError, RecursionError) as error:
        # Only in a file that somebody made up: its chain may be whole.
        raise CommandError(f"{source} has a change that cannot be shown", ExitCode.PRECONDITION) from error
    document = {"source": request.database, "matching": found.matching, "items": items}
    emit(document, as_json=as_json, render=lambda console: _print(console, document))


def _read_file(path: Path, found: "ChangesFound", *, quiet: bool) -> None:
    """Nothing is read from a file that does not hold."""
    check_file(path, None, quiet=quiet)
    with path.open("rb") as lines:
        for line in lines:
            found.read(line)


def _item(found: "Found") -> dict[str, Any]:
    change = found.change
    return {
        "at": isoformat(Instant(found.at)),
        "kind": change.kind,
        "ref": change.ref,
        "actor": change.actor,
        "node": found.node,
        "record": found.seq,
        "changes": [each._asdict() for each in changed_fields(change.before, change.after)],
        "before": change.before,
        "after": change.after,
    }


def _print(console: Console, document: dict[str, Any]) -> None:
    items: list[dict[str, Any]] = document["items"]
    for item in items:
        print_line(console, visible(f"{item['at']}  {item['kind']}  {item['ref']}  by {item['actor']}"))
        for line in change_lines(item["before"], item["after"]):
            print_line(console, visible(f"    {line}"))
    if not items:
        print_line(console, "No change matches.")
    elif document["matching"] > len(items):
        print_line(console, f"The newest {len(items)} of {document['matching']}; see more with --limit.")
