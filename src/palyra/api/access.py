"""Who may call which route. Every route declares it; a route that does not is found at start-up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute

from palyra.api.entrance import Entrance
from palyra.api.parameters import check_parameters
from palyra.core.errors import Forbidden
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.sign_ins import SignedIn


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
    """The dependency that enforces an Access; it leaves who asks in ``request.state``."""

    __slots__ = ("_entrance", "access")

    def __init__(self, access: Access, entrance: Entrance) -> None:
        self.access = access
        self._entrance = entrance

    async def __call__(self, request: Request) -> None:
        """Raises InvalidApiKey without a good key or sign-in, CrossSite or WrongCsrfToken for another's page,
        Forbidden where its roles do not reach, FieldError for a parameter that the route does not have."""
        if self.access.role is None:
            return
        subject, signed_in = await self._entrance.admit(request)
        if not subject.may_act_as(self.access.role):
            raise Forbidden(f"This needs the role {self.access.role.value!r} or a higher one.")
        check_parameters(request)
        request.state.subject = subject
        request.state.signed_in = signed_in


async def _signed_in(request: Request) -> SignedIn | None:
    return request.state.signed_in


SignedInOf = Annotated[SignedIn | None, Depends(_signed_in)]
"""Parameter type of handlers: the sign-in that the Guard let in, None for a key."""


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
