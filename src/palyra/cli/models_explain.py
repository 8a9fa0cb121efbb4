"""``palyra models explain``: what a call would get, and why. No call is made and nothing is held."""

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from palyra.budgets.terms import Mode
from palyra.cli.client import Client, KeyOption
from palyra.cli.models_source import Choice, Document, MaybeUrl, OfflineOption, ask_either, source_line
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit, exit_code_of_status
from palyra.cli.serve import ConfigOption
from palyra.cli.tables import print_line
from palyra.core.errors import ModelNotFound
from palyra.reports.page import forecast_lines

if TYPE_CHECKING:
    from palyra.daemon.models import ModelDesk

EPILOG = (
    "Examples: palyra models explain 'Say hello' --model auto --principal alice | "
    "palyra models explain --body request.json --key-id key_0199c2f4 --json"
)
STDIN = "-"
_NOTHING_USED = ": budgets count from nothing used, and every provider is taken to be well"


class Route(StrEnum):
    """The wire formats that a model can be asked in."""

    CHAT_COMPLETIONS = "chat_completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDINGS = "embeddings"


PromptArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT", help="What would be asked; - or nothing reads standard input.", show_default=False
    ),
]
CapOption = Annotated[int | None, typer.Option("--max-tokens", min=1, metavar="N", help="Cap on the output.")]
TagOption = Annotated[
    list[str] | None, typer.Option(metavar="K=V", help="A tag of the call. May be given several times.")
]
KeyIdOption = Annotated[
    str | None, typer.Option("--key-id", help="Ask with the rights and labels of this key.")
]
RouteOption = Annotated[
    Route | None, typer.Option(help="Wire format of the call.", show_default="the chat format of the model")
]
BodyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", allow_dash=True, help="A whole request as JSON, instead of a prompt; - is stdin."
    ),
]


def explain(
    context: typer.Context,
    prompt: PromptArgument = None,
    model: Annotated[
        str | None, typer.Option(help="The model that the call names.", show_default="auto")
    ] = None,
    principal: Annotated[str | None, typer.Option(help="Who would call.", show_default="owner")] = None,
    agent: Annotated[str | None, typer.Option(help="The program that would act for the principal.")] = None,
    session: Annotated[str | None, typer.Option(help="The run that the call would belong to.")] = None,
    task_class: Annotated[str | None, typer.Option("--task-class", help="What the call is for.")] = None,
    json_mode: Annotated[bool, typer.Option("--json-mode", help="The answer must be JSON.")] = False,
    vision: Annotated[int, typer.Option(min=0, metavar="N", help="Pictures in the prompt.")] = 0,
    tools: Annotated[int, typer.Option(min=0, metavar="N", help="Tools that the model may use.")] = 0,
    max_tokens: CapOption = None,
    mode: Annotated[Mode | None, typer.Option(help="The mode that the call would ask for.")] = None,
    tag: TagOption = None,
    stream: Annotated[bool, typer.Option("--stream", help="The answer would be streamed.")] = False,
    key_id: KeyIdOption = None,
    endpoint: RouteOption = None,
    body: BodyOption = None,
    config: ConfigOption = None,
    offline: OfflineOption = False,
    url: MaybeUrl = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a call would get now: model, cost, budgets and outcome, with every number behind it.

    No call is made and nothing is held. Exit 0 if it would run, 6 if a policy would refuse it.
    """
    fields: dict[str, object] = {
        "model": model,
        "principal": principal,
        "agent": agent,
        "session": session,
        "task_class": task_class,
        "json_mode": json_mode or None,
        "vision": vision or None,
        "tools": tools or None,
        "max_tokens": max_tokens,
        "mode": None if mode is None else mode.value,
        "tags": _tags(tag),
        "stream": stream or None,
        "key_id": key_id,
        "endpoint": None if endpoint is None else endpoint.value,
        **_asked(prompt, body),
    }
    question = _sendable({name: value for name, value in fields.items() if value is not None})
    choice = Choice(context, config, url, key, offline, as_json)

    async def of_file(desk: "ModelDesk") -> Document:
        return await desk.explain(question)

    try:
        document = ask_either(choice, lambda client: _ask(client, question), of_file)
    except (ModelNotFound, CommandError) as error:
        if error.code != ModelNotFound.code:
            raise
        told, hint = error.message, "see: palyra models list --all"
        raise CommandError(told, ExitCode.NOT_FOUND, hint=hint, code=error.code) from None
    emit(document, as_json=as_json, render=lambda console: _print_forecast(console, document, choice))
    if not document["would_run"]:
        raise typer.Exit(exit_code_of_status(document["error"]["status"]))


def _sendable(question: dict[str, object]) -> dict[str, object]:
    """The question, if JSON in UTF-8 can hold it. Raises CommandError."""
    try:
        json.dumps(question, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise CommandError(
            "the question holds characters or numbers that JSON has not", ExitCode.USAGE
        ) from None
    return question


def _ask(client: Client, question: Mapping[str, object]) -> Document:
    return client.call("POST", "/models/explain", body=question).document


def _print_forecast(console: Console, document: Mapping[str, Any], choice: Choice) -> None:
    for line in forecast_lines(document):
        print_line(console, line)
    console.print()
    print_line(console, source_line(document, choice, _NOTHING_USED))


def _asked(prompt: str | None, body: Path | None) -> dict[str, object]:
    """The prompt or the whole request. Raises CommandError."""
    if body is not None:
        if prompt is not None:
            raise CommandError("--body is the whole request; leave the prompt out", ExitCode.USAGE)
        return {"body": _document(body)}
    given = prompt
    if prompt == STDIN or (prompt is None and not sys.stdin.isatty()):
        given = _read_stdin() or None
    if given is None:
        hint = "palyra models explain 'Say hello', or pipe a prompt in, or give a request with --body"
        raise CommandError("there is no prompt", ExitCode.USAGE, hint=hint)
    return {"prompt": given}


def _document(path: Path) -> dict[str, Any]:
    named = "standard input" if str(path) == STDIN else str(path)
    try:
        document: object = json.loads(_read_stdin() if str(path) == STDIN else path.read_text("utf-8"))
    except OSError as error:
        raise CommandError(f"--body: {named} cannot be read: {error.strerror}", ExitCode.USAGE) from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--body: {named} is not JSON: {error}", ExitCode.USAGE) from None
    if not isinstance(document, dict):
        raise CommandError(f"--body: {named} holds no JSON object", ExitCode.USAGE)
    return cast("dict[str, Any]", document)


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("standard input is not UTF-8", ExitCode.USAGE) from None


def _tags(given: list[str] | None) -> dict[str, str] | None:
    tags: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise CommandError(f"--tag: {each!r} is not K=V", ExitCode.USAGE)
        tags[name] = value
    return tags or None
