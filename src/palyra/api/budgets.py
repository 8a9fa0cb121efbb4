"""Budgets: read, write with versions, and where each account stands."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, READ, WRITE, CallerOf, only_principal
from palyra.api.bodies import PolicyBody, PolicyPut
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.routes import PREFIX, Routes
from palyra.api.schemas import PolicyPage, PolicyShown, PolicyStatus
from palyra.budgets.policy import Policy, policy_to_dict
from palyra.budgets.terms import EACH, ScopeKind
from palyra.budgets.windows import Interval, window_at
from palyra.core.errors import AlreadyExists, FieldError, NotFound, VersionConflict
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.ledger.account import AccountKey
from palyra.lifecycle.ports import AccountStatus
from palyra.reports.accounts import account_document

_ANY = "*"


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
        routes.add(
            "GET",
            "/budgets/{policy_id}/status",
            self.budget_status,
            OWN,
            answer=PolicyStatus,
            also=(503,),
        )

    async def list_budgets(self) -> Response:
        """Every budget in force or disabled, by id."""
        policies = sorted(self._deps.rules.snapshot.policies.values(), key=lambda policy: policy.id)
        return JSONResponse({"items": [policy_to_dict(policy) for policy in policies], "next_cursor": None})

    async def create_budget(self, request: Request, caller: CallerOf) -> Response:
        """Create a budget; an id that is taken is refused with 409."""
        document = await read_document(request, self._deps.body_bytes_max)
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

    async def budget_status(self, policy_id: str, caller: CallerOf) -> Response:
        """The budget and its accounts. A caller sees those of its own principal only."""
        policy = self._policy(policy_id)
        entity = _entity_for(policy, caller)
        now = self._deps.clock.now()
        stored = await self._deps.records.accounts(policy_id)
        found = [each for each in stored if entity is None or each.key.entity == entity]
        current = _current(policy, entity, now)
        if current is not None and all(each.key != current[0] for each in found):
            found.append(AccountStatus(*current, self._deps.ledger.balance(current[0])))
        accounts = [
            account_document(
                policy,
                each.key,
                each.window_end,
                each.balance,
                now,
                each.sliced,
                sum(one.grant.extra for one in self._deps.approvals.raising(each.key, now) if one.grant),
            )
            for each in found
        ]
        return JSONResponse({"policy": policy_to_dict(policy), "accounts": accounts})

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


def _entity_for(policy: Policy, caller: Subject) -> str | None:
    """The one entity that ``caller`` may see, None for all. A budget of others does not exist for it."""
    principal = only_principal(caller)
    if principal is None:
        return None
    if policy.scope.kind is ScopeKind.PRINCIPAL and (policy.scope.each or policy.scope.id == principal):
        return principal
    raise NotFound(f"There is no budget {policy.id!r}.")


def _current(policy: Policy, entity: str | None, now: Instant) -> tuple[AccountKey, Instant] | None:
    """The account of now where the policy names one entity: it is shown before the first call, too."""
    wanted = entity if entity is not None or policy.scope.each else policy.scope.id
    if policy.scope.kind is ScopeKind.GLOBAL:
        wanted = EACH
    if wanted is None or policy.interval is Interval.REQUEST:
        return None
    start, end = window_at(policy.interval, policy.zone, now)
    return AccountKey(policy.id, policy.metric.value, wanted, start), end


def _shown(policy: Policy, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(policy_to_dict(policy), status, {"ETag": f'"{policy.version}"', **(headers or {})})
