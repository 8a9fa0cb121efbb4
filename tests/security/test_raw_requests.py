"""Bytes that a proxy and a provider might read differently: refused, or read once and sent on in one way."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest

from harness.daemon import DaemonProcess, config, eventually
from harness.raw import Wire, call
from harness.stub import Stub
from harness.talk import CHAT, chat
from harness.tenant import SharedDaemons
from palyra.core.limits import HEADER_BYTES_MAX, HEADER_COUNT_MAX

BODY = json.dumps(chat()).encode()
LENGTH = len(BODY)
INNER = b"POST /v1/chat/completions HTTP/1.1\r\nHOST\r\nKEY\r\ncontent-length: %d\r\n\r\n%b" % (LENGTH, BODY)
"""A second request, good by itself, that must not come out of the body of the first."""


def post(*lines: bytes, body: bytes = BODY, target: bytes = b"/v1/chat/completions") -> bytes:
    """A request with the lines given beside host and key, which ``HOST`` and ``KEY`` stand for."""
    head = [b"POST %b HTTP/1.1" % target, b"HOST", b"KEY", b"content-type: application/json", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


EXACT = b"content-length: %d" % LENGTH
CHUNKED = b"transfer-encoding: chunked"
OVERLONG = b"a" * (HEADER_BYTES_MAX + 1)

REFUSED: Mapping[str, bytes] = {
    "CL.TE": post(b"content-length: %d" % (5 + len(INNER)), CHUNKED, body=b"0\r\n\r\n" + INNER),
    "CL.TE good body": post(EXACT, CHUNKED, body=chunked(BODY)),
    "TE.CL": post(CHUNKED, b"content-length: 4", body=b"5c\r\n" + INNER + b"\r\n0\r\n\r\n"),
    "TE.TE obfuscated": post(CHUNKED, b"transfer-encoding: x", body=chunked(BODY) + INNER),
    "TE identity, chunked": post(b"transfer-encoding: identity", CHUNKED, EXACT),
    "TE xchunked": post(b"transfer-encoding: xchunked", body=chunked(BODY)),
    "TE chunked, identity": post(b"transfer-encoding: chunked, identity", body=chunked(BODY)),
    "TE space before colon": post(b"transfer-encoding : chunked", body=chunked(BODY)),
    "TE vertical tab": post(b"transfer-encoding:\x0bchunked", body=chunked(BODY)),
    "TE quoted": post(b'transfer-encoding: "chunked"', body=chunked(BODY)),
    "TE folded": post(b"transfer-encoding:\r\n chunked", EXACT),
    "CL twice, different": post(EXACT, b"content-length: 0"),
    "CL twice, same": post(EXACT, EXACT),
    "CL list": post(b"content-length: %d, %d" % (LENGTH, LENGTH)),
    "CL plus": post(b"content-length: +%d" % LENGTH),
    "CL minus": post(b"content-length: -1"),
    "CL hex": post(b"content-length: 0x%x" % LENGTH),
    "CL empty": post(b"content-length:"),
    "CL word": post(b"content-length: many"),
    "CL inner space": post(b"content-length: 1 0"),
    "CL huge": post(b"content-length: " + b"9" * 30),
    "CL 2^64": post(b"content-length: 18446744073709551616"),
    "CL decimal": post(b"content-length: %d.0" % LENGTH),
    "CL zero with body": post(b"content-length: 0", body=b"garbage behind\r\n\r\n"),
    "chunk size word": post(CHUNKED, body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size minus": post(CHUNKED, body=b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size 0x": post(CHUNKED, body=b"0x%x\r\n" % LENGTH + BODY + b"\r\n0\r\n\r\n"),
    "chunk size overflow": post(CHUNKED, body=b"f" * 20 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size space": post(CHUNKED, body=b" %x\r\n" % LENGTH + BODY + b"\r\n0\r\n\r\n"),
    "chunk without end": post(CHUNKED, body=b"%x\r\n" % LENGTH + BODY + b"0\r\n\r\n"),
    "chunk bad end": post(CHUNKED, body=b"%x\r\n" % LENGTH + BODY + b"xx0\r\n\r\n"),
    "chunk LF only": post(CHUNKED, body=b"%x\n" % LENGTH + BODY + b"\n0\n\n"),
    "chunk CR only": post(CHUNKED, body=b"%x\r" % LENGTH + BODY + b"\r0\r\r"),
    "chunk NUL": post(CHUNKED, body=b"%x\x00\r\n" % LENGTH + BODY + b"\r\n0\r\n\r\n"),
    "chunk too short": post(CHUNKED, body=b"%x\r\n" % (LENGTH - 1) + BODY + b"\r\n0\r\n\r\n"),
    "trailer bad": post(CHUNKED, body=chunked(BODY, end=b"0\r\nno colon\r\n\r\n")),
    "fold": post(EXACT, b"x-a: 1\r\n 2"),
    "fold tab": post(EXACT, b"x-a: 1\r\n\t2"),
    "fold first": b"POST /v1/chat/completions HTTP/1.1\r\n HOST\r\nKEY\r\n" + EXACT + b"\r\n\r\n" + BODY,
    "NUL in value": post(EXACT, b"x-a: a\x00b"),
    "NUL in name": post(EXACT, b"x-\x00a: b"),
    "control in value": post(EXACT, b"x-a: a\x01b"),
    "DEL in value": post(EXACT, b"x-a: a\x7fb"),
    "CR in value": post(EXACT, b"x-a: a\rb: c"),
    "LF in name": post(EXACT, b"x-\na: b"),
    "space before colon": post(EXACT, b"x-a : b"),
    "space in name": post(EXACT, b"x a: b"),
    "no colon": post(EXACT, b"x-a"),
    "empty name": post(EXACT, b": b"),
    "non-ASCII name": post(EXACT, b"x-\xc3\xa9: b"),
    "long header": post(EXACT, b"x-a: " + OVERLONG),
    "long name": post(EXACT, OVERLONG + b": a"),
    "long target": post(EXACT, target=b"/v1/" + OVERLONG),
    "many headers": post(EXACT, *[b"x-a: b"] * 1_000),
    "one header too many": post(EXACT, *[b"x-a: b"] * (HEADER_COUNT_MAX - 3)),
    "method unknown": post(EXACT).replace(b"POST", b"BREW", 1),
    "method lower": post(EXACT).replace(b"POST", b"post", 1),
    "method long": post(EXACT).replace(b"POST", b"P" * 10_000, 1),
    "method garbage": post(EXACT).replace(b"POST", b"PO\x01ST", 1),
    "method PRI": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n",
    "TRACE": post(EXACT).replace(b"POST", b"TRACE", 1),
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n",
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/2.0": post(EXACT).replace(b"HTTP/1.1", b"HTTP/2.0", 1),
    "HTTP/1.2": post(EXACT).replace(b"HTTP/1.1", b"HTTP/1.2", 1),
    "HTTP/11": post(EXACT).replace(b"HTTP/1.1", b"HTTP/11", 1),
    "ICY": post(EXACT).replace(b"HTTP/1.1", b"ICY/1.1", 1),
    "no version": post(EXACT).replace(b" HTTP/1.1", b"", 1),
    "no target": post(EXACT).replace(b"/v1/chat/completions ", b"", 1),
    "target with space": post(EXACT, target=b"/v1/chat completions"),
    "target with NUL": post(EXACT, target=b"/v1/chat/\x00completions"),
    "target bytes": post(EXACT, target=b"/v1/chat/\xff\xfe"),
    "target authority": post(EXACT, target=b"example.org:80"),
    "upgrade": post(EXACT, b"connection: upgrade", b"upgrade: websocket"),
    "upgrade h2c": post(EXACT, b"connection: upgrade", b"upgrade: h2c", body=INNER),
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "binary": bytes(range(256)) * 4,
    "blank lines": b"\r\n" * 40_000,
    "LF request": b"garbage\n\n",
    "response": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
}

SERVED: Mapping[str, bytes] = {
    "plain": post(EXACT),
    "blank line before": b"\r\n" + post(EXACT),
    "chunked": post(CHUNKED, body=chunked(BODY)),
    "chunked in bytes": post(CHUNKED, body=chunked(*(BODY[at : at + 1] for at in range(LENGTH)))),
    "chunked upper case": post(b"Transfer-Encoding: Chunked", body=chunked(BODY)),
    "chunk extension": post(CHUNKED, body=b"%x;a=b\r\n" % LENGTH + BODY + b"\r\n0\r\n\r\n"),
    "chunk size with zeros": post(CHUNKED, body=b"000%x\r\n" % LENGTH + BODY + b"\r\n0\r\n\r\n"),
    "trailer": post(CHUNKED, body=chunked(BODY, end=b"0\r\nx-late: 1\r\nanthropic-beta: late\r\n\r\n")),
    "absolute target": post(EXACT, target=b"http://evil.example/v1/chat/completions"),
    "query": post(EXACT, target=b"/v1/chat/completions?api_base=http://evil.example&stream=true"),
    "escaped path": post(EXACT, target=b"/v1/chat%2fcompletions"),
    "host is not trusted": post(EXACT, b"x-forwarded-host: evil.example", b"forwarded: host=evil.example"),
    "tabs around value": post(EXACT, b"x-a:\t b \t"),
    "bytes in value": post(EXACT, b"x-a: \xff\xfe"),
    "expect": post(EXACT, b"expect: 100-continue"),
    "close, then another": post(EXACT, b"connection: close") + INNER,
    "nominated": post(EXACT, b"connection: keep-alive, x-a", b"x-a: b"),
    "as many headers as allowed": post(EXACT, *[b"x-a: b"] * (HEADER_COUNT_MAX - 5)),
}


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url))


@pytest.fixture(scope="module")
def key(door: DaemonProcess) -> str:
    return door.create_key("alice")


@pytest.fixture(autouse=True)
def _fresh(shared_stub: Stub) -> None:
    """Every test begins with a provider that has seen nothing."""


async def only_this_call_reaches_the_provider(door: DaemonProcess, key: str, stub: Stub) -> None:
    """Make a good call: it is served, and whatever was sent before it was not."""
    reply = await call(door.url, CHAT, json_body=chat(), key=key)
    assert (reply.status, len(stub.generations)) == (200, 1)


def filled(raw: bytes, door: DaemonProcess, key: str) -> bytes:
    host = b"host: " + door.url.removeprefix("http://").encode()
    return raw.replace(b"HOST", host).replace(b"KEY", b"authorization: Bearer " + key.encode())


@pytest.mark.parametrize("name", REFUSED)
async def test_bytes_that_can_be_read_in_two_ways_reach_nobody(
    name: str, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    async with Wire(door.url) as wire:
        wire.send(filled(REFUSED[name], door, key))
        reply = wire.current
        with suppress(TimeoutError):
            # Some wait for bytes that never come.
            await wire.reply(0.3)
        wire.half_close()
        await wire.shut()
    for each in (reply, wire.current):
        assert each.status == 0 or 400 <= each.status < 500, each.body
        assert each.garbled is None
    await only_this_call_reaches_the_provider(door, key, shared_stub)


@pytest.mark.parametrize("name", SERVED)
async def test_odd_but_clear_requests_are_served_once(
    name: str, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    async with Wire(door.url) as wire:
        wire.send(filled(SERVED[name], door, key))
        reply = await wire.reply()
    assert reply.status == 200, reply.body
    (received,) = shared_stub.generations
    assert received.json == chat()
    names = received.headers.keys()
    assert received.headers["content-length"] == str(len(received.body))
    assert received.headers["host"] == shared_stub.url.removeprefix("http://")
    assert not names & {"transfer-encoding", "upgrade", "expect", "x-late", "forwarded", "http2-settings"}
    assert not any(header.startswith("x-forwarded-") for header in names)


@pytest.mark.parametrize("name", ["x-palyra-session", "cookie", "te", "proxy-authorization", "keep-alive"])
async def test_headers_that_are_not_for_the_provider_stay_here(
    name: str, door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    reply = await call(door.url, CHAT, json_body=chat(), key=key, headers={name: "value"})
    assert reply.status == 200
    assert name not in shared_stub.generations[0].headers


async def test_the_provider_reads_the_body_as_palyra_did(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    body = BODY[:-1] + b',"max_tokens":9,"m\\u0061x_tokens":7}'
    for kind in ("application/json; charset=utf-7", "text/plain", "application/xml"):
        reply = await call(door.url, CHAT, body=body, key=key, headers={"content-type": kind})
        assert reply.status == 200
        received = shared_stub.generations[-1]
        assert received.headers["content-type"] == "application/json"
        assert received.body.count(b"max_tokens") == 1
        assert received.json["max_tokens"] == 7


async def test_connections_are_kept_and_pipelined_calls_are_answered_in_order(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    one = filled(post(EXACT), door, key)
    async with Wire(door.url) as wire:
        for _ in range(3):
            wire.send(one)
            assert (await wire.reply()).status == 200
        wire.send(one * 4)
        await eventually(lambda: wire.current.body.count(b"chatcmpl-stub") == 4, "four answers", 30.0)
    assert len(shared_stub.generations) == 7


async def test_a_good_call_behind_a_bad_one_is_not_read(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    bad = filled(REFUSED["CL.TE"], door, key)
    async with Wire(door.url) as wire:
        wire.send(bad + filled(INNER, door, key) * 3)
        reply = await wire.reply()
        await wire.shut()
    assert reply.status == 400
    await only_this_call_reaches_the_provider(door, key, shared_stub)


EVIL_HOSTS = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "evil.example/127.0.0.1",
    "[::1].evil.example",
    "0.0.0.0",
    "2130706433",
    "127.1",
    "",
]


@pytest.mark.parametrize("host", EVIL_HOSTS)
@pytest.mark.parametrize("path", ["/api/v1/keys", "/api/v1/decisions", "/metrics", "/healthz"])
async def test_the_control_plane_answers_for_no_foreign_host(
    host: str, path: str, door: DaemonProcess
) -> None:
    line = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {door.owner_key}\r\n\r\n"
    async with Wire(door.url) as wire:
        wire.send(line.encode())
        reply = await wire.reply()
    assert reply.status in (400, 421), reply.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8484", "localhost."])
async def test_the_control_plane_answers_for_this_machine(host: str, door: DaemonProcess) -> None:
    line = f"GET /api/v1/keys HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {door.owner_key}\r\n\r\n"
    async with Wire(door.url) as wire:
        wire.send(line.encode())
        assert (await wire.reply()).status == 200


@pytest.mark.parametrize("number", range(50))
async def test_hostile_keys_all_get_the_same_answer(number: int, door: DaemonProcess) -> None:
    tails = ["", "'", '"', "\\", "%00", "${7*7}", "{{7*7}}", " OR 1=1--", "\x80\xff", "a" * 4_000]
    heads = [
        "Bearer ",
        "bearer ",
        "BEARER ",
        "Bearer  ",
        "Bearer\t",
        "Basic ",
        "Token ",
        "",
        "Bearer,",
        "Bearer",
    ]
    told: set[tuple[int, str]] = set()
    for head in heads:
        given = f"{head}sk-palyra-{number}{tails[number % len(tails)]}"
        reply = await call(door.url, CHAT, json_body=chat(), headers={"authorization": given})
        error = reply.error()
        error.pop("palyra")
        told.add((reply.status, str(sorted(error.items(), key=str))))
    assert {status for status, _ in told} == {401}
    # A key that is wrong and a header that holds none are two cases, and nothing of the key is told.
    assert len(told) <= 2
    assert all(f"palyra-{number}" not in text for _, text in told)
