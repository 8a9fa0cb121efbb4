"""Reading a JSON body under a size limit, exactly: decimals stay decimals, nothing is said twice."""

import json
from decimal import Decimal
from typing import NoReturn, cast

from starlette.requests import Request

from palyra.core.errors import InvalidRequest, RequestTooLarge

_ESCAPED_SURROGATE = b"\\ud"


async def read_document(request: Request, bytes_max: int) -> dict[str, object]:
    """The JSON object in the body. Raises RequestTooLarge, or InvalidRequest for what is no JSON object."""
    body = await _read(request, bytes_max)
    try:
        document = json.loads(
            body.decode(), parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_unique
        )
        if _ESCAPED_SURROGATE in body.lower():
            _check_texts(document)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not JSON that can be read: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return cast("dict[str, object]", document)


def _check_texts(document: object) -> None:
    """Half of a character is no text: it could not be stored, nor sent back in the error that names it."""
    left = [document]
    while left:
        item = left.pop()
        if isinstance(item, str):
            item.encode()
        elif isinstance(item, dict):
            table = cast("dict[str, object]", item)
            left += [*table.keys(), *table.values()]
        elif isinstance(item, list):
            left += cast("list[object]", item)


async def _read(request: Request, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > bytes_max:
            raise RequestTooLarge(f"The body is larger than {bytes_max} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is said twice")
    return document
