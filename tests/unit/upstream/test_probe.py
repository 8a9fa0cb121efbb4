"""A connection test says what it found, stage by stage, and never shows the credential."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trustme

from harness.daemon import poll
from harness.script import Answer, failing
from harness.stub import Stub
from palyra.core.secret import Secret
from palyra.upstream import probe as probing
from palyra.upstream.guard import check_provider_url
from palyra.upstream.probe import Probe, ProbeState, probe
from palyra.upstream.provider import ProviderEndpoint
from palyra.upstream.request_head import ProviderKind

SECRET = "sk-provider-secret-0123456789"
PATIENCE_S = 10.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def endpoint(
    url: str,
    kind: ProviderKind = ProviderKind.openai_compatible,
    *,
    credential: str | None = SECRET,
    ca_file: Path | None = None,
) -> ProviderEndpoint:
    secret = None if credential is None else Secret(credential)
    return ProviderEndpoint("p", kind, check_provider_url(url), secret, ca_file)


async def probed(url: str, timeout_s: float = PATIENCE_S, ca_file: Path | None = None) -> Probe:
    found = await probe(endpoint(url, ca_file=ca_file), timeout_s)
    assert SECRET not in repr(found)
    assert found.total_ms is not None
    stages = [each for each in (found.connect_ms, found.first_byte_ms, found.total_ms) if each is not None]
    assert stages == sorted(stages)
    assert (found.state is ProbeState.OK) or not found.listed
    return found


async def answered(stub: Stub, script: object = None) -> Probe:
    if script is not None:
        stub.script = cast("Answer", script)
    return await probed(f"{stub.url}/v1")


@asynccontextmanager
async def server(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """A server that does with a connection what ``handle`` says, after it has read a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def saying(raw: bytes) -> Handler:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return handle


async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw = cast("socket.socket", writer.get_extra_info("socket"))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# Well.


async def test_a_provider_that_lists_its_models_is_well(shared_stub: Stub) -> None:
    found = await answered(shared_stub)
    assert (found.state, found.status, found.message) == (ProbeState.OK, 200, "it lists 3 models")
    assert [each.id for each in found.listed] == shared_stub.models
    assert found.state.is_well
    assert None not in (found.connect_ms, found.first_byte_ms)


async def test_it_asks_as_calls_do_with_the_credential_where_it_belongs(shared_stub: Stub) -> None:
    await probe(endpoint(f"{shared_stub.url}/v1"), PATIENCE_S)
    await probe(endpoint(shared_stub.url, ProviderKind.anthropic), PATIENCE_S)
    await probe(endpoint(f"{shared_stub.url}/v1", credential=None), PATIENCE_S)
    openai, anthropic, nobody = shared_stub.calls
    assert (openai.method, openai.path) == ("GET", "/v1/models")
    assert openai.headers["authorization"] == f"Bearer {SECRET}"
    assert anthropic.path == "/v1/models?limit=1000"
    assert anthropic.headers["x-api-key"] == SECRET
    assert "authorization" not in anthropic.headers
    assert not {"authorization", "x-api-key"} & set(nobody.headers)


async def test_each_test_has_a_connection_of_its_own_and_closes_it(shared_stub: Stub) -> None:
    before = shared_stub.connections
    for _ in range(2):
        await answered(shared_stub)
    assert shared_stub.connections == before + 2

    def closed() -> bool:
        return shared_stub.open_connections == 0

    await asyncio.to_thread(poll, closed, bool, PATIENCE_S, "an end of both")


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_provider_that_lists_no_models_is_well_too(shared_stub: Stub, status: int) -> None:
    found = await answered(shared_stub, failing(status))
    assert (found.state, found.status, found.state.is_well) == (ProbeState.NO_MODEL_LIST, status, True)
    assert "[[models]]" in found.message


async def test_localhost_is_tried_on_both_addresses(shared_stub: Stub) -> None:
    found = await probed(f"http://localhost:{shared_stub.port}/v1")
    assert found.state is ProbeState.OK


