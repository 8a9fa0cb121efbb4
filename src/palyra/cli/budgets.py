"""``palyra budgets``: list, show, set, delete, status, history, override-request, simulate."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.budgets.terms import Metric
from palyra.cli import budgets_simulate
from palyra.cli.amounts import parse_amount
from palyra.cli.approvals_page import print_approval
from palyra.cli.budget_files import read_budgets
from palyra.cli.client import DEFAULT_URL, Client, KeyOption, UrlOption, connect, segment
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit
from palyra.cli.tables import amount, print_line, print_table
from palyra.core.instant import Instant
from palyra.reports.changes import FieldChange, field_line

app = typer.Typer(
    name="budgets", help="Budgets: what may be spent, and where each stands.", no_args_is_help=True
)

_TITLES = ("id", "scope", "metric", "interval", ">soft", ">hard", "action", "mode", ">version", "origin")
_FIGURES = ("posted", "held", "sliced", "limit", "extra", "remaining", "forecast")
_DETAILS = (
    "name",
    "timezone",
    "mode",
    "routing_mode_override",
    "min_output_tokens",
    "unknown_price",
    "valid_from",
    "valid_until",
    "updated_by",
)

PolicyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the budget.")]
IfVersion = Annotated[
    int | None, typer.Option("--if-version", min=0, help="Only if it is at this version (0: does not exist).")
]


@app.command("list", epilog="Example: palyra budgets list --json")
def list_budgets(
    context: typer.Context, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False
) -> None:
    """List the budgets in force."""
    page = connect(context, url, key).get("/budgets")

    def render(console: Console) -> None:
        if page["items"]:
            print_table(console, _TITLES, (_row(policy) for policy in page["items"]))
        else:
            print_line(console, "No budgets yet. Make one with `palyra budgets set`.")

    emit(page, as_json=as_json, render=render)


@app.command(epilog="Example: palyra budgets show each-principal-daily")
def show(
    context: typer.Context,
    policy_id: PolicyId,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one budget with all its fields."""
    policy = connect(context, url, key).get(f"/budgets/{segment(policy_id)}")
    emit(policy, as_json=as_json, render=lambda console: _print_policy(console, policy))


@app.command(
    "set",
    epilog=(
        "Examples: palyra budgets set team.toml | "
        "palyra budgets set --id daily --scope 'principal:*' --metric cost_usd --interval day --hard 5.00"
    ),
)
def set_budget(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="TOML or JSON file with one budget, or with a list of them under budgets.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    policy_id: Annotated[str | None, typer.Option("--id", help="Id of the budget.")] = None,
    scope: Annotated[
        str | None, typer.Option(help="global, principal:ID, principal:*, model:ID, tag:K=V ...")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="cost_usd, total_tokens, input_tokens, output_tokens, requests.")
    ] = None,
    interval: Annotated[str | None, typer.Option(help="request, hour, day, week, month, total.")] = None,
    hard: Annotated[
        str | None, typer.Option("--hard", help="Hard limit: USD such as 5.00, or a count.")
    ] = None,
    soft: Annotated[str | None, typer.Option("--soft", help="Soft limit, in the same unit.")] = None,
    action: Annotated[str | None, typer.Option(help="block, approval_required, alert.")] = None,
    mode: Annotated[str | None, typer.Option(help="suggest, dry_run, enforced.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA time zone of the interval.")] = None,
    if_version: IfVersion = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Create or replace a budget; the next call sees it. Fields that are left out take their defaults."""
    client = connect(context, url, key)
    options: dict[str, object | None] = {
        "id": policy_id,
        "scope": scope,
        "metric": metric,
        "interval": interval,
        "hard_limit": hard,
        "soft_limit": soft,
        "action": action,
        "mode": mode,
        "timezone": timezone,
    }
    given: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    if (file is None) == (not given):
        raise CommandError(
            "give a file, or the options --id --scope --metric --interval --hard", ExitCode.USAGE
        )
    documents = read_budgets(file) if file else [given]
    if if_version is not None and len(documents) != 1:
        raise CommandError("--if-version: is for one budget; the file has several", ExitCode.USAGE)
    stored = [_put(client, document, if_version) for document in documents]

    def render(console: Console) -> None:
        for policy in stored:
            _print_policy(console, policy)

    emit(stored[0] if len(stored) == 1 else {"items": stored}, as_json=as_json, render=render)


@app.command(epilog="Example: palyra budgets delete daily --if-version 3")
def delete(
    context: typer.Context,
    policy_id: PolicyId,
    if_version: IfVersion = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a budget out of force. What was counted stays."""
    client = connect(context, url, key)
    client.call("DELETE", f"/budgets/{segment(policy_id)}", headers=_condition(if_version))
    told = f"Budget {policy_id} is deleted; the next call is not bound by it."
    done = {"id": policy_id, "deleted": True}
    emit(done, as_json=as_json, render=lambda console: print_line(console, told))


