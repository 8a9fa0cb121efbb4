"""``palyra keys``: create, list, revoke."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect, segment
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.tables import print_line, print_table

app = typer.Typer(name="keys", help="Keys: who may call, as whom, with which models.", no_args_is_help=True)

_TITLES = ("id", "prefix", "principal", "agent", "roles", "models", "state", "origin")


@app.command(
    epilog="Example: palyra keys create --principal alice --agent ide --model 'gpt-4o*' --tag team=platform"
)
def create(
    context: typer.Context,
    principal: Annotated[str, typer.Option(help="Who pays for its calls.")],
    agent: Annotated[str | None, typer.Option(help="Pin the key to this agent.")] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="caller (default), viewer, operator, admin, owner; may be repeated."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model it may use, * for any characters; may be repeated.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag NAME=VALUE; may be repeated.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Create a key. It is shown this once; Palyra keeps only its hash."""
    client = connect(context, url, key)
    body: dict[str, object] = {"principal": principal, "tags": _tags(tag or [])}
    if agent is not None:
        body["agent"] = agent
    if role:
        body["roles"] = role
    if model:
        body["models"] = model
    created = client.call("POST", "/keys", body=body).document
    # The key alone on stdout, so that it can be piped into a secret store.
    emit(created, as_json=as_json, render=lambda console: print_line(console, created["key"]))
    roles = ", ".join(created["roles"])
    typer.echo(f"Key {created['id']} for {created['principal']} ({roles}).", err=True)
    typer.echo("Keep it now: it is shown this once and cannot be read again.", err=True)


@app.command("list", epilog="Example: palyra keys list --all")
def list_keys(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Show revoked keys, too.")] = False,
    principal: Annotated[str | None, typer.Option(help="Only keys of this principal.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the keys by prefix; no key is ever shown in clear."""
    client = connect(context, url, key)
    items = client.items("/keys", principal=principal, revoked=None if every else "false")
    page = {"items": items, "next_cursor": None}
    rows = [_row(item) for item in items]
    emit(page, as_json=as_json, render=lambda console: print_table(console, _TITLES, rows))


@app.command(epilog="Example: palyra keys revoke key_0199")
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, from `palyra keys list`.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Revoke a key for good. Its next call is refused."""
    connect(context, url, key).call("DELETE", f"/keys/{segment(key_id)}")
    done = {"id": key_id, "revoked": True}
    emit(done, as_json=as_json, render=lambda console: print_line(console, f"Key {key_id} is revoked."))


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        item["id"],
        item["prefix"],
        item["principal"],
        item["agent"] or "-",
        ", ".join(item["roles"]),
        ", ".join(item["models"]) or "all",
        f"revoked {item['revoked_at']}" if item["revoked_at"] else "active",
        item["origin"],
    )


def _tags(pairs: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"--tag: {pair!r} is not a tag; write NAME=VALUE", ExitCode.USAGE)
        tags[name] = value
    return tags
