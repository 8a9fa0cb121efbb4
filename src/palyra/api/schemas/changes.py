"""The shapes of what was changed, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel

from palyra.api.schemas.budgets import PolicyShown


class FieldChanged(BaseModel):
    """A field before and after, null where it was not set. Fields of a table are ``table.field``."""

    field: str
    before: Any
    after: Any


class PolicyVersion(BaseModel):
    """One step in the history of a budget. ``policy``: as it was from then on, null once it is deleted.

    ``by`` is a key id, or ``config`` for the configuration file, whose budgets have no ``version``.
    """

    version: int | None
    at: str
    by: str
    by_principal: str | None
    action: Literal["created", "changed", "deleted"]
    policy: PolicyShown | None
    changes: list[FieldChanged]


class PolicyHistory(BaseModel):
    """Versions of a budget, newest first."""

    items: list[PolicyVersion]
    next_cursor: str | None


class AuditItem(BaseModel):
    """A change of rules: record ``record`` in the journal of gateway ``node``.

    ``note`` is what was said about it; ``before`` and ``after`` are the whole documents.
    """

    at: str
    kind: str
    ref: str
    by: str
    by_principal: str | None
    version: int | None
    note: str | None
    node: int
    record: int
    changes: list[FieldChanged]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(BaseModel):
    """Changes of rules, newest first."""

    items: list[AuditItem]
    next_cursor: str | None


class AuditProblem(BaseModel):
    """Why the journal does not hold. ``record`` is the first one that is wrong, of gateway ``node``, where
    there is one: what is broken may be a sum of many.
    """

    detail: str
    invariant: str
    node: int | None
    record: int | None


class AuditHead(BaseModel):
    """Where the journal of one gateway ends."""

    node: int
    head: str


class AuditVerified(BaseModel):
    """A check of the whole journal, and of the accounts by it. ``head`` is an anchor to keep elsewhere."""

    ok: bool
    records: int
    accounts: int
    head: str
    heads: list[AuditHead]
    problem: AuditProblem | None
    took_ms: int
