"""Errors in the wire format of the endpoint, so that official SDKs raise their own typed error."""

import msgspec

from palyra.core.errors import PalyraError
from palyra.lifecycle.wire import Endpoint

Header = tuple[bytes, bytes]

ANTHROPIC = frozenset({Endpoint.messages, Endpoint.count_tokens})


def problem_body(error: PalyraError, request_id: str, *, anthropic: bool) -> bytes:
    """The error as JSON; ``error.palyra`` names the request, and the numbers of a budget error."""
    detail = {"request_id": request_id, **error.detail}
    if anthropic:
        return msgspec.json.encode(
            {
                "type": "error",
                "error": {"type": error.code, "message": error.message, "palyra": detail},
                "request_id": request_id,
            }
        )
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.code,
                "param": error.param,
                "code": error.code,
                "palyra": detail,
            }
        }
    )


def problem_headers(error: PalyraError, request_id: str) -> list[Header]:
    """Headers of an error answer: who, whether to retry, when."""
    headers = error.headers or [(b"x-palyra-request-id", request_id.encode())]
    headers = [(b"content-type", b"application/json"), *headers]
    if error.should_retry is False:
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    return headers
