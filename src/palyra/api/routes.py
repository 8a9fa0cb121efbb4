"""The one way to add a route: with its access, so that nobody can forget it, and with all its statuses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from palyra.api.access import Access, Guard
from palyra.api.deps import ApiDeps
from palyra.api.entrance import COOKIE, CSRF_HEADER, Entrance
from palyra.api.parameters import describe_parameters
from palyra.api.problem import MEDIA_TYPE
from palyra.api.schemas.problems import Problem

PREFIX = "/api/v1"
JSON = "application/json"
_REF = "#/components/schemas/{model}"
_WHY: Mapping[int, str] = {
    400: "The body is no JSON object that can be read, or a call cannot be made of it.",
    401: "No key, a wrong one, or a revoked one; or nobody is signed in.",
    402: "A budget or a missing price would stop it.",
    403: "The key is good, and does not reach this far; or a page of another site asks.",
    404: "It is not there, or not for this key.",
    409: "It is closed, taken, or defined in the configuration file.",
    412: "It is not at the version of If-Match any more.",
    413: "The body is too large.",
    421: "The Host header names no host of this daemon.",
    422: "A field or a parameter cannot be accepted; `field` names it.",
    429: "Too much of it runs already, or was tried in vain; Retry-After says when to come again.",
    503: "The database cannot be read or written now, or nothing can serve; Retry-After says when to come.",
}
_HEADERS: Mapping[int, str] = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_SECURITY: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of a sign-in (POST /session). It counts for pages of this very origin only.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": "The csrf_token of GET /session, with the cookie on everything that is no GET.",
    },
}
_GOOD: Mapping[int, str] = {200: "Done.", 201: "Made.", 204: "Done; there is nothing to say."}


class Routes:
    """Adds routes under ``/api/v1`` (or at the root) of one application."""

    def __init__(self, app: FastAPI, deps: ApiDeps) -> None:
        self._app = app
        self._shapes: list[type[BaseModel]] = [Problem]
        self._entrance = Entrance(deps.rules, deps.sign_ins, deps.site)
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
        also: Sequence[int] = (),
        headers: Sequence[str] = (),
        takes: Sequence[str] = (),
        media: Sequence[str] = (JSON,),
        prefix: str = PREFIX,
        shown: bool = True,
    ) -> None:
        """Add one route. All but the access describes it in the OpenAPI document, and checks nothing.

        ``also`` are statuses beside ``status`` and those that follow from access, body and parameters.
        ``headers`` are those that a good answer always has, ``takes`` those of requests that it looks at.
        ``shown``: it is in the document; pages for people are not.
        """
        extra: dict[str, Any] = {}
        if body is not None:
            extra["requestBody"] = {"required": True, "content": {JSON: {"schema": self._ref(body)}}}
        if access.role is not None:
            csrf: dict[str, list[str]] = {} if method == "GET" else {"csrf": []}
            extra["security"] = [{"bearer": []}, {"apiKey": []}, {"cookie": [], **csrf}]
            extra["x-palyra-role"] = access.role.value
        if takes:
            extra["parameters"] = [
                {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
                for name in takes
            ]
        good = self._good(answer, headers, () if status == 204 else media)
        answers: dict[int | str, dict[str, Any]] = {
            each: {"description": _GOOD[each], **good} for each in (status, *also) if each < 300
        }
        bad = {*also, *_follow(access, body, path)} - answers.keys()
        answers |= {each: self._problem(each) for each in sorted(bad)}
        self._app.add_api_route(
            prefix + path,
            handler,
            methods=[method],
            status_code=status,
            dependencies=[Depends(Guard(access, self._entrance))],
            response_model=None,
            response_class=Response,
            responses=answers,
            openapi_extra=extra,
            operation_id=handler.__name__,
            tags=[path.strip("/").partition("/")[0]],
            include_in_schema=shown,
        )

    def document(self) -> dict[str, Any]:
        """The OpenAPI 3.1 description of every route, with ``x-palyra-role`` on those that need one."""
        document = get_openapi(title=self._app.title, version=self._app.version, routes=self._app.routes)
        _, shapes = models_json_schema([(each, "validation") for each in self._shapes], ref_template=_REF)
        document["components"] = {
            "schemas": shapes["$defs"],
            "securitySchemes": _SECURITY,
        }
        for operations in document["paths"].values():
            for operation in operations.values():
                describe_parameters(operation)
        return document

    def _good(
        self, answer: type[BaseModel] | None, headers: Sequence[str], media: Sequence[str]
    ) -> dict[str, Any]:
        good: dict[str, Any] = {}
        if media:
            schema = {} if answer is None else {"schema": self._ref(answer)}
            good["content"] = dict.fromkeys(media, schema)
        if headers:
            good["headers"] = {each: _header(required=True) for each in headers}
        return good

    def _problem(self, status: int) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "description": _WHY[status],
            "content": {MEDIA_TYPE: {"schema": self._ref(Problem)}},
        }
        if status in _HEADERS:
            shown["headers"] = {_HEADERS[status]: _header(required=status == 401)}
        return shown

    def _ref(self, shape: type[BaseModel]) -> dict[str, str]:
        if shape not in self._shapes:
            self._shapes.append(shape)
        return {"$ref": _REF.format(model=shape.__name__)}


def _follow(access: Access, body: type[BaseModel] | None, path: str) -> set[int]:
    """Problems that follow from what a route is."""
    found = {421}
    if access.role is not None:
        # A parameter that no route has is refused by all that need a key. Pages of other sites are, too, and
        # a sign-in is looked up in the database.
        found |= {401, 403, 422, 503}
    if body is not None:
        found |= {400, 413, 422}
    if "{" in path:
        found |= {404, 422}
    return found


def _header(*, required: bool) -> dict[str, Any]:
    return {"required": required, "schema": {"type": "string"}}
