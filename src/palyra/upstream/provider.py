"""The providers of a process as one ``Upstream``: an endpoint each, a pool each."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from palyra.core.secret import Secret
from palyra.lifecycle.wire import FailureKind, UpstreamCall, UpstreamFailure, UpstreamRequest, UpstreamSink
from palyra.upstream import tls
from palyra.upstream.deadlines import Deadlines
from palyra.upstream.discovery import DiscoveredModel, list_models
from palyra.upstream.guard import ProviderUrl
from palyra.upstream.pool import Pool, PoolSize
from palyra.upstream.request_head import ProviderKind, RequestHead


@dataclass(frozen=True, slots=True)
class ProviderEndpoint:
    """Where a provider is and how to speak to it.

    ``url`` comes from ``guard.check_provider_url``. ``ca_file`` (PEM) is trusted besides the system's roots.
    """

    id: str
    kind: ProviderKind
    url: ProviderUrl
    credential: Secret | None = None
    ca_file: Path | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    size: PoolSize = field(default_factory=PoolSize)


@dataclass(frozen=True, slots=True)
class _Route:
    endpoint: ProviderEndpoint
    head: RequestHead
    pool: Pool


class _NotStarted:
    """A call that failed before it began."""

    __slots__ = ("_handle",)

    def __init__(self, handle: asyncio.Handle) -> None:
        self._handle = handle

    def pause(self) -> None:
        """Nothing flows."""

    def resume(self) -> None:
        """Nothing flows."""

    def abort(self) -> None:
        """Keep the failure from the sink."""
        self._handle.cancel()


class HttpUpstream:
    """``lifecycle.wire.Upstream`` over HTTP/1.1. Make and use it on one event loop."""

    __slots__ = ("_loop", "_routes")

    def __init__(self, endpoints: Mapping[str, ProviderEndpoint]) -> None:
        """Raise OSError or ssl.SSLError for an unreadable ``ca_file``, ValueError for a bad credential."""
        self._loop = asyncio.get_running_loop()
        contexts: dict[Path | None, ssl.SSLContext] = {}
        self._routes: dict[str, _Route] = {}
        for provider_id, endpoint in endpoints.items():
            context: ssl.SSLContext | None = None
            if endpoint.url.scheme == "https":
                context = contexts.get(endpoint.ca_file)
                if context is None:
                    context = contexts[endpoint.ca_file] = tls.client_context(endpoint.ca_file)
            pool = Pool(endpoint.url, context, endpoint.deadlines, endpoint.size, self._loop)
            head = RequestHead(endpoint.url, endpoint.kind, endpoint.credential)
            self._routes[provider_id] = _Route(endpoint, head, pool)

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> UpstreamCall:
        """Start a call; see ``lifecycle.wire.Upstream``."""
        route = self._routes.get(request.provider_id)
        if route is None:
            return self._refuse(sink, FailureKind.local, f"no provider {request.provider_id!r}")
        try:
            head = route.head.build(request.method, request.path, request.headers, len(request.body))
        except ValueError as error:
            return self._refuse(sink, FailureKind.protocol, str(error))
        return route.pool.send(head, request.body, sink)

    async def discover(self, provider_id: str, timeout_s: float) -> list[DiscoveredModel]:
        """Return the models a provider lists.

        Raises UpstreamFailed or UpstreamTimedOut, saying what the provider answered, and KeyError for a
        provider that is not configured.
        """
        kind = self._routes[provider_id].endpoint.kind
        return await list_models(self, provider_id, kind, timeout_s)

    async def close(self) -> None:
        """End every connection; calls in flight get ``failed``."""
        await asyncio.gather(*(route.pool.close() for route in self._routes.values()))

    def _refuse(self, sink: UpstreamSink, kind: FailureKind, message: str) -> UpstreamCall:
        failure = UpstreamFailure(kind, message, sent=False)
        return _NotStarted(self._loop.call_soon(sink.failed, failure))
