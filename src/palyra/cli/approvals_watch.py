"""``palyra approvals watch``: what waits for a decision, and every change of it as it comes."""

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from palyra.cli.approvals_page import TITLES, budget_of, cells, granted, quantity, until, whose
from palyra.cli.client import Client, segment
from palyra.cli.output import CommandError, ExitCode
from palyra.cli.tables import drawn_table
from palyra.core.instant import Instant, isoformat
from palyra.core.visible import visible

POLL_S = 1.0
AWAY_S_MAX = 15.0
"""The longest pause between two tries while the daemon is away."""
PAGE = "200"
PAGES_MAX = 10
CHANGES_SHOWN = 8
_CLOCK = slice(11, 19)

Document = Mapping[str, Any]


class Change(NamedTuple):
    """``opened``, ``asked_again``, or what became of a request; ``lost`` and ``back`` tell of the daemon."""

    kind: str
    approval: Document | None = None
    message: str = ""


class Pace:
    """The time of this machine."""

    def now(self) -> Instant:
        """The instant."""
        return Instant(time.time_ns())

    def monotonic(self) -> float:
        """Seconds that no change of the clock moves."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(seconds)


class View(Protocol):
    """Shows how things stand."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...

    def show(self, pending: list[Document], changes: list[Change], now: Instant) -> None:
        """What is pending now, and what changed since the last time."""
        ...


class Watch:
    """Polls one daemon. ``pending`` is what waits for a decision, oldest last."""

    def __init__(self, client: Client, view: View, pace: Pace) -> None:
        self.pending: dict[str, Document] = {}
        self._client = client
        self._view = view
        self._pace = pace
        self._away_s = 0.0
        self._seen = False

    def run(self, for_s: float | None, *, until_empty: bool) -> None:
        """Show changes until the time is up, or with ``until_empty`` until nothing is pending.

        A daemon that goes away is waited for. Raises CommandError where it never answered, or refuses.
        """
        end = None if for_s is None else self._pace.monotonic() + for_s
        with self._view as view:
            while True:
                changes = self._look()
                view.show(list(self.pending.values()), changes, self._pace.now())
                if until_empty and not self.pending and not self._away_s:
                    return
                pause = self._away_s or POLL_S
                if end is not None:
                    pause = min(pause, end - self._pace.monotonic())
                if pause <= 0:
                    return
                self._pace.sleep(pause)

    def _look(self) -> list[Change]:
        """One poll. Nothing counts as seen unless all of it could be read."""
        try:
            found = {each["id"]: each for each in self._read_pending()}
            closed = [self._closed(ref) for ref in self.pending if ref not in found]
        except CommandError as error:
            if not self._seen or error.exit_code is not ExitCode.CONNECTIVITY:
                raise
            lost = [] if self._away_s else [Change("lost", message=error.message)]
            self._away_s = min(AWAY_S_MAX, 2 * self._away_s or POLL_S)
            return lost
        back = [Change("back")] if self._away_s else []
        self._away_s, self._seen = 0.0, True
        before, self.pending = self.pending, found
        opened = [each for each in reversed(found.values()) if _is_news(before.get(each["id"]), each)]
        return [*back, *filter(None, closed), *(_opening(before, each) for each in opened)]

    def _read_pending(self) -> Iterator[Document]:
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = self._client.get("/approvals", state="pending", limit=PAGE, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _closed(self, approval_id: str) -> Change | None:
        """What became of a request that is not pending any more."""
        approval = self._client.get(f"/approvals/{segment(approval_id)}")
        return None if approval["state"] == "pending" else Change(approval["state"], approval)


class Lines:
    """One line for each change, as text or as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def show(self, pending: list[Document], changes: list[Change], now: Instant) -> None:
        """See ``View``."""
        del pending
        for change in changes:
            line = change_line(change, now)
            typer.echo(json.dumps(_as_document(change, now)) if self._as_json else visible(line))


class Screen:
    """A table on a terminal that is drawn anew, with the last changes below it."""

    def __init__(self, console: Console, url: str) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._url = url
        self._changes: deque[str] = deque(maxlen=CHANGES_SHOWN)
        self._away = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, pending: list[Document], changes: list[Change], now: Instant) -> None:
        """See ``View``."""
        for change in changes:
            self._changes.append(change_line(change, now))
            self._away = change.message if change.kind == "lost" else ""
        self._live.update(self._draw(pending, now), refresh=True)

    def _draw(self, pending: list[Document], now: Instant) -> Group:
        head = f"{len(pending)} pending at {self._url}. Ctrl-C ends."
        state = Text(f"No answer: {self._away}. Trying again.", "red") if self._away else Text(head, "bold")
        rows = (
            drawn_table(TITLES, (cells(each, now) for each in pending)) if pending else Text("Nothing waits.")
        )
        return Group(state, Text(), rows, Text(), *(Text(each, "dim") for each in self._changes))


def change_line(change: Change, now: Instant) -> str:
    """A change on one line, with the time of day in UTC."""
    at, approval = isoformat(now)[_CLOCK], change.approval
    if approval is None:
        return f"{at} {change.kind}{': ' + change.message if change.message else ''}"
    head = f"{at} {change.kind} {approval['id']}"
    if change.kind in ("opened", "asked_again"):
        times = f" ({approval['occurrences']} times)" if approval["occurrences"] > 1 else ""
        reason = f": {approval['reason']}" if approval["reason"] else ""
        needs = f"{whose(approval)} needs {quantity(approval, 'asked')} beyond {budget_of(approval)}"
        ends = f"risk {approval['risk']}, expires in {until(approval['expires_at'], now)}"
        return f"{head}{times} {needs}, {ends}{reason}"
    by = f" by {approval['decided_by']}" if approval["decided_by"] else ""
    grant = f" {granted(approval)}" if approval["grant"] is not None else ""
    reason = f": {approval['decision_reason']}" if approval["decision_reason"] else ""
    return f"{head}{by}{grant}{reason}"


def _is_news(before: Document | None, now: Document) -> bool:
    return before is None or before["occurrences"] != now["occurrences"]


def _opening(before: Mapping[str, Document], approval: Document) -> Change:
    return Change("asked_again" if approval["id"] in before else "opened", approval)


def _as_document(change: Change, now: Instant) -> dict[str, object]:
    document: dict[str, object] = {"at": isoformat(now), "change": change.kind}
    if change.approval is not None:
        return document | {"approval": change.approval}
    return document | {"message": change.message}
