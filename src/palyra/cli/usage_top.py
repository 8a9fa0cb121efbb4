"""``palyra usage top``: who uses what right now, drawn anew every two seconds."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from palyra.cli.approvals_watch import AWAY_S_MAX, Pace
from palyra.cli.client import DEFAULT_URL, Client, KeyOption, UrlOption, connect
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit, stdout_console
from palyra.cli.usage_draw import curve, is_plain
from palyra.cli.usage_options import SinceOption, period
from palyra.cli.usage_views import VIEWS, drawn_view

TOP_EXAMPLES = "Examples: palyra usage top | palyra usage top models --since 1h"
REFRESH_S = 2.0
_SECONDS_MOST = 31_536_000.0

Document = Mapping[str, Any]


class Look(NamedTuple):
    """What one refresh has read."""

    summary: Document
    timeline: Document
    view: Document

    def document(self) -> dict[str, object]:
        """All of it, for programs."""
        return {"summary": self.summary, "timeline": self.timeline, "rows": self.view}


class Top:
    """Reads one daemon again and again, and shows it on a console."""

    def __init__(self, client: Client, view: str, since: str, sort: str, limit: int) -> None:
        self._client = client
        self._view = view
        self._asked = period(since, None)
        self._page = {"sort": sort, "limit": str(limit)}

    def look(self) -> Look:
        """Raises CommandError."""
        return Look(
            self._client.get("/usage/summary", **self._asked),
            self._client.get("/usage/timeline", **self._asked),
            self._client.get(f"/usage/{self._view}", **self._asked, **self._page),
        )

    def run(self, console: Console, pace: Pace, for_s: float | None) -> None:
        """Draw until the time is up. A daemon that goes away is waited for, if it ever answered."""
        end = None if for_s is None else pace.monotonic() + for_s
        look, away_s = self.look(), 0.0
        with Live(console=console, auto_refresh=False) as live:
            live.update(self.drawn(look, console), refresh=True)
            while True:
                pause = away_s or REFRESH_S
                if end is not None:
                    pause = min(pause, end - pace.monotonic())
                if pause <= 0:
                    return
                pace.sleep(pause)
                told = ""
                try:
                    look, away_s = self.look(), 0.0
                except CommandError as error:
                    if error.exit_code is not ExitCode.CONNECTIVITY:
                        raise
                    away_s = min(AWAY_S_MAX, 2 * away_s or REFRESH_S)
                    told = f"No answer: {error.message}. Trying again."
                live.update(self.drawn(look, console, told), refresh=True)

    def drawn(self, look: Look, console: Console, told: str = "") -> RenderableType:
        """The page."""
        plain = is_plain(console)
        totals, change = look.summary["totals"], look.summary["change"]
        share = change["cost_percent"]
        versus = "" if share is None else f" ({'' if share.startswith('-') else '+'}{share} % against before)"
        head = (
            f"{totals['cost_usd']} USD{versus}, {totals['requests']:,} calls, {totals['denied']:,} denied, "
            f"{totals['input_tokens'] + totals['output_tokens']:,} tokens"
        )
        points = [each["cost_nano_usd"] for each in look.timeline["buckets"]]
        since = f"{self._view} since {look.summary['since'][:16].replace('T', ' ')} UTC. Ctrl-C ends."
        rows = drawn_view(self._view, look.view, plain=plain) if look.view["items"] else Text("Nothing yet.")
        state = Text(told, "red") if told else Text(since, "dim")
        return Group(Text(head, "bold"), Text(curve(points, plain=plain), "cyan"), state, Text(), rows)


def top(
    context: typer.Context,
    view: Annotated[str, typer.Argument(help="agents, principals, models or providers.")] = "agents",
    since: SinceOption = "24h",
    sort: Annotated[str, typer.Option(help="cost, tokens, calls, denied or name.")] = "cost",
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many rows.")] = 15,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", min=0.0, max=_SECONDS_MOST, help="End after so many seconds.", metavar="SECONDS"
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Watch who uses what, refreshed every 2 seconds until Ctrl-C; without a terminal it is printed once."""
    if view not in VIEWS:
        raise CommandError(f"VIEW: {view!r} is not one of {', '.join(VIEWS)}", ExitCode.USAGE)
    shown, console = Top(connect(context, url, key), view, since, sort, limit), stdout_console()
    if as_json or not console.is_terminal:
        look = shown.look()
        emit(look.document(), as_json=as_json, render=lambda out: out.print(shown.drawn(look, out)))
        return
    try:
        shown.run(console, Pace(), for_s)
    except KeyboardInterrupt:
        return
