"""The shapes of approvals."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class ApprovalShown(BaseModel):
    """A request to go over a budget. ``limit``, ``consumed``, ``amount``, ``asked``, ``projected`` and
    ``remaining`` are as at the last ask, ``budget_now`` is as now.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    version: int
    subject: str
    state: str
    standing: str
    requester: str
    requester_key: str
    principal: str | None
    agent: str | None
    session: str | None
    model: str | None
    request_id: str | None
    policy_id: str
    policy_version: int
    scope: str
    metric: str
    interval: str
    entity: str
    window_start: str | None
    window_end: str | None
    risk: str
    occurrences: int
    reason: str
    created_at: str
    asked_at: str
    expires_at: str
    grant: dict[str, Any] | None
    decided_by: str | None
    decided_at: str | None
    decision_reason: str | None
    revocation: dict[str, Any] | None
    used_by: str | None
    url: str
    budget_now: dict[str, Any] | None


class ApprovalPage(BaseModel):
    """Requests, newest first."""

    items: list[ApprovalShown]
    next_cursor: str | None
