"""``palyra models set``: the default model, written into the configuration file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from palyra.cli.client import KeyOption
from palyra.cli.models_edit import Edit, Writing, edited, write
from palyra.cli.models_source import Choice, Document, MaybeUrl, OfflineOption, ask_file
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
from palyra.config.load import find_file, load_settings
from palyra.config.settings import Settings
from palyra.core.errors import ModelNotFound
from palyra.registry.models import Model, ModelRole
from palyra.registry.registry import AUTO

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

EPILOG = (
    "Examples: palyra models set gpt-4o-mini | palyra models set local/qwen3 --config team.toml --backups 10"
)
VARIABLE = "PALYRA_GOVERNANCE_DEFAULT_MODEL"
BACKUPS = 5
BACKUPS_MAX = 1_000


def set_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id, alias, or PROVIDER/ID.")],
    backups: Annotated[
        int,
        typer.Option(min=0, max=BACKUPS_MAX, metavar="N", help="How many earlier files are kept beside it."),
    ] = BACKUPS,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Also a name that nobody knows yet.")
    ] = False,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Set the default model, which the name "auto" stands for, in the configuration file.

    Comments and order of the file stay. It is checked as a whole before it is written, and kept as .bak.1.
    """
    if os.environ.get(VARIABLE):
        hint = f"unset {VARIABLE}, or change it where the daemon starts"
        told = f"the default model comes from {VARIABLE}, which wins over the file"
        raise CommandError(told, ExitCode.PRECONDITION, hint=hint)
    if not model.isprintable():
        raise CommandError("MODEL: holds characters that no model's name has", ExitCode.USAGE)
    if model == AUTO:
        raise CommandError("'auto' stands for the default model; name another", ExitCode.USAGE)
    path = _path(config)
    settings = load_settings(path, os.environ, Path.cwd())
    _check(model, settings, Choice(context, config, url, key, offline, as_json), allow_unknown)
    writing = write(edited(path, model), backups)
    document = _document(writing, model)
    emit(document, as_json=as_json, render=lambda console: _print(console, document))


def _path(config: Path | None) -> Path:
    path = config or find_file(os.environ, Path.cwd())
    if path is None:
        hint = f"write one with `palyra init`, name one with --config, or set {VARIABLE}"
        raise CommandError("there is no palyra.toml to write to", ExitCode.PRECONDITION, hint=hint)
    return Path.cwd() / path


def _check(name: str, settings: Settings, choice: Choice, allow_unknown: bool) -> None:
    """Raises CommandError unless the model is there and can be the default."""

    async def find(desk: "ModelDesk") -> Model:
        # Whatever a provider listed last is good enough for a name.
        for provider_id in desk.checks:
            desk.learn(next(each for each in settings.providers if each.id == provider_id))
        return desk.engine.registry.find(name)

    try:
        model = ask_file(settings, find)
    except ModelNotFound as error:
        if allow_unknown or _is_listed(name, choice):
            return
        hint = "correct it, declare it under [[models]], or insist with --allow-unknown"
        raise CommandError(error.message, ExitCode.NOT_FOUND, hint=hint, code=error.code) from None
    if not model.enabled:
        told = f"{name!r} is disabled, by itself or with its provider {model.provider!r}"
        raise CommandError(told, ExitCode.PRECONDITION, hint="enable it, or name another")
    if model.role is not ModelRole.CHAT:
        told = f"{name!r} is no chat model: its role is {model.role.value}"
        hint = "name a chat model; see: palyra models list --role chat"
        raise CommandError(told, ExitCode.USAGE, hint=hint)


def _is_listed(name: str, choice: Choice) -> bool:
    """Whether a daemon has the model, where one may be asked."""
    if choice.wants_file:
        return False
    try:
        listed = choice.client.get("/models")
    except CommandError:
        if choice.insists:
            raise
        return False
    return any(_answers_to(each, name) for each in listed["items"] if each["enabled"])


def _answers_to(model: Mapping[str, Any], name: str) -> bool:
    return name in (model["id"], f"{model['provider']}/{model['id']}", *model["aliases"])


def _document(writing: Writing, model: str) -> Document:
    edit: Edit = writing.edit
    return {
        "path": str(edit.path),
        "field": "governance.default_model",
        "before": edit.before,
        "after": model,
        "changed": edit.before != model,
        "backup": None if writing.backup is None else str(writing.backup),
    }


def _print(console: Console, document: Mapping[str, Any]) -> None:
    if not document["changed"]:
        print_line(console, f"{document['after']} is the default model in {document['path']} already.")
        return
    print_line(console, f"Wrote {document['path']}.")
    print_line(console, f"default model   {document['before'] or 'none'} -> {document['after']}")
    print_line(console, f"backup          {document['backup'] or 'none'}")
    print_line(console, "A daemon that runs must be restarted to use it.")
