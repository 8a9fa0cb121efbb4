"""Whether a document has the members that the OpenAPI document says, all of them and no others."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_IS: Mapping[str | None, Callable[[Any], bool]] = {
    None: lambda _: True,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def misfits(document: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], at: str = "$") -> list[str]:
    """Where a document differs from its shape: a member that the shape does not know is a difference, too."""
    return list(_misfits(document, schema, schemas, at))


def _misfits(document: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], at: str) -> Iterator[str]:
    kind = schema.get("type")
    if "$ref" in schema:
        yield from _misfits(document, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    elif "anyOf" in schema:
        yield from min((misfits(document, each, schemas, at) for each in schema["anyOf"]), key=len)
    elif document not in schema.get("enum", (document,)) or document != schema.get("const", document):
        yield f"{at} is {document!r}, which is none of the words"
    elif not _IS[kind](document):
        yield f"{at} is {document!r}, no {kind}"
    elif kind == "object":
        yield from _members(document, schema, schemas, at)
    elif kind == "array":
        for number, each in enumerate(document):
            yield from _misfits(each, schema.get("items", {}), schemas, f"{at}[{number}]")


def _members(
    document: Mapping[str, Any], schema: Mapping[str, Any], schemas: Mapping[str, Any], at: str
) -> Iterator[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", False)
    yield from (f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in document)
    for name, value in document.items():
        if name in known:
            yield from _misfits(value, known[name], schemas, f"{at}.{name}")
        elif more is False:
            yield f"{at}.{name} is not in the shape"
        elif more is not True:
            yield from _misfits(value, more, schemas, f"{at}.{name}")
