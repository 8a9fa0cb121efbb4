"""The bytes of an HTTP/1.1 answer: status line, headers, chunks."""

import http

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def head(status: int, fixed: bytes, lines: bytes, framing: bytes) -> bytes:
    """The head of an answer with its blank line. ``fixed``, ``lines`` and ``framing`` are whole lines."""
    return b"%b%b%b%b\r\n" % (_STATUS_LINES[status], fixed, lines, framing)
