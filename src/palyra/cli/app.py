"""The command line as a whole: which commands there are."""

from typing import Annotated

import typer

import palyra
from palyra.cli import alerts, approvals, audit, budgets, db, decisions, keys, models, prices, usage
from palyra.cli.completion import completion
from palyra.cli.demo import demo
from palyra.cli.demo_scale import demo_scale
from palyra.cli.doctor import doctor
from palyra.cli.explain import explain
from palyra.cli.init import init
from palyra.cli.output import JsonOption, PalyraGroup, emit
from palyra.cli.serve import serve

_EXAMPLES = "Examples: palyra init && palyra doctor && palyra serve | palyra usage summary --json"


def build_app() -> typer.Typer:
    """The root command with every verb group."""
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
    root.command(epilog="Examples: palyra serve | palyra serve --config team.toml --port 0 --json")(serve)
    root.command(epilog="Examples: palyra demo | palyra demo --once --json")(demo)
    root.command(
        "demo-scale", epilog="Examples: palyra demo-scale | palyra demo-scale --calls-worth 200 --exit"
    )(demo_scale)
    root.command(epilog="Examples: palyra init | palyra init team.toml --force")(init)
    root.command(epilog="Examples: palyra doctor | palyra doctor --offline --json")(doctor)
    root.command(epilog="Example: palyra explain req_0199c2f4")(explain)
    root.command(epilog='Examples: eval "$(palyra completion bash)" | palyra completion fish | source')(
        completion
    )
    root.add_typer(models.app)
    root.add_typer(prices.app)
    root.add_typer(budgets.app)
    root.add_typer(approvals.app)
    root.add_typer(alerts.app)
    root.add_typer(decisions.app)
    root.add_typer(keys.app)
    root.add_typer(usage.app)
    root.add_typer(audit.app)
    root.add_typer(db.app)
    return root


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


app = build_app()
