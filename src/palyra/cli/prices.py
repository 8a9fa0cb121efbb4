"""``palyra prices``: what models cost, and whether the operator's own prices make sense. Offline."""

import os
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from palyra.cli.output import ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line, print_table
from palyra.config.load import find_file, load_settings
from palyra.config.problems import ConfigError
from palyra.config.settings import Settings
from palyra.core.instant import Instant, isoformat
from palyra.pricing.base import ListedPrice
from palyra.pricing.book import PriceBook, PriceProblem
from palyra.pricing.catalog import GenaiPrices

app = typer.Typer(name="prices", help="Prices: what the price book knows.", no_args_is_help=True)

_UNITS = ("input", "output", "cache_read", "cache_write_5m")


@app.command(
    "list",
    epilog="Examples: palyra prices list --model 'gpt-4o*' | palyra prices list --all --json",
)
def list_prices(
    config: ConfigOption = None,
    provider: Annotated[
        str | None, typer.Option(help="Only this provider of the config or the price book.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Only models with this text, or matching a * pattern.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also providers that are not configured.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List prices in USD per million tokens: your own first, then those of the built-in price book."""
    settings = _settings_if_any(config)
    book = PriceBook(settings.prices if settings else (), GenaiPrices())
    shown = {provider} if provider else _configured(settings) if settings and not every else None
    entries = [
        entry
        for entry in book.entries()
        if (shown is None or entry.provider in shown or entry.provider == "*") and _named(entry.model, model)
    ]
    document = {"version": book.version, "items": [_document(entry) for entry in entries]}

    def render(console: Console) -> None:
        titles = ("provider", "model", *(f">{unit}" for unit in _UNITS), "other", "valid", "source")
        print_table(console, titles, (_row(entry) for entry in entries))
        if not entries:
            print_line(console, "No price matches. See all with: palyra prices list --all")

    emit(document, as_json=as_json, render=render)


@app.command(epilog="Example: palyra prices check --json")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Compare your own prices with the configuration and the built-in price book; exit 7 on an error."""
    settings = load_settings(config, os.environ, Path.cwd())
    book = PriceBook(settings.prices, GenaiPrices())
    kinds = {provider.id: provider.kind.value for provider in settings.providers}
    problems = book.check(kinds, Instant(time.time_ns()))
    ok = not any(problem.severity == "error" for problem in problems)
    document = {"ok": ok, "entries": len(settings.prices), "problems": [_finding(each) for each in problems]}

    def render(console: Console) -> None:
        rows = ((each.severity, each.entry_id, each.message) for each in problems)
        if problems:
            print_table(console, ("severity", "price", "finding"), rows)
        else:
            print_line(console, f"{len(settings.prices)} prices of your own, nothing to remark.")

    emit(document, as_json=as_json, render=render)
    if not ok:
        raise typer.Exit(ExitCode.PRECONDITION)


def _settings_if_any(config: Path | None) -> Settings | None:
    """The settings; None where there is nothing to read at all, because prices need no configuration."""
    try:
        return load_settings(config, os.environ, Path.cwd())
    except ConfigError:
        if config is not None or find_file(os.environ, Path.cwd()) is not None:
            raise
        return None


def _configured(settings: Settings) -> set[str]:
    return {name for provider in settings.providers for name in (provider.id, provider.kind.value)}


def _named(name: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    return fnmatchcase(name, wanted) if "*" in wanted else wanted in name


def _document(entry: ListedPrice) -> dict[str, object]:
    return {
        "provider": entry.provider,
        "model": entry.model,
        "valid_from": None if entry.valid_from is None else isoformat(entry.valid_from),
        "valid_until": None if entry.valid_until is None else isoformat(entry.valid_until),
        "when": entry.when,
        "source": entry.source,
        "prices": dict(entry.prices),
    }


def _row(entry: ListedPrice) -> tuple[str, ...]:
    units = [entry.prices.get(unit, "-") for unit in _UNITS]
    others = sorted(set(entry.prices) - set(_UNITS))
    return (entry.provider, entry.model, *units, _count(others, entry.prices), _validity(entry), entry.source)


def _count(others: list[str], prices: Mapping[str, str]) -> str:
    if len(others) > 2:
        return f"{len(others)} more (--json)"
    return ", ".join(f"{unit} {prices[unit]}" for unit in others)


def _validity(entry: ListedPrice) -> str:
    start = "" if entry.valid_from is None else f"from {isoformat(entry.valid_from)}"
    end = "" if entry.valid_until is None else f"until {isoformat(entry.valid_until)}"
    return " ".join(part for part in (start, end, entry.when) if part)


def _finding(problem: PriceProblem) -> dict[str, object]:
    return {"severity": problem.severity, "entry_id": problem.entry_id, "message": problem.message}
