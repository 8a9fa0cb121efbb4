"""The command reference, written from the commands themselves.

``PYTHONPATH=tests python -m harness.cli_page`` rewrites ``docs/reference/cli.md`` below its marker.
"""

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, cast

import typer

from palyra.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
MARKER = "<!-- From here on this page is generated: PYTHONPATH=tests python -m harness.cli_page -->\n"
_EVERYWHERE = frozenset({"--help", "--json", "--url", "--key"})
_EXAMPLES = re.compile(r"\s*Examples?:.*", re.DOTALL)


def root() -> Any:
    """The root command."""
    return typer.main.get_command(app)


def commands(command: Any, path: str = "palyra") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name, in the order of ``--help``."""
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, f"{path} {name}")
        else:
            yield f"{path} {name}", each


def options(command: Any) -> set[str]:
    """The spellings of every option of a command, ``--help`` included."""
    return {"--help"} | {spelling for each in command.params for spelling in each.opts if spelling[0] == "-"}


def render() -> str:
    """The generated part of the page."""
    return "\n".join(line for name, each in commands(root()) for line in _section(name, each))


def _section(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([name, *(_usage_of(each) for each in arguments)])
    yield f"## {name}\n"
    yield f"{_EXAMPLES.sub('', command.help).strip()}\n"
    yield f"```text\n{usage}{' [OPTIONS]' if options(command) else ''}\n```\n"
    rows = [*(_row(each) for each in arguments)]
    rows += [
        _row(each)
        for each in command.params
        if each.param_type_name == "option" and not _EVERYWHERE.intersection(each.opts)
    ]
    if rows:
        yield "| argument or option | meaning |\n|---|---|"
        yield "\n".join(rows) + "\n"
    shared = sorted(_EVERYWHERE.intersection(options(command)))
    yield f"Also: {', '.join(f'`{option}`' for option in shared)}.\n"


def _usage_of(argument: Any) -> str:
    name = _name_of(argument)
    return name if argument.required else f"[{name}]"


def _name_of(argument: Any) -> str:
    return cast("str", argument.metavar or argument.name).upper()


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    spelled = _name_of(parameter) if argument else ", ".join(parameter.opts)
    told = parameter.help.replace("|", "\\|").replace("*", "\\*").strip()
    notes = [told, *_notes(parameter)]
    return f"| `{spelled}` | {' '.join(notes)} |"


def _notes(parameter: Any) -> Iterator[str]:
    annotation: object = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield f"One of: {', '.join(f'`{member.value}`' for member in annotation)}."
    if parameter.required and parameter.param_type_name == "option":
        yield "Required."
    shown = parameter.show_default
    if isinstance(shown, str):
        yield f"Default: {shown}."
    elif parameter.default not in (None, False, "") and shown:
        yield f"Default: `{parameter.default}`."
    if parameter.envvar:
        yield f"Variable: `{parameter.envvar}`."


def main() -> None:
    """Rewrite the page."""
    head = PAGE.read_text("utf-8").partition(MARKER)[0]
    PAGE.write_text(f"{head}{MARKER}\n{render()}", "utf-8")


if __name__ == "__main__":
    main()
