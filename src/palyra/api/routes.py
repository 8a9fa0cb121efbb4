"""The one way to add a route: with its access, so that nobody can forget it."""

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from palyra.api.access import Access, Guard
from palyra.api.deps import ApiDeps
from palyra.api.problem import MEDIA_TYPE
from palyra.api.schemas import Problem

PREFIX = "/api/v1"


class Routes:
    """Adds routes under ``/api/v1`` (or at the root) of one application."""

    def __init__(self, app: FastAPI, deps: ApiDeps) -> None:
        self._app = app
        self.deps = deps

    def add(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any],
        access: Access,
        *,
        answer: type[BaseModel] | None = None,
        body: type[BaseModel] | None = None,
        status: int = 200,
        prefix: str = PREFIX,
    ) -> None:
        """Add one route. ``answer`` and ``body`` describe it in the OpenAPI document; they check nothing."""
        extra: dict[str, Any] = {}
        if body is not None:
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            schema.pop("$defs", None)
            extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        if access.role is not None:
            extra["security"] = [{"bearer": []}, {"apiKey": []}]
            extra["x-palyra-role"] = access.role.value
        answers: dict[int | str, dict[str, Any]] = {
            "default": {"description": "Problem", "content": {MEDIA_TYPE: {}}, "model": Problem}
        }
        if answer is not None:
            answers[status] = {"model": answer}
        self._app.add_api_route(
            prefix + path,
            handler,
            methods=[method],
            status_code=status,
            dependencies=[Depends(Guard(access, self.deps.rules))],
            response_model=None,
            responses=answers,
            openapi_extra=extra,
            operation_id=handler.__name__,
            tags=[path.strip("/").partition("/")[0]],
        )
