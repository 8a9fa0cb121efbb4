"""Who asks: the key that a request carries, or the sign-in that its cookie stands for.

A key is shown by a program on purpose. A cookie is sent by a browser, whichever page asks: so it counts for
pages of our own alone, and for changes only with the token that nobody else can know.
"""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request

from palyra.api.site import Site
from palyra.core.errors import InvalidApiKey, WrongCsrfToken
from palyra.identity.keys import Subject
from palyra.identity.tokens import is_same
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.sign_ins import SignedIn, SignIns

COOKIE = "palyra_session"
COOKIE_PATH = "/api/v1"
CSRF_HEADER = "x-palyra-csrf"
_BEARER = "bearer "
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Admitted(NamedTuple):
    """Who asks. ``signed_in`` is None for a key."""

    subject: Subject
    signed_in: SignedIn | None


class Entrance:
    """Tells who asks, for every route that wants to know."""

    def __init__(self, rules: Rules, sign_ins: SignIns, site: Site) -> None:
        self._rules = rules
        self._sign_ins = sign_ins
        self._site = site

    async def admit(self, request: Request) -> Admitted:
        """Raises InvalidApiKey where nobody is known, CrossSite, WrongCsrfToken, LedgerUnavailable."""
        if carries_key(request):
            subject = self._rules.snapshot.subject(clear_key(request))
            if subject is not None:
                return Admitted(subject, None)
        elif cookie_of(request) is not None:
            signed_in = await self.signed_in(request)
            if signed_in is not None:
                return Admitted(signed_in.subject, signed_in)
            raise InvalidApiKey("Nobody is signed in any more: sign in again, or send a key.")
        raise InvalidApiKey(
            "This needs a key of Palyra: send it as Authorization: Bearer KEY or x-api-key: KEY."
        )

    async def signed_in(self, request: Request) -> SignedIn | None:
        """The sign-in of the cookie, None where it does not hold. Raises as ``admit`` does."""
        token = cookie_of(request)
        if token is None:
            return None
        self._site.check(request)
        signed_in = await self._sign_ins.find(token)
        if signed_in is None:
            return None
        shown = request.headers.get(CSRF_HEADER, "")
        if request.method not in _SAFE and not is_same(shown, signed_in.csrf_token):
            raise WrongCsrfToken(
                f"A change that a browser asks for needs the header {CSRF_HEADER} with the csrf_token of "
                "GET /api/v1/session; get it anew and repeat the request."
            )
        return signed_in


def carries_key(request: Request) -> bool:
    """Whether a request shows a key, a good one or not: then that counts, and no cookie."""
    return "x-api-key" in request.headers or _bearer(request.headers) is not None


def clear_key(request: Request) -> str:
    """The key that a request presents, empty if it presents none."""
    bearer = _bearer(request.headers)
    return request.headers.get("x-api-key", "") if bearer is None else bearer


def cookie_of(request: Request) -> str | None:
    """The token in the cookie. Of several, the first: browsers send the one of the longest path first."""
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                return value
    return None


def _bearer(headers: Mapping[str, str]) -> str | None:
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() != _BEARER:
        return None
    return authorization[len(_BEARER) :].strip()
