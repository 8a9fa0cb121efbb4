"""The shapes of alerts and of what is sent for them."""

from typing import Any

from pydantic import BaseModel


class AlertShown(BaseModel):
    """Something that is wrong, or was. Amounts in ``facts`` are in the unit of ``facts.metric``."""

    id: str
    version: int
    state: str
    kind: str
    severity: str
    cause: str
    title: str
    message: str
    first_at: str
    last_at: str
    count: int
    facts: dict[str, Any]
    policy_id: str | None
    principal: str | None
    acknowledged: dict[str, str] | None
    resolved_at: str | None
    resolution: str


class AlertPage(BaseModel):
    """Alerts, newest first."""

    items: list[AlertShown]
    next_cursor: str | None


class NoticeShown(BaseModel):
    """A message about an alert to one target; ``error`` is of the last attempt."""

    id: str
    version: int
    state: str
    target: str
    event: str
    alert_id: str
    kind: str
    severity: str
    title: str
    created_at: str
    due_at: str
    attempts: int
    sent_at: str | None
    error: str


class NoticePage(BaseModel):
    """Messages, newest first."""

    items: list[NoticeShown]
    next_cursor: str | None


class TestedTargets(BaseModel):
    """The test messages on their way."""

    notices: list[NoticeShown]