@app.command(epilog="Example: palyra budgets status each-principal-daily")
def status(
    context: typer.Context,
    policy_id: PolicyId,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show where each account of a budget stands: posted, held, sliced, what remains, and the forecast.

    The forecast is what the account will stand at when its window ends (31 days ahead at most); "runs out" is
    when it will be at its hard limit. A dash: it will not, or too little is known.


    Sliced is claimed by gateways for calls to come; it is 0 unless gateways share a PostgreSQL database.
    """
    document = connect(context, url, key).get(f"/budgets/{segment(policy_id)}/status")

    def render(console: Console) -> None:
        print_line(console, _sentence(document["policy"]))
        if document["accounts"]:
            _print_accounts(console, document["accounts"])
        else:
            print_line(console, "No call was counted yet.")

    emit(document, as_json=as_json, render=render)


@app.command(
    "override-request",
    epilog=(
        "Examples: palyra budgets override-request daily --amount 5usd --reason 'month-end report' | "
        "palyra budgets override-request team-tokens --amount '20000 tokens' --reason demo --entity research"
    ),
)
def override_request(
    context: typer.Context,
    policy_id: PolicyId,
    wanted: Annotated[
        str,
        typer.Option(
            "--amount", help="How much on top of the limit: 5usd, $5, 20000 tokens, 20k, 3 requests."
        ),
    ],
    reason: Annotated[str, typer.Option(help="What it is needed for; whoever decides reads it.")],
    entity: Annotated[
        str | None, typer.Option(help="Whose account, where the budget has one for each.", show_default=False)
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(help="For whose calls; an operator may ask for others, and asks for all by default."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask for more than the limit of a budget before a call is stopped. Somebody else decides it."""
    client = connect(context, url, key)
    body = {"reason": reason, **parse_amount(wanted, _metric_of(client, policy_id)).fields()}
    options = {"entity": entity, "principal": principal}
    body |= {name: value for name, value in options.items() if value is not None}
    approval = client.call("POST", f"/budgets/{segment(policy_id)}/override-request", body=body).document
    now = Instant(time.time_ns())
    emit(approval, as_json=as_json, render=lambda console: print_approval(console, approval, now))


@app.command(epilog="Example: palyra budgets history each-principal-daily")
def history(
    context: typer.Context,
    policy_id: PolicyId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many versions, the newest.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="Go on behind this page: next_cursor of the one before.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show who changed a budget, when, and what; also of one that was deleted. The newest comes first."""
    path = f"/budgets/{segment(policy_id)}/history"
    page = connect(context, url, key).get(path, limit=str(limit), cursor=cursor)

    def render(console: Console) -> None:
        for item in page["items"]:
            print_line(console, _step(item))
            for change in item["changes"]:
                print_line(
                    console, f"    {field_line(FieldChange(**change), both=item['action'] == 'changed')}"
                )
        if not page["items"]:
            print_line(console, "Nothing of it is in the journal.")
        if page["next_cursor"] is not None:
            print_line(console, f"There are older ones: --cursor {page['next_cursor']}")

    emit(page, as_json=as_json, render=render)


app.command("simulate", epilog=budgets_simulate.EPILOG)(budgets_simulate.simulate)


def _metric_of(client: Client, policy_id: str) -> Metric | None:
    """What a budget counts; None for one that the key may not read, though it may ask for more of it."""
    try:
        status = client.get(f"/budgets/{segment(policy_id)}/status")
    except CommandError as error:
        if error.exit_code is ExitCode.NOT_FOUND:
            return None
        raise
    return Metric(status["policy"]["metric"])


def _put(client: Client, document: Mapping[str, object], if_version: int | None) -> dict[str, Any]:
    policy_id = document.get("id")
    if not isinstance(policy_id, str) or not policy_id:
        raise CommandError("id: is required; write a string", ExitCode.USAGE)
    path = f"/budgets/{segment(policy_id)}"
    return client.call("PUT", path, body=document, headers=_condition(if_version)).document


def _condition(if_version: int | None) -> dict[str, str]:
    if if_version is None:
        return {}
    return {"If-None-Match": "*"} if if_version == 0 else {"If-Match": f'"{if_version}"'}


def _row(policy: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        policy["id"],
        policy["scope"],
        policy["metric"],
        policy["interval"],
        amount(policy, "soft_limit", policy["metric"]),
        amount(policy, "hard_limit", policy["metric"]),
        policy["action"] if policy["enabled"] else "(disabled)",
        policy["mode"] or "-",
        str(policy["version"]),
        policy["origin"],
    )


def _print_accounts(console: Console, accounts: Sequence[Mapping[str, Any]]) -> None:
    """``extra``, what live overrides add to the limit, is a column where there are any.

    The forecast is the balance at the end of the window, and when the hard limit is reached.
    """
    has_extra = any(each.get("extra_nano_usd") or each.get("extra") for each in accounts)
    names = [name for name in _FIGURES if name != "extra" or has_extra]
    titles = ("entity", *(f">{name}" for name in names), "runs out", "window start", "window end")
    print_table(console, titles, (_account_row(each, names) for each in accounts))


def _account_row(account: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return (
        account["entity"],
        *(amount(account, name, account["metric"]) for name in names),
        account["exhausted_at"] or "-",
        account["window_start"],
        account["window_end"] or "never",
    )


def _print_policy(console: Console, policy: Mapping[str, Any]) -> None:
    print_line(console, _sentence(policy))
    for name in _DETAILS:
        if policy.get(name) is not None:
            print_line(console, f"  {name:<22}{policy[name]}")
    for threshold in policy["thresholds"]:
        to = f" to {threshold['to']}" if threshold.get("to") else ""
        print_line(console, f"  {'threshold':<22}at {threshold['at']}: {threshold['then']}{to}")


def _step(item: Mapping[str, Any]) -> str:
    """When what was done, and by whom."""
    version = "" if item["version"] is None else f"  v{item['version']}"
    whose = "" if item["by_principal"] is None else f" ({item['by_principal']})"
    return f"{item['at']}{version}  {item['action']} by {item['by']}{whose}"


def _sentence(policy: Mapping[str, Any]) -> str:
    metric = policy["metric"]
    limits = ", ".join(
        f"{word} limit {amount(policy, f'{word}_limit', metric)}"
        for word in ("soft", "hard")
        if policy[f"{word}_limit"] is not None
    )
    disabled = "" if policy["enabled"] else " (disabled)"
    return (
        f"{policy['id']} v{policy['version']}{disabled}: {metric} of {policy['scope']} per "
        f"{policy['interval']}, {limits}, then {policy['action']}"
    )
