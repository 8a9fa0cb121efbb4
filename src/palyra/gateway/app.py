"""The ASGI application of ``/v1``: receive one call, run it, write the answer.

Every other path goes to the control plane. Nothing here knows budgets; nothing in the path knows ASGI.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from palyra.core.errors import (
    InvalidRequest,
    MethodNotAllowed,
    PalyraError,
    RequestTooLarge,
    RouteNotFound,
)
from palyra.core.limits import IDEMPOTENCY_KEY_BYTES_MAX
from palyra.gateway.asks import parse
from palyra.gateway.catalog import list_models, show_model
from palyra.gateway.hints import read_hints
from palyra.gateway.problems import ANTHROPIC, problem_body, problem_headers
from palyra.lifecycle import flow, free
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.idempotency import Replay
from palyra.lifecycle.wire import Endpoint
from palyra.registry.registry import ENDPOINT_PATHS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

ENDPOINTS = {path: Endpoint(name) for name, path in ENDPOINT_PATHS.items()}
SMALL_BODY_BYTES = 64 * 1024
_OURS = (b"x-palyra-", b"content-type", b"content-encoding")
KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")
_log = structlog.get_logger("palyra.gateway")


class Gateway:
    """Data plane in front of ``elsewhere``, the ASGI application of every other path."""

    def __init__(self, engine: Engine, elsewhere: Asgi, body_bytes_max: int) -> None:
        self._engine = engine
        self._elsewhere = elsewhere
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._elsewhere(scope, receive, send)
            return
        endpoint = ENDPOINTS.get(scope["path"])
        request_id = self._engine.ids.request_id()
        try:
            if endpoint is None:
                await self._catalog(scope, request_id, send)
            else:
                await self._call(endpoint, request_id, scope, receive, send)
        except PalyraError as error:
            await self._refuse(error, request_id, _is_anthropic(endpoint, scope), send)
        except ClientLeft:
            return
        except Exception:  # noqa: BLE001 (the door: a bug must reach the log and the client, not the server)
            _log.exception("call failed", request_id=request_id)
            await self._refuse(
                PalyraError("internal error; the daemon's log has the details"),
                request_id,
                _is_anthropic(endpoint, scope),
                send,
            )

    async def _call(
        self, endpoint: Endpoint, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, not {scope['method']}")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        credential = credential_of(headers)
        if not _is_small(headers):
            # Nobody whose key is not known may make us collect a large body.
            authenticate(credential, self._engine.rules.snapshot)
        raw = await self._read_body(headers, receive)
        parsed = parse(endpoint, raw)
        call = Call(
            request_id=request_id,
            received_at=self._engine.clock.now(),
            endpoint=endpoint,
            credential=credential,
            hints=read_hints(headers, parsed.labelled),
            ask=parsed.ask,
            body=parsed.body,
            raw_body=raw,
            headers=_forwarded(scope["headers"]),
            idempotency_key=_idempotency_key(headers),
        )
        if endpoint is Endpoint.count_tokens:
            await _send_whole(await free.count_tokens(call, self._engine), send)
            return
        answer = await flow.run(call, self._engine)
        if isinstance(answer, flow.Repeated):
            await _send_whole(answer.replay, send, (b"x-palyra-idempotent-replay", b"true"))
        elif answer.exchange.streams:
            await self._send_stream(answer, receive, send)
        else:
            await self._send_answer(answer, send)

    async def _send_answer(self, answer: flow.Answered, send: Send) -> None:
        exchange = answer.exchange
        body = await exchange.read() or b""
        await _send_whole(Replay(exchange.status or 502, tuple(answer.headers()), body), send)

    async def _send_stream(self, answer: flow.Answered, receive: Receive, send: Send) -> None:
        exchange = answer.exchange
        watch = asyncio.ensure_future(_until_gone(receive))
        watch.add_done_callback(lambda _: exchange.abandon())
        try:
            head = {"type": "http.response.start", "status": exchange.status, "headers": answer.headers()}
            await send(head)
            while (chunk := await exchange.read()) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except PalyraError as error:
            # The head is out: breaking the connection is the only honest way to say that the rest is missing.
            _log.warning("stream broke off", request_id=answer.plan.decision.request_id, reason=error.message)
            raise ClientLeft from None
        finally:
            exchange.abandon()
            watch.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._body_bytes_max
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise RequestTooLarge(f"the body has {int(declared)} bytes; at most {limit} are accepted")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise InvalidRequest(
                "content-encoding is not accepted; send the JSON as it is", param="content-encoding"
            )
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise RequestTooLarge(f"the body is larger than {limit} bytes")
            pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _catalog(self, scope: Scope, request_id: str, send: Send) -> None:
        path: str = scope["path"]
        if path != "/v1/models" and not path.startswith("/v1/models/"):
            known = ", ".join(sorted([*ENDPOINTS, "/v1/models"]))
            raise RouteNotFound(f"there is no {path} here; the data plane has {known}")
        if scope["method"] != "GET":
            raise MethodNotAllowed(f"{path} takes GET, not {scope['method']}")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        anthropic = b"anthropic-version" in headers
        credential = credential_of(headers)
        if path == "/v1/models":
            body = list_models(self._engine, credential, anthropic=anthropic)
        else:
            body = show_model(self._engine, credential, path.removeprefix("/v1/models/"), anthropic=anthropic)
        told = ((b"content-type", b"application/json"), (b"x-palyra-request-id", request_id.encode()))
        await _send_whole(Replay(200, told, msgspec.json.encode(body)), send)

    async def _refuse(self, error: PalyraError, request_id: str, anthropic: bool, send: Send) -> None:
        # The connection stays open even if the body is still coming: it is thrown away until its deadline.
        # A close would reset the connection, and a client that is still sending would never read why.
        headers = tuple(problem_headers(error, request_id))
        body = problem_body(error, request_id, anthropic=anthropic)
        await _send_whole(Replay(error.status, headers, body), send)


class ClientLeft(Exception):
    """The client is gone, or must see its connection break: nothing more is sent."""


def credential_of(headers: dict[bytes, bytes]) -> str | None:
    """The key a client sent, whichever of the usual headers it uses."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1")
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value:
            return value.strip().decode("latin-1")
    return None


def _is_small(headers: dict[bytes, bytes]) -> bool:
    declared = headers.get(b"content-length", b"")
    return declared.isdigit() and int(declared) <= SMALL_BODY_BYTES


def _forwarded(headers: list[Header]) -> tuple[Header, ...]:
    """The client's headers that may reach the provider. The body is written anew, so its type is ours."""
    kept = [header for header in headers if not header[0].startswith(_OURS)]
    return (*kept, (b"content-type", b"application/json"))


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    value = headers.get(b"idempotency-key")
    if value is None:
        return None
    if not 0 < len(value) <= IDEMPOTENCY_KEY_BYTES_MAX or not value.isascii():
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters",
            param="Idempotency-Key",
        )
    return value.decode("ascii")


def _is_anthropic(endpoint: Endpoint | None, scope: Scope) -> bool:
    if endpoint is not None:
        return endpoint in ANTHROPIC
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_whole(answer: Replay, send: Send, *more: Header) -> None:
    headers = [*answer.headers, *more, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
