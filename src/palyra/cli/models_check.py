"""``palyra models test-connection|discover``: ask the providers themselves."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from palyra.cli.client import Client, KeyOption
from palyra.cli.models_source import (
    Choice,
    Document,
    MaybeUrl,
    OfflineOption,
    ask_either,
    patient,
    source_line,
)
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line, print_table

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

TEST_EPILOG = (
    "Examples: palyra models test-connection | palyra models test-connection --provider openai --refresh | "
    "palyra models test-connection --generate --json"
)
DISCOVER_EPILOG = "Examples: palyra models discover | palyra models discover --provider local --json"
TIMEOUT_MS = 5_000
_CALL_S = 600.0
"""How long the calls of ``--generate`` may take together."""
_TEST_TITLES = (
    "provider",
    "state",
    ">connect ms",
    ">first byte ms",
    ">total ms",
    ">models",
    "age",
    "message",
)
_CALL_TITLES = ("provider", "call", "model", ">first byte ms", ">total ms", ">cost", "request", "message")

ProviderOption = Annotated[str | None, typer.Option(help="Only this provider.")]
TimeoutOption = Annotated[
    int,
    typer.Option("--timeout-ms", min=100, max=60_000, metavar="N", help="How long a provider may take."),
]
Step = Callable[[], None]


def check_connection(
    context: typer.Context,
    provider: ProviderOption = None,
    timeout_ms: TimeoutOption = TIMEOUT_MS,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Test again, also if the last test still holds.")
    ] = False,
    generate: Annotated[
        bool,
        typer.Option(
            "--generate", help="Also make a call of one token at each provider, counted on your key."
        ),
    ] = False,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Connect to the providers and ask for their models; exit 4 if one that is enabled is not well.

    A result is given again until discovery.health_ttl_s is over. Without a daemon this machine connects.
    """
    choice = Choice(context, config, url, key, offline, as_json)

    def ask(client: Client) -> Document:
        body = {"timeout_ms": timeout_ms, "refresh": refresh, "generate": generate}
        named = {} if provider is None else {"provider": provider}
        seconds = _CALL_S if generate else timeout_ms / 1_000
        return patient(client, seconds).call("POST", "/models/test-connection", body=body | named).document

    async def connect(desk: "ModelDesk") -> Document:
        if generate:
            hint = "start the daemon with `palyra serve`, then give its address or a key"
            told = "--generate needs a daemon: a call is only made where it is counted"
            raise CommandError(told, ExitCode.PRECONDITION, hint=hint)
        return await _each(desk, provider, timeout_ms, refresh=refresh, discover=False)

    document = ask_either(choice, ask, connect)
    emit(document, as_json=as_json, render=lambda console: _print_tests(console, document, choice))
    if not document["ok"]:
        raise typer.Exit(ExitCode.CONNECTIVITY)


def discover(
    context: typer.Context,
    provider: ProviderOption = None,
    timeout_ms: TimeoutOption = TIMEOUT_MS,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask the providers for their models now, and say which the configuration does not name.

    Exit 4 if one that is enabled is not well. A daemon uses what it finds from the next call on.
    """
    choice = Choice(context, config, url, key, offline, as_json)

    def ask(client: Client) -> Document:
        params = {"timeout_ms": str(timeout_ms)} | ({} if provider is None else {"provider": provider})
        asking = patient(client, timeout_ms / 1_000)
        found = asking.call("POST", "/models/discover", params=params).document
        return _with_new(found, client.get("/models"))

    async def connect(desk: "ModelDesk") -> Document:
        found = await _each(desk, provider, timeout_ms, refresh=True, discover=True)
        return _with_new(found, desk.listing())

    document = ask_either(choice, ask, connect)
    emit(document, as_json=as_json, render=lambda console: _print_found(console, document, choice))
    if not document["ok"]:
        raise typer.Exit(ExitCode.CONNECTIVITY)


async def _each(
    desk: "ModelDesk", provider_id: str | None, timeout_ms: int, *, refresh: bool, discover: bool
) -> Document:
    """Test all providers of the file at once, or one, and remember the results."""
    from palyra.cli.models_cache import CheckCache

    providers = desk.settings.providers
    names = [each.id for each in providers] if provider_id is None else [provider_id]
    with _Progress(len(names)) as step:

        async def one(name: str) -> Document:
            try:
                return await desk.test(name, timeout_ms / 1_000, refresh=refresh, discover=discover)
            finally:
                step()

        answers = await asyncio.gather(*(one(name) for name in names))
    tested = {each["provider"] for answer in answers for each in answer["providers"] if not each["cached"]}
    CheckCache.of_user().save(desk.checks, [each for each in providers if each.id in tested])
    return {
        "ok": all(answer["ok"] for answer in answers),
        "live": False,
        "providers": [each for answer in answers for each in answer["providers"]],
    }


class _Progress:
    """A bar on stderr where that is a terminal; gives the function that moves it on."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("asking providers", total=total)

    def __enter__(self) -> Step:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _with_new(document: Document, listing: Mapping[str, Any]) -> Document:
    """The document with ``new`` for each provider: what it lists and the configuration does not name."""
    named = {
        (each["provider"], each["upstream_name"]) for each in listing["items"] if each["origin"] == "config"
    }
    providers = [
        {**each, "new": [model for model in each["models"] if (each["provider"], model) not in named]}
        for each in document["providers"]
    ]
    return {**document, "providers": providers}


def _print_tests(console: Console, document: Mapping[str, Any], choice: Choice) -> None:
    print_line(console, _asked_by(document, choice))
    print_table(console, _TEST_TITLES, (_test_row(each) for each in document["providers"]))
    if "generated" in document:
        console.print()
        print_table(console, _CALL_TITLES, (_call_row(each) for each in document["generated"]))


def _print_found(console: Console, document: Mapping[str, Any], choice: Choice) -> None:
    print_line(console, _asked_by(document, choice))
    for each in document["providers"]:
        if each["state"] == "ok":
            told = f"{len(each['models'])} models, {len(each['new'])} not in the configuration"
        else:
            told = f"{each['state']}, {each['message']}"
        print_line(console, f"{each['provider']}: {told}")
    rows = list(_found_rows(document["providers"]))
    if rows:
        print_table(console, ("provider", "model", "configured"), rows)


def _asked_by(document: Mapping[str, Any], choice: Choice) -> str:
    if document["live"]:
        return f"Asked by the daemon at {choice.client.url}."
    return source_line(document, choice, ", this machine asked the providers")


def _found_rows(providers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for provider in providers:
        for model in provider["models"]:
            yield provider["provider"], model, "no, new" if model in provider["new"] else "yes"


def _test_row(test: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        test["provider"],
        test["state"],
        *(_milliseconds(test[name]) for name in ("connect_ms", "first_byte_ms", "total_ms")),
        str(len(test["models"])),
        f"cached, {test['age_s']} s old" if test["cached"] else "new",
        test["message"],
    )


def _call_row(call: Mapping[str, Any]) -> tuple[str, ...]:
    cost = call.get("cost_usd")
    return (
        call["provider"],
        "ok" if call["ok"] else "failed",
        call.get("model") or "-",
        *(_milliseconds(call.get(name)) for name in ("first_byte_ms", "total_ms")),
        "-" if cost is None else f"{cost} USD",
        call.get("request_id") or "-",
        call["message"],
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
