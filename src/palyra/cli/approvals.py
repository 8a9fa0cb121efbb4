"""``palyra approvals``: list, show, approve, deny, revoke, watch."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.approvals.approval import State
from palyra.budgets.terms import Metric
from palyra.cli.amounts import parse_amount, parse_until
from palyra.cli.approvals_page import granted, next_steps, print_approval, print_approvals
from palyra.cli.approvals_watch import Lines, Pace, Screen, View, Watch
from palyra.cli.client import DEFAULT_URL, Client, KeyOption, UrlOption, connect, segment
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit, stdout_console
from palyra.cli.tables import print_line
from palyra.core.instant import Instant, isoformat

app = typer.Typer(
    name="approvals",
    help="Approvals: calls that a budget stopped, and who let them run.",
    no_args_is_help=True,
)

_PENDING = "pending"
_SECONDS_MOST = 86_400.0

ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="Id of the approval, such as apr_0199.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Why; kept, and shown to whoever asked.", show_default=False)
]


class Shown(StrEnum):
    """States as an option."""

    PENDING = State.PENDING
    APPROVED = State.APPROVED
    DENIED = State.DENIED
    EXPIRED = State.EXPIRED
    VOID = State.VOID
    REVOKED = State.REVOKED


@app.command(
    "list",
    epilog="Examples: palyra approvals list | palyra approvals list --state denied --policy daily --json",
)
def list_approvals(
    context: typer.Context,
    state: Annotated[Shown | None, typer.Option(help="Only those in this state.")] = None,
    requester: Annotated[str | None, typer.Option(help="Only what this principal asked for.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only those of this budget.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=200, help="How many at most, beside the pending ones.")
    ] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on behind this: next_cursor of --json.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List approvals: what is pending first, then the newest. Below viewer: the own ones."""
    client = connect(context, url, key)
    wanted = {"requester": requester, "policy_id": policy, "limit": str(limit)}
    page = client.get("/approvals", state=None if state is None else state.value, cursor=cursor, **wanted)
    if state is None and cursor is None:
        pending = client.get("/approvals", state=_PENDING, **wanted)["items"]
        page["items"] = pending + [each for each in page["items"] if each["state"] != _PENDING]
    now = now_here()
    emit(page, as_json=as_json, render=lambda console: print_approvals(console, page["items"], now))


@app.command(epilog="Example: palyra approvals show apr_0199")
def show(
    context: typer.Context,
    approval_id: ApprovalId,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one approval: who needs what, where the budget stands now, and what was decided and used."""
    approval = connect(context, url, key).get(f"/approvals/{segment(approval_id)}")
    now = now_here()
    emit(approval, as_json=as_json, render=lambda console: print_approval(console, approval, now))


@app.command(
    epilog=(
        "Examples: palyra approvals approve apr_0199 --once --reason 'nightly report' | "
        "palyra approvals approve apr_0199 --amount 5usd | "
        "palyra approvals approve apr_0199 --until 18:00 --amount 20k"
    )
)
def approve(
    context: typer.Context,
    approval_id: ApprovalId,
    once: Annotated[bool, typer.Option("--once", help="Let the call that asked run, one time.")] = False,
    amount: Annotated[
        str | None,
        typer.Option(help="So much more in this window: 5usd, $5, 20000 tokens, 20k, 3 requests."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="More in every window until then: 18:00, 2h, 90m, 3d, or a time with its zone."),
    ] = None,
    reason: ReasonOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Grant what was asked for, or something else. What you asked for yourself, somebody else must decide.

    Without --once, --amount and --until the call that asked may run once. Where none did, the amount that was
    asked for is granted.
    """
    if once and (amount is not None or until is not None):
        raise CommandError("--once: goes with neither --amount nor --until", ExitCode.USAGE)
    client = connect(context, url, key)
    body: dict[str, object] = {"decision": "allow"}
    if once:
        body["grant"] = "once"
    if until is not None:
        body |= {
            "grant": "timeboxed",
            "until": isoformat(parse_until(until, now_here(), None)),
        }
    if amount is not None:
        body.setdefault("grant", "amount")
        asked = client.get(f"/approvals/{segment(approval_id)}")
        body |= parse_amount(amount, Metric(asked["metric"])).fields()
    _decide(client, approval_id, body, reason, as_json)


@app.command(epilog="Example: palyra approvals deny apr_0199 --reason 'wait for Monday'")
def deny(
    context: typer.Context,
    approval_id: ApprovalId,
    reason: ReasonOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Refuse. Asking for the same again changes nothing until the request would have expired."""
    _decide(connect(context, url, key), approval_id, {"decision": "deny"}, reason, as_json)


@app.command(epilog="Example: palyra approvals revoke apr_0199 --reason 'wrong project'")
def revoke(
    context: typer.Context,
    approval_id: ApprovalId,
    reason: ReasonOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a grant back. The next call is decided without it; what was used of it stays used."""
    body = {} if reason is None else {"reason": reason}
    path = f"/approvals/{segment(approval_id)}/revoke"
    approval = connect(context, url, key).call("POST", path, body=body).document
    emit(approval, as_json=as_json, render=lambda console: print_outcome(console, approval))


@app.command(
    epilog="Examples: palyra approvals watch | palyra approvals watch --json --for 3600 | jq .change"
)
def watch(
    context: typer.Context,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", min=0.0, max=_SECONDS_MOST, help="End after so many seconds.", metavar="SECONDS"
        ),
    ] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing is pending.")] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Watch what waits for a decision, until Ctrl-C: a live list, or one line per change without a terminal.

    A daemon that goes away is waited for.
    """
    client, console = connect(context, url, key), stdout_console()
    view: View = Lines(as_json=as_json)
    if console.is_terminal and not as_json:
        view = Screen(console, client.url)
    try:
        Watch(client, view, Pace()).run(for_s, until_empty=until_empty)
    except KeyboardInterrupt:
        return


def now_here() -> Instant:
    """The instant by the clock of this machine."""
    return Instant(time.time_ns())


def print_outcome(console: Console, approval: Mapping[str, Any]) -> None:
    """What a decision came to, and what whoever asked does next."""
    print_line(console, f"{approval['id']} is {approval['standing']}")
    if approval["state"] == State.APPROVED:
        print_line(console, f"Granted: {granted(approval)}")
        for step in next_steps(approval):
            print_line(console, step)


def _decide(
    client: Client, approval_id: str, body: Mapping[str, object], reason: str | None, as_json: bool
) -> None:
    given = dict(body) if reason is None else {**body, "reason": reason}
    path = f"/approvals/{segment(approval_id)}/decision"
    approval = client.call("POST", path, body=given).document
    emit(approval, as_json=as_json, render=lambda console: print_outcome(console, approval))
