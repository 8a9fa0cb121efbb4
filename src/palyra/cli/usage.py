"""``palyra usage``: what was used, by whom, and what it cost."""

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.tables import print_line, print_table
from palyra.core.instant import NANOSECONDS, isoformat

app = typer.Typer(name="usage", help="Usage: tokens, calls and money.", no_args_is_help=True)

_SPAN = re.compile(r"(\d{1,5})([hdw])")
_SECONDS = {"h": 3_600, "d": 86_400, "w": 604_800}
_COUNTS = ("requests", "denied", "input_tokens", "output_tokens", "cache_read_tokens")


@app.callback()
def usage() -> None:
    """Usage: tokens, calls and money."""


@app.command(epilog="Examples: palyra usage summary --since 7d | palyra usage summary --by principal,model")
def summary(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(help="Start: a span such as 24h, 7d, 4w, or a time such as 2026-11-01T00:00:00Z.")
    ] = "30d",
    until: Annotated[str | None, typer.Option(help="End, as a time; now by default.")] = None,
    by: Annotated[
        str, typer.Option(help="Group by any of hour, principal, agent, model, provider; with commas.")
    ] = "principal,model",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Sum up calls, tokens and cost per group, the dearest first."""
    start = start_of(since, time.time_ns())
    if start is None:
        raise CommandError(f"--since: {since!r} is not a span such as 7d, nor a time", ExitCode.USAGE)
    client = connect(context, url, key)
    document = client.get("/usage/summary", since=start, until=until, group_by=by)
    emit(document, as_json=as_json, render=lambda console: _print_summary(console, document))


def start_of(since: str, now: int) -> str | None:
    """RFC 3339 of a span before ``now`` (nanoseconds); a time is passed on; None for neither."""
    span = _SPAN.fullmatch(since)
    if span is not None:
        seconds = int(span[1]) * _SECONDS[span[2]]
        return isoformat((now // NANOSECONDS - seconds) * NANOSECONDS)
    return since if "T" in since else None


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


def _figures(sums: Mapping[str, Any]) -> tuple[str, ...]:
    return (*(f"{sums[name]:,}" for name in _COUNTS), sums["cost_usd"])
