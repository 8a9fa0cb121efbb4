"""The data plane's door: what each request asks for, and the answer it gets.

Nothing here knows budgets; nothing in the path knows HTTP.
"""

import msgspec

from palyra.core.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RequestTooLarge,
    RouteNotFound,
)
from palyra.core.limits import IDEMPOTENCY_KEY_BYTES_MAX
from palyra.gateway.asks import parse
from palyra.gateway.catalog import list_models, show_model
from palyra.gateway.head import Head
from palyra.gateway.hints import read_hints
from palyra.gateway.request import Request
from palyra.lifecycle import flow, free
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.idempotency import Replay
from palyra.lifecycle.respond import header_lines
from palyra.lifecycle.wire import Endpoint
from palyra.registry.registry import ENDPOINT_PATHS

Header = tuple[bytes, bytes]

PREFIX = "/v1/"
ENDPOINTS = {path: Endpoint(name) for name, path in ENDPOINT_PATHS.items()}
SMALL_BODY_BYTES = 64 * 1024
_MODELS = "/v1/models"
_JSON = (b"content-type", b"application/json")


class Door:
    """Serves every path below ``/v1/``."""

    __slots__ = ("_engine", "body_bytes_max")

    def __init__(self, engine: Engine, body_bytes_max: int) -> None:
        self._engine = engine
        self.body_bytes_max = body_bytes_max

    def new_id(self) -> str:
        """A fresh request id."""
        return self._engine.ids.request_id()

    def check_head(self, head: Head, length: int | None) -> None:
        """Raise PalyraError for a request whose body need not be read; ``length`` is None if not told."""
        if head.endpoint is None:
            _check_catalog(head.path, head.method)
            return
        if head.method != "POST":
            raise MethodNotAllowed(f"{head.path} takes POST, not {head.method}")
        if length is None or length > SMALL_BODY_BYTES:
            # Nobody whose key is not known may make us collect a large body.
            authenticate(head.credential, self._engine.rules.snapshot)
        if length is not None and length > self.body_bytes_max:
            raise RequestTooLarge(f"the body has {length} bytes; at most {self.body_bytes_max} are accepted")
        if head.fields.get(b"content-encoding", b"identity") != b"identity":
            raise InvalidRequest(
                "content-encoding is not accepted; send the JSON as it is", param="content-encoding"
            )

    async def serve(self, request: Request, request_id: str) -> None:
        """Answer a whole request. Raises PalyraError for a call that does not run."""
        engine, head = self._engine, request.head
        endpoint = head.endpoint
        if endpoint is None:
            _answer(request, self._catalog(head, request_id))
            return
        call = self._call(head, endpoint, request.body, request_id)
        if endpoint is Endpoint.count_tokens:
            _answer(request, await free.count_tokens(call, engine))
            return
        answer = await flow.run(call, engine)
        if isinstance(answer, flow.Repeated):
            _answer(request, answer.replay, (b"x-palyra-idempotent-replay", b"true"))
            return
        exchange = answer.exchange
        status = exchange.status or 502
        if exchange.streams:
            request.stream(status, answer.lines(), exchange)
        else:
            request.answer(status, answer.lines(), exchange.body())

    def _call(self, head: Head, endpoint: Endpoint, raw: bytes, request_id: str) -> Call:
        parsed = parse(endpoint, raw)
        return Call(
            request_id=request_id,
            endpoint=endpoint,
            credential=head.credential,
            hints=read_hints(head.hints, parsed.labelled),
            ask=parsed.ask,
            body=parsed.body,
            raw_body=raw,
            headers=head.forwarded,
            idempotency_key=_idempotency_key(head.fields),
            approvals=head.approvals,
            wait_s=head.wait_s,
        )

    def _catalog(self, head: Head, request_id: str) -> Replay:
        engine, path, credential = self._engine, head.path, head.credential
        anthropic = b"anthropic-version" in head.fields
        if path == _MODELS:
            body = list_models(engine, credential, anthropic=anthropic)
        else:
            body = show_model(engine, credential, path.removeprefix(f"{_MODELS}/"), anthropic=anthropic)
        told = (_JSON, (b"x-palyra-request-id", request_id.encode()))
        return Replay(200, told, msgspec.json.encode(body))


def _check_catalog(path: str, method: str) -> None:
    if path != _MODELS and not path.startswith(f"{_MODELS}/"):
        known = ", ".join(sorted([*ENDPOINTS, _MODELS]))
        raise RouteNotFound(f"there is no {path} here; the data plane has {known}")
    if method != "GET":
        raise MethodNotAllowed(f"{path} takes GET, not {method}")


def _idempotency_key(fields: dict[bytes, bytes]) -> str | None:
    value = fields.get(b"idempotency-key")
    if value is None:
        return None
    if not 0 < len(value) <= IDEMPOTENCY_KEY_BYTES_MAX or not value.isascii():
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters",
            param="Idempotency-Key",
        )
    return value.decode("ascii")


def _answer(request: Request, replay: Replay, *more: Header) -> None:
    request.answer(replay.status, header_lines((*replay.headers, *more)), replay.body)
