"""Budgets: read, write with versions, and look at before they are written."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import READ, WRITE, CallerOf
from palyra.api.bodies import PolicyBody, PolicyDraft, PolicyPut
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.routes import PREFIX, Routes
from palyra.api.schemas.budgets import FieldProblem, PolicyCheck, PolicyPage, PolicyShown
from palyra.budgets.policy import Policy, policy_to_dict
from palyra.core.errors import AlreadyExists, FieldError, NotFound, VersionConflict

_ANY = "*"
RESERVED_IDS = ("status",)
"""``GET /budgets/status`` is no budget. One that the file has keeps its other routes."""


class Budgets:
    """Handlers of ``/budgets``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/budgets", self.list_budgets, READ, answer=PolicyPage)
        routes.add(
            "POST",
            "/budgets",
            self.create_budget,
            WRITE,
            body=PolicyBody,
            answer=PolicyShown,
            status=201,
            also=(409, 412, 503),
            headers=("ETag", "Location"),
        )
        routes.add(
            "POST",
            "/budgets/validate",
            self.validate_budget,
            READ,
            body=PolicyDraft,
            answer=PolicyCheck,
            also=(503,),
        )
        routes.add(
            "GET", "/budgets/{policy_id}", self.get_budget, READ, answer=PolicyShown, headers=("ETag",)
        )
        routes.add(
            "PUT",
            "/budgets/{policy_id}",
            self.put_budget,
            WRITE,
            body=PolicyPut,
            answer=PolicyShown,
            also=(201, 409, 412, 503),
            headers=("ETag",),
            takes=("If-Match", "If-None-Match"),
        )
        routes.add(
            "DELETE",
            "/budgets/{policy_id}",
            self.delete_budget,
            WRITE,
            status=204,
            also=(409, 412, 503),
            takes=("If-Match", "If-None-Match"),
        )

    async def list_budgets(self) -> Response:
        """Every budget in force or disabled, by id."""
        policies = sorted(self._deps.rules.snapshot.policies.values(), key=lambda policy: policy.id)
        return JSONResponse({"items": [policy_to_dict(policy) for policy in policies], "next_cursor": None})

    async def create_budget(self, request: Request, caller: CallerOf) -> Response:
        """Create a budget; an id that is taken is refused with 409."""
        document = await read_document(request, self._deps.body_bytes_max)
        _refuse_reserved(document)
        taken = self._deps.rules.snapshot.policies.get(str(document.get("id")))
        if taken is not None:
            raise AlreadyExists(f"There is a budget {taken.id!r} already; replace it with PUT.")
        policy = await self._deps.rules.set_policy(document, actor=caller.key_id, expected_version=0)
        return _shown(policy, 201, {"Location": f"{PREFIX}/budgets/{policy.id}"})

    async def get_budget(self, policy_id: str) -> Response:
        """One budget; ``ETag`` is its version."""
        return _shown(self._policy(policy_id), 200)

    async def put_budget(self, policy_id: str, request: Request, caller: CallerOf) -> Response:
        """Create or replace a budget. With ``If-Match`` only if it still is at that version."""
        document = await read_document(request, self._deps.body_bytes_max)
        if document.setdefault("id", policy_id) != policy_id:
            raise FieldError("id", f"is not the {policy_id!r} of the address; leave it out.")
        _refuse_reserved(document)
        policy = await self._deps.rules.set_policy(
            document, actor=caller.key_id, expected_version=self._expected(request, policy_id)
        )
        return _shown(policy, 201 if policy.version == 1 else 200)

    async def delete_budget(self, policy_id: str, request: Request, caller: CallerOf) -> Response:
        """Take a budget out of force; its accounts and versions stay."""
        self._policy(policy_id)
        await self._deps.rules.delete_policy(
            policy_id, actor=caller.key_id, expected_version=self._expected(request, policy_id)
        )
        return Response(status_code=204)

    async def validate_budget(self, request: Request, caller: CallerOf) -> Response:
        """What would become of a budget if it was created or replaced now. Nothing is written.

        ``problems`` are all that can be told at once; what only several fields together can get wrong is told
        once each of them is right.
        """
        document = await read_document(request, self._deps.body_bytes_max)
        verdict = await self._deps.rules.check_policy(document, actor=caller.key_id)
        problems = [FieldProblem(field=each.field, detail=each.message) for each in verdict.problems]
        if document.get("id") in RESERVED_IDS:
            problems.append(FieldProblem(field="id", detail=_reserved(str(document["id"])).message))
        policy = None if verdict.policy is None or problems else policy_to_dict(verdict.policy)
        return JSONResponse(
            {
                "ok": not problems,
                "problems": [each.model_dump() for each in problems],
                "policy": policy,
                "exists": verdict.exists,
            }
        )

    def _policy(self, policy_id: str) -> Policy:
        policy = self._deps.rules.snapshot.policies.get(policy_id)
        if policy is None:
            raise NotFound(f"There is no budget {policy_id!r}.")
        return policy

    def _expected(self, request: Request, policy_id: str) -> int | None:
        """The version that the writer has seen; 0 where the budget must not exist, None for any."""
        if request.headers.get("if-none-match") == _ANY:
            return 0
        wanted = request.headers.get("if-match")
        if wanted is None:
            return None
        found = self._deps.rules.snapshot.policies.get(policy_id)
        if wanted.strip() == _ANY and found is not None:
            return found.version
        for tag in wanted.split(","):
            text = tag.strip().strip('"')
            if found is not None and text == str(found.version):
                return found.version
        raise VersionConflict(f"The budget {policy_id!r} is not at version {wanted}; read it again.")


def _refuse_reserved(document: Mapping[str, object]) -> None:
    if document.get("id") in RESERVED_IDS:
        raise _reserved(str(document["id"]))


def _reserved(policy_id: str) -> FieldError:
    return FieldError("id", f"{policy_id!r} is the name of a route below /budgets; take another one.")


def _shown(policy: Policy, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(policy_to_dict(policy), status, {"ETag": f'"{policy.version}"', **(headers or {})})
