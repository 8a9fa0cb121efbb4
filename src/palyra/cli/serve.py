"""``palyra serve``: the daemon."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from palyra.cli.output import JsonOption, stdout_console
from palyra.config.load import load_settings

if TYPE_CHECKING:
    from palyra.daemon import Announcement

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="PALYRA_CONFIG",
        help="The configuration; default: ./palyra.toml, then the user's config folder, then provider keys "
        "in the environment.",
        show_default=False,
    ),
]


def serve(
    config: ConfigOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="server.host or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 picks a free one and prints it.", show_default="server.port or 8484"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="Where the ledger is: sqlite:///PATH, postgresql://… or env:NAME.",
            show_default="server.database",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes on the same port; more than 1 needs PostgreSQL.",
            show_default="server.workers or 1",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the daemon until it gets SIGTERM or Ctrl-C.

    With --json the address, and on the first start the owner key, are printed as one JSON line.
    """
    # The daemon brings the server and the store: a second that the other commands need not wait.
    from palyra import daemon

    given = {
        "server.host": host,
        "server.port": port,
        "server.database": database,
        "server.workers": workers,
    }
    overrides: Mapping[str, str] = {field: str(value) for field, value in given.items() if value is not None}
    settings = load_settings(config, os.environ, Path.cwd(), overrides)
    daemon.serve(settings, announce_json if as_json else announce_text)


def announce_json(announcement: "Announcement") -> None:
    """Print where the daemon is as one JSON line."""
    document = {
        "url": announcement.url,
        "owner_key": announcement.owner_key,
        "database": announcement.database,
        "providers": list(announcement.providers),
        "warnings": list(announcement.warnings),
    }
    typer.echo(json.dumps(document))
    _flush()


def announce_text(announcement: "Announcement") -> None:
    """Print where the daemon is, how to call it, and the owner key if this is the first start."""
    draw_announcement(stdout_console(), announcement)
    _flush()


def draw_announcement(console: Console, announcement: "Announcement") -> None:
    """Draw the announcement."""

    def line(label: str, text: str, style: str = "") -> None:
        console.print(f"{label:<11}", end="", style="dim")
        console.print(text, style=style, markup=False, soft_wrap=True)

    console.print("Palyra is listening.", style="bold")
    line("url", announcement.url, "bold cyan")
    line("providers", ", ".join(announcement.providers) or "none")
    line("database", announcement.database)
    if announcement.owner_key is not None:
        line("owner key", announcement.owner_key, "bold yellow")
        console.print("           It is shown once: keep it. If it is lost, give one with auth.owner_key.")
    for warning in announcement.warnings:
        line("warning", warning, "yellow")
    console.print()
    console.print("Point clients here:", style="dim")
    console.print(f"  OPENAI_BASE_URL={announcement.url}/v1", markup=False, soft_wrap=True)
    console.print(f"  ANTHROPIC_BASE_URL={announcement.url}", markup=False, soft_wrap=True)
    console.print("Make a key:  palyra keys create --principal NAME", style="dim")


def _flush() -> None:
    typer.get_text_stream("stdout").flush()
