"""``palyra usage``: what was used, by whom, and what it cost."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import print_line, print_table
from palyra.cli.usage_export import EXPORT_EXAMPLES, export
from palyra.cli.usage_insights import INSIGHTS_EXAMPLES, insights
from palyra.cli.usage_options import (
    AgentOption,
    ModelOption,
    PrincipalOption,
    ProviderOption,
    SinceOption,
    UntilOption,
    period,
    start_of,
)
from palyra.cli.usage_sessions import SESSION_EXAMPLES, SESSIONS_EXAMPLES, session, sessions
from palyra.cli.usage_top import TOP_EXAMPLES, top
from palyra.cli.usage_views import TIMELINE_EXAMPLES, add_views, timeline

__all__ = ["app", "start_of"]

app = typer.Typer(name="usage", help="Usage: tokens, calls and money.", no_args_is_help=True)

_COUNTS = ("requests", "denied", "input_tokens", "output_tokens", "cache_read_tokens")


@app.callback()
def usage() -> None:
    """Usage: tokens, calls and money."""


@app.command(epilog="Examples: palyra usage summary --since 7d | palyra usage summary --by principal,model")
def summary(
    context: typer.Context,
    since: SinceOption = "30d",
    until: UntilOption = None,
    by: Annotated[
        str, typer.Option(help="Group by any of hour, principal, agent, model, provider; with commas.")
    ] = "principal,model",
    principal: PrincipalOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Sum up calls, tokens and cost per group, the dearest first, and compare with the time before."""
    names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
    asked = period(since, until)
    document = connect(context, url, key).get("/usage/summary", group_by=by, **asked, **names)
    emit(document, as_json=as_json, render=lambda console: _print_summary(console, document))


app.command(epilog=TIMELINE_EXAMPLES)(timeline)
add_views(app)
app.command(epilog=SESSIONS_EXAMPLES)(sessions)
app.command(epilog=SESSION_EXAMPLES)(session)
app.command(epilog=INSIGHTS_EXAMPLES)(insights)
app.command(epilog=EXPORT_EXAMPLES)(export)
app.command(epilog=TOP_EXAMPLES)(top)


def _print_summary(console: Console, document: Mapping[str, Any]) -> None:
    print_line(console, f"From {document['since']} to {document['until']}")
    totals, groups = document["totals"], document["groups"]
    names = document["group_by"]
    titles = (*names, *(f">{name.replace('_', ' ')}" for name in _COUNTS), ">USD")
    rows = [(*(each["group"][name] or "-" for name in names), *_figures(each)) for each in groups]
    total = ("total", *("" for _ in names[1:]), *_figures(totals)) if names else _figures(totals)
    print_table(console, titles, rows, total)
    if totals["unpriced"]:
        print_line(console, f"{totals['unpriced']} calls have no known price and are in no cost above.")
    if totals["estimated"]:
        print_line(console, f"{totals['estimated']} calls are estimated: the provider reported no usage.")
    print_line(console, compared(document))
    for line in (_latency(document), _running(document)):
        if line:
            print_line(console, line)


def compared(document: Mapping[str, Any]) -> str:
    """The cost of a summary against that of the time before, as a sentence."""
    change, previous = document["change"], document["previous"]
    if previous["kept_since"] is None:
        return "There is no usage yet."
    if not previous["whole"]:
        return f"Not compared with the time before: usage is kept since {previous['kept_since']}."
    before = f"{previous['totals']['cost_usd']} USD from {previous['since']} to {previous['until']}"
    if not change["cost_nano_usd"]:
        return f"As much as before: {before}."
    more = change["cost_nano_usd"] > 0
    amount = change["cost_usd"].removeprefix("-")
    share = change["cost_percent"]
    percent = "" if share is None else f" ({share.removeprefix('-')} %)"
    return f"{amount} USD{percent} {'more' if more else 'less'} than before: {before}."


def _latency(document: Mapping[str, Any]) -> str:
    average, p95 = document["totals"]["average_latency_ms"], document["p95_latency_ms"]
    if average is None:
        return ""
    behind = "" if p95 is None else f", 95 of 100 within {p95:,} ms"
    before = document["previous"]["totals"]["average_latency_ms"]
    was = "" if before is None else f"; before, {before:,} ms on average"
    return f"Calls took {average:,} ms on average{behind}{was}."


def _running(document: Mapping[str, Any]) -> str:
    running, unpriced = document["running"], document["running_unpriced"]
    if not running:
        return ""
    but = f", and {unpriced:,} without a known price" if unpriced else ""
    return f"Running now: {running:,}, holding {document['held_now_usd']} USD at most{but}."


def _figures(sums: Mapping[str, Any]) -> tuple[str, ...]:
    return (*(f"{sums[name]:,}" for name in _COUNTS), sums["cost_usd"])
