"""Models: which there are, how their providers do, and what a call to one would get."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import OPERATE, OWN, READ, WRITE, CallerOf, only_principal
from palyra.api.bodies import ConnectionTest, ModelQuestion
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.entrance import carries_key, clear_key
from palyra.api.routes import Routes
from palyra.api.schemas.decisions import CallExplained
from palyra.api.schemas.models import ConnectionsTested, ModelList, ModelStatus
from palyra.api.timeouts import TIMEOUT_MS, TIMEOUT_MS_LEAST, TIMEOUT_MS_MOST
from palyra.core.errors import FieldError


class Models:
    """Handlers of ``/models``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._desk = deps.models

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/models", self.list_models, READ, answer=ModelList)
        routes.add("GET", "/models/list", self.list_models_too, READ, answer=ModelList)
        routes.add("GET", "/models/status", self.model_status, READ, answer=ModelStatus)
        routes.add(
            "POST",
            "/models/explain",
            self.explain_call,
            OWN,
            answer=CallExplained,
            body=ModelQuestion,
            also=(402, 403, 404, 503),
        )
        routes.add(
            "POST",
            "/models/test-connection",
            self.test_connection,
            OPERATE,
            answer=ConnectionsTested,
            body=ConnectionTest,
            also=(404, 429, 503),
        )
        routes.add(
            "POST", "/models/discover", self.discover_models, WRITE, answer=ConnectionsTested, also=(404,)
        )

    async def list_models(self) -> Response:
        """Every model: role, capabilities, limits, tiers, price, health, and the source of each value."""
        return JSONResponse(dict(self._desk.listing()))

    async def list_models_too(self) -> Response:
        """The same as ``/models``."""
        return await self.list_models()

    async def model_status(self) -> Response:
        """Providers with breaker, cooldowns and load, defaults, failover, and what is wrong."""
        return JSONResponse(dict(self._desk.status()))

    async def explain_call(self, request: Request, caller: CallerOf) -> Response:
        """The decision that a call would get now; nothing is held. Below viewer: only as oneself."""
        document = await read_document(request, self._deps.body_bytes_max)
        if only_principal(caller) is not None:
            document = {**document, "key_id": caller.key_id, "principal": caller.principal}
        return JSONResponse(dict(await self._desk.explain(document)))

    async def test_connection(self, request: Request) -> Response:
        """Ask providers for their models. ``generate``: also make a call of one token with this key."""
        document = await read_document(request, self._deps.body_bytes_max)
        provider = _optional(document, "provider", str)
        timeout = _optional(document, "timeout_ms", int)
        refresh = bool(_optional(document, "refresh", bool))
        generate = bool(_optional(document, "generate", bool))
        for name in document:
            if name not in ("provider", "timeout_ms", "refresh", "generate"):
                raise FieldError(name, "is not a field of a connection test; leave it out.")
        if generate and not carries_key(request):
            raise FieldError(
                "generate",
                "makes a call of a model, which needs a key: a sign-in of the console is not enough.",
            )
        timeout_s = _checked_timeout(TIMEOUT_MS if timeout is None else timeout) / 1_000
        found = dict(await self._desk.test(provider, timeout_s, refresh=refresh))
        if generate:
            found["generated"] = list(await self._desk.generate(provider, clear_key(request)))
            found["ok"] = found["ok"] and all(each["ok"] for each in found["generated"])
        return JSONResponse(found)

    async def discover_models(
        self,
        provider: str | None = None,
        timeout_ms: Annotated[int, Query(ge=TIMEOUT_MS_LEAST, le=TIMEOUT_MS_MOST)] = TIMEOUT_MS,
    ) -> Response:
        """Ask providers for their models now, and use what they list from the next call on."""
        return JSONResponse(
            dict(await self._desk.test(provider, timeout_ms / 1_000, refresh=True, discover=True))
        )


def _checked_timeout(milliseconds: int) -> int:
    if not TIMEOUT_MS_LEAST <= milliseconds <= TIMEOUT_MS_MOST:
        raise FieldError("timeout_ms", f"must be from {TIMEOUT_MS_LEAST} to {TIMEOUT_MS_MOST}.")
    return milliseconds


def _optional(document: Mapping[str, object], name: str, kind: type[Any]) -> Any:
    value = document.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise FieldError(name, f"must be of type {kind.__name__}.")
    return value
