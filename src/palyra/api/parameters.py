"""Parameters of paths and query strings: what no route accepts, and how the document says so."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request

from palyra.core.errors import FieldError
from palyra.core.fields import closest

CHARS_MAX = 4_096
"""No parameter is longer (V2); cursors are the longest that are good."""
_NO_NUL = "^[^\\u0000]*$"


def check_parameters(request: Request) -> None:
    """Raises FieldError for a parameter that the route does not have, is said twice, or cannot be stored.

    A filter that is misspelt and ignored would show everything, as if nothing had been asked.
    """
    names = known_names(request)
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in names:
            has = f"It has: {', '.join(names)}." if names else "It has none."
            raise FieldError(name, f"this route has no such parameter.{closest(name, names)} {has}")
        if name in seen:
            raise FieldError(name, "is said twice; say it once.")
        seen.add(name)
        _check(name, value)
    for name, value in request.path_params.items():
        _check(name, str(value))


def known_names(request: Request) -> list[str]:
    """The query parameters of the route that serves a request."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return []
    return [field.alias for each in _flat(route.dependant) for field in each.query_params]


def describe_parameters(operation: Mapping[str, Any]) -> None:
    """Write what ``check_parameters`` refuses into the parameters of an operation of the document.

    A parameter that can be left out is described by its type alone: none of them can be null.
    """
    for parameter in cast("list[dict[str, Any]]", operation.get("parameters", [])):
        schema = cast("dict[str, Any]", parameter["schema"])
        for kind in schema.pop("anyOf", []):
            if kind != {"type": "null"}:
                schema.update(kind)
        if schema.get("type") == "string" and parameter["in"] in ("path", "query"):
            schema.setdefault("maxLength", CHARS_MAX)
            if "enum" not in schema and "pattern" not in schema:
                schema["pattern"] = _NO_NUL
            if parameter["in"] == "path":
                schema.setdefault("minLength", 1)


def _check(name: str, value: str) -> None:
    if len(value) > CHARS_MAX or "\0" in value:
        raise FieldError(name, f"must be at most {CHARS_MAX} characters, none of them NUL.")


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _flat(each)
