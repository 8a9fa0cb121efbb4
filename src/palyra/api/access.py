"""Who may call which route. Every route declares it; a route that does not is found at start-up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute

from palyra.api.parameters import check_parameters
from palyra.core.errors import Forbidden, InvalidApiKey
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.rules import Rules

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Access:
    """The declared role of a route: ``role`` is the least that may call it, None means everybody.

    ``own``: a subject below viewer is let in, and the handler shows it nothing but its own principal's.
    """

    role: Role | None
    own: bool = False


PUBLIC = Access(None)
OWN = Access(Role.CALLER, own=True)
READ = Access(Role.VIEWER)
OPERATE = Access(Role.OPERATOR)
WRITE = Access(Role.ADMIN)


class Guard:
    """The dependency that enforces an Access; it leaves the subject in ``request.state.subject``."""

    __slots__ = ("_rules", "access")

    def __init__(self, access: Access, rules: Rules) -> None:
        self.access = access
        self._rules = rules

    async def __call__(self, request: Request) -> None:
        """Raises InvalidApiKey without a good key, Forbidden where its roles do not reach, FieldError for
        a parameter that the route does not have."""
        if self.access.role is None:
            return
        subject = self._rules.snapshot.subject(clear_key(request))
        if subject is None:
            raise InvalidApiKey(
                "This needs a key of Palyra: send it as Authorization: Bearer KEY or x-api-key: KEY."
            )
        if not subject.may_act_as(self.access.role):
            raise Forbidden(f"This needs the role {self.access.role.value!r} or a higher one.")
        check_parameters(request)
        request.state.subject = subject


async def _subject(request: Request) -> Subject:
    return request.state.subject


CallerOf = Annotated[Subject, Depends(_subject)]
"""Parameter type of handlers: the subject that the Guard let in."""


def only_principal(subject: Subject) -> str | None:
    """The principal whose things alone ``subject`` may see; None if it may see everybody's."""
    return None if subject.may_act_as(Role.VIEWER) else subject.principal


def check_access(app: FastAPI) -> None:
    """Raises ValueError unless every route of ``app`` declares exactly one Access."""
    for route in app.routes:
        declared = list(declared_access(route))
        if len(declared) != 1:
            path = getattr(route, "path", repr(route))
            raise ValueError(f"the route {path} declares {len(declared)} roles; every route declares one")


def declared_access(route: BaseRoute) -> Iterator[Access]:
    """Every Access that guards ``route``; none for a route that was not added with one."""
    if isinstance(route, APIRoute):
        for dependant in _flat([route.dependant]):
            if isinstance(dependant.call, Guard):
                yield dependant.call.access


def _flat(dependants: Sequence[Dependant]) -> Iterator[Dependant]:
    for dependant in dependants:
        yield dependant
        yield from _flat(dependant.dependencies)


def clear_key(request: Request) -> str:
    """The key that a request presents, empty if it presents none."""
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return request.headers.get("x-api-key", "")
