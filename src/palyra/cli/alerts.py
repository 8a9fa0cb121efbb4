"""``palyra alerts``: list, show, ack, notices, retry, test."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from palyra.alerts.alert import AlertState, Kind, NoticeState
from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect, segment
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import print_line, print_table

app = typer.Typer(
    name="alerts", help="Alerts: what is wrong, who has seen it, and who was told.", no_args_is_help=True
)

_TITLES = ("id", "severity", "state", ">times", "since", "what", "seen by")
_NOTICE_TITLES = ("id", "state", "target", "event", ">tries", "created", "about", "error")


LimitOption = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
CursorOption = Annotated[str | None, typer.Option(help="Go on behind this: next_cursor of --json.")]


@app.command(
    "list",
    epilog="Examples: palyra alerts list | palyra alerts list --state firing --kind budget_exhausted --json",
)
def list_alerts(
    context: typer.Context,
    state: Annotated[AlertState | None, typer.Option(help="Only those in this state.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only those of this budget.")] = None,
    principal: Annotated[str | None, typer.Option(help="Only those of this principal.")] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List alerts, newest first. Below viewer: those of the own principal."""
    page = connect(context, url, key).get(
        "/alerts",
        state=None if state is None else state.value,
        kind=None if kind is None else kind.value,
        policy_id=policy,
        principal=principal,
        limit=str(limit),
        cursor=cursor,
    )
    emit(page, as_json=as_json, render=lambda console: _print_alerts(console, page))


@app.command(epilog="Example: palyra alerts show alr_0199")
def show(
    context: typer.Context,
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, such as alr_0199.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one alert: what is wrong, what to do, and what became of it."""
    alert = connect(context, url, key).get(f"/alerts/{segment(alert_id)}")
    emit(alert, as_json=as_json, render=lambda console: _print_lines(console, _lines(alert)))


@app.command(epilog="Example: palyra alerts ack alr_0199 --note 'raising the limit on Monday'")
def ack(
    context: typer.Context,
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, such as alr_0199.")],
    note: Annotated[str, typer.Option(help="What you do about it; kept with your name.")] = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say that you have seen an alert. The first who does stays on it; it still ends by itself."""
    path = f"/alerts/{segment(alert_id)}/acknowledge"
    alert = connect(context, url, key).call("POST", path, body={"note": note}).document
    emit(alert, as_json=as_json, render=lambda console: print_line(console, _seen(alert)))


@app.command(epilog="Examples: palyra alerts notices | palyra alerts notices --state dead --target ops-chat")
def notices(
    context: typer.Context,
    state: Annotated[NoticeState | None, typer.Option(help="Only those in this state.")] = None,
    target: Annotated[str | None, typer.Option(help="Only those to this target.")] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List messages about alerts: sent, waiting, or given up, with the reason."""
    page = connect(context, url, key).get(
        "/alerts/notices",
        state=None if state is None else state.value,
        target=target,
        limit=str(limit),
        cursor=cursor,
    )
    emit(page, as_json=as_json, render=lambda console: _print_notices(console, page["items"]))


@app.command(epilog="Example: palyra alerts retry ntc_0199")
def retry(
    context: typer.Context,
    notice_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the message, such as ntc_0199.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a message that was given up after all, with all its attempts anew."""
    path = f"/alerts/notices/{segment(notice_id)}/retry"
    notice = connect(context, url, key).call("POST", path, body={}).document
    told = f"{notice['id']} to {notice['target']} is on its way. See it with: palyra alerts notices"
    emit(notice, as_json=as_json, render=lambda console: print_line(console, told))


@app.command("test", epilog="Examples: palyra alerts test | palyra alerts test ops-chat")
def send_test(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(help="Id of a [[notify]] target; all without one.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a test message, to see whether messages arrive."""
    client = connect(context, url, key)
    sent = client.call("POST", "/alerts/test", body={} if target is None else {"target": target}).document
    targets = ", ".join(each["target"] for each in sent["notices"])
    told = f"On its way to {targets}. Look there, and see what became of it with: palyra alerts notices"
    emit(sent, as_json=as_json, render=lambda console: print_line(console, told))


def _print_alerts(console: Console, page: Mapping[str, Any]) -> None:
    items = page["items"]
    if not items:
        print_line(console, "No alerts.")
        return
    print_table(console, _TITLES, (_row(each) for each in items))
    if page["next_cursor"] is not None:
        print_line(console, f"There are more: --cursor {page['next_cursor']}")


def _print_notices(console: Console, items: list[Mapping[str, Any]]) -> None:
    if not items:
        print_line(console, "No messages.")
        return
    print_table(console, _NOTICE_TITLES, (_notice_row(each) for each in items))


def _print_lines(console: Console, lines: Iterator[str]) -> None:
    for line in lines:
        print_line(console, line)


def _row(alert: Mapping[str, Any]) -> tuple[str, ...]:
    seen = alert["acknowledged"]
    return (
        alert["id"],
        alert["severity"],
        alert["state"],
        f"{alert['count']:,}",
        _second(alert["first_at"]),
        alert["title"],
        "-" if seen is None else seen["principal"],
    )


def _notice_row(notice: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        notice["id"],
        notice["state"],
        notice["target"],
        notice["event"],
        str(notice["attempts"]),
        _second(notice["created_at"]),
        notice["title"],
        notice["error"] or "-",
    )


def _lines(alert: Mapping[str, Any]) -> Iterator[str]:
    yield f"{alert['title']} ({alert['severity']}, {alert['state']})"
    yield alert["message"]
    yield ""
    about = {"kind": alert["kind"], "budget": alert["policy_id"], "principal": alert["principal"]}
    for name, value in about.items():
        if value is not None:
            yield f"  {name:<12}{value}"
    first, last = _second(alert["first_at"]), _second(alert["last_at"])
    yield f"  {'seen':<12}{_times(alert['count'])}, first {first}, last {last}"
    if alert["acknowledged"] is not None:
        yield f"  {'history':<12}{_seen(alert)}"
    if alert["resolved_at"] is not None:
        yield f"  {'over':<12}{_second(alert['resolved_at'])}: {alert['resolution']}"
    elif alert["acknowledged"] is None:
        yield ""
        yield f"Say that you have seen it: palyra alerts ack {alert['id']} --note '…'"


def _seen(alert: Mapping[str, Any]) -> str:
    seen = alert["acknowledged"]
    note = f": {seen['note']}" if seen["note"] else "."
    return f"Acknowledged by {seen['principal']} at {_second(seen['at'])}{note}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _second(at: str) -> str:
    """A time without parts of a second."""
    return at if "." not in at else at.partition(".")[0] + "Z"
