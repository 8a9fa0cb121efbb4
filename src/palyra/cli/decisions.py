"""``palyra decisions``: look for calls."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.budgets.evaluation import Outcome
from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import print_line, print_table
from palyra.lifecycle.decision import CallState

app = typer.Typer(name="decisions", help="Calls: what was decided of each.", no_args_is_help=True)

_TITLES = ("request", "at", "principal", "agent", "model", "route", "state", "status", ">tokens", ">USD")


@app.callback()
def decisions() -> None:
    """Calls: what was decided of each."""


@app.command(
    "list",
    epilog="Examples: palyra decisions list --outcome deny --since 24h | "
    "palyra decisions list --min-cost 1.00 --tag team:platform --json",
)
def list_decisions(
    context: typer.Context,
    principal: Annotated[str | None, typer.Option(help="Only of this principal.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those that this model served.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only these, such as chat_completions.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only those with this outcome.")] = None,
    state: Annotated[CallState | None, typer.Option(help="Only those in this state.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only those with this status: blocked, or 503 of a provider.")
    ] = None,
    route: Annotated[str | None, typer.Option(help="proceed, degrade, upgrade, failover or defer.")] = None,
    rerouted: Annotated[bool, typer.Option("--rerouted", help="Only those that ran elsewhere.")] = False,
    min_cost: Annotated[
        str | None, typer.Option(help="Only those that cost so many USD, or more.", metavar="USD")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.", metavar="NAME:VALUE")] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="Only those whose request id begins so.", metavar="PREFIX")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From then on: a span before now such as 24h, 7d, 4w, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before then: a span before now, or a time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Rows of a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="The next_cursor of the page before.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List calls, the newest first. palyra explain tells more of each.

    A page looks at a bounded number of calls: where it says how far it looked, --cursor goes on behind that.
    """
    asked = {
        "principal": principal,
        "agent": agent,
        "session": session,
        "model": model,
        "provider": provider,
        "endpoint": endpoint,
        "outcome": outcome,
        "state": state,
        "status": status,
        "route": route,
        "rerouted": "true" if rerouted else None,
        "min_cost": min_cost,
        "tag": tag,
        "request_id": request_id,
        "since": since,
        "until": until,
        "limit": str(limit),
        "cursor": cursor,
    }
    document = connect(context, url, key).get("/decisions", **asked)
    emit(document, as_json=as_json, render=lambda console: _print(console, document))


def _print(console: Console, document: Mapping[str, Any]) -> None:
    items = document["items"]
    if items:
        print_table(console, _TITLES, [_row(each) for each in items])
    elif document["scanned_until"] is None:
        print_line(console, "No call matches.")
    if document["scanned_until"] is not None:
        print_line(console, f"Looked at the calls back to {document['scanned_until']}.")
    if document["next_cursor"]:
        print_line(console, f"More: --cursor {document['next_cursor']}")


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    tokens = each["input_tokens"]
    return (
        each["request_id"],
        each["at"][:19].replace("T", " "),
        each["principal"],
        each["agent"] or "-",
        each["model"],
        each["route"],
        each["state"],
        each["status"],
        "-" if tokens is None else f"{tokens + each['output_tokens']:,}",
        each["cost_usd"] or "-",
    )
