"""Keys: made once in clear, listed by prefix, revoked for good."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import READ, WRITE, CallerOf
from palyra.api.bodies import KeyBody
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.routes import Routes
from palyra.api.schemas.keys import KeyCreated, KeyPage, KeyShown
from palyra.core.errors import FieldError, InvalidRequest, NotFound
from palyra.core.limits import IDEMPOTENCY_KEY_BYTES_MAX
from palyra.identity.keys import parse_grant
from palyra.lifecycle.rules import key_document

PAGE_MAX = 1_000
_DIGITS_MAX = 19


class Keys:
    """Handlers of ``/keys``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._rules = deps.rules
        self._bytes_max = deps.body_bytes_max

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/keys", self.list_keys, READ, answer=KeyPage)
        routes.add(
            "POST",
            "/keys",
            self.create_key,
            WRITE,
            body=KeyBody,
            answer=KeyCreated,
            status=201,
            also=(409, 503),
            takes=("Idempotency-Key",),
        )
        routes.add("GET", "/keys/{key_id}", self.get_key, READ, answer=KeyShown)
        routes.add("DELETE", "/keys/{key_id}", self.revoke_key, WRITE, status=204, also=(409, 503))

    async def list_keys(
        self,
        principal: str | None = None,
        revoked: bool | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_MAX,
    ) -> Response:
        """Every key ever made, oldest first, revoked ones included; none in clear.

        Pass ``next_cursor`` as ``cursor`` for the next page.
        """
        after = _place(cursor)
        found = [
            key
            for key in self._rules.all_keys
            if (principal is None or key.principal == principal)
            and (revoked is None or (key.revoked_at is not None) is revoked)
            and (after is None or (key.created_at, key.id) > after)
        ]
        last = found[limit - 1] if len(found) > limit else None
        return JSONResponse(
            {
                "items": [key_document(key) for key in found[:limit]],
                "next_cursor": None if last is None else f"{last.created_at}.{last.id}",
            }
        )

    async def get_key(self, key_id: str) -> Response:
        """One key, also a revoked one."""
        for key in self._rules.all_keys:
            if key.id == key_id:
                return JSONResponse(key_document(key))
        raise NotFound(f"There is no key {key_id!r}.")

    async def create_key(self, request: Request, caller: CallerOf) -> Response:
        """Make a key. The field ``key`` of this answer is the only place where it is ever in clear.

        With an ``Idempotency-Key`` a principal makes one key, however often it asks: a repeat is a 409 with
        the id of that key, and with another body a 422.
        """
        token = _token(request)
        draft = parse_grant(await read_document(request, self._bytes_max))
        key, clear = await self._rules.create_key(draft, issuer=caller, token=token)
        return JSONResponse({**key_document(key), "key": clear}, 201)

    async def revoke_key(self, key_id: str, caller: CallerOf) -> Response:
        """Revoke a key; its next call is refused."""
        await self._rules.revoke_key(key_id, by=caller)
        return Response(status_code=204)


def _place(cursor: str | None) -> tuple[int, str] | None:
    """The key that a page ended with, by when it was made and its id. Raises FieldError."""
    if cursor is None:
        return None
    at, dot, key_id = cursor.partition(".")
    if not dot or not (at.isascii() and at.isdigit()) or len(at) > _DIGITS_MAX:
        raise FieldError("cursor", "is none that a page ended with; leave it out for the first page.")
    return int(at), key_id


def _token(request: Request) -> str | None:
    """The Idempotency-Key as the data plane reads it, None without one. Raises InvalidRequest."""
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    token = values[0]
    if len(values) > 1 or not 0 < len(token) <= IDEMPOTENCY_KEY_BYTES_MAX or not token.isascii():
        raise InvalidRequest(
            f"Idempotency-Key must be said once, with 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters.",
            param="Idempotency-Key",
        )
    return token
