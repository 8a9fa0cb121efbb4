"""``palyra budgets simulate``: what other budgets would have made of the calls of the past."""

import asyncio
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra.budgets.terms import Mode
from palyra.cli.audit_source import DatabaseOption, find_database, owned, progress, told_of
from palyra.cli.budget_files import read_budgets
from palyra.cli.client import DEFAULT_URL, TIMEOUT_S, KeyOption, connect
from palyra.cli.models_source import MaybeUrl, patient
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.simulation_page import print_simulation
from palyra.cli.usage import start_of
from palyra.config.load import load_settings
from palyra.config.settings import Settings, SharedDatabase
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, isoformat, parse_instant
from palyra.store.lock import DatabaseLocked

EPILOG = (
    "Examples: palyra budgets simulate team.toml --since 30d | palyra budgets simulate team.toml --only "
    "--mode enforced --json | palyra budgets simulate team.toml --url http://127.0.0.1:8484 --since 7d"
)


def simulate(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="TOML or JSON file with one budget, or with a list of them under budgets.",
            exists=True,
            dir_okay=False,
            metavar="POLICY",
        ),
    ],
    since: Annotated[
        str, typer.Option(help="Start: a span such as 24h, 7d, 4w, or a time such as 2026-11-01T00:00:00Z.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(help="End, as a time; now by default.", show_default=False)
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Try these budgets alone, without those in force.")
    ] = False,
    mode: Annotated[
        Mode | None,
        typer.Option(help="As if this were governance.mode; by default calls have the mode of their day."),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Try budgets on the calls of the past: who would have been stopped, and what would have been saved.

    Every call of the ledger is decided anew, at its own time, as if these budgets had been in force together
    with the others; one of the same id replaces the one in force. Nothing is changed. The database of the
    configuration is read: of SQLite while no daemon runs on it, of PostgreSQL also while gateways do. With
    --url a running daemon is asked instead, which goes through 200,000 calls at most.
    """
    start, now = _instant("--since", since), Instant(time.time_ns())
    end = Instant(now + 1) if until is None else _instant("--until", until)
    if start >= end:
        raise FieldError("--since", "must be before the end")
    documents = read_budgets(file)
    if _asks_daemon(context, url, config, database):
        body: dict[str, object] = {"policies": documents, "since": isoformat(start), "only": only}
        body |= {} if until is None else {"until": isoformat(end)}
        body |= {} if mode is None else {"mode": mode.value}
        client = patient(connect(context, url or DEFAULT_URL, key), TIMEOUT_S)
        document = client.call("POST", "/budgets/simulate", body=body).document
    else:
        settings = load_settings(config, os.environ, Path.cwd())
        found = find_database(config, database)
        with told_of(found), _alone(found):
            document = asyncio.run(
                _simulate(settings, found, documents, (start, end), only, mode, quiet=as_json)
            )
    emit(document, as_json=as_json, render=lambda console: print_simulation(console, document))


async def _simulate(
    settings: Settings,
    database: Path | SharedDatabase,
    documents: Sequence[Mapping[str, object]],
    span: tuple[Instant, Instant],
    only: bool,
    mode: Mode | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    # What decides calls, and the store, take a while to import: other commands need not wait for them.
    from palyra.budgets.policy import PolicyDefaults
    from palyra.daemon.history import in_force, open_history
    from palyra.daemon.offline import offline_desk
    from palyra.lifecycle.replay import begin_of, replay
    from palyra.lifecycle.simulate import Simulation, Terms
    from palyra.reports.candidates import read_candidates
    from palyra.reports.simulation import Tally
    from palyra.reports.simulation_document import Question, simulation_document

    since, until = span
    desk = await offline_desk(settings)
    defaults = PolicyDefaults(settings.governance.timezone)
    async with open_history(database) as recorded:
        policies = in_force(recorded.policies, settings.budgets)
        tried = read_candidates(documents, "budgets", policies, defaults, only=only)
        question = Question(since, until, begin_of(tried.policies, since), mode, only)
        tally = Tally(tried.policies, since, until)
        simulation = Simulation(Terms(tried.policies, mode), desk.engine)
        with progress("Going through the calls", quiet=quiet) as show:

            async def tell(done: int, total: int) -> None:
                show(done, total)

            await replay(recorded.history, question.begin, simulation, tally, tell)
    return simulation_document(question, tried, tally)


def _asks_daemon(context: typer.Context, url: str | None, config: Path | None, database: str | None) -> bool:
    """Whether a daemon was asked for by name. Raises CommandError where a file was, too."""
    source = context.get_parameter_source("url")
    named = url is not None and source is not None and source.name == "COMMANDLINE"
    if named and (config is not None or database is not None):
        raise CommandError("--url asks a daemon; leave --config and --database out", ExitCode.USAGE)
    return named


@contextmanager
def _alone(database: Path | SharedDatabase) -> Generator[None]:
    """Nobody writes to a SQLite file meanwhile. Raises CommandError."""
    if isinstance(database, SharedDatabase):
        yield
        return
    try:
        with owned(database):
            yield
    except DatabaseLocked as locked:
        raise CommandError(
            locked.message, ExitCode.PRECONDITION, hint="or ask the running daemon: add --url and --key"
        ) from None


def _instant(option: str, text: str) -> Instant:
    try:
        return Instant(max(0, parse_instant(start_of(text, time.time_ns()) or text)))
    except (ValueError, OverflowError):
        raise FieldError(option, f"{text!r} is not a span such as 7d, nor a time with its zone") from None
