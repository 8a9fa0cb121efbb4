"""Where budgets stand: one with all of its accounts, or all of them with those nearest to the limit."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse, Response

from palyra.api.access import OWN, READ, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.budgets import PolicyGauges, PolicyStatus
from palyra.budgets.policy import Policy, policy_to_dict
from palyra.budgets.terms import EACH, ScopeKind
from palyra.budgets.windows import Interval, window_at
from palyra.core.errors import NotFound
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.ledger.account import AccountKey
from palyra.lifecycle.forecasts import Outset
from palyra.lifecycle.standing import AccountStatus, OpenWindow, Standing
from palyra.reports.accounts import account_document, forecast_fields

POLICIES_MAX = 100
ACCOUNTS_EACH = 20
"""So many accounts of a budget are among the gauges: those nearest to their limit."""
_NOTHING = Standing((), 0)

Shown = tuple[Policy, Sequence[AccountStatus]]


class Gauges:
    """Handlers of ``/budgets/status`` and ``/budgets/{policy_id}/status``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the routes. They come before ``/budgets/{policy_id}``, which no budget ``status`` may take."""
        routes.add("GET", "/budgets/status", self.budgets_status, READ, answer=PolicyGauges, also=(503,))
        routes.add(
            "GET",
            "/budgets/{policy_id}/status",
            self.budget_status,
            OWN,
            answer=PolicyStatus,
            also=(503,),
        )

    async def budgets_status(
        self,
        limit: Annotated[int, Query(ge=1, le=POLICIES_MAX)] = 50,
        cursor: str | None = None,
    ) -> Response:
        """Budgets by id with their accounts of now; pass ``next_cursor`` as ``cursor`` for the next page.

        Of a budget with an account for each entity the 20 nearest to their limit; ``accounts_total`` says how
        many there are.
        """
        policies = self._deps.rules.snapshot.policies
        ids = sorted(policy_id for policy_id in policies if cursor is None or policy_id > cursor)
        chosen = [policies[policy_id] for policy_id in ids[:limit]]
        now = self._deps.clock.now()
        windows = [window for policy in chosen if (window := window_of(policy, now)) is not None]
        found = await self._deps.records.standing(windows, ACCOUNTS_EACH)
        standings = [self._with_current(each, found.get(each.id, _NOTHING), now) for each in chosen]
        shown = [(policy, standing.accounts) for policy, standing in zip(chosen, standings, strict=True)]
        documents = await self.documents(shown, now)
        items = [
            {"policy": policy_to_dict(policy), "accounts": accounts, "accounts_total": standing.total}
            for policy, accounts, standing in zip(chosen, documents, standings, strict=True)
        ]
        next_cursor = chosen[-1].id if len(ids) > limit else None
        return JSONResponse({"items": items, "next_cursor": next_cursor})

    async def budget_status(self, policy_id: str, caller: CallerOf) -> Response:
        """The budget and its accounts. A caller sees those of its own principal only."""
        policy = self._deps.rules.snapshot.policies.get(policy_id)
        if policy is None:
            raise NotFound(f"There is no budget {policy_id!r}.")
        entity = _entity_for(policy, caller)
        now = self._deps.clock.now()
        stored = await self._deps.records.accounts(policy_id)
        found = [each for each in stored if entity is None or each.key.entity == entity]
        current = current_of(policy, entity, now)
        if current is not None and all(each.key != current[0] for each in found):
            found.append(AccountStatus(*current, self._deps.ledger.balance(current[0])))
        (accounts,) = await self.documents([(policy, found)], now)
        return JSONResponse({"policy": policy_to_dict(policy), "accounts": accounts})

    def _with_current(self, policy: Policy, standing: Standing, now: Instant) -> Standing:
        """The account of a budget that has only one is there before the first call, too."""
        current = current_of(policy, None, now)
        if current is None or standing.total:
            return standing
        return Standing((AccountStatus(*current, self._deps.ledger.balance(current[0])),), 1)

    async def documents(self, shown: Sequence[Shown], now: Instant) -> list[list[dict[str, object]]]:
        """The accounts of each budget, with forecasts as alerts have them."""
        asked = [_outset(policy, each) for policy, accounts in shown for each in accounts]
        seen = await self._deps.forecasts.of_all(asked, now)
        raising = self._deps.approvals.raising
        return [
            [
                account_document(
                    policy,
                    each.key,
                    each.window_end,
                    each.balance,
                    now,
                    each.sliced,
                    sum(one.grant.extra for one in raising(each.key, now) if one.grant),
                )
                | forecast_fields(policy, each.key, each.balance, seen.get(each.key), now)
                for each in accounts
            ]
            for policy, accounts in shown
        ]


def _outset(policy: Policy, account: AccountStatus) -> Outset:
    consumed = account.balance.posted + account.balance.held
    return Outset(account.key, account.window_end, consumed, policy)


def _entity_for(policy: Policy, caller: Subject) -> str | None:
    """The one entity that ``caller`` may see, None for all. A budget of others does not exist for it."""
    principal = only_principal(caller)
    if principal is None:
        return None
    if policy.scope.kind is ScopeKind.PRINCIPAL and (policy.scope.each or policy.scope.id == principal):
        return principal
    raise NotFound(f"There is no budget {policy.id!r}.")


def window_of(policy: Policy, now: Instant) -> OpenWindow | None:
    """The window of now; None of a budget for single requests, which has no account."""
    if policy.interval is Interval.REQUEST:
        return None
    return OpenWindow(policy.id, policy.metric.value, window_at(policy.interval, policy.zone, now)[0])


def current_of(policy: Policy, entity: str | None, now: Instant) -> tuple[AccountKey, Instant] | None:
    """The account of now where the policy names one entity: it is shown before the first call, too."""
    wanted = entity if entity is not None or policy.scope.each else policy.scope.id
    if policy.scope.kind is ScopeKind.GLOBAL:
        wanted = EACH
    if wanted is None or policy.interval is Interval.REQUEST:
        return None
    start, end = window_at(policy.interval, policy.zone, now)
    return AccountKey(policy.id, policy.metric.value, wanted, start), end
