"""``palyra models status``: providers and how they do, what calls get by default, and what is wrong."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from palyra.cli.client import KeyOption
from palyra.cli.models_source import Choice, Document, MaybeUrl, OfflineOption, ask_either, source_line
from palyra.cli.output import JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line, print_table

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

EPILOG = "Examples: palyra models status | palyra models status --offline --json"
_TITLES = (
    "id",
    "kind",
    "enabled",
    "credential",
    ">models",
    ">priced",
    "breaker",
    ">first byte ms",
    "last fault",
    "last check",
)


def status(
    context: typer.Context,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the providers and how they do, what calls get by default, and what is wrong.

    A daemon that answers is asked; without one the configuration file tells what it can.
    """
    choice = Choice(context, config, url, key, offline, as_json)

    async def of_file(desk: "ModelDesk") -> Document:
        return desk.status()

    document = ask_either(choice, lambda client: client.get("/models/status"), of_file)
    emit(document, as_json=as_json, render=lambda console: _print_status(console, document, choice))


def _print_status(console: Console, document: Mapping[str, Any], choice: Choice) -> None:
    print_line(console, source_line(document, choice))
    for label, text in _head(document):
        print_line(console, f"{label:<16}{text}")
    console.print()
    print_table(console, _TITLES, (_row(each) for each in document["providers"]))
    for each in document["problems"]:
        print_line(console, f"{each['severity']}: {each['field']}: {each['message']}")


def _head(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    routing = document["routing"]
    choice = {"never": "never", "auto": "for the model name 'auto'", "always": "for every call"}
    smart = choice.get(routing["smart"], routing["smart"])
    sticky = f", a session keeps its model {routing['sticky_s']} s" if routing["sticky_s"] else ""
    yield "configuration", document["source"]
    yield "default model", document["default_model"] or "none: the model name 'auto' is refused"
    yield "mode", document["mode"]
    yield "routing", f"{smart}, among {routing['candidates']} models{sticky}"
    yield "failover", "on" if routing["failover"] else "off"
    yield "retries", str(routing["retries"])
    yield (
        "breaker",
        f"opens after {routing['breaker_failures']} failures, for {routing['breaker_open_s']:g} s",
    )
    prices = document["prices"]
    yield (
        "models",
        f"{document['models']}, {document['priced']} with a price (own price entries: {prices['own']})",
    )


def _row(provider: Mapping[str, Any]) -> tuple[str, ...]:
    health: Mapping[str, Any] = provider["health"] or {}
    first_byte = health.get("first_byte_ms")
    return (
        provider["id"],
        provider["kind"],
        "yes" if provider["enabled"] else "no",
        credential(provider["credential"]),
        str(provider["models"]),
        str(provider["priced"]),
        _breaker(health),
        "-" if first_byte is None else f"{first_byte:.0f}",
        _fault(health.get("last_fault")),
        check_told(provider["check"]),
    )


def credential(document: Mapping[str, Any]) -> str:
    """Where a credential comes from and whether it is there: ``env:OPENAI_API_KEY set``. Never itself."""
    if document["reference"] is None:
        return "missing" if document["needed"] and not document["present"] else "none"
    return f"{document['reference']} {'set' if document['present'] else 'missing'}"


def check_told(check: Mapping[str, Any] | None) -> str:
    """The last connection test with its age: ``ok, 12 s ago``."""
    return "-" if check is None else f"{check['state']}, {check['age_s']} s ago"


def _breaker(health: Mapping[str, Any]) -> str:
    if not health:
        return "-"
    cooling = f", {len(health['cooldowns'])} cooling" if health["cooldowns"] else ""
    retry = f" until {health['retry_at']}" if health["retry_at"] else ""
    return f"{health['breaker']}{retry}{cooling}"


def _fault(fault: Mapping[str, Any] | None) -> str:
    return "-" if fault is None else f"{fault['reason']} at {fault['at']}"
