"""What ``palyra demo-scale`` shows: a live table on a terminal, lines elsewhere, and in the end the proof."""

from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from palyra.cli.demo_scale_load import Gateway, Load, Proof, Standing
from palyra.cli.output import table

BAR = 60
LINE_EVERY_S = 1.0
PARTS = (("#", "green"), ("+", "yellow"), ("-", "cyan"), (".", "dim"))
"""Marks of what is posted, held, sliced and free."""


class View:
    """Shows a load: ``show`` it again and again, inside of ``with``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if _is_screen(console) else None
        self._events = 0
        self._last = ""
        self._last_at = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, load: Load) -> None:
        """Show how it stands; elsewhere than on a terminal at most once a second."""
        if self._live is not None:
            self._live.update(_draw(load), refresh=True)
            return
        for event in load.events[self._events :]:
            self._print(f"* {event}")
        news = len(load.events) > self._events
        self._events = len(load.events)
        line, now = _line(load), monotonic()
        if line != self._last and (news or now - self._last_at >= LINE_EVERY_S):
            self._print(line)
            self._last, self._last_at = line, now

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _is_screen(console: Console) -> bool:
    return console.is_terminal and not console.quiet


def _draw(load: Load) -> Group:
    events = [Text(event, style="bold") for event in load.events]
    keys = Text("# posted  + held  - sliced: claimed by gateways for calls to come", "dim")
    return Group(_gateways(load), Text(), _bar(load.standing), Text(_budget(load)), keys, Text(), *events)


def _gateways(load: Load) -> Table:
    drawn = table("gateway", "state")
    for title in ("under way", "admitted", "refused", "errors"):
        drawn.add_column(title, justify="right")
    for each in load.gateways:
        counts = (each.under_way, each.admitted, each.refused, each.errors)
        drawn.add_row(each.name, state_of(each, load), *map(str, counts), style="" if each.runs else "red")
    return drawn


def _bar(standing: Standing) -> Text:
    """The budget as a bar."""
    amounts = (standing.posted, standing.held, standing.sliced, standing.limit - standing.claimed)
    drawn, done, place = Text(), 0, 0
    for amount, (mark, style) in zip(amounts, PARTS, strict=True):
        done += max(0, amount)
        end = min(BAR, round(BAR * done / standing.limit))
        drawn.append(mark * (end - place), style)
        place = end
    return drawn


def _budget(load: Load) -> str:
    standing = load.standing
    counted = "" if load.model_count is None else f" | prompts the model read: {load.model_count}"
    return (
        f"posted {standing.posted}, held {standing.held}, sliced {standing.sliced} "
        f"of {standing.limit}{counted}"
    )


def _line(load: Load) -> str:
    told = [
        f"{each.name} {each.admitted}/{each.refused}/{each.errors}{'' if each.runs else ' (gone)'}"
        for each in load.gateways
    ]
    return f"  {_budget(load)} | admitted/refused/errors: {', '.join(told)}"


def state_of(gateway: Gateway, load: Load) -> str:
    """One word about a gateway."""
    if load.killing is not None and load.killing.gateway == gateway.name:
        return "killed"
    return "running" if gateway.runs else "ended"


def draw_proof(console: Console, load: Load, proof: Proof) -> None:
    """The totals and the checks."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    lost = proof.settled - proof.answered
    refused = sum(each.refused for each in load.gateways)
    errors = sum(each.errors for each in load.gateways)
    line("\nIn the end", "bold")
    line(f"{proof.answered:>7}  calls were admitted and answered")
    if lost:
        line(f"{lost:>7}  were settled, and their answers went down with the killed gateway")
    line(f"{proof.in_doubt:>7}  are in doubt: under way in the killed gateway, posted as held")
    line(f"{refused:>7}  were refused by the budget")
    line(f"{errors:>7}  ended with an error, and their callers went on elsewhere\n")
    for each in proof.checks:
        line(
            f"{'ok' if each.holds else 'NOT SO':>7}  {each.what}: {each.found}",
            "" if each.holds else "bold red",
        )
    standing = load.standing
    if proof.holds:
        line(
            f"\nkept exactly: {standing.posted} of {standing.limit} calls, with one gateway killed",
            "bold green",
        )
    else:
        line(f"\nNOT KEPT: {standing.posted} of {standing.limit} calls are posted", "bold red")
