"""How every command speaks: results on stdout, errors on stderr, ``--json`` for both, one set of exits."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.table import Table
from typer.completion import get_completion_inspect_parameters
from typer.core import TyperGroup

from palyra.config.problems import ConfigError
from palyra.core.errors import FieldError, PalyraError
from palyra.core.visible import visible, visible_json
from palyra.store.lock import DatabaseLocked

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
"""Type of the ``as_json`` parameter that every command has."""

PROGRAM = "palyra"
COMPLETE_VARIABLE = "_PALYRA_COMPLETE"
"""Set by the completion scripts when they ask for words."""


class ExitCode(IntEnum):
    """Exit codes of DESIGN section 8."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    AUTH = 3
    CONNECTIVITY = 4
    UNSUPPORTED = 5
    DENIED = 6
    PRECONDITION = 7
    NOT_FOUND = 8


_BY_STATUS: Mapping[int, ExitCode] = MappingProxyType(
    {
        **dict.fromkeys((400, 413, 415, 421, 422), ExitCode.USAGE),
        **dict.fromkeys((401, 403), ExitCode.AUTH),
        402: ExitCode.DENIED,
        404: ExitCode.NOT_FOUND,
        **dict.fromkeys((405, 501), ExitCode.UNSUPPORTED),
        **dict.fromkeys((409, 412, 428), ExitCode.PRECONDITION),
        **dict.fromkeys((408, 429, 502, 503, 504), ExitCode.CONNECTIVITY),
    }
)


class CommandError(Exception):
    """A command cannot do what it was asked; ``hint`` is the next step."""

    def __init__(
        self, message: str, exit_code: ExitCode, *, hint: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint
        self.code = code or exit_code.name.lower()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is shown."""

    exit_code: int
    code: str
    message: str
    hint: str | None = None
    problems: tuple[Mapping[str, object], ...] = ()


class PalyraGroup(TyperGroup):
    """The root command: the one place where errors become messages and exit codes."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit with its code; errors that are bugs keep their traceback."""
        words = list(sys.argv[1:] if args is None else args)
        if os.environ.get(COMPLETE_VARIABLE):
            get_completion_inspect_parameters()
        try:
            result = super().main(
                words, prog_name or PROGRAM, complete_var, False, windows_expand_args, **extra
            )
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            show_failure(failure, as_json="--json" in words)
            sys.exit(failure.exit_code)
        code = result if isinstance(result, int) else ExitCode.OK
        if standalone_mode:
            sys.exit(code)
        return code


def failure_of(error: Exception) -> Failure | None:
    """What to tell the user, or None for an error that is a bug of Palyra."""
    match error:
        case CommandError():
            return Failure(error.exit_code, error.code, error.message, error.hint)
        case ConfigError():
            problems = tuple(problem.to_dict() for problem in error.problems)
            return Failure(ExitCode.USAGE, "invalid_config", str(error), error.hint, problems)
        case FieldError():
            problem: dict[str, object] = {"field": error.field, "message": error.message}
            return Failure(ExitCode.USAGE, "invalid_field", str(error), None, (problem,))
        case PalyraError():
            return Failure(exit_code_of(error), error.code, error.message)
        case _:
            return _failure_from_outside(error)


def exit_code_of(error: PalyraError) -> ExitCode:
    """The exit code of an error that also has an HTTP status."""
    if isinstance(error, DatabaseLocked):
        return ExitCode.PRECONDITION
    return exit_code_of_status(error.status)


def exit_code_of_status(status: int) -> ExitCode:
    """The exit code of an HTTP status of 400 and above."""
    return _BY_STATUS.get(status, ExitCode.INTERNAL)


def show_failure(failure: Failure, *, as_json: bool) -> None:
    """Write an error to stderr: ``error: …`` and ``hint: …``, or one JSON object."""
    if as_json:
        document = {
            "error": {
                "code": failure.code,
                "exit_code": int(failure.exit_code),
                "message": failure.message,
                "hint": failure.hint,
                "problems": list(failure.problems),
            }
        }
        typer.echo(json.dumps(document), err=True)
        return
    if failure.message:
        typer.echo(f"error: {visible_lines(failure.message)}", err=True)
    if failure.hint:
        typer.echo(f"hint: {visible_lines(failure.hint)}", err=True)


def emit(document: object, *, as_json: bool, render: Callable[[Console], None]) -> None:
    """Write a result to stdout: the document as JSON, or what ``render`` draws."""
    if as_json:
        typer.echo(visible_json(json.dumps(document, indent=2, ensure_ascii=False)))
    else:
        render(stdout_console())


def visible_lines(text: str) -> str:
    """Text of more than one line, of which each holds nothing that acts on a terminal."""
    return "\n".join(map(visible, text.split("\n")))


def stdout_console() -> Console:
    """A console on the present stdout; without a terminal wide enough that no cell is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def table(*columns: str, title: str | None = None) -> Table:
    """A table in the style of all commands."""
    return Table(*columns, title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)


def _help_hint(error: typer.TyperException) -> str | None:
    command: object = getattr(getattr(error, "ctx", None), "command_path", None)
    return f"see '{command} --help'" if command and error.format_message() else None


def _failure_from_outside(error: Exception) -> Failure | None:
    """Errors of the libraries and the system that are no bug of Palyra."""
    match error:
        case typer.TyperException():
            return Failure(error.exit_code, "usage", error.format_message(), _help_hint(error))
        case typer.Abort():
            return Failure(ExitCode.INTERNAL, "aborted", "aborted")
        case httpx2.TransportError():
            return Failure(ExitCode.CONNECTIVITY, "connectivity", str(error) or type(error).__name__)
        case OSError() | sqlite3.OperationalError():
            return Failure(ExitCode.PRECONDITION, "precondition", str(error))
        case _:
            return None
