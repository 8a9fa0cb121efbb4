"""Alerts and the messages about them as JSON documents."""

from palyra.alerts.alert import Alert, Notice
from palyra.core.instant import Instant, isoformat


def alert_document(alert: Alert) -> dict[str, object]:
    """The alert with all that is known. Amounts in ``facts`` are in the unit of ``facts.metric``."""
    seen = alert.acknowledged
    return {
        "id": alert.id,
        "version": alert.version,
        "state": alert.state.value,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "cause": alert.cause,
        "title": alert.title,
        "message": alert.message,
        "first_at": isoformat(alert.first_at),
        "last_at": isoformat(alert.last_at),
        "count": alert.count,
        "facts": dict(alert.facts),
        "policy_id": alert.policy_id,
        "principal": alert.principal,
        "acknowledged": None
        if seen is None
        else {
            "at": isoformat(seen.at),
            "principal": seen.principal,
            "key_id": seen.key_id,
            "note": seen.note,
        },
        "resolved_at": _time(alert.resolved_at),
        "resolution": alert.resolution,
    }


def notice_document(notice: Notice) -> dict[str, object]:
    """One message on its way: where to, about what, and how far it came. ``error`` is of the last attempt."""
    alert = notice.alert
    return {
        "id": notice.id,
        "version": notice.version,
        "state": notice.state.value,
        "target": notice.target,
        "event": notice.event,
        "alert_id": alert.id,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "title": alert.title,
        "created_at": isoformat(notice.created_at),
        "due_at": isoformat(notice.due_at),
        "attempts": notice.attempts,
        "sent_at": _time(notice.sent_at),
        "error": notice.error,
    }


def _time(at: Instant | None) -> str | None:
    return None if at is None else isoformat(at)
