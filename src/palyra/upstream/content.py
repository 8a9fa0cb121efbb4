"""How much generated content an answer has shown: what an answer without usage is estimated from (L6).

Every token is at least one byte of text, so the bytes of the texts bound the tokens from above. What is not
recognised counts with all its bytes: the bound may be too high, never below the tokens seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

WINDOW_BYTES = 16 * 1024
"""Raw bytes kept before they are counted; many answers end within it, with usage, and are never parsed."""
_LINE_BYTES_MAX = 256 * 1024
_ITEMS_MAX = 1_024
_NO_CONTENT = (b":", b"event:", b"id:", b"retry:")
_NO_PAYLOAD = (b"", b"[DONE]")
_NOT_GENERATED = frozenset(
    {
        "call_id",
        "created",
        "finish_reason",
        "id",
        "index",
        "item_id",
        "logprobs",
        "native_finish_reason",
        "object",
        "role",
        "status",
        "stop_reason",
        "type",
    }
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Bytes that an event shows of ``item``. A text that is told again is told as another ``telling``."""

    size: int
    item: int = 0
    telling: int = 0


Content = int | Sequence[Shown]
"""Bytes of content in one event; itemised where a format tells texts again."""
TELLINGS = 5


def text_bytes(value: object) -> int:
    """UTF-8 bytes of all texts in a JSON value, except in fields that carry no generated text."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return sum(map(text_bytes, cast("list[object]", value)))
    if isinstance(value, dict):
        members = cast("Mapping[str, object]", value).items()
        return sum(text_bytes(member) for name, member in members if name not in _NOT_GENERATED)
    return 0


class ContentReader(Protocol):
    """Knows what one wire format's events show."""

    @property
    def divider(self) -> bytes:
        """What stands between the payloads of two usual events: it begins with their blank line."""
        ...

    def shown(self, payload: bytes) -> Content:
        """Say how much generated content one payload carries; its whole length if that is not known."""
        ...

    def shown_all(self, payloads: bytes) -> Content | None:
        """The same for a JSON array of usual payloads at once. None if any is not usual."""
        ...


class StreamContent:
    """Counts the content of a stream of events in passing, a window at a time.

    Whoever has body bytes, cut anywhere, appends them to ``recent`` and calls ``fold`` at least every
    WINDOW_BYTES.
    """

    __slots__ = (
        "_after_cr",
        "_events",
        "_in_event",
        "_items",
        "_mid_line",
        "_reader",
        "_told_once",
        "recent",
    )

    def __init__(self, reader: ContentReader) -> None:
        self._reader = reader
        self.recent: list[bytes] = []
        self._items: dict[int, list[int]] = {}
        self._told_once = 0
        self._events = 0
        self._in_event = False
        self._mid_line = False
        self._after_cr = False

    def seen_bytes(self) -> int:
        """Bytes of content seen so far; never below the tokens seen."""
        rest = self.fold()
        total = self._told_once + sum(map(max, self._items.values()))
        if not rest or self._mid_line:
            return total + len(rest)
        # The line that was cut off is counted for this answer only: it may still go on.
        shown = self._shown(rest)
        return total + (shown if isinstance(shown, int) else sum(each.size for each in shown))

    def seen_events(self, *, finished: bool) -> int:
        """Events seen so far: those whose blank line came, and all once the stream is ``finished``."""
        rest = self.fold()
        return self._events + (finished and (self._in_event or bool(rest)))

    def fold(self) -> bytes:
        """Count every line that is over; return and keep the rest."""
        data = b"".join(self.recent)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        rest = data[end:]
        if end:
            whole = data[:end] if rest else data
            self._after_cr = not rest and whole.endswith(b"\r")
            if not self._count_usual(whole):
                self._count_lines(whole.splitlines())
        if len(rest) > _LINE_BYTES_MAX:
            self._told_once += len(rest)
            self._mid_line = self._in_event = True
            rest = b""
        self.recent = [rest] if rest else []
        return rest

    def _count_usual(self, whole: bytes) -> bool:
        """Count events that are all of the usual kind in one step; return whether they are."""
        divider = self._reader.divider
        if self._in_event or not whole.endswith(b"\n\n") or not whole.startswith(divider[2:]):
            return False
        payloads = whole[len(divider) - 2 : -2].split(divider)
        try:
            shown = self._reader.shown_all(b"[%b]" % b",".join(payloads))
        except RecursionError:
            return False
        if shown is None:
            return False
        self._events += len(payloads)
        self._add(shown)
        return True

    def _count_lines(self, lines: list[bytes]) -> None:
        if lines and self._mid_line:
            self._told_once += len(lines.pop(0))
            self._mid_line = False
        for line in lines:
            if line:
                self._in_event = True
                self._add(self._shown(line))
            elif self._in_event:
                self._in_event = False
                self._events += 1

    def _add(self, shown: Content) -> None:
        if isinstance(shown, int):
            self._told_once += shown
        else:
            for each in shown:
                self._note(each)

    def _shown(self, line: bytes) -> Content:
        if line.startswith(b"data:"):
            payload = line[5:]
            if payload.strip() in _NO_PAYLOAD:
                return 0
            try:
                return self._reader.shown(payload)
            except RecursionError:
                return len(payload)
        return 0 if line.startswith(_NO_CONTENT) else len(line)

    def _note(self, shown: Shown) -> None:
        if not shown.size:
            return
        tellings = self._items.get(shown.item)
        if tellings is None:
            if len(self._items) >= _ITEMS_MAX:
                self._told_once += shown.size
                return
            tellings = self._items[shown.item] = [0] * TELLINGS
        tellings[shown.telling] += shown.size
