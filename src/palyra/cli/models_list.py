"""``palyra models list``: every model with what is known of it, and who said so."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from palyra.cli.client import KeyOption
from palyra.cli.models_source import Choice, Document, MaybeUrl, OfflineOption, ask_either, source_line
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line, print_table
from palyra.registry.models import Capability, ModelRole

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

EPILOG = (
    "Examples: palyra models list --capability vision --max-price 2.50 --sort output | "
    "palyra models list --all --sources --json"
)
_TITLES = (
    "id",
    "provider",
    "role",
    "capabilities",
    ">context",
    ">output",
    "cost tier",
    "latency tier",
    ">in",
    ">out",
    "enabled",
    "health",
)


class Sort(StrEnum):
    """What the list is ordered by."""

    ID = "id"
    PROVIDER = "provider"
    INPUT = "input"
    OUTPUT = "output"
    CONTEXT = "context"


def list_models(
    context: typer.Context,
    provider: Annotated[str | None, typer.Option(help="Only models of this provider.")] = None,
    capability: Annotated[
        list[Capability] | None, typer.Option(help="Only models that have it. May be given several times.")
    ] = None,
    role: Annotated[ModelRole | None, typer.Option(help="Only models for this.")] = None,
    max_price: Annotated[
        str | None,
        typer.Option("--max-price", metavar="USD", help="Only models whose output costs at most this much."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also models that are disabled.")] = False,
    sort: Annotated[Sort | None, typer.Option(help="Order; what is not known comes last.")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="Say where each value comes from.")] = False,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the models with capabilities, limits in tokens, tiers, and prices in USD per million tokens."""
    most = _price("--max-price", max_price)
    choice = Choice(context, config, url, key, offline, as_json)

    async def of_file(desk: "ModelDesk") -> Document:
        return desk.listing()

    document = ask_either(choice, lambda client: client.get("/models"), of_file)
    wanted = [
        each
        for each in document["items"]
        if (every or each["enabled"])
        and provider in (None, each["provider"])
        and role in (None, each["role"])
        and set(capability or ()) <= set(each["capabilities"] or ())
    ]
    unpriced = 0 if most is None else sum(_usd(each, "output") is None for each in wanted)
    shown = [each for each in wanted if most is None or _at_most(each, most)]
    if sort is not None:
        shown.sort(key=_ORDERS[sort])
    result = {**document, "items": shown, "unpriced_left_out": unpriced}
    emit(result, as_json=as_json, render=lambda console: _print_list(console, result, choice, sources))


def _print_list(console: Console, document: Mapping[str, Any], choice: Choice, sources: bool) -> None:
    items: Sequence[Mapping[str, Any]] = document["items"]
    print_line(console, source_line(document, choice))
    if items:
        print_table(console, _TITLES, (_row(each, sources, document["live"]) for each in items))
    else:
        print_line(console, "No model matches. See all with: palyra models list --all")
    if document["unpriced_left_out"]:
        print_line(console, f"Left out, because they have no price: {document['unpriced_left_out']}")


def _row(model: Mapping[str, Any], sources: bool, live: bool) -> tuple[str, ...]:
    told: Mapping[str, str] = model["sources"] if sources else {}

    def cell(value: object, name: str) -> str:
        shown = "-" if value is None else str(value)
        return f"{shown} ({told[name]})" if name in told else shown

    capabilities = model["capabilities"]
    return (
        model["id"],
        model["provider"],
        cell(model["role"], "role"),
        cell(None if capabilities is None else ",".join(capabilities) or "none", "capabilities"),
        cell(_count(model["context_window"]), "context_window"),
        cell(_count(model["output_limit"]), "output_limit"),
        cell(model["cost_tier"], "cost_tier"),
        cell(model["latency_tier"], "latency_tier"),
        cell(model["price"]["input_usd_per_million"], "price"),
        cell(model["price"]["output_usd_per_million"], "price"),
        "yes" if model["enabled"] else "no",
        # Without a daemon nobody has seen how its provider does.
        model["health"] if live else "-",
    )


def _count(tokens: int | None) -> str | None:
    return None if tokens is None else f"{tokens:,}"


def _price(option: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise CommandError(f"{option}: {text!r} is not an amount of USD such as 2.50", ExitCode.USAGE)
    return price


def _usd(model: Mapping[str, Any], unit: str) -> Decimal | None:
    text = model["price"][f"{unit}_usd_per_million"]
    return None if text is None else Decimal(text)


def _at_most(model: Mapping[str, Any], most: Decimal) -> bool:
    price = _usd(model, "output")
    return price is not None and price <= most


def _known_first(value: Decimal | int | None, model: Mapping[str, Any]) -> tuple[object, ...]:
    return value is None, value or 0, model["id"], model["provider"]


_ORDERS: Mapping[Sort, Callable[[Mapping[str, Any]], tuple[object, ...]]] = {
    Sort.ID: lambda model: (model["id"], model["provider"]),
    Sort.PROVIDER: lambda model: (model["provider"], model["id"]),
    Sort.INPUT: lambda model: _known_first(_usd(model, "input"), model),
    Sort.OUTPUT: lambda model: _known_first(_usd(model, "output"), model),
    Sort.CONTEXT: lambda model: _known_first(model["context_window"], model),
}
