"""Reading what people write when they ask for more, grant it or refuse it. Errors name the field."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from palyra.approvals.approval import Approval, GrantKind
from palyra.approvals.rules import Offer
from palyra.budgets.fields import read_choice, read_count, read_instant, read_optional_choice, read_usd
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Metric, ScopeKind
from palyra.core.errors import FieldError
from palyra.core.fields import as_label, closest, kind_of, refuse_unknown
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.approval_drafts import REASON_CHARS_MAX, Wish, entity_of

AMOUNT, AMOUNT_USD = "amount", "amount_usd"
_GRANT_FIELDS = ("grant", AMOUNT_USD, AMOUNT, "unit", "until")
_DECISION_FIELDS = ("decision", *_GRANT_FIELDS, "reason")
_WISH_FIELDS = (AMOUNT_USD, AMOUNT, "unit", "reason", "entity", "principal")


class Verdict(StrEnum):
    """What is decided."""

    ALLOW = "allow"
    DENY = "deny"


class Unit(StrEnum):
    """What ``amount`` counts. It can be left out; where it is said it must be the budget's."""

    TOKENS = "tokens"
    REQUESTS = "requests"


class Decided(NamedTuple):
    """A decision as written: ``offer`` is None for a refusal."""

    offer: Offer | None
    reason: str


def read_decision(document: Mapping[str, object], approval: Approval) -> Decided:
    """``{"decision": "allow" | "deny", …}``. What was asked for is granted where nothing else is said: the
    call where one asked, else the amount. Raises FieldError.
    """
    refuse_unknown(document, _DECISION_FIELDS, "a decision")
    verdict, reason = read_choice(document, "decision", Verdict), read_reason(document)
    if verdict is Verdict.DENY:
        for name in _GRANT_FIELDS:
            if document.get(name) is not None:
                raise FieldError(name, "means nothing with 'deny'; leave it out.")
        return Decided(None, reason)
    amount, until = read_amount(document, Metric(approval.metric)), read_instant(document, "until")
    kind = read_optional_choice(document, "grant", GrantKind)
    if kind is None and until is not None:
        kind = GrantKind.TIMEBOXED
    if kind is None:
        kind = GrantKind.ONCE if approval.fingerprint and amount is None else GrantKind.AMOUNT
    return Decided(Offer(kind, amount, until), reason)


def read_revocation(document: Mapping[str, object]) -> str:
    """``{"reason": …}``, which may be left out. Raises FieldError."""
    refuse_unknown(document, ("reason",), "a revocation")
    return read_reason(document)


def read_wish(
    document: Mapping[str, object], policy: Policy, caller: Subject, principals: frozenset[str]
) -> Wish:
    """What somebody asks for up front. ``principals`` are those that have a key. Raises FieldError.

    Below operator it is for the own principal. An operator who names nobody asks for all who count on the
    account.
    """
    refuse_unknown(document, _WISH_FIELDS, "a request")
    amount = read_amount(document, policy.metric)
    if amount is None:
        name = amount_field(policy.metric)
        raise FieldError(name, "is required; write how much more is needed on top of the limit.")
    reason = read_reason(document)
    if not reason:
        raise FieldError("reason", "is required; write what it is needed for.")
    named = document.get("entity")
    entity = entity_of(policy, None if named is None else as_label(named, "entity"), caller)
    whose = document.get("principal")
    principal = None if whose is None else as_label(whose, "principal")
    if policy.scope.kind is ScopeKind.PRINCIPAL:
        _check_known(entity, "entity", principals)
        if principal not in (None, entity):
            raise FieldError("principal", f"the account is that of {entity!r}; leave the principal out.")
        principal = entity
    elif principal is not None:
        _check_known(principal, "principal", principals)
    elif not caller.may_act_as(Role.OPERATOR):
        principal = caller.principal
    return Wish(policy, entity, amount, principal, reason)


def read_amount(document: Mapping[str, object], metric: Metric) -> int | None:
    """``amount_usd`` of a money budget as nano-USD, ``amount`` of the others; None where neither is said."""
    name = amount_field(metric)
    other = AMOUNT if name == AMOUNT_USD else AMOUNT_USD
    if document.get(other) is not None:
        raise FieldError(other, f"the budget counts {_counted(metric)}; write {name!r}.")
    unit = read_optional_choice(document, "unit", Unit)
    if unit is not None and unit.value != _counted(metric):
        raise FieldError("unit", f"the budget counts {_counted(metric)}, not {unit.value}.")
    return read_usd(document, name) if metric is Metric.COST_USD else read_count(document, name)


def read_reason(document: Mapping[str, object]) -> str:
    """One line of text, empty where none is said. Raises FieldError."""
    reason = document.get("reason")
    if reason is None:
        return ""
    if not isinstance(reason, str):
        raise FieldError("reason", f"must be a string, not {kind_of(reason)}.")
    if len(reason) > REASON_CHARS_MAX:
        raise FieldError("reason", f"is longer than {REASON_CHARS_MAX} characters; say less.")
    if not reason.isprintable():
        raise FieldError("reason", "must be one line of visible characters.")
    return reason.strip()


def amount_field(metric: Metric) -> str:
    """The field that has an amount of this metric."""
    return AMOUNT_USD if metric is Metric.COST_USD else AMOUNT


def as_written(error: FieldError, metric: Metric) -> FieldError:
    """An error about the amount, with the name that the field has in the body."""
    return FieldError(amount_field(metric), error.message) if error.field == AMOUNT else error


def _counted(metric: Metric) -> str:
    if metric is Metric.COST_USD:
        return "USD"
    return Unit.REQUESTS.value if metric is Metric.REQUESTS else Unit.TOKENS.value


def _check_known(principal: str, field: str, principals: frozenset[str]) -> None:
    """A grant to nobody would help nobody."""
    if principal not in principals:
        raise FieldError(field, f"no key is that of {principal!r}.{closest(principal, principals)}")
