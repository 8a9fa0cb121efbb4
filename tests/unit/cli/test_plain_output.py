"""What a daemon, a provider or a file says is shown as text: no markup, and nothing acts on the terminal."""

import io
import json

import pytest
from rich.console import Console

from palyra.cli.explain import show_lines
from palyra.cli.output import ExitCode, Failure, emit, show_failure
from palyra.cli.tables import drawn_table, print_line

ACTING = "a\x1b[2J\x1b]0;t\x07\x9b31m\u202eb"
SHOWN = "a\\x1b[2J\\x1b]0;t\\x07\\x9b31m\\u202eb"


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=200)


def written(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_a_cell_is_text() -> None:
    screen = console()
    screen.print(drawn_table(["name"], [[ACTING], ["[bold red]x[/]"]], last=[ACTING]))
    assert written(screen).split() == ["name", SHOWN, "[bold", "red]x[/]", SHOWN]


def test_a_line_is_text() -> None:
    screen = console()
    print_line(screen, f"{ACTING} [link=https://e.example]x[/link]")
    assert written(screen) == f"{SHOWN} [link=https://e.example]x[/link]\n"


def test_a_line_of_an_explanation_stays_one_line() -> None:
    screen = console()
    show_lines(screen, ["it failed: gone\n  outcome  admitted\r", ACTING])
    assert written(screen).splitlines() == ["it failed: gone\\n  outcome  admitted\\r", SHOWN]


def test_an_error_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_failure(Failure(ExitCode.USAGE, "usage", ACTING, hint=ACTING), as_json=False)
    assert capsys.readouterr().err == f"error: {SHOWN}\nhint: {SHOWN}\n"


def test_json_for_programs_acts_on_no_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"name": ACTING}, as_json=True, render=lambda _: None)
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": ACTING}
    assert all(each.isprintable() or each == "\n" for each in out)
