"""``palyra models routing-report``: what choosing the model saves, against the default and chance."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.tables import print_line, print_table
from palyra.cli.usage import start_of

EPILOG = (
    "Examples: palyra models routing-report --since 7d | palyra models routing-report --since 24h "
    "--principal alice --json"
)
_ROWS = (
    ("what ran", "ran"),
    ("always default", "always_default"),
    ("always recommended", "always_recommended"),
    ("shuffled", "shuffled"),
)
_TOP_MODELS = 10


def routing_report(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(help="Start: a span such as 24h, 7d, 4w, or a time such as 2026-11-01T00:00:00Z.")
    ] = "7d",
    until: Annotated[str | None, typer.Option(help="End, as a time; now by default.")] = None,
    principal: Annotated[str | None, typer.Option(help="Only the calls of this principal.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell what choosing the model saves, on the calls whose choice was Palyra's.

    Compares what ran with the default model for every call, with the
    recommended one for every call, and with the same mix of recommended
    models dealt out at random over the same calls. If the last two cost the
    same, the choice saves nothing beyond the mix. It is assumed that another
    model would have used as many tokens.
    """
    start = start_of(since, time.time_ns())
    if start is None:
        raise CommandError(f"--since: {since!r} is not a span such as 7d, nor a time", ExitCode.USAGE)
    client = connect(context, url, key)
    document = client.get("/models/routing-report", since=start, until=until, principal=principal)
    emit(document, as_json=as_json, render=lambda console: _print_report(console, document))


def _print_report(console: Console, document: Mapping[str, Any]) -> None:
    whose = f", of {document['principal']}" if document["principal"] is not None else ""
    print_line(console, f"From {document['since']} to {document['until']}{whose}")
    if document["calls"]["counted"]:
        rows = [(title, *_figures(document[name])) for title, name in _ROWS]
        print_table(console, ("on the same calls", ">USD", ">saves USD", ">saves %"), rows)
    print_line(console, document["verdict"]["text"])
    if document["calls"]["counted"]:
        _print_bands(console, document)
        _print_models(console, document)
    _print_counts(console, document)


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["cost_usd"], row["saving_usd"], row["saving_percent"] or "-")


def _print_bands(console: Console, document: Mapping[str, Any]) -> None:
    console.print()
    titles = ("complexity", ">calls", ">ran USD", ">default USD", ">recommended USD", ">saves %")
    rows = [
        (
            band["band"],
            f"{band['calls']:,}",
            *(band[name]["cost_usd"] for name in ("ran", "always_default", "always_recommended")),
            band["always_recommended"]["saving_percent"] or "-",
        )
        for band in document["bands"]
        if band["calls"]
    ]
    print_table(console, titles, rows)


def _print_models(console: Console, document: Mapping[str, Any]) -> None:
    console.print()
    counts = ("default", "recommended", "ran")
    shown = document["models"][:_TOP_MODELS]
    rows = [(each["model"], *(f"{each[count]:,}" for count in counts)) for each in shown]
    print_table(console, ("model", *(f">{count}" for count in counts)), rows)
    more = len(document["models"]) - _TOP_MODELS
    if more > 0:
        print_line(console, f"and {more} more models (--json)")
    console.print()


def _print_counts(console: Console, document: Mapping[str, Any]) -> None:
    calls = document["calls"]
    print_line(
        console,
        f"{calls['read']:,} calls read: {calls['counted']:,} compared, "
        f"{calls['not_routed']:,} with nothing to choose, {sum(calls['left_out'].values()):,} left out.",
    )
    left_out = calls["left_out"]
    notes = {
        "Left out, without a price on the actual, default or recommended model": left_out["no_price"],
        "Left out, without a usage to price": left_out["no_settlement"],
        "Compared by an estimated usage": calls["estimated"],
        "Taken up elsewhere when a provider failed": calls["failed_over"],
        "With candidates that have no price and are not dealt": calls["partly_priced"],
    }
    for note, count in notes.items():
        if count:
            print_line(console, f"{note}: {count:,}.")
    if document["unpriced_models"]:
        names = ", ".join(each["model"] for each in document["unpriced_models"][:_TOP_MODELS])
        print_line(console, f"Without a price: {names}. See: palyra prices check")
    if document["truncated"]:
        print_line(
            console,
            f"Only the newest {calls['read']:,} calls were read, back to {document['read_since']}: "
            "ask for a shorter period, or for one principal.",
        )
