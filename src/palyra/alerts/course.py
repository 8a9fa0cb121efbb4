"""The course of an alert: raised, seen again, acknowledged, resolved. Every step is a new version.

Nothing follows a resolution: the same cause is another alert the next time, with another id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from palyra.alerts.alert import Acknowledgement, Alert, AlertState, Kind, Severity
from palyra.core.instant import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check or a call found to be wrong, before anybody looked whether an alert says so already.

    The fields are those of ``Alert``. ``cause`` is spelled by ``palyra.alerts.causes``, the words by
    ``palyra.alerts.words``.
    """

    kind: Kind
    cause: str
    severity: Severity
    title: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    policy_id: str | None = None
    principal: str | None = None


def raised(alert_id: str, finding: Finding, now: Instant, times: int = 1) -> Alert:
    """A new alert of a cause that no firing one has. ``times``: how often it happened so far, at least 1.

    Raises ValueError if ``times`` is below 1.
    """
    return Alert(
        id=alert_id,
        version=1,
        state=AlertState.FIRING,
        kind=finding.kind,
        cause=finding.cause,
        severity=finding.severity,
        title=finding.title,
        message=finding.message,
        first_at=now,
        last_at=now,
        count=_at_least_once(times),
        facts=finding.facts,
        policy_id=finding.policy_id,
        principal=finding.principal,
    )


def seen_again(alert: Alert, finding: Finding, now: Instant, times: int = 1) -> Alert:
    """The firing alert after its cause was found ``times`` more: counted, with the newest words and facts.

    Who acknowledged it stays. Raises ValueError if the alert is resolved, has another cause, or ``times`` is
    below 1.
    """
    if alert.state is not AlertState.FIRING:
        raise ValueError(f"alert {alert.id} is resolved; the next time is another alert")
    if finding.cause != alert.cause:
        raise ValueError(f"alert {alert.id} has the cause {alert.cause!r}, not {finding.cause!r}")
    return msgspec.structs.replace(
        alert,
        version=alert.version + 1,
        severity=finding.severity,
        title=finding.title,
        message=finding.message,
        facts=finding.facts,
        last_at=max(alert.last_at, now),
        count=alert.count + _at_least_once(times),
    )


def acknowledged(alert: Alert, acknowledgement: Acknowledgement) -> Alert:
    """The alert with who has seen it. The first who did stays: a second one changes nothing.

    A resolved alert can be acknowledged too: somebody may want to say that they saw it afterwards.
    """
    if alert.acknowledged is not None:
        return alert
    return msgspec.structs.replace(alert, version=alert.version + 1, acknowledged=acknowledgement)


def resolved(alert: Alert, now: Instant, why: str) -> Alert:
    """The alert after its cause is gone. ``why`` is a sentence for people. The first resolution stays."""
    if alert.state is AlertState.RESOLVED:
        return alert
    return msgspec.structs.replace(
        alert,
        version=alert.version + 1,
        state=AlertState.RESOLVED,
        resolved_at=max(alert.last_at, now),
        resolution=why,
    )


def _at_least_once(times: int) -> int:
    if times < 1:
        raise ValueError("an alert is about something that happened at least once")
    return times
