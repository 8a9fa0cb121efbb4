"""What the commands about usage have in common: periods, filters, and how they are sent."""

import re
from collections.abc import Mapping
from typing import Annotated

import typer

from palyra.cli.output import CommandError, ExitCode
from palyra.core.instant import NANOSECONDS, isoformat

_SPAN = re.compile(r"([0-9]{1,5})([hdw])")
_SECONDS = {"h": 3_600, "d": 86_400, "w": 604_800}

SinceOption = Annotated[
    str,
    typer.Option(
        help="Start: a span before the end such as 24h, 7d, 4w, or a time such as 2026-11-01T00:00:00Z."
    ),
]
UntilOption = Annotated[
    str | None, typer.Option(help="End: a time, or a span before now.", show_default="now")
]
TimezoneOption = Annotated[
    str, typer.Option(help="Where days and months begin, such as Europe/Prague.", metavar="ZONE")
]
PrincipalOption = Annotated[str | None, typer.Option(help="Only of this principal.")]
AgentOption = Annotated[str | None, typer.Option(help='Only of this agent; "" is calls without one.')]
ModelOption = Annotated[str | None, typer.Option(help="Only of this model.")]
ProviderOption = Annotated[str | None, typer.Option(help="Only of this provider.")]


def start_of(since: str, now: int) -> str | None:
    """RFC 3339 of a span before ``now`` (nanoseconds); a time is passed on; None for neither."""
    span = _SPAN.fullmatch(since)
    if span is not None:
        seconds = int(span[1]) * _SECONDS[span[2]]
        return isoformat((now // NANOSECONDS - seconds) * NANOSECONDS)
    return since if "T" in since else None


def period(since: str, until: str | None) -> dict[str, str | None]:
    """Both as the daemon reads them, by its own clock. Raises CommandError for what is no period."""
    for option, text in (("--since", since), ("--until", until)):
        if text is not None and _SPAN.fullmatch(text) is None and "T" not in text:
            told = f"{option}: {text!r} is not a span such as 7d, nor a time"
            raise CommandError(told, ExitCode.USAGE)
    return {"since": since, "until": until}


def given(params: Mapping[str, str | None]) -> dict[str, str]:
    """Those that are not None."""
    return {name: value for name, value in params.items() if value is not None}