async def test_a_list_that_ends_with_the_connection_is_whole(shared_stub: Stub) -> None:
    body = b'{"data":[{"id":"m"}]}'
    found = await answered(shared_stub, Answer(body=body, framing="close"))
    assert [each.id for each in found.listed] == ["m"]


async def test_a_list_in_many_pieces_is_whole(shared_stub: Stub) -> None:
    raw = [b'{"data":[', *[b'{"id":"m%d"},' % number for number in range(100)], b'{"id":"last"}]}']
    found = await answered(shared_stub, Answer(raw=raw))
    assert len(found.listed) == 101


# Not well.


@pytest.mark.parametrize("status", [401, 403])
async def test_a_credential_that_is_refused_is_told_so(shared_stub: Stub, status: int) -> None:
    body = b'{"error":"wrong key: ' + SECRET.encode() + b'"}'
    found = await answered(shared_stub, failing(status, body=body))
    assert (found.state, found.status) == (ProbeState.AUTH_FAILED, status)
    assert found.message == f"it answered {status}: check the credential"
    assert not found.state.is_well


async def test_too_many_requests_is_told_so(shared_stub: Stub) -> None:
    found = await answered(shared_stub, failing(429, retry_after="7"))
    assert (found.state, found.status) == (ProbeState.RATE_LIMITED, 429)


@pytest.mark.parametrize("status", [201, 204, 302, 400, 418, 500, 503])
async def test_any_other_status_is_unexpected(shared_stub: Stub, status: int) -> None:
    found = await answered(shared_stub, Answer(status=status, body=b"" if status == 204 else b"{}"))
    assert (found.state, found.status) == (ProbeState.UNEXPECTED_ANSWER, status)
    assert str(status) in found.message
    assert "base_url" in found.message


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"data":3}', b"\xff", b"[" * 100_000])
async def test_an_answer_that_is_no_list_is_unexpected(shared_stub: Stub, body: bytes) -> None:
    found = await answered(shared_stub, Answer(body=body))
    assert (found.state, found.status) == (ProbeState.UNEXPECTED_ANSWER, 200)
    assert "not in a known format" in found.message


async def test_a_list_without_end_is_given_up(shared_stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing.limits, "RESPONSE_COLLECT_BYTES_MAX", 1_000)
    found = await answered(shared_stub, Answer(raw=[b"x" * 100] * 20))
    assert found.state is ProbeState.UNEXPECTED_ANSWER
    assert "too large" in found.message


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"nope " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 64,
    ],
)
async def test_what_is_no_http_is_unexpected(raw: bytes) -> None:
    async with server(saying(raw)) as port:
        found = await probed(f"http://127.0.0.1:{port}/v1")
    assert found.state is ProbeState.UNEXPECTED_ANSWER
    assert found.message.startswith("not a valid HTTP response")
    assert None not in (found.connect_ms, found.first_byte_ms)


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
async def test_an_answer_that_is_cut_is_unexpected(raw: bytes) -> None:
    async with server(saying(raw)) as port:
        found = await probed(f"http://127.0.0.1:{port}/v1")
    assert found.state is ProbeState.UNEXPECTED_ANSWER
    assert "closed the connection" in found.message


async def test_a_connection_that_is_closed_at_once_had_no_first_byte() -> None:
    async with server(saying(b"")) as port:
        found = await probed(f"http://127.0.0.1:{port}/v1")
    assert found.state is ProbeState.UNEXPECTED_ANSWER
    assert found.connect_ms is not None
    assert found.first_byte_ms is None


