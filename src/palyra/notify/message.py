"""What a notice says: in words for people, as JSON for programs."""

import msgspec

from palyra.alerts.alert import Alert, Notice, Severity
from palyra.alerts.notices import Event
from palyra.core.instant import NANOSECONDS, Instant, isoformat

_MARKS = {Severity.INFO: "Info", Severity.WARNING: "Warning", Severity.CRITICAL: "Critical"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def title_of(notice: Notice) -> str:
    """One line: how severe it is, or that it is over, and what it is."""
    mark = "Resolved" if notice.event == Event.RESOLVED else _MARKS[notice.alert.severity]
    return f"{mark}: {notice.alert.title}"


def text_of(notice: Notice) -> str:
    """A few lines of plain text."""
    alert = notice.alert
    lines = [alert.message]
    if notice.event == Event.RESOLVED and alert.resolved_at is not None:
        lasted = _duration(alert.resolved_at - alert.first_at)
        lines.append(f"Over since {isoformat(alert.resolved_at)}, after {lasted}. {alert.resolution}".strip())
    if alert.count > 1:
        lines.append(f"Seen {alert.count} times since {isoformat(alert.first_at)}.")
    about = [f"budget {alert.policy_id}"] if alert.policy_id else []
    about += [f"principal {alert.principal}"] if alert.principal else []
    lines.append(" · ".join([alert.kind.value, *about, alert.id]))
    return "\n".join(line for line in lines if line)


def payload_of(notice: Notice) -> bytes:
    """The JSON body of a webhook, the same at every attempt. Times are RFC 3339."""
    body = {
        "type": f"alert.{notice.event}",
        "timestamp": isoformat(notice.created_at),
        "data": _alert_as_json(notice.alert),
    }
    return msgspec.json.encode(body)


def _alert_as_json(alert: Alert) -> dict[str, object]:
    seen = alert.acknowledged
    return {
        "id": alert.id,
        "version": alert.version,
        "state": alert.state.value,
        "kind": alert.kind.value,
        "cause": alert.cause,
        "severity": alert.severity.value,
        "title": alert.title,
        "message": alert.message,
        "first_at": isoformat(alert.first_at),
        "last_at": isoformat(alert.last_at),
        "count": alert.count,
        "facts": alert.facts,
        "policy_id": alert.policy_id,
        "principal": alert.principal,
        "acknowledged": None
        if seen is None
        else {"at": isoformat(seen.at), "principal": seen.principal, "note": seen.note},
        "resolved_at": _optional_time(alert.resolved_at),
        "resolution": alert.resolution,
    }


def _optional_time(instant: Instant | None) -> str | None:
    return None if instant is None else isoformat(instant)


def _duration(nanoseconds: int) -> str:
    """The two largest units: ``2 h 5 min``."""
    left = max(0, nanoseconds) // NANOSECONDS
    parts: list[str] = []
    for seconds, unit in _UNITS:
        number, left = divmod(left, seconds)
        if number and len(parts) < 2:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "less than a second"
