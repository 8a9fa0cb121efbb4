"""Which models a provider has: ``GET /models`` in the formats that exist."""

import asyncio
from dataclasses import dataclass

import msgspec

from palyra.core import limits
from palyra.core.errors import UpstreamFailed, UpstreamTimedOut
from palyra.lifecycle.wire import FailureKind, Upstream, UpstreamFailure, UpstreamRequest
from palyra.upstream.request_head import ProviderKind

_LIST_BYTES_MAX = 8 * 1024 * 1024
_MODELS_MAX = 10_000
_TIMEOUTS = frozenset(
    {
        FailureKind.connect_timeout,
        FailureKind.first_byte_timeout,
        FailureKind.idle_timeout,
        FailureKind.total_timeout,
    }
)


@dataclass(frozen=True, slots=True)
class DiscoveredModel:
    """A model as its provider lists it. Token counts, None where the provider does not say."""

    id: str
    context_window: int | None = None
    output_limit: int | None = None
    display_name: str | None = None


class _Listing(msgspec.Struct):
    data: list[dict[str, object]]


class _Answer:
    """A sink that collects a small answer into a future."""

    __slots__ = ("_chunks", "_size", "result", "status")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.result: asyncio.Future[bytes] = loop.create_future()
        self._chunks: list[bytes] = []
        self._size = 0

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        del headers
        self.status = status

    def data(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= _LIST_BYTES_MAX:
            self._chunks.append(chunk)
        elif not self.result.done():
            self.result.set_exception(UpstreamFailed("the provider's list of models is too large"))

    def end(self) -> None:
        if not self.result.done():
            self.result.set_result(b"".join(self._chunks))

    def failed(self, failure: UpstreamFailure) -> None:
        if not self.result.done():
            error = UpstreamTimedOut if failure.kind in _TIMEOUTS else UpstreamFailed
            self.result.set_exception(error(failure.message, detail={"kind": failure.kind.value}))


def list_path(kind: ProviderKind) -> bytes:
    """Where a provider lists its models, below its version root."""
    return b"/models?limit=1000" if kind is ProviderKind.anthropic else b"/models"


async def list_models(
    upstream: Upstream, provider_id: str, kind: ProviderKind, timeout_s: float
) -> list[DiscoveredModel]:
    """Ask a provider for its models. Raises UpstreamFailed or UpstreamTimedOut."""
    path = list_path(kind)
    answer = _Answer(asyncio.get_running_loop())
    headers = ((b"accept", b"application/json"),)
    call = upstream.send(UpstreamRequest(provider_id, b"GET", path, headers, b""), answer)
    try:
        async with asyncio.timeout(timeout_s):
            body = await answer.result
    except TimeoutError:
        raise UpstreamTimedOut(f"the provider did not list its models within {timeout_s:g} s") from None
    finally:
        call.abort()
    if answer.status != 200:
        raise UpstreamFailed(
            f"the provider answered {answer.status} to GET /models; check base_url and credential",
            detail={"status": answer.status},
        )
    return parse_models(body)


def parse_models(body: bytes) -> list[DiscoveredModel]:
    """Read a list of models: OpenAI, Anthropic, llama.cpp, vLLM, OpenRouter. Raises UpstreamFailed."""
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamFailed("the provider's list of models is not in a known format") from None
    models: dict[str, DiscoveredModel] = {}
    for entry in listing.data[:_MODELS_MAX]:
        model = _model(entry)
        if model is not None:
            models.setdefault(model.id, model)
    return list(models.values())


def _model(entry: dict[str, object]) -> DiscoveredModel | None:
    name = entry.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= limits.LABEL_CHARS_MAX:
        return None
    display = entry.get("display_name", entry.get("name"))
    return DiscoveredModel(
        id=name,
        context_window=_first_count(
            entry, "context_length", "max_model_len", "context_window", "max_input_tokens", "meta.n_ctx_train"
        ),
        output_limit=_first_count(
            entry, "max_output_tokens", "max_tokens", "top_provider.max_completion_tokens"
        ),
        display_name=display if isinstance(display, str) and len(display) <= limits.LABEL_CHARS_MAX else None,
    )


def _first_count(entry: dict[str, object], *paths: str) -> int | None:
    for path in paths:
        value: object = entry
        for key in path.split("."):
            # Converting also proves the type: what a provider sends is untrusted.
            value = msgspec.convert(value, dict[str, object]).get(key) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= limits.TOKENS_MAX:
            return value
    return None
