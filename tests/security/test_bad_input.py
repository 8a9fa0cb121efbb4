"""What cannot be accepted is refused in the caller's wire format, names the field, reaches nobody (G2)."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence

import pytest

from harness.daemon import DaemonProcess, config
from harness.raw import Reply, Wire, call, exchange, request
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, message
from harness.tenant import SharedDaemons
from palyra.core.limits import IDEMPOTENCY_KEY_BYTES_MAX, LABEL_CHARS_MAX
from palyra.gateway.body import FORBIDDEN

COMPLETIONS, RESPONSES, EMBEDDINGS = "/v1/completions", "/v1/responses", "/v1/embeddings"
COUNT = "/v1/messages/count_tokens"
BODY_BYTES_MAX = 100_000
GOOD: Mapping[str, Mapping[str, object]] = {
    CHAT: chat(),
    COMPLETIONS: {"model": "stub-model", "prompt": "hi", "max_tokens": 8},
    RESPONSES: {"model": "stub-model", "input": "hi", "max_output_tokens": 8},
    EMBEDDINGS: {"model": "stub-embed", "input": "hi"},
    MESSAGES: message(),
    COUNT: {"model": "stub-claude", "messages": [{"role": "user", "content": "hi"}]},
}
ANTHROPIC = (MESSAGES, COUNT)


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, server={"max_body_bytes": BODY_BYTES_MAX}))


@pytest.fixture(scope="module")
def key(door: DaemonProcess) -> str:
    return door.create_key("alice")


@pytest.fixture(autouse=True)
def _reaches_nobody(door: DaemonProcess, shared_stub: Stub) -> Iterator[None]:
    """No test here may open a connection to the provider or make it work."""
    before = shared_stub.connections
    yield
    assert shared_stub.connections == before
    assert shared_stub.generations == []
    assert door.process is not None
    assert door.process.poll() is None


def refused(reply: Reply, path: str, status: int, code: str, named: str | None = None) -> None:
    """Check an error in the wire format of ``path``; ``named`` is the field or header it must name."""
    assert reply.status == status, reply.body
    assert reply.header("content-type") == "application/json"
    document, error = reply.json(), reply.error()
    assert error["type"] == code, error
    message_text = str(error["message"])
    if path in ANTHROPIC:
        assert document["type"] == "error"
        assert document["request_id"] == reply.header("x-palyra-request-id")
    else:
        assert error["code"] == code
        if named is not None:
            assert error["param"] == named, error
    if named is not None:
        assert named in message_text, message_text
    palyra = error["palyra"]
    assert isinstance(palyra, dict)
    assert palyra["request_id"] == reply.header("x-palyra-request-id")


NOT_JSON: Mapping[str, bytes] = {
    "empty": b"",
    "spaces": b"   ",
    "word": b"hello",
    "open": b'{"model":',
    "trailing": json.dumps(chat()).encode() + b" x",
    "two": json.dumps(chat()).encode() * 2,
    "array": b"[]",
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "bom": b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
    "utf16": json.dumps(chat()).encode("utf-16"),
    "latin1": '{"model":"stub-model","messages":[{"role":"user","content":"é"}]}'.encode("latin-1"),
    "latin1 image": b'{"model":"m","messages":[{"role":"u","content":[{"type":"image_url","url":"\xff"}]}]}',
    "NaN": b'{"model":"stub-model","temperature":NaN}',
    "Infinity": b'{"model":"stub-model","temperature":-Infinity}',
    "single quotes": b"{'model':'stub-model'}",
    "comment": b'{"model":"stub-model"/* x */}',
    "control": b'{"model":"stub\x01model"}',
    "lone surrogate": b'{"model":"\\ud800"}',
    "deep array": b'{"model":"stub-model","messages":' + b"[" * 90_000,
    "deep closed": b'{"x":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "deep object": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("name", NOT_JSON)
async def test_a_body_that_is_no_json_object(name: str, path: str, door: DaemonProcess, key: str) -> None:
    refused(await call(door.url, path, body=NOT_JSON[name], key=key), path, 400, "invalid_request_error")


MANY_DIGITS = b"9" * 50_000
WRONG: Sequence[tuple[str, str, bytes]] = [
    (CHAT, "model", b"5"),
    (CHAT, "model", b"null"),
    (CHAT, "model", b'""'),
    (CHAT, "model", b'["stub-model"]'),
    (CHAT, "model", b'"' + b"m" * 300 + b'"'),
    (CHAT, "messages", b"[]"),
    (CHAT, "messages", b"{}"),
    (CHAT, "messages", b'"hi"'),
    (CHAT, "messages", b"null"),
    (CHAT, "messages[0]", b'["hi"]'),
    (CHAT, "messages[0].role", b'[{"role":5,"content":"hi"}]'),
    (CHAT, "max_tokens", b"0"),
    (CHAT, "max_tokens", b"-1"),
    (CHAT, "max_tokens", b'"5"'),
    (CHAT, "max_tokens", b"true"),
    (CHAT, "max_tokens", b"1.5"),
    (CHAT, "max_tokens", b"1e400"),
    (CHAT, "max_tokens", b"[5]"),
    (CHAT, "max_tokens", b"2147483649"),
    (CHAT, "max_tokens", b"9223372036854775808"),
    (CHAT, "max_tokens", MANY_DIGITS),
    (CHAT, "max_completion_tokens", b"0"),
    (CHAT, "max_completion_tokens", b"-5"),
    (CHAT, "n", b"0"),
    (CHAT, "n", b"-1"),
    (CHAT, "n", b"1000"),
    (CHAT, "n", b'"2"'),
    (CHAT, "n", MANY_DIGITS),
    (CHAT, "stream", b'"yes"'),
    (CHAT, "stream", b"1"),
    (CHAT, "stream_options", b"5"),
    (CHAT, "stream_options", b'"x"'),
    (CHAT, "stream_options.include_usage", b'{"include_usage":"yes"}'),
    (CHAT, "user", b"[]"),
    (CHAT, "service_tier", b"{}"),
    (CHAT, "metadata", b'"x"'),
    (CHAT, "metadata.session_id", b'{"session_id":5}'),
    (CHAT, "tools", b"{}"),
    (CHAT, "tools[0]", b'["x"]'),
    (COMPLETIONS, "prompt", b"5"),
    (COMPLETIONS, "max_tokens", b"0"),
    (COMPLETIONS, "best_of", b"1000"),
    (COMPLETIONS, "n", b"0"),
    (RESPONSES, "max_output_tokens", b"0"),
    (RESPONSES, "max_output_tokens", b'"5"'),
    (RESPONSES, "background", b"true"),
    (RESPONSES, "previous_response_id", b"5"),
    (EMBEDDINGS, "input", b"5"),
    (EMBEDDINGS, "input", b'""'),
    (EMBEDDINGS, "input", b"[]"),
    (EMBEDDINGS, "stream", b"true"),
    (MESSAGES, "max_tokens", b"0"),
    (MESSAGES, "max_tokens", b"null"),
    (MESSAGES, "max_tokens", b'"5"'),
    (MESSAGES, "messages", b"[]"),
    (MESSAGES, "metadata.user_id", b'{"user_id":5}'),
    (COUNT, "messages", b"[]"),
    (COUNT, "model", b"7"),
]


@pytest.mark.parametrize(("path", "field", "value"), WRONG)
async def test_a_field_with_a_wrong_value_is_named(
    path: str, field: str, value: bytes, door: DaemonProcess, key: str
) -> None:
    top = field.partition(".")[0].partition("[")[0]
    fields = {name: json.dumps(given).encode() for name, given in GOOD[path].items()} | {top: value}
    body = b"{" + b",".join(b'"%b":%b' % (name.encode(), given) for name, given in fields.items()) + b"}"
    reply = await call(door.url, path, body=body, key=key)
    refused(reply, path, 400, "invalid_request_error", field)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (CHAT, "model"),
        (CHAT, "messages"),
        (COMPLETIONS, "model"),
        (RESPONSES, "model"),
        (EMBEDDINGS, "model"),
        (EMBEDDINGS, "input"),
        (MESSAGES, "model"),
        (MESSAGES, "messages"),
        (MESSAGES, "max_tokens"),
        (COUNT, "model"),
        (COUNT, "messages"),
    ],
)
async def test_a_field_that_is_missing_is_named(path: str, field: str, door: DaemonProcess, key: str) -> None:
    body = {name: value for name, value in GOOD[path].items() if name != field}
    refused(await call(door.url, path, json_body=body, key=key), path, 400, "invalid_request_error", field)


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("field", sorted(FORBIDDEN))
async def test_a_field_that_names_a_host_a_credential_or_a_price(
    field: str, path: str, door: DaemonProcess, key: str
) -> None:
    evil = "http://127.0.0.1:1/"
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in field)
    for name in (field, escaped):
        body = b'{"%b":%b,' % (name.encode(), json.dumps(evil).encode()) + json.dumps(GOOD[path]).encode()[1:]
        refused(await call(door.url, path, body=body, key=key), path, 400, "invalid_request_error", field)


HEADERS: Sequence[tuple[str, bytes, str]] = [
    ("x-palyra-mode", b"off", "x-palyra-mode"),
    ("x-palyra-mode", b"", "x-palyra-mode"),
    ("x-palyra-mode", b"\xff", "x-palyra-mode"),
    ("x-palyra-task-class", b"vip", "x-palyra-task-class"),
    ("x-palyra-tags", b"team", "x-palyra-tags"),
    ("x-palyra-tags", b"=x", "x-palyra-tags"),
    ("x-palyra-tags", b"a=", "x-palyra-tags"),
    ("x-palyra-tags", b"a=1,,b=2", "x-palyra-tags"),
    ("x-palyra-tags", b",".join(b"k%d=v" % number for number in range(33)), "x-palyra-tags"),
    ("x-palyra-tags", b"a=\xff", "x-palyra-tags"),
    ("x-palyra-tags", b"a=~x", "x-palyra-tags"),
    ("x-palyra-session", b"s" * (LABEL_CHARS_MAX + 1), "x-palyra-session"),
    ("x-palyra-session", b"~unlabelled", "x-palyra-session"),
    ("x-palyra-session", b"*", "x-palyra-session"),
    ("x-palyra-session", b"a\xe2\x80\xaeb", "x-palyra-session"),
    ("x-palyra-session", b"\xc3\x28", "x-palyra-session"),
    ("x-palyra-agent", b"*", "x-palyra-agent"),
    ("x-palyra-agent", b"a" * (LABEL_CHARS_MAX + 1), "x-palyra-agent"),
    ("x-palyra-parent-session", b"~", "x-palyra-parent-session"),
    ("idempotency-key", b"", "Idempotency-Key"),
    ("idempotency-key", b"k" * (IDEMPOTENCY_KEY_BYTES_MAX + 1), "Idempotency-Key"),
    ("idempotency-key", b"\xff", "Idempotency-Key"),
    ("content-encoding", b"gzip", "content-encoding"),
    ("content-encoding", b"br", "content-encoding"),
]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(("header", "value", "named"), HEADERS)
async def test_a_header_that_cannot_be_accepted_is_named(
    header: str, value: bytes, named: str, path: str, door: DaemonProcess, key: str
) -> None:
    given = {header: value.decode("latin-1")}
    reply = await call(door.url, path, json_body=GOOD[path], key=key, headers=given)
    assert reply.status == 400, reply.body
    assert named in str(reply.error()["message"])
    if path == CHAT:
        assert reply.error()["param"] == named


@pytest.mark.parametrize("path", [*GOOD, "/v1/models", "/v1/models/stub-model"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer sk-palyra-wrong"},
        {"authorization": "Basic YTpi"},
        {"authorization": "sk-palyra-wrong"},
        {"x-api-key": "wrong"},
        {"x-goog-api-key": "wrong"},
        {"authorization": "Bearer " + "a" * 20_000},
    ],
)
async def test_a_call_without_a_good_key(headers: Mapping[str, str], path: str, door: DaemonProcess) -> None:
    method = "POST" if path in GOOD else "GET"
    reply = await call(door.url, path, method=method, json_body=GOOD.get(path), headers=headers)
    refused(reply, path, 401, "invalid_api_key")


async def test_a_key_that_was_revoked(door: DaemonProcess) -> None:
    created = door.api.post("/keys", {"principal": "bob", "roles": ["caller"]})
    revoked = door.api.request("DELETE", f"/keys/{created['id']}")
    assert revoked.is_success, revoked.text
    reply = await call(door.url, CHAT, json_body=chat(), key=str(created["key"]))
    refused(reply, CHAT, 401, "invalid_api_key")


async def test_a_model_that_the_key_may_not_use(door: DaemonProcess) -> None:
    narrow = door.create_key("carol", models=["stub-embed"])
    refused(await call(door.url, CHAT, json_body=chat(), key=narrow), CHAT, 403, "model_not_allowed")


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("name", ["no-such-model", "stub-model\x00", "../stub-model", "STUB-MODEL", "*"])
async def test_a_model_that_nobody_serves(name: str, path: str, door: DaemonProcess, key: str) -> None:
    reply = await call(door.url, path, json_body={**GOOD[path], "model": name}, key=key)
    refused(reply, path, 404, "model_not_found")


@pytest.mark.parametrize("path", [*GOOD, "/v1/models"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "GET"])
async def test_a_wrong_method(method: str, path: str, door: DaemonProcess, key: str) -> None:
    if (method, path) == ("GET", "/v1/models"):
        method = "POST"
    refused(await call(door.url, path, method=method, key=key), path, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/",
        "/v1/chat",
        "/v1/chat/completions/",
        "/v1/images",
        "/v1/../api/v1/keys",
        "/v1//chat/completions",
    ],
)
async def test_an_unknown_path(path: str, door: DaemonProcess, key: str) -> None:
    refused(await call(door.url, path, json_body=chat(), key=key), path, 404, "not_found_error")


@pytest.mark.parametrize("path", GOOD)
async def test_a_body_that_is_too_large_by_its_length(path: str, door: DaemonProcess, key: str) -> None:
    body = b" " * (BODY_BYTES_MAX + 1)
    refused(await call(door.url, path, body=body, key=key), path, 413, "request_too_large")


@pytest.mark.parametrize("path", GOOD)
async def test_a_body_that_is_too_large_without_a_length(path: str, door: DaemonProcess, key: str) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (30_000, b" " * 30_000) for _ in range(4)) + b"0\r\n\r\n"
    head = request(door.url, path, headers={"transfer-encoding": "chunked"}, key=key)
    refused(await exchange(door.url, head + chunks), path, 413, "request_too_large")


async def test_a_body_whose_length_is_a_lie_is_refused_before_it_comes(door: DaemonProcess, key: str) -> None:
    reply = await exchange(
        door.url, request(door.url, CHAT, headers={"content-length": "4000000000"}, key=key)
    )
    refused(reply, CHAT, 413, "request_too_large")


def test_a_client_that_sends_all_before_it_reads_can_read_its_refusal(door: DaemonProcess, key: str) -> None:
    for _ in range(3):
        connection = http.client.HTTPConnection(door.url.removeprefix("http://"), timeout=60)
        connection.request("POST", CHAT, b" " * (16 * 1024 * 1024), {"authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["code"] == "request_too_large"
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
        assert connection.getresponse().status == 200
        connection.close()


async def test_nobody_without_a_key_can_make_the_daemon_collect_a_large_body(door: DaemonProcess) -> None:
    async with Wire(door.url) as wire:
        wire.send(request(door.url, CHAT, headers={"content-length": str(BODY_BYTES_MAX)}))
        refused(await wire.reply(), CHAT, 401, "invalid_api_key")
    async with Wire(door.url) as wire:
        wire.send(request(door.url, CHAT, headers={"transfer-encoding": "chunked"}, key="wrong") + b"5\r\n")
        refused(await wire.reply(), CHAT, 401, "invalid_api_key")
