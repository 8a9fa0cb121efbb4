"""A head that was parsed before is recognised by its bytes; whatever differs goes to the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palyra.gateway.head import Head, KnownHead
from palyra.lifecycle.wire import Endpoint

START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nAuthorization: Bearer k\r\n"
FIELDS = [(b"host", b"a"), (b"authorization", b"Bearer k")]


def head(length: bytes | None = b"2", *, keep_alive: bool = True, expects: bool = False) -> Head:
    more = [] if length is None else [(b"content-length", length)]
    return Head(
        "POST",
        "/v1/chat/completions",
        Endpoint.chat_completions,
        [*FIELDS, *more],
        keep_alive=keep_alive,
        modern=True,
        expects_continue=expects,
    )


def known(lines: bytes = b"Content-Length: 2\r\nx-a: 1\r\n") -> KnownHead:
    found = KnownHead.learn(head(), START + lines + b"\r\n{}")
    assert found is not None
    return found


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 100_000])
def test_the_same_head_is_recognised_whatever_the_length_of_the_body(body: bytes) -> None:
    data = START + b"Content-Length: %d\r\nx-a: 1\r\n\r\n" % len(body) + body
    assert known().body_of(data) == body


@pytest.mark.parametrize(
    "data",
    [
        START + b"Content-Length: 2\r\nx-a: 2\r\n\r\n{}",
        START + b"content-length: 2\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 2\r\nx-a: 1\r\nx-b: 1\r\n\r\n{}",
        START + b"Content-Length: 2\r\n\r\n{}",
        START + b"Content-Length: 3\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 1\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 2\r\nx-a: 1\r\n\r\n{}GET / HTTP/1.1\r\n\r\n",
        START + b"Content-Length: \r\nx-a: 1\r\n\r\n",
        START + b"Content-Length: -2\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: +2\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 2, 2\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 0x2\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nx-a: 1\r\n\r\n{}",
        START + b"Content-Length: 00000000000000000002\r\nx-a: 1\r\n\r\n{}",
        START[:-10],
        b"",
    ],
)
def test_whatever_differs_is_left_to_the_parser(data: bytes) -> None:
    assert known().body_of(data) is None


@pytest.mark.parametrize(
    ("parsed", "data"),
    [
        (head(None), START + b"\r\n"),
        (head(keep_alive=False), START + b"content-length: 2\r\n\r\n{}"),
        (head(expects=True), START + b"content-length: 2\r\n\r\n{}"),
        (head(), START + b"content-length: 2\r\n\r\n{}more"),
        (head(), START + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}"),
        (head(), START + b"content-length:\t2\r\n\r\n{}"),
        (head(b"02"), START + b"content-length: 02\r\n\r\n{}"),
    ],
)
def test_what_cannot_be_cut_open_safely_is_not_learned(parsed: Head, data: bytes) -> None:
    assert KnownHead.learn(parsed, data) is None


@given(st.binary(max_size=40), st.integers(0, 120), st.binary(max_size=3))
def test_no_other_bytes_pass_for_a_known_request(body: bytes, place: int, change: bytes) -> None:
    data = START + b"Content-Length: %d\r\nx-a: 1\r\n\r\n" % len(body) + body
    changed = data[:place] + change + data[place + len(change) :]
    found = known().body_of(changed)
    if found is not None:
        top, _, rest = changed.partition(b"\r\n\r\n")
        assert rest == found
        lines = top.split(b"\r\n")
        length = lines.pop(3)
        assert lines == [*START.split(b"\r\n")[:3], b"x-a: 1"]
        assert int(length.removeprefix(b"Content-Length: ")) == len(found)
