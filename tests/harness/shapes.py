"""Ways to send the same stream: other line ends, boundaries and mistakes. Each maps pieces to pieces."""

import itertools
from collections.abc import Callable, Sequence

Shape = Callable[[Sequence[bytes]], Sequence[bytes]]


def crlf(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """CRLF line ends."""
    return [piece.replace(b"\n", b"\r\n") for piece in pieces]


def cr(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """CR line ends, which the SSE standard allows too."""
    return [piece.replace(b"\n", b"\r") for piece in pieces]


def byte_by_byte(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Every byte in a write of its own."""
    return [bytes((byte,)) for byte in b"".join(pieces)]


def glued(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """The whole stream in one write."""
    return [b"".join(pieces)]


def cut_every(size: int) -> Shape:
    """Boundaries every ``size`` bytes, across events, lines and UTF-8 sequences."""

    def shape(pieces: Sequence[bytes]) -> Sequence[bytes]:
        whole = b"".join(pieces)
        return [whole[start : start + size] for start in range(0, len(whole), size)]

    return shape


def cut_at(*places: int) -> Shape:
    """Boundaries at these byte offsets of the whole stream."""

    def shape(pieces: Sequence[bytes]) -> Sequence[bytes]:
        whole = b"".join(pieces)
        edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
        parts = [whole[start:end] for start, end in itertools.pairwise(edges)]
        return [part for part in parts if part]

    return shape


def with_comments(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """A comment line (keep-alive) before every event."""
    return [b": keep-alive\n\n" + piece for piece in pieces]


def without_space(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """``data:{…}`` without the optional space."""
    return [piece.replace(b"data: ", b"data:") for piece in pieces]


def with_bom(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """A byte order mark before the first event."""
    return [b"\xef\xbb\xbf" + pieces[0], *pieces[1:]]


def with_extra_fields(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """``id`` and ``retry`` fields and an unknown one in every event."""
    return [b"id: 7\nretry: 1000\nx-unknown: 1\n" + piece for piece in pieces]


def data_over_two_lines(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Each JSON body broken after its opening brace into two ``data`` lines of one event."""
    return [piece.replace(b"data: {", b"data: {\ndata: ", 1) for piece in pieces]


def no_done(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Without the end marker (``[DONE]``, ``message_stop``); otherwise whole."""
    return [piece for piece in pieces if b"[DONE]" not in piece and b"message_stop" not in piece]


def no_last_blank_line(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """The last event ends with the connection, not with a blank line."""
    return [*pieces[:-1], pieces[-1].rstrip(b"\r\n")]


def broken_json_in(number: int) -> Shape:
    """Event ``number`` carries JSON that does not parse."""

    def shape(pieces: Sequence[bytes]) -> Sequence[bytes]:
        parts = list(pieces)
        parts[number] = b'data: {"choices":[{"delta":{"content":"\n\n'
        return parts

    return shape


def error_event_at(number: int, data: bytes) -> Shape:
    """The stream ends at event ``number`` with an error event."""

    def shape(pieces: Sequence[bytes]) -> Sequence[bytes]:
        return [*pieces[:number], b"event: error\ndata: " + data + b"\n\n"]

    return shape


def usage_in_every_event(usage: bytes) -> Shape:
    """A running ``usage`` in every data event, as some servers send it."""

    def shape(pieces: Sequence[bytes]) -> Sequence[bytes]:
        return [piece.replace(b"data: {", b'data: {"usage":' + usage + b",", 1) for piece in pieces]

    return shape