async def test_a_connection_that_is_reset_is_not_called_no_connection() -> None:
    async with server(resetting) as port:
        found = await probed(f"http://127.0.0.1:{port}/v1")
    assert found.state in (ProbeState.UNREACHABLE, ProbeState.UNEXPECTED_ANSWER)
    assert found.connect_ms is not None
    assert not found.message.startswith("no connection to")


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = await probed(f"http://127.0.0.1:{port}/v1")
    assert (found.state, found.status) == (ProbeState.UNREACHABLE, None)
    assert (found.connect_ms, found.first_byte_ms) == (None, None)
    assert found.message.startswith(f"no connection to 127.0.0.1:{port}: ")
    assert (await probed(f"http://localhost:{port}/v1")).state is ProbeState.UNREACHABLE


async def test_a_provider_that_says_nothing_times_out() -> None:
    async with server(hanging) as port:
        found = await probed(f"http://127.0.0.1:{port}/v1", 0.05)
    assert (found.state, found.message) == (ProbeState.TIMED_OUT, "no whole answer within 0.05 s")
    assert found.connect_ms is not None
    assert found.first_byte_ms is None


async def test_a_provider_that_stops_in_the_middle_times_out(shared_stub: Stub) -> None:
    shared_stub.script = Answer(raw=[b'{"data":[', b"]}"], stall_after=1)
    found = await probed(f"{shared_stub.url}/v1", 0.1)
    assert (found.state, found.first_byte_ms is None) == (ProbeState.TIMED_OUT, False)


async def test_a_connection_that_does_not_come_about_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio, "open_connection", never)
    found = await probed("http://127.0.0.1:9/v1", 0.05)
    assert (found.state, found.message) == (ProbeState.TIMED_OUT, "no connection within 0.05 s")


async def test_a_host_that_is_not_found_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio, "open_connection", nowhere)
    found = await probed("https://api.example.org/v1")
    assert (found.state, found.message) == (
        ProbeState.UNREACHABLE,
        "no connection to api.example.org: Name or service not known",
    )


async def test_a_credential_that_no_header_can_carry_is_told_without_it(shared_stub: Stub) -> None:
    bad = f"{SECRET}\r\nx: y"
    found = await probe(endpoint(f"{shared_stub.url}/v1", credential=bad), PATIENCE_S)
    assert not found.state.is_well
    assert SECRET not in repr(found)
    assert "credential" in found.message
    assert shared_stub.calls == []


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.issue_cert(name).private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)
    return context


LIST = b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"data":[{"id":"m"}]}'


async def test_a_provider_behind_a_trusted_certificate_is_well(authority: trustme.CA, ca_file: Path) -> None:
    async with server(saying(LIST), server_tls(authority, "localhost")) as port:
        found = await probed(f"https://localhost:{port}/v1", ca_file=ca_file)
    assert (found.state, [each.id for each in found.listed]) == (ProbeState.OK, ["m"])


@pytest.mark.parametrize(("name", "trusted"), [("localhost", False), ("other.example", True)])
async def test_a_certificate_that_does_not_hold_is_a_failure_of_tls(
    authority: trustme.CA, ca_file: Path, name: str, trusted: bool
) -> None:
    asked: list[bytes] = []

    async def handle(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        asked.append(b"")

    async with server(handle, server_tls(authority, name)) as port:
        found = await probed(f"https://localhost:{port}/v1", ca_file=ca_file if trusted else None)
        assert (found.state, found.status) == (ProbeState.TLS_FAILED, None)
        assert found.message.startswith(f"TLS with localhost:{port}: ")
        assert "verif" in found.message or "certificate" in found.message or "mismatch" in found.message
    assert asked == []


async def test_clear_text_where_tls_was_expected_is_a_failure_of_tls() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    found = await probed(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
    listening.close()
    assert found.state is ProbeState.TLS_FAILED


async def test_a_file_of_authorities_that_is_missing_or_no_certificate_is_told(tmp_path: Path) -> None:
    for name, content in (("gone.pem", None), ("bad.pem", "no certificate")):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        found = await probed("https://127.0.0.1:1/v1", ca_file=path)
        assert not found.state.is_well


def test_two_states_are_well() -> None:
    assert {each for each in ProbeState if each.is_well} == {ProbeState.OK, ProbeState.NO_MODEL_LIST}
