"""Where ``palyra models`` gets its answers: from a daemon that answers, else from the configuration file."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import httpx2
import typer

from palyra.cli.client import DEFAULT_URL, TIMEOUT_S, Client, Connector, connect
from palyra.cli.output import CommandError, ExitCode
from palyra.config.load import find_file, load_settings
from palyra.config.settings import Settings
from palyra.core.instant import NANOSECONDS

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

Document = dict[str, Any]
T = TypeVar("T")

MaybeUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="PALYRA_URL",
        help="Where the daemon listens.",
        metavar="URL",
        show_default=DEFAULT_URL,
    ),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Answer from the configuration file, also if a daemon runs.")
]

_UNREACHED = "connectivity"
_NO_KEY = "invalid_api_key"
_START_HINT = (
    "start one with `palyra serve` or say where it is with --url; without one give a configuration with "
    "--config, or write one with `palyra init`"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user said about where to ask."""

    context: typer.Context
    config: Path | None
    url: str | None
    key: str
    offline: bool
    as_json: bool

    @property
    def client(self) -> Client:
        """The daemon that would be asked."""
        return connect(self.context, self.url or DEFAULT_URL, self.key)

    @property
    def insists(self) -> bool:
        """Whether a daemon was asked for by name or by key, so that the file is no answer."""
        return self.url is not None or (bool(self.key) and _on_command_line(self.context, "key"))

    @property
    def wants_file(self) -> bool:
        """Whether the file was asked for: an option says more than what the environment says."""
        named = _on_command_line(self.context, "config")
        return self.offline or (named and not _on_command_line(self.context, "url"))


class _Patience(Connector):
    """Opens clients that wait longer."""

    def __init__(self, inner: Connector, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def open(self, url: str) -> httpx2.Client:
        client = self._inner.open(url)
        client.timeout = self._seconds
        return client


def patient(client: Client, seconds: float) -> Client:
    """The client, if the daemon itself may need so many seconds to answer."""
    return replace(client, connector=_Patience(client.connector, TIMEOUT_S + seconds))


class Ask(Protocol):
    """Asks one thing of a daemon."""

    def __call__(self, client: Client, /) -> Document:
        """The daemon's document. Raises CommandError."""
        ...


def ask_either(
    choice: Choice, daemon: Ask, desk: Callable[["ModelDesk"], Coroutine[Any, Any, Document]]
) -> Document:
    """The daemon's document, else what the file's own desk says, by the rules of ``Choice``.

    Raises CommandError, ConfigError, or what the desk raises.
    """
    if choice.offline and choice.url is not None and _on_command_line(choice.context, "url"):
        raise CommandError("--offline asks no daemon; leave --url out", ExitCode.USAGE)
    if choice.wants_file:
        return ask_file(settings_of(choice), desk)
    try:
        return daemon(choice.client)
    except CommandError as error:
        settings = _instead_of_daemon(choice, error)
    return ask_file(settings, desk)


def ask_file(settings: Settings, ask: Callable[["ModelDesk"], Coroutine[Any, Any, T]]) -> T:
    """What the desk of the settings says.

    It knows the connection tests that are remembered, and the models that were listed in them less than
    ``[discovery] ttl_s`` ago. Raises what ``ask`` raises.
    """
    # What plans calls takes a while to import: other commands need not wait for it.
    from palyra.cli.models_cache import CheckCache
    from palyra.daemon.offline import offline_desk

    enabled = [each for each in settings.providers if each.enabled]
    remembered = CheckCache.of_user().load(enabled)

    async def answer() -> T:
        desk = await offline_desk(settings)
        now, held = desk.engine.clock.now(), int(settings.discovery.ttl_s * NANOSECONDS)
        desk.checks |= remembered
        for provider in enabled:
            if provider.id in remembered and now - remembered[provider.id].at < held:
                desk.learn(provider)
        return await ask(desk)

    return asyncio.run(answer())


def settings_of(choice: Choice) -> Settings:
    """The settings of the file. Raises ConfigError."""
    return load_settings(choice.config, os.environ, Path.cwd())


def print_note(text: str, *, as_json: bool) -> None:
    """A remark on stderr; stdout has the result alone."""
    typer.echo(json.dumps({"note": text}) if as_json else f"note: {text}", err=True)


def source_line(document: Mapping[str, Any], choice: Choice, more: str = "") -> str:
    """Where an answer comes from, for people."""
    if document["live"]:
        return f"Live from {choice.client.url}."
    return f"From {document.get('source') or _file_name(choice)}; no daemon was asked{more}."


def _instead_of_daemon(choice: Choice, error: CommandError) -> Settings:
    """The settings where a daemon could not answer. Raises ``error``, or one that has both ways out."""
    unreached = error.code == _UNREACHED
    if choice.insists or not (unreached or (error.code == _NO_KEY and not choice.key)):
        raise error
    if choice.config is None and find_file(os.environ, Path.cwd()) is None and not _has_provider_keys():
        hint = _START_HINT if unreached else error.hint
        raise CommandError(error.message, error.exit_code, hint=hint, code=error.code) from None
    settings = settings_of(choice)
    if not unreached:
        live = "give a key with --key or PALYRA_KEY for live values"
        print_note(f"shown from {settings.source}; {live}", as_json=choice.as_json)
    elif choice.key:
        print_note(f"{error.message}; shown from {settings.source}", as_json=choice.as_json)
    return settings


def _has_provider_keys() -> bool:
    return any(os.environ.get(f"{name}_API_KEY", "").strip() for name in ("OPENAI", "ANTHROPIC"))


def _file_name(choice: Choice) -> str:
    return str(choice.config or find_file(os.environ, Path.cwd()) or "the environment")


def _on_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
