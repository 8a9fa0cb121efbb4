"""Every error of the control plane as RFC 9457 ``application/problem+json``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from palyra.core.errors import FieldError, PalyraError

MEDIA_TYPE = "application/problem+json"
_CODES = {404: "not_found", 405: "method_not_allowed"}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response; ``field`` names what is at fault, ``more`` adds members of its own."""
    body: dict[str, object] = {
        "type": f"urn:palyra:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if field is not None:
        body["field"] = field
    return JSONResponse(body | dict(more or {}), status, dict(headers or {}), MEDIA_TYPE)


def problem_of(error: PalyraError) -> JSONResponse:
    """The response of one row of the error table."""
    headers: dict[str, str] = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(
        error.status, error.code, error.message, field=error.param, more=error.detail, headers=headers
    )


def handle_problems(app: FastAPI) -> None:
    """Register the handlers, so that no error leaves in another shape."""
    app.add_exception_handler(PalyraError, _palyra_error)
    app.add_exception_handler(FieldError, _field_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _palyra_error(_: Request, error: Exception) -> JSONResponse:
    return problem_of(cast("PalyraError", error))


async def _field_error(_: Request, error: Exception) -> JSONResponse:
    wrong = cast("FieldError", error)
    return problem(422, "invalid_field", wrong.message, field=wrong.field)


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    first = cast("Mapping[str, Any]", cast("RequestValidationError", error).errors()[0])
    field = ".".join(str(part) for part in first["loc"][1:])
    return problem(422, "invalid_field", str(first["msg"]), field=field)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    raised = cast("HTTPException", error)
    code = _CODES.get(raised.status_code, "invalid_request_error")
    detail = f"{request.method} {request.url.path}: {raised.detail}"
    headers = dict(raised.headers or {})
    if raised.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return problem(raised.status_code, code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What may be done at this path: one route has one method, and the framework asks the first alone."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route | APIRoute) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _bug(_: Request, __: Exception) -> JSONResponse:
    """What went wrong stays in the log: a stack trace may hold what is nobody's business."""
    return problem(500, "internal_error", "Palyra made a mistake; its log says more.")
