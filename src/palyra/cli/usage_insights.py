"""``palyra usage insights``: what a period amounts to, and what to do about it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import amount, print_line, print_table
from palyra.cli.usage_draw import bar, is_plain
from palyra.cli.usage_options import (
    AgentOption,
    ModelOption,
    PrincipalOption,
    ProviderOption,
    SinceOption,
    UntilOption,
    period,
)

INSIGHTS_EXAMPLES = (
    "Examples: palyra usage insights --since 24h | palyra usage insights --agent nightly --json"
)
_MIXES = {"model_mix": "model", "principal_mix": "principal", "agent_mix": "agent"}
_WHY = {"hard_limit": "used up", "forecast": "will not last", "soft_limit": "at its soft limit"}


def insights(
    context: typer.Context,
    since: SinceOption = "30d",
    until: UntilOption = None,
    principal: PrincipalOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what to look at, and what to do next; and who and what the cost is made of.

    Budgets, providers and alerts are told of as they are now, whatever the period.
    """
    names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
    document = connect(context, url, key).get("/usage/insights", **period(since, until), **names)
    emit(document, as_json=as_json, render=lambda console: _print(console, document))


def _print(console: Console, document: Mapping[str, Any]) -> None:
    totals = document["totals"]
    print_line(console, f"From {document['since']} to {document['until']}")
    print_line(
        console,
        f"{totals['cost_usd']} USD, {totals['requests']:,} calls, {totals['denied']:,} denied, "
        f"{totals['failed']:,} failed, {totals['unpriced']:,} without a known price.",
    )
    console.print()
    _print_hints(console, document["hints"])
    for title, name in _MIXES.items():
        _print_mix(console, name, document[title])
    _print_budgets(console, document["budgets"])
    _print_health(console, document["health"])
    print_line(console, _routes(document["routing"]))
    if document["alerts"]:
        print_line(console, f"Firing alerts: {len(document['alerts'])}. See palyra alerts list.")


def _print_hints(console: Console, hints: Sequence[Mapping[str, Any]]) -> None:
    if not hints:
        print_line(console, "Nothing needs attention.")
    for each in hints:
        print_line(console, f"{each['severity'].upper()}: {each['title']}")
        print_line(console, f"  {each['detail']}")
        print_line(console, f"  {each['action']}")
    console.print()


def _print_mix(console: Console, name: str, items: Sequence[Mapping[str, Any]]) -> None:
    if not items:
        return
    whole = sum(each["cost_nano_usd"] for each in items)
    plain = is_plain(console)
    rows = [
        (
            "(other)" if each["other"] else each["name"] or "-",
            each["provider"] or "",
            f"{each['requests']:,}",
            f"{each['unpriced']:,}",
            each["cost_usd"],
            each["share_percent"] or "-",
            bar(each["cost_nano_usd"], whole, plain=plain),
        )
        for each in items
    ]
    print_table(console, (name, "provider", ">calls", ">unpriced", ">USD", ">%", "share"), rows)


def _print_budgets(console: Console, budgets: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            each["policy_id"],
            each["account"]["entity"],
            _WHY[each["why"]],
            amount(each["account"], "consumed", each["metric"]),
            amount(each["account"], "limit", each["metric"]),
            each["account"]["window_end"] or "never",
            each["account"]["exhausted_at"] or "-",
        )
        for each in budgets
    ]
    if rows:
        titles = ("budget", "of", "is", ">used", ">limit", "window ends", "runs out")
        print_table(console, titles, rows)


def _print_health(console: Console, providers: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            each["provider"],
            each["state"],
            f"{each['requests']:,}",
            f"{each['failed']:,}",
            each["error_percent"] or "-",
            "-" if each["first_byte_ms"] is None else f"{each['first_byte_ms']:,}",
        )
        for each in providers
    ]
    if rows:
        titles = ("provider", "state", ">calls", ">failed", ">% failed", ">ms to first byte")
        print_table(console, titles, rows)


def _routes(routing: Mapping[str, Any]) -> str:
    newest = "the newest " if routing["sampled"] else ""
    modes = ", ".join(f"{count:,} {mode}" for mode, count in routing["modes"].items() if count)
    told = f" ({modes})" if modes else ""
    return (
        f"Of {newest}{routing['calls']:,} calls{told}, {routing['rerouted']:,} ran elsewhere than asked and "
        f"{routing['overruled']:,} elsewhere than recommended. "
        f"Routing saved {routing['saved_usd']} USD in all."
    )
