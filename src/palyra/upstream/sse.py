"""Metering server-sent events in passing: bytes go on unchanged, only events with usage are parsed."""

import re
from typing import Protocol

from palyra.core import limits
from palyra.lifecycle.wire import Reported
from palyra.upstream.content import WINDOW_BYTES, ContentReader, StreamContent

_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_CHOICE = re.compile(rb'"choices"\s*:\s*\[\s*[^\s\]]')
_NO_OBJECT = re.compile(rb"[\r\n]*data:[ \t]*[^ \t\r\n{]")
_WHOLE = (b"\n\n", b"\r\n\r\n")
_USAGE = b'"usage"'
_NULL = b":null"
_NO_USAGE = _USAGE + _NULL
_EDGE_BYTES = 2
"""How much of a line end, at most, can lie before a chunk that completes a blank line."""
_HELD_BYTES_MAX = 16 * 1024
"""No usage event is this large, so nothing longer is held back."""
_LF = 10


class EventReader(ContentReader, Protocol):
    """Reads the JSON payloads of one wire format's stream."""

    def read(self, payload: bytes) -> bool | None:
        """Read one payload; True if its event is to be hidden, None if it is not of this format."""
        ...

    def reported(self) -> Reported | None:
        """Return the usage read so far."""
        ...


class SseMeter:
    """A ``UsageMeter`` for streams.

    Without ``hide`` every chunk is returned as it came. With it, events that the reader wants hidden are cut
    out, blank line included, and an unfinished event is held back only while it may be one of them.
    """

    __slots__ = (
        "_after_cr",
        "_between",
        "_content",
        "_edge",
        "_finished",
        "_hidden_last",
        "_hide",
        "_reader",
        "_released",
        "_room",
        "_skipping",
        "_tail",
        "_tail_bytes",
    )

    def __init__(self, reader: EventReader, *, hide: bool) -> None:
        self._reader = reader
        self._hide = hide
        self._content = StreamContent(reader)
        self._room = WINDOW_BYTES
        self._between = True
        self._finished = False
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._edge = b""
        self._released = False
        self._skipping = False
        self._after_cr = False
        self._hidden_last = False

    def feed(self, chunk: bytes) -> bytes:
        """Take body bytes; return what goes to the client now."""
        content = self._content
        content.recent.append(chunk)
        self._room -= len(chunk)
        if self._room < 0:
            content.fold()
            # What fold left is not counted: else it would look at a very long line for every chunk of it.
            self._room = WINDOW_BYTES
        # Whole events only, the normal case: nothing to read unless one has usage that is not null.
        if self._between and chunk.endswith(_WHOLE) and not _mentions_usage(chunk):
            return chunk
        passed = self._split(chunk)
        self._between = not self._tail_bytes and not self._after_cr
        return passed if self._hide else chunk

    def finish(self) -> bytes:
        """End the stream: an event without its blank line is read too."""
        self._finished = True
        held = b""
        if self._tail_bytes:
            whole = b"".join(self._tail)
            hidden = not self._skipping and self._inspect(whole, last=True)
            if self._hide and not self._released and not hidden:
                held = whole
        self._forget_tail()
        return held

    def reported(self) -> Reported | None:
        """Return the provider's usage."""
        return self._reader.reported()

    def seen_output_bytes(self) -> int:
        """Return the bytes of the content in the stream; parsed now, so ask only when usage is missing."""
        return self._content.seen_bytes()

    def seen_events(self) -> int:
        """Return how many events were seen."""
        return self._content.seen_events(finished=self._finished)

    def _split(self, chunk: bytes) -> bytes:
        """Walk through the events that end in ``chunk``; return what may pass when hiding."""
        passed: list[bytes] = []
        start = 0
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == _LF:
                # The second half of the line end that closed the last event.
                start = 1
                if not self._hidden_last:
                    passed.append(b"\n")
        edge = self._edge
        window = edge + chunk[start:]
        shift = start - len(edge)
        for match in _BLANK_LINE.finditer(window):
            end = match.end() + shift
            self._end_event(chunk[start:end], passed)
            start = end
            self._after_cr = match.end() == len(window) and window.endswith(b"\r")
            edge = b""
        if start < len(chunk):
            self._keep(chunk[start:], edge, passed)
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def _end_event(self, piece: bytes, passed: list[bytes]) -> None:
        """Deal with an event whose last bytes are ``piece``."""
        self._tail.append(piece)
        whole = piece if len(self._tail) == 1 else b"".join(self._tail)
        hidden = not self._skipping and self._inspect(whole, last=False)
        self._hidden_last = hidden and not self._released
        if not self._hidden_last:
            passed.append(piece if self._released else whole)
        self._forget_tail()

    def _keep(self, piece: bytes, edge: bytes, passed: list[bytes]) -> None:
        """Remember the beginning of an event whose end has not come."""
        self._edge = (edge + piece)[-_EDGE_BYTES:]
        self._tail_bytes += len(piece)
        if self._hide and self._released:
            passed.append(piece)
        if not self._skipping:
            self._tail.append(piece)
        if self._hide and not self._released:
            held = b"".join(self._tail)
            if _cannot_be_hidden(held):
                self._released = True
                passed.append(held)
        if self._tail_bytes > limits.SSE_EVENT_BYTES_MAX:
            self._skipping = True
            self._tail.clear()

    def _forget_tail(self) -> None:
        self._tail = []
        self._tail_bytes = 0
        self._edge = b""
        self._released = False
        self._skipping = False

    def _inspect(self, event: bytes, *, last: bool) -> bool:
        """Read the usage of an event; return whether to hide it."""
        if not _mentions_usage(event):
            return False
        lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
        if not lines:
            if last and event.lstrip().startswith(b"{"):
                # A plain JSON body where a stream was asked for.
                self._reader.read(event)
            return False
        hidden = self._reader.read(b"\n".join(lines))
        if hidden is None and len(lines) > 1:
            # Events that are not parted by blank lines.
            for line in lines:
                self._reader.read(line)
        return bool(hidden)


def _mentions_usage(data: bytes) -> bool:
    """Whether there is usage that is not null."""
    last = data.rfind(_USAGE)
    if last < 0:
        return False
    if data.startswith(_NULL, last + len(_USAGE)) and data.find(_USAGE, 0, last) < 0:
        return False
    return data.count(_USAGE) != data.count(_NO_USAGE)


def _cannot_be_hidden(held: bytes) -> bool:
    """Whether an event that begins so is certainly not the usage chunk, which has no choices."""
    return (
        len(held) > _HELD_BYTES_MAX or _NO_OBJECT.match(held) is not None or _CHOICE.search(held) is not None
    )
