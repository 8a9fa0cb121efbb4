"""``palyra explain``: why a call came out as it did."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from palyra.cli.client import DEFAULT_URL, KeyOption, UrlOption, connect, segment
from palyra.cli.output import JsonOption, emit
from palyra.cli.tables import print_line
from palyra.core.visible import visible
from palyra.reports.page import explain_lines


def explain(
    context: typer.Context,
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="From the header x-palyra-request-id.")
    ],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say why a call was admitted, refused or priced as it was, with every number behind it.

    Example: palyra explain req_0199c2f4
    """
    document = connect(context, url, key).get(f"/decisions/{segment(request_id)}")

    emit(document, as_json=as_json, render=lambda console: show_lines(console, explain_lines(document)))


def show_lines(console: Console, lines: Sequence[str]) -> None:
    """Each as one line, whatever is in it: what a provider said looks like no line of ours."""
    for line in lines:
        print_line(console, visible(line))
