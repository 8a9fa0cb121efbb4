"""Signing in and out: a key is shown once, and a cookie stands for it from then on."""

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, PUBLIC, CallerOf, SignedInOf
from palyra.api.bodies import KEY_CHARS_MAX, SignInBody
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.entrance import COOKIE, COOKIE_PATH, Entrance, carries_key, cookie_of
from palyra.api.routes import Routes
from palyra.core.errors import FieldError
from palyra.core.fields import refuse_unknown
from palyra.core.instant import isoformat
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.sign_ins import SignedIn

BODY_BYTES_MAX = 64 * 1024
"""Nobody is known yet who sends it."""


class SessionShown(BaseModel):
    """Who is signed in, and what they may do. With a key there is no sign-in: no times, no ``csrf_token``."""

    principal: str
    agent: str | None
    key_id: str
    roles: list[Role]
    role: Role
    signed_in_at: str | None
    expires_at: str | None
    csrf_token: str | None
    version: str


class Session:
    """Handlers of ``/session``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._sign_ins = deps.sign_ins
        self._entrance = Entrance(deps.rules, deps.sign_ins, deps.site)

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add(
            "POST",
            "/session",
            self.sign_in,
            PUBLIC,
            body=SignInBody,
            answer=SessionShown,
            status=201,
            also=(401, 403, 429, 503),
            headers=("Set-Cookie",),
        )
        routes.add("GET", "/session", self.show_sign_in, OWN, answer=SessionShown)
        routes.add("DELETE", "/session", self.sign_out, PUBLIC, status=204, also=(403, 503))

    async def sign_in(self, request: Request) -> Response:
        """Sign in with a key: the cookie of the answer stands for it on all routes, ``/v1`` left out.

        A sign-in of the same browser that was there before is over. Pages of other sites cannot do it.
        """
        self._deps.site.check(request)
        key = _key(await read_document(request, min(BODY_BYTES_MAX, self._deps.body_bytes_max)))
        token, signed_in = await self._sign_ins.sign_in(key, self._deps.site.address_of(request))
        before = await self._sign_ins.find(cookie_of(request) or "")
        if before is not None:
            await self._sign_ins.end(before)
            self._deps.changes.prove()
        cookie = self._cookie(request, token, self._sign_ins.seconds)
        return JSONResponse(self._document(signed_in.subject, signed_in), 201, cookie)

    async def show_sign_in(self, caller: CallerOf, signed_in: SignedInOf) -> Response:
        """Who asks. With a cookie also the ``csrf_token`` that changes need, and until when it holds."""
        return JSONResponse(self._document(caller, signed_in))

    async def sign_out(self, request: Request) -> Response:
        """Sign out: the cookie is worth nothing any more, here and at every other gateway."""
        if carries_key(request):
            return Response(status_code=204)
        signed_in = await self._entrance.signed_in(request)
        if signed_in is not None:
            await self._sign_ins.end(signed_in)
            self._deps.changes.prove()
        return Response(status_code=204, headers=self._cookie(request, "", 0))

    def _cookie(self, request: Request, token: str, seconds: int) -> Mapping[str, str]:
        parts = (
            f"{COOKIE}={token}",
            "HttpOnly",
            "SameSite=Strict",
            f"Path={COOKIE_PATH}",
            f"Max-Age={seconds}",
            *(("Secure",) if self._deps.site.is_secure(request) else ()),
        )
        return {"Set-Cookie": "; ".join(parts)}

    def _document(self, subject: Subject, signed_in: SignedIn | None) -> dict[str, object]:
        stored = None if signed_in is None else signed_in.sign_in
        return {
            "principal": subject.principal,
            "agent": subject.agent,
            "key_id": subject.key_id,
            "roles": sorted(role.value for role in subject.roles),
            "role": max(subject.roles, key=lambda role: role.rank).value,
            "signed_in_at": None if stored is None else isoformat(stored.signed_in_at),
            "expires_at": None if stored is None else isoformat(stored.expires_at),
            "csrf_token": None if signed_in is None else signed_in.csrf_token,
            "version": self._deps.version,
        }


def _key(document: Mapping[str, object]) -> str:
    refuse_unknown(document, ("key",), "a sign-in")
    key = document.get("key")
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARS_MAX:
        raise FieldError("key", f"must be a key of Palyra, with at most {KEY_CHARS_MAX} characters.")
    return key
