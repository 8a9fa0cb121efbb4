"""The bytes of an HTTP/1.1 answer: status line, headers, chunks."""

import http
from collections.abc import Iterable

Header = tuple[bytes, bytes]

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def head(status: int, fixed: bytes, headers: Iterable[Header], framing: bytes) -> bytes:
    """The head of an answer with its blank line. ``fixed`` and ``framing`` are whole lines.

    Raises ValueError for a header that would forge a line.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines):
        raise ValueError("a header of an answer has a line break in it")
    return b"%b%b%b%b\r\n" % (_STATUS_LINES[status], fixed, block, framing)
