"""``palyra usage sessions|session``: runs of agents, and the calls of one."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import print_line, print_table
from palyra.cli.usage_draw import curve, is_plain
from palyra.cli.usage_options import (
    AgentOption,
    ModelOption,
    PrincipalOption,
    ProviderOption,
    SinceOption,
    UntilOption,
    period,
)

SESSIONS_EXAMPLES = (
    "Examples: palyra usage sessions --since 24h | palyra usage sessions --sort dearest --limit 10"
)
SESSION_EXAMPLES = (
    "Examples: palyra usage session run-7 | palyra usage session run-7 --principal alice --json"
)
_LimitOption = Annotated[int, typer.Option(min=1, max=200, help="Rows of a page.")]
_CursorOption = Annotated[str | None, typer.Option(help="The next_cursor of the page before.")]


def sessions(
    context: typer.Context,
    since: SinceOption = "30d",
    until: UntilOption = None,
    sort: Annotated[str, typer.Option(help="newest or dearest.")] = "newest",
    limit: _LimitOption = 50,
    cursor: _CursorOption = None,
    principal: PrincipalOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List sessions with calls in a period, those with the newest call first; their sums are of all calls.

    With an agent, a model or a provider: those with a call of it.
    """
    names = {"principal": principal, "agent": agent, "model": model, "provider": provider}
    page = {"sort": sort, "limit": str(limit), "cursor": cursor}
    document = connect(context, url, key).get("/usage/sessions", **period(since, until), **page, **names)
    emit(document, as_json=as_json, render=lambda console: _print_sessions(console, document))


def session(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The session, as the caller named it.")],
    limit: _LimitOption = 50,
    cursor: _CursorOption = None,
    principal: Annotated[str | None, typer.Option(help="Whose session; by default the key's own.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one session: its sums, and its calls, newest first. palyra explain tells more of each."""
    path = f"/usage/sessions/{quote(name, safe='')}"
    page = {"limit": str(limit), "cursor": cursor}
    document = connect(context, url, key).get(path, principal=principal, **page)
    emit(document, as_json=as_json, render=lambda console: _print_session(console, document))


def _print_sessions(console: Console, document: Mapping[str, Any]) -> None:
    print_line(console, f"From {document['since']} to {document['until']}")
    if not document["items"]:
        print_line(console, "No session had a call that is over.")
        return
    titles = (
        "principal",
        "session",
        "agent",
        "model",
        ">calls",
        ">denied",
        ">failed",
        ">tokens in",
        ">out",
        ">USD",
    )
    print_table(console, (*titles, "first call", "last call"), _rows(document["items"]))
    _print_more(console, document)


def _rows(items: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            each["principal"],
            each["session"],
            each["agent"] or "-",
            each["model"],
            *(
                f"{each[name]:,}"
                for name in ("requests", "denied", "failed", "input_tokens", "output_tokens")
            ),
            each["cost_usd"],
            _moment(each["first_at"]),
            _moment(each["last_at"]),
        )
        for each in items
    ]


def _print_session(console: Console, document: Mapping[str, Any]) -> None:
    sums = document["session"]
    print_line(console, f"Session {sums['session']} of {sums['principal']}, {sums['requests']:,} calls:")
    print_line(
        console,
        f"{sums['cost_usd']} USD, {sums['input_tokens']:,} tokens in, {sums['output_tokens']:,} out; "
        f"{sums['denied']:,} denied, {sums['failed']:,} failed; "
        f"from {_moment(sums['first_at'])} to {_moment(sums['last_at'])}.",
    )
    models = [
        (
            each["model"],
            each["provider"],
            f"{each['requests']:,}",
            f"{each['input_tokens']:,}",
            f"{each['output_tokens']:,}",
            each["cost_usd"],
        )
        for each in document["models"]
    ]
    print_table(console, ("model", "provider", ">calls", ">tokens in", ">out", ">USD"), models)
    _print_timeline(console, document["timeline"])
    rows = [
        (each["request_id"], _moment(each["at"]), each["model"], each["state"], each["outcome"])
        for each in document["items"]
    ]
    print_table(console, ("request", "at", "model", "state", "outcome"), rows)
    _print_more(console, document)


def _print_timeline(console: Console, timeline: Mapping[str, Any]) -> None:
    buckets = timeline["buckets"]
    if not buckets:
        return
    drawn = curve([each["requests"] + each["denied"] for each in buckets], plain=is_plain(console))
    older = ", of its newest calls" if timeline["truncated"] else ""
    print_line(
        console, f"Calls by the {timeline['bucket']} from {_moment(buckets[0]['start'])}{older}: {drawn}"
    )


def _print_more(console: Console, document: Mapping[str, Any]) -> None:
    if document["next_cursor"]:
        print_line(console, f"More: --cursor {document['next_cursor']}")


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")
