"""How much generated content an answer has shown: what an answer without usage is estimated from (L6).

Every token is at least one byte of text, so the bytes of the texts bound the tokens from above. What is not
recognised counts with all its bytes: the bound may be too high, never below the tokens seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

_WINDOW_BYTES = 16 * 1024
"""Raw bytes kept before they are counted; most answers end within it, with usage, and are never parsed."""
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


class StreamContent:
    """Counts the content of a stream of events in passing.

    ``read`` takes one ``data`` payload, and counts what it does not know by its length.
    """

    __slots__ = ("_items", "_mid_line", "_read", "_recent", "_recent_bytes", "_told_once")

    def __init__(self, read: Callable[[bytes], Content]) -> None:
        self._read = read
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._items: dict[int, list[int]] = {}
        self._told_once = 0
        self._mid_line = False

    def add(self, chunk: bytes) -> None:
        """Take body bytes, cut anywhere."""
        self._recent.append(chunk)
        self._recent_bytes += len(chunk)
        if self._recent_bytes > _WINDOW_BYTES:
            self._count_whole_lines()

    def seen_bytes(self) -> int:
        """Bytes of content seen so far; never below the tokens seen."""
        rest = self._count_whole_lines()
        total = self._told_once + sum(map(max, self._items.values()))
        if not rest or self._mid_line:
            return total + len(rest)
        # The line that was cut off is counted for this answer only: it may still go on.
        shown = self._shown(rest)
        return total + (shown if isinstance(shown, int) else sum(each.size for each in shown))

    def _count_whole_lines(self) -> bytes:
        """Count every line that is over; return and keep the rest."""
        data = b"".join(self._recent)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        rest = data[end:]
        lines = data[:end].splitlines()
        if lines and self._mid_line:
            self._told_once += len(lines.pop(0))
            self._mid_line = False
        for line in lines:
            shown = self._shown(line)
            if isinstance(shown, int):
                self._told_once += shown
            else:
                for each in shown:
                    self._note(each)
        if len(rest) > _LINE_BYTES_MAX:
            self._told_once += len(rest)
            self._mid_line = True
            rest = b""
        self._recent = [rest] if rest else []
        # A line longer than the window must not be looked at again for every chunk of it.
        self._recent_bytes = 0
        return rest

    def _shown(self, line: bytes) -> Content:
        if line.startswith(b"data:"):
            payload = line[5:]
            if payload.strip() in _NO_PAYLOAD:
                return 0
            try:
                return self._read(payload)
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
