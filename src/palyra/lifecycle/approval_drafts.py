"""Requests as they are first made: by a call that a budget stops, or up front by a person."""

from collections.abc import Callable
from dataclasses import dataclass

from palyra.approvals.approval import Approval, State
from palyra.approvals.rules import AMOUNT_MAX, cause_of, expiry_of, risk_of
from palyra.budgets.evaluation import Evaluation
from palyra.budgets.policy import Policy, digest_of
from palyra.budgets.terms import EACH, Action, ScopeKind
from palyra.budgets.windows import Interval, Window, window_at
from palyra.core.errors import FieldError, Forbidden
from palyra.core.instant import END_OF_TIME, Instant
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.identity.keys import Role, Subject
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.call import Call
from palyra.lifecycle.idempotency import fingerprint_of
from palyra.lifecycle.plan import Plan

REASON_CHARS_MAX = 1_000
_ALWAYS = Window(Instant(0), END_OF_TIME)
"""In the place of a window where each call is one by itself."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for up front: ``amount`` in the metric's unit on the account of ``entity``.

    ``principal`` is whose calls it is for, None for all that count on the account.
    """

    policy: Policy
    entity: str
    amount: int
    principal: str | None
    reason: str


def draft_of_call(
    plan: Plan, call: Call, subject: Subject, approval_id: str, expire_after_ns: int
) -> Approval:
    """The request of a call that a budget stops until somebody lets it run.

    ``asked`` is what the call needs on top of the limit and of what is granted already.
    """
    deciding = _deciding(plan)
    decision, now = plan.decision, plan.decision.at
    policy, fingerprint = deciding.policy, fingerprint_of(call).hex()
    window = _ALWAYS if deciding.binding.each_call else deciding.window
    digest = digest_of(policy)
    limit, amount = policy.hard_limit or 0, deciding.amount or 0
    return Approval(
        id=approval_id,
        version=0,
        state=State.PENDING,
        cause=cause_of(policy.id, digest, deciding.entity, window.start, subject.principal, fingerprint),
        policy_id=policy.id,
        policy_version=policy.version,
        policy_digest=digest,
        scope=deciding.scope,
        metric=policy.metric.value,
        interval=policy.interval.value,
        entity=deciding.entity,
        window_start=window.start,
        window_end=window.end,
        limit=limit,
        consumed=deciding.consumed,
        amount=amount,
        asked=max(1, deciding.consumed + amount - limit),
        risk=risk_of(limit, deciding.consumed + amount),
        requester=subject.principal,
        requester_key=subject.key_id,
        principal=subject.principal,
        agent=decision.agent,
        session=decision.session,
        model=decision.model,
        request_id=decision.call_id,
        fingerprint=fingerprint,
        created_at=now,
        asked_at=now,
        expires_at=expiry_of(now, expire_after_ns, policy.interval.value, window.end),
    )


def draft_up_front(
    wish: Wish,
    balance_of: Callable[[AccountKey], Balance],
    subject: Subject,
    approval_id: str,
    now: Instant,
    expire_after_ns: int,
) -> Approval:
    """The request of a person. Raises FieldError for a wish that cannot come true, Forbidden for others'."""
    policy = wish.policy
    check_wish(wish, subject)
    each_call = policy.interval is Interval.REQUEST
    window = _ALWAYS if each_call else window_at(policy.interval, policy.zone, now)
    key = AccountKey(policy.id, policy.metric.value, wish.entity, window.start)
    balance = balance_of(key)
    digest, limit = digest_of(policy), policy.hard_limit or 0
    consumed = 0 if each_call else balance.posted + balance.held
    return Approval(
        id=approval_id,
        version=0,
        state=State.PENDING,
        cause=cause_of(policy.id, digest, wish.entity, window.start, subject.principal, wish.principal or ""),
        policy_id=policy.id,
        policy_version=policy.version,
        policy_digest=digest,
        scope=str(policy.scope),
        metric=policy.metric.value,
        interval=policy.interval.value,
        entity=wish.entity,
        window_start=window.start,
        window_end=window.end,
        limit=limit,
        consumed=consumed,
        amount=0,
        asked=wish.amount,
        risk=risk_of(limit, limit + wish.amount),
        requester=subject.principal,
        requester_key=subject.key_id,
        principal=wish.principal,
        reason=wish.reason,
        created_at=now,
        asked_at=now,
        expires_at=expiry_of(now, expire_after_ns, policy.interval.value, window.end),
    )


def entity_of(policy: Policy, entity: str | None, subject: Subject) -> str:
    """Whose account a wish is for: the only one there is, the one named, or that of the subject.

    Raises FieldError where one has to be named.
    """
    scope = policy.scope
    if scope.kind is ScopeKind.GLOBAL or not scope.each:
        only = EACH if scope.kind is ScopeKind.GLOBAL else scope.id
        if entity not in (None, only):
            raise FieldError("entity", f"the budget has one account, {only!r}; leave the entity out.")
        return only
    if entity is not None:
        return entity
    if scope.kind is ScopeKind.PRINCIPAL:
        return subject.principal
    raise FieldError("entity", f"is required: the budget has an account for each {scope.kind.value}.")


def check_wish(wish: Wish, subject: Subject) -> None:
    """Raises FieldError for a wish that no grant could fulfil, Forbidden for one on behalf of others."""
    policy = wish.policy
    if policy.hard_limit is None or policy.action is Action.ALERT:
        raise FieldError("policy", f"{policy.id!r} stops no call, so there is nothing to override.")
    if not 0 < wish.amount <= AMOUNT_MAX:
        raise FieldError("amount", "must be more than nothing, and within reason.")
    if len(wish.entity) > LABEL_CHARS_MAX or not wish.entity.isprintable():
        raise FieldError("entity", f"must be printable, with at most {LABEL_CHARS_MAX} characters.")
    if len(wish.reason) > REASON_CHARS_MAX:
        raise FieldError("reason", f"is longer than {REASON_CHARS_MAX} characters; say less.")
    if subject.may_act_as(Role.OPERATOR):
        return
    foreign = policy.scope.kind is ScopeKind.PRINCIPAL and wish.entity != subject.principal
    if foreign or wish.principal != subject.principal:
        raise Forbidden("Your key may ask for your own principal only; an operator may for others.")


def _deciding(plan: Plan) -> Evaluation:
    deciding = plan.judgement.verdict.deciding
    if deciding is None:
        raise ValueError("no budget stops the call")
    return deciding
