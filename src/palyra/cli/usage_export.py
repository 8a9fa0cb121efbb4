"""``palyra usage export``: usage as a file, for spreadsheets and billing tools."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.new_file import Write, refuse_target, written_whole
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.tables import print_line
from palyra.cli.usage_options import (
    AgentOption,
    ModelOption,
    PrincipalOption,
    ProviderOption,
    SinceOption,
    TimezoneOption,
    UntilOption,
    given,
    period,
)

EXPORT_EXAMPLES = (
    "Examples: palyra usage export agents -o agents.csv --since 7d | "
    "palyra usage export --format focus -o november.csv --since 2026-11-01T00:00:00Z"
)


def export(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="timeline, agents, principals, models, providers or hours.",
            show_default="timeline; hours for FOCUS",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write.", metavar="FILE", show_default="stdout"),
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="csv, json or focus (FOCUS 1.2).")] = "csv",
    since: SinceOption = "30d",
    until: UntilOption = None,
    bucket: Annotated[str, typer.Option(help="Of a timeline: auto, hour, day or month.")] = "auto",
    timezone: TimezoneOption = "UTC",
    by: Annotated[
        str | None, typer.Option(help="Of a timeline: tell apart by principal, agent, model or provider.")
    ] = None,
    principal: PrincipalOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write usage to a file: CSV, JSON, or the charges of FOCUS 1.2 for billing tools.

    The file is there when all of it was written, and not before. With --json its name and size are printed.
    """
    names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
    more = {"dataset": dataset, "format": file_format, "bucket": bucket, "timezone": timezone, "by": by}
    asked = given({**period(since, until), **more, **names})
    client = connect(context, url, key)
    if file is None:
        if as_json:
            raise CommandError("--json: is about a file: name it with -o", ExitCode.USAGE)
        client.download("/usage/export", asked, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    refuse_target(file, force=force)
    with written_whole(file, force=force) as write, _counted(write, quiet=as_json) as counting:
        client.download("/usage/export", asked, counting)
    size = file.stat().st_size
    document = {"file": str(file), "bytes": size}
    emit(
        document,
        as_json=as_json,
        render=lambda console: print_line(console, f"{file} is written: {size:,} bytes."),
    )


@contextmanager
def _counted(write: Write, *, quiet: bool) -> Generator[Write]:
    """The same, with the bytes shown as they come where somebody sees it."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn()
    disable = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as shown:
        task = shown.add_task("Exporting usage", total=None)

        def counting(data: bytes) -> None:
            write(data)
            shown.advance(task, len(data))

        yield counting
