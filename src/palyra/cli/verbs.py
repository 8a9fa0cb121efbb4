"""Which commands there are; each brings its libraries only when it is the one that runs."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Annotated

import typer

import palyra
from palyra.cli.output import JsonOption, PalyraGroup, emit

_EXAMPLES = "Examples: palyra init && palyra doctor && palyra serve | palyra usage summary --json"
_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "Examples: palyra serve | palyra serve --config team.toml --port 0 --json",
        "demo": "Examples: palyra demo | palyra demo --once --json",
        "demo-scale": "Examples: palyra demo-scale | palyra demo-scale --calls-worth 200 --exit",
        "init": "Examples: palyra init | palyra init team.toml --force",
        "doctor": "Examples: palyra doctor | palyra doctor --offline --json",
        "explain": "Example: palyra explain req_0199c2f4",
        "completion": 'Examples: eval "$(palyra completion bash)" | palyra completion fish | source',
    }
)
"""Command -> what its help ends with. The function of that name is in the module of that name."""

_GROUPS = ("models", "prices", "budgets", "approvals", "alerts", "decisions", "keys", "usage", "audit", "db")
"""Verb groups: the ``app`` of the module of that name."""

VERBS = (*_COMMANDS, *_GROUPS)


def build_app(verbs: Sequence[str] = VERBS) -> typer.Typer:
    """The root command with these verbs."""
    root = typer.Typer(
        name="palyra",
        cls=PalyraGroup,
        help="Usage governance for language models: budgets that hold, bills that add up.",
        epilog=_EXAMPLES,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    root.callback(invoke_without_command=True)(_root)
    for verb in verbs:
        name = verb.replace("-", "_")
        module = import_module(f"palyra.cli.{name}")
        if verb in _COMMANDS:
            root.command(verb, epilog=_COMMANDS[verb])(getattr(module, name))
        else:
            root.add_typer(module.app)
    return root


def verbs_for(words: Sequence[str]) -> Sequence[str]:
    """The verbs that a command line needs: its own if it begins with one, else all, for help and errors."""
    return words[:1] if words and words[0] in VERBS else VERBS


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    as_json: JsonOption = False,
) -> None:
    if version:
        document = {"version": palyra.__version__}
        emit(document, as_json=as_json, render=lambda console: console.print(f"palyra {palyra.__version__}"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
