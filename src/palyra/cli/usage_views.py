"""``palyra usage timeline|agents|principals|models|providers``: usage over time, and who it was."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import drawn_table, print_line, print_table
from palyra.cli.usage_draw import bar, curve, is_plain
from palyra.cli.usage_options import (
    AgentOption,
    ModelOption,
    PrincipalOption,
    ProviderOption,
    SinceOption,
    TimezoneOption,
    UntilOption,
    period,
)
from palyra.core.money import format_usd

TIMELINE_EXAMPLES = (
    "Examples: palyra usage timeline --since 24h | "
    "palyra usage timeline --since 7d --by model --timezone Europe/Prague"
)
VIEWS: Mapping[str, tuple[str, ...]] = {
    "agents": ("agent",),
    "principals": ("principal",),
    "models": ("model", "provider"),
    "providers": ("provider",),
}
NAME_CHARS_MAX = 40
_OF_BUCKET = {"cost": "cost_nano_usd", "calls": "requests", "denied": "denied"}


def timeline(
    context: typer.Context,
    since: SinceOption = "7d",
    until: UntilOption = None,
    bucket: Annotated[str, typer.Option(help="auto, hour, day or month.")] = "auto",
    timezone: TimezoneOption = "UTC",
    metric: Annotated[str, typer.Option(help="cost, tokens, calls or denied.")] = "cost",
    by: Annotated[str | None, typer.Option(help="Tell apart by principal, agent, model or provider.")] = None,
    top: Annotated[int, typer.Option(min=1, max=20, help="So many of them; the rest is one.")] = 5,
    principal: PrincipalOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draw usage over time, as a bar per hour, day or month of your time zone."""
    names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
    cut = {"bucket": bucket, "timezone": timezone, "metric": metric, "by": by, "top": str(top)}
    asked = period(since, until)
    document = connect(context, url, key).get("/usage/timeline", **asked, **cut, **names)
    emit(document, as_json=as_json, render=lambda console: _print_timeline(console, document))


def add_views(app: typer.Typer) -> None:
    """Add the commands that list who used what."""
    for view in VIEWS:
        example = f"Examples: palyra usage {view} --since 7d | palyra usage {view} --sort calls --limit 10"
        app.command(view, epilog=example)(_lister(view))


def _lister(view: str) -> Any:
    def command(
        context: typer.Context,
        since: SinceOption = "30d",
        until: UntilOption = None,
        sort: Annotated[str, typer.Option(help="cost, tokens, calls, denied or name.")] = "cost",
        limit: Annotated[int, typer.Option(min=1, max=200, help="Rows of a page.")] = 50,
        cursor: Annotated[str | None, typer.Option(help="The next_cursor of the page before.")] = None,
        principal: PrincipalOption = None,
        agent: AgentOption = None,
        model: ModelOption = None,
        provider: ProviderOption = None,
        url: UrlOption = DEFAULT_URL,
        key: KeyOption = "",
        as_json: JsonOption = False,
    ) -> None:
        names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
        page = {"sort": sort, "limit": str(limit), "cursor": cursor}
        asked = period(since, until)
        document = connect(context, url, key).get(f"/usage/{view}", **asked, **page, **names)
        emit(document, as_json=as_json, render=lambda console: _print_view(console, view, document))

    command.__doc__ = f"""List the {view} that used something, the dearest first."""
    return command


def drawn_view(view: str, document: Mapping[str, Any], *, plain: bool) -> Table:
    """The rows of a view, with a bar for the share and a curve of the period."""
    names = VIEWS[view]
    titles = (*names, ">calls", ">denied", ">tokens in", ">out", ">cached", ">USD", ">per call")
    return drawn_table(
        (*titles, ">%", "share", "over time", "last hour"), _rows(names, document, plain=plain)
    )


def _rows(names: Iterable[str], document: Mapping[str, Any], *, plain: bool) -> Iterable[tuple[str, ...]]:
    for each in document["items"]:
        yield (
            *(_shortened(each[name] or "-") for name in names),
            f"{each['requests']:,}",
            f"{each['denied']:,}",
            f"{each['input_tokens']:,}",
            f"{each['output_tokens']:,}",
            f"{each['cache_read_tokens']:,}",
            each["cost_usd"],
            each["average_cost_usd"] or "-",
            each["share_percent"] or "-",
            bar(each["cost_nano_usd"], document["all_cost_nano_usd"], plain=plain, width=10),
            curve(each["sparkline"], plain=plain),
            each["last_hour"][:16].replace("T", " "),
        )


def _print_view(console: Console, view: str, document: Mapping[str, Any]) -> None:
    print_line(console, f"From {document['since']} to {document['until']}")
    if not document["items"]:
        print_line(console, "Nothing was used.")
        return
    console.print(drawn_view(view, document, plain=is_plain(console)))
    print_line(console, f"All of them: {document['all_cost_usd']} USD.")
    unpriced = sum(each["unpriced"] for each in document["items"])
    if unpriced:
        print_line(console, f"{unpriced} calls have no known price and are in no cost above.")
    if document["next_cursor"]:
        print_line(console, f"More: --cursor {document['next_cursor']}")


def _print_timeline(console: Console, document: Mapping[str, Any]) -> None:
    print_line(
        console,
        f"From {document['since']} to {document['until']}, {document['metric']} "
        f"per {document['bucket']} in {document['timezone']}",
    )
    plain, metric = is_plain(console), document["metric"]
    points = [_point(each, metric) for each in document["buckets"]]
    most = max(points, default=0)
    rows = [
        (each["label"].replace("T", " "), _told(point, metric), bar(point, most, plain=plain, width=40))
        for each, point in zip(document["buckets"], points, strict=True)
    ]
    print_table(
        console, (document["bucket"], f">{_unit(metric)}", ""), rows, ("total", _told(sum(points), metric))
    )
    if document["series"]:
        console.print()
        _print_series(console, document, plain=plain)
    if not document["aligned"]:
        print_line(
            console, "This zone is not whole hours from UTC: hours that cross midnight count before it."
        )


def _print_series(console: Console, document: Mapping[str, Any], *, plain: bool) -> None:
    metric = document["metric"]
    whole = sum(each["total"] for each in document["series"])
    rows = [
        (
            "(other)" if each["other"] else _shortened(each["name"] or "-"),
            _told(each["total"], metric),
            bar(each["total"], whole, plain=plain),
            curve(each["points"], plain=plain),
        )
        for each in document["series"]
    ]
    print_table(console, (document["by"], f">{_unit(metric)}", "share", "over time"), rows)


def _point(bucket: Mapping[str, Any], metric: str) -> int:
    if metric == "tokens":
        return bucket["input_tokens"] + bucket["output_tokens"]
    return bucket[_OF_BUCKET[metric]]


def _told(figure: int, metric: str) -> str:
    return format_usd(figure) if metric == "cost" else f"{figure:,}"


def _unit(metric: str) -> str:
    return "USD" if metric == "cost" else metric


def _shortened(name: str) -> str:
    """A name that leaves room for the figures."""
    return name if len(name) <= NAME_CHARS_MAX else f"{name[: NAME_CHARS_MAX - 1]}…"
