"""Which commands there are; each brings its libraries only when it is the one that runs."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer

import palyra
from palyra.cli.output import JsonOption, PalyraGroup, emit

_EXAMPLES = "Examples: palyra init && palyra doctor && palyra serve | palyra usage summary --json"
_Command = Callable[..., Any]


def _serve() -> _Command:
    from palyra.cli.serve import serve

    return serve


def _demo() -> _Command:
    from palyra.cli.demo import demo

    return demo


def _demo_scale() -> _Command:
    from palyra.cli.demo_scale import demo_scale

    return demo_scale


def _init() -> _Command:
    from palyra.cli.init import init

    return init


def _doctor() -> _Command:
    from palyra.cli.doctor import doctor

    return doctor


def _explain() -> _Command:
    from palyra.cli.explain import explain

    return explain


def _completion() -> _Command:
    from palyra.cli.completion import completion

    return completion


def _models() -> typer.Typer:
    from palyra.cli.models import app

    return app


def _prices() -> typer.Typer:
    from palyra.cli.prices import app

    return app


def _budgets() -> typer.Typer:
    from palyra.cli.budgets import app

    return app


def _approvals() -> typer.Typer:
    from palyra.cli.approvals import app

    return app


def _alerts() -> typer.Typer:
    from palyra.cli.alerts import app

    return app


def _decisions() -> typer.Typer:
    from palyra.cli.decisions import app

    return app


def _keys() -> typer.Typer:
    from palyra.cli.keys import app

    return app


def _usage() -> typer.Typer:
    from palyra.cli.usage import app

    return app


def _audit() -> typer.Typer:
    from palyra.cli.audit import app

    return app


def _db() -> typer.Typer:
    from palyra.cli.db import app

    return app


_COMMANDS: Mapping[str, tuple[Callable[[], _Command], str]] = MappingProxyType(
    {
        "serve": (_serve, "Examples: palyra serve | palyra serve --config team.toml --port 0 --json"),
        "demo": (_demo, "Examples: palyra demo | palyra demo --once --json"),
        "demo-scale": (
            _demo_scale,
            "Examples: palyra demo-scale | palyra demo-scale --calls-worth 200 --exit",
        ),
        "init": (_init, "Examples: palyra init | palyra init team.toml --force"),
        "doctor": (_doctor, "Examples: palyra doctor | palyra doctor --offline --json"),
        "explain": (_explain, "Example: palyra explain req_0199c2f4"),
        "completion": (
            _completion,
            'Examples: eval "$(palyra completion bash)" | palyra completion fish | source',
        ),
    }
)
"""Command -> what loads it, and what its help ends with."""

_GROUPS: Mapping[str, Callable[[], typer.Typer]] = MappingProxyType(
    {
        "models": _models,
        "prices": _prices,
        "budgets": _budgets,
        "approvals": _approvals,
        "alerts": _alerts,
        "decisions": _decisions,
        "keys": _keys,
        "usage": _usage,
        "audit": _audit,
        "db": _db,
    }
)
"""Verb group -> what loads it."""

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
        if verb in _COMMANDS:
            load, epilog = _COMMANDS[verb]
            root.command(verb, epilog=epilog)(load())
        else:
            root.add_typer(_GROUPS[verb]())
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
