"""``palyra completion``: the script that teaches a shell the commands."""

import io
from contextlib import redirect_stdout
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_inspect_parameters, shell_complete

from palyra.cli.output import COMPLETE_VARIABLE, PROGRAM, CommandError, ExitCode, JsonOption, emit


class Shell(StrEnum):
    """Shells with a completion script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="The shell to write for.")],
    as_json: JsonOption = False,
) -> None:
    """Print the completion script of a shell."""
    # Typer knows the shells only after it was asked for its own completion options.
    get_completion_inspect_parameters()
    root = context.find_root().command
    with redirect_stdout(io.StringIO()) as written:
        failed = shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, f"source_{shell.value}")
    if failed:
        raise CommandError(f"there is no completion for {shell.value}", ExitCode.UNSUPPORTED)
    script = written.getvalue()
    document = {"shell": shell.value, "script": script}
    emit(document, as_json=as_json, render=lambda _: typer.echo(script, nl=False))
