"""Approvals: what people are asked for, and what they decide; and asking for an override up front."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import OPERATE, OWN, CallerOf, only_principal
from palyra.api.bodies import ApprovalDecision, ApprovalRevocation, OverrideRequest
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.offers import as_written, read_decision, read_revocation, read_wish
from palyra.api.routes import PREFIX, Routes
from palyra.api.schemas.approvals import ApprovalPage, ApprovalShown
from palyra.approvals.approval import Approval, GrantKind, State
from palyra.budgets.fields import as_choice
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Metric, ScopeKind
from palyra.budgets.windows import Interval, Window, window_at
from palyra.core.errors import FieldError, NotFound
from palyra.core.instant import END_OF_TIME, Instant
from palyra.identity.keys import Subject
from palyra.ledger.account import EMPTY, AccountKey
from palyra.lifecycle.approval_drafts import draft_up_front
from palyra.lifecycle.ports import ApprovalFilter
from palyra.lifecycle.standing import AccountStatus
from palyra.reports.approvals import BudgetNow, Figures, approval_document

PAGE_MAX = 200
_EACH_CALL = Window(Instant(0), END_OF_TIME)


class Approvals:
    """Handlers of ``/approvals`` and of ``/budgets/{policy_id}/override-request``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._desk = deps.approvals

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/approvals", self.list_approvals, OWN, answer=ApprovalPage, also=(503,))
        routes.add(
            "GET",
            "/approvals/{approval_id}",
            self.get_approval,
            OWN,
            answer=ApprovalShown,
            also=(503,),
            headers=("ETag",),
        )
        routes.add(
            "POST",
            "/approvals/{approval_id}/decision",
            self.decide_approval,
            OPERATE,
            body=ApprovalDecision,
            answer=ApprovalShown,
            also=(409, 503),
            headers=("ETag",),
        )
        routes.add(
            "POST",
            "/approvals/{approval_id}/revoke",
            self.revoke_approval,
            OPERATE,
            body=ApprovalRevocation,
            answer=ApprovalShown,
            also=(409, 503),
            headers=("ETag",),
        )
        routes.add(
            "POST",
            "/budgets/{policy_id}/override-request",
            self.request_override,
            OWN,
            body=OverrideRequest,
            answer=ApprovalShown,
            status=201,
            also=(200, 403, 409, 503),
            headers=("ETag",),
        )

    async def list_approvals(
        self,
        caller: CallerOf,
        state: Annotated[str | None, Query(json_schema_extra={"enum": list(State)})] = None,
        requester: str | None = None,
        policy_id: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Response:
        """Newest first; pass ``next_cursor`` as ``cursor`` for the next page. Below viewer: the own ones."""
        wanted = ApprovalFilter(
            state=None if state is None else as_choice(State, state, "state"),
            requester=only_principal(caller) or requester,
            policy_id=policy_id,
            before=cursor,
            limit=limit + 1,
        )
        # What others asked for is not there for a caller, whomever it names.
        mine = requester in (None, wanted.requester)
        found: Sequence[Approval] = await self._deps.records.approvals(wanted) if mine else ()
        look = _Look(self._deps, caller)
        items = [await look.document(each) for each in found[:limit]]
        more = len(found) > limit
        return JSONResponse({"items": items, "next_cursor": found[limit - 1].id if more else None})

    async def get_approval(self, approval_id: str, caller: CallerOf) -> Response:
        """One request; ``ETag`` is its version. Below viewer, requests of others do not exist."""
        stored = await self._deps.records.approval(approval_id)
        if stored is None or only_principal(caller) not in (None, stored.requester):
            raise NotFound(f"There is no approval {approval_id!r}.")
        return await self._shown(stored, caller, 200)

    async def decide_approval(self, approval_id: str, request: Request, caller: CallerOf) -> Response:
        """Allow or deny. The first decision holds; what the caller itself asked for others must decide."""
        document = await read_document(request, self._deps.body_bytes_max)
        approval = await self._desk.find(approval_id)
        offer, reason = read_decision(document, approval)
        if offer is None:
            ruled = await self._desk.deny(approval_id, reason, by=caller)
        else:
            try:
                ruled = await self._desk.approve(approval_id, offer, reason, by=caller)
            except FieldError as error:
                raise as_written(error, Metric(approval.metric)) from None
        return await self._shown(ruled, caller, 200)

    async def revoke_approval(self, approval_id: str, request: Request, caller: CallerOf) -> Response:
        """Take back what is live of a grant; the next call is decided without it."""
        reason = read_revocation(await read_document(request, self._deps.body_bytes_max))
        return await self._shown(await self._desk.revoke(approval_id, reason, by=caller), caller, 200)

    async def request_override(self, policy_id: str, request: Request, caller: CallerOf) -> Response:
        """Ask for more than the limit of a budget, before a call is stopped.

        200 where the same is asked for already. Below operator: for the own principal.
        """
        document = await read_document(request, self._deps.body_bytes_max)
        policy = self._policy_for(policy_id, caller)
        keys = self._deps.rules.snapshot.keys.values()
        wish = read_wish(document, policy, caller, frozenset(key.principal for key in keys))
        stored = {each.key: each.balance for each in await self._deps.records.accounts(policy_id)}
        try:
            draft = draft_up_front(
                wish,
                lambda key: stored.get(key) or self._deps.ledger.balance(key),
                caller,
                self._desk.new_id(),
                self._deps.clock.now(),
                self._desk.terms.expire_after_ns,
            )
        except FieldError as error:
            raise as_written(error, policy.metric) from None
        approval = await self._desk.request(draft)
        return await self._shown(approval, caller, 201 if approval.id == draft.id else 200)

    def _policy_for(self, policy_id: str, caller: Subject) -> Policy:
        """A budget that may stop the caller. One of another principal does not exist for it."""
        policy = self._deps.rules.snapshot.policies.get(policy_id)
        only = only_principal(caller)
        if policy is not None and only is not None and policy.scope.kind is ScopeKind.PRINCIPAL:
            policy = policy if policy.scope.each or policy.scope.id == only else None
        if policy is None:
            raise NotFound(f"There is no budget {policy_id!r}.")
        return policy

    async def _shown(self, approval: Approval, caller: Subject, status: int) -> JSONResponse:
        headers = {"ETag": f'"{approval.version}"'}
        if status == 201:
            headers["Location"] = f"{PREFIX}/approvals/{approval.id}"
        return JSONResponse(await _Look(self._deps, caller).document(approval), status, headers)


class _Look:
    """What is read for one answer to ``caller``, each thing once."""

    def __init__(self, deps: ApiDeps, caller: Subject) -> None:
        self._deps = deps
        self._only = only_principal(caller)
        self._open = {each.id: each for each in deps.approvals.open}
        self._accounts: dict[str, Sequence[AccountStatus]] = {}

    async def document(self, approval: Approval) -> dict[str, object]:
        """The request with the figures of now."""
        budget = await self._budget_now(approval, self._deps.clock.now())
        now = self._deps.clock.now()
        # How often it was asked for is stored a little later than it is known.
        known = self._open.get(approval.id, approval)
        current = known if known.version == approval.version else approval
        figures = Figures(budget, used=await self._is_used(current))
        return approval_document(current, self._deps.approvals.url_of(current.id), figures, now, self._only)

    async def _is_used(self, approval: Approval) -> bool:
        """Whether a call holds a ``once`` grant, or has used it, here or at another gateway."""
        if approval.grant is None or approval.grant.kind is not GrantKind.ONCE:
            return False
        key = approval.single_use
        stored = await self._deps.records.accounts(key.policy_id)
        balance = stored[0].balance if stored else self._deps.ledger.balance(key)
        return balance.posted + balance.held > 0

    async def _budget_now(self, approval: Approval, now: Instant) -> BudgetNow | None:
        """The account of the request in the window of now; None where the budget is gone."""
        policy = self._deps.rules.snapshot.policies.get(approval.policy_id)
        if policy is None:
            return None
        if policy.id not in self._accounts:
            self._accounts[policy.id] = await self._deps.records.accounts(policy.id)
        each_call = policy.interval is Interval.REQUEST
        window = _EACH_CALL if each_call else window_at(policy.interval, policy.zone, now)
        key = AccountKey(policy.id, policy.metric.value, approval.entity, window.start)
        stored = next((each for each in self._accounts[policy.id] if each.key == key), None)
        balance = self._deps.ledger.balance(key) if stored is None else stored.balance
        return BudgetNow(
            policy=policy,
            key=key,
            window_end=window.end,
            balance=EMPTY if each_call else balance,
            sliced=0 if stored is None else stored.sliced,
            overrides=self._deps.approvals.raising(key, now),
        )
