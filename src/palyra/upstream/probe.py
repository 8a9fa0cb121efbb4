"""A connection test: one ``GET /models`` on a connection of its own, timed stage by stage."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from palyra.core import limits
from palyra.core.errors import UpstreamFailed
from palyra.upstream.discovery import DiscoveredModel, list_path, parse_models
from palyra.upstream.provider import ProviderEndpoint
from palyra.upstream.request_head import RequestHead
from palyra.upstream.response import ProtocolError, ResponseParser
from palyra.upstream.tls import client_context

_READ_BYTES = 64 * 1024
_OK = 200
_REFUSED = frozenset({401, 403})
_NO_LIST = frozenset({404, 405, 501})
_TOO_MANY = 429


class ProbeState(StrEnum):
    """What a connection test found. Only ``ok`` and ``no_model_list`` are well."""

    OK = "ok"
    NO_MODEL_LIST = "no_model_list"
    DISABLED = "disabled"
    MISSING_CREDENTIAL = "missing_credential"
    AUTH_FAILED = "auth_failed"
    RATE_LIMITED = "rate_limited"
    UNEXPECTED_ANSWER = "unexpected_answer"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"

    @property
    def is_well(self) -> bool:
        """Whether calls may be expected to work."""
        return self in (ProbeState.OK, ProbeState.NO_MODEL_LIST)


@dataclass(frozen=True, slots=True)
class Probe:
    """The result. Milliseconds from the start of the test; None for a stage that was not reached."""

    state: ProbeState
    message: str
    status: int | None = None
    connect_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None
    listed: tuple[DiscoveredModel, ...] = ()


class _Run:
    """One test on its way."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self.connect_ms: float | None = None
        self.first_byte_ms: float | None = None

    def elapsed_ms(self) -> float:
        return round((self._clock() - self._start) * 1_000, 1)

    def ended(
        self,
        state: ProbeState,
        message: str,
        status: int | None = None,
        listed: tuple[DiscoveredModel, ...] = (),
    ) -> Probe:
        total = self.elapsed_ms()
        return Probe(state, message, status, self.connect_ms, self.first_byte_ms, total, listed)


async def probe(endpoint: ProviderEndpoint, timeout_s: float) -> Probe:
    """Test one provider. Nothing is raised for what the provider does, or does not do."""
    run = _Run(asyncio.get_running_loop().time)
    try:
        async with asyncio.timeout(timeout_s):
            return await _ask(endpoint, run)
    except TimeoutError:
        stage = "no connection" if run.connect_ms is None else "no whole answer"
        return run.ended(ProbeState.TIMED_OUT, f"{stage} within {timeout_s:g} s")
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
        return run.ended(ProbeState.TLS_FAILED, f"TLS with {endpoint.url.authority}: {reason}")
    except (OSError, ValueError) as error:
        # ValueError: a host name that the resolver's encoding does not accept.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if run.connect_ms is not None:
            return run.ended(ProbeState.UNEXPECTED_ANSWER, f"it broke the connection off: {reason}")
        return run.ended(ProbeState.UNREACHABLE, f"no connection to {endpoint.url.authority}: {reason}")
    except ProtocolError as error:
        return run.ended(ProbeState.UNEXPECTED_ANSWER, f"not a valid HTTP response: {error.message}")


async def _ask(endpoint: ProviderEndpoint, run: _Run) -> Probe:
    url = endpoint.url
    tls = client_context(endpoint.ca_file) if url.scheme == "https" else None
    reader, writer = await _connect(url.connect_hosts, url.port, tls, url.host)
    try:
        run.connect_ms = run.elapsed_ms()
        head = RequestHead(url, endpoint.kind, endpoint.credential)
        accept = ((b"accept", b"application/json"),)
        writer.write(head.build(b"GET", list_path(endpoint.kind), accept, 0))
        parser, body = ResponseParser(), bytearray()
        while not parser.complete:
            data = await reader.read(_READ_BYTES)
            if data and run.first_byte_ms is None:
                run.first_byte_ms = run.elapsed_ms()
            if not data:
                if parser.ends_with_connection():
                    break
                raise ProtocolError("the provider closed the connection before it had answered")
            parser.feed(data)
            body += b"".join(parser.parts)
            parser.parts.clear()
            if len(body) > limits.RESPONSE_COLLECT_BYTES_MAX:
                raise ProtocolError("its list of models is too large")
        return _read(run, parser.status, bytes(body))
    finally:
        writer.close()


async def _connect(
    hosts: tuple[str, ...], port: int, tls: ssl.SSLContext | None, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for host in hosts[:-1]:
        try:
            return await asyncio.open_connection(host, port, ssl=tls, server_hostname=name if tls else None)
        except ConnectionRefusedError:
            continue
    return await asyncio.open_connection(hosts[-1], port, ssl=tls, server_hostname=name if tls else None)


def _read(run: _Run, status: int, body: bytes) -> Probe:
    if status in _REFUSED:
        return run.ended(ProbeState.AUTH_FAILED, f"it answered {status}: check the credential", status)
    if status == _TOO_MANY:
        return run.ended(ProbeState.RATE_LIMITED, "it answered 429: too many requests", status)
    if status in _NO_LIST:
        told = "it is there, and lists no models; name them in [[models]]"
        return run.ended(ProbeState.NO_MODEL_LIST, told, status)
    if status != _OK:
        told = f"it answered {status} to GET /models; check base_url"
        return run.ended(ProbeState.UNEXPECTED_ANSWER, told, status)
    try:
        models = tuple(parse_models(body))
    except UpstreamFailed as error:
        return run.ended(ProbeState.UNEXPECTED_ANSWER, error.message, status)
    return run.ended(ProbeState.OK, f"it lists {len(models)} models", status, models)
