"""Messages about alerts: who gets which, and how each goes from waiting to sent, or to dead after a day."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from palyra.alerts.alert import Alert, Kind, Notice, NoticeState, Severity
from palyra.core.instant import NANOSECONDS, Instant

ATTEMPTS_MAX = 23
"""With the waits between them about a day (24.8 hours): longer than a receiver is down unnoticed."""
ERROR_CHARS_MAX = 300

_WAIT_FIRST_NS = 5 * NANOSECONDS
_WAIT_MOST_NS = 7_200 * NANOSECONDS
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Event(StrEnum):
    """What happened to the alert: the ``event`` of a notice."""

    RAISED = "raised"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Target:
    """Who is told of what: alerts of ``kinds``, at least as severe as ``min_severity``.

    ``resolved``: also when such an alert is over. ``id`` is the ``target`` of its notices.
    """

    id: str
    kinds: frozenset[Kind] = frozenset(Kind)
    min_severity: Severity = Severity.INFO
    resolved: bool = True

    def wants(self, alert: Alert, event: Event) -> bool:
        """Whether this target is told of ``event``."""
        if event is Event.RESOLVED and not self.resolved:
            return False
        return alert.kind in self.kinds and _RANK[alert.severity] >= _RANK[self.min_severity]


def notices_for(
    alert: Alert, event: Event, targets: Iterable[Target], now: Instant, new_id: Callable[[], str]
) -> list[Notice]:
    """Return the new notices that ``event`` of ``alert`` makes, due at once: one for each target it is for.

    ``new_id`` gives a fresh id that sorts by time. The alert is kept as it is now.
    """
    return [
        Notice(
            id=new_id(),
            version=1,
            state=NoticeState.WAITING,
            target=target.id,
            event=event.value,
            alert=alert,
            created_at=now,
            due_at=now,
        )
        for target in targets
        if target.wants(alert, event)
    ]


def claimed(notice: Notice, until: Instant) -> Notice:
    """The next version for whoever is about to send it: nobody else does before ``until``.

    The attempt counts from here on, so that one that kills the sender is not made for ever.
    """
    return msgspec.structs.replace(
        notice, version=notice.version + 1, attempts=notice.attempts + 1, due_at=until
    )


def sent(notice: Notice, now: Instant) -> Notice:
    """The next version after the target took it."""
    return msgspec.structs.replace(
        notice, version=notice.version + 1, state=NoticeState.SENT, sent_at=now, error=""
    )


def failed(notice: Notice, now: Instant, error: str, random: float) -> Notice:
    """The next version after an attempt failed: due again after ``wait_ns``, dead after the last attempt.

    ``error`` is for people, must hold no secret and is cut to ERROR_CHARS_MAX. ``random`` is in [0, 1).
    """
    is_last = notice.attempts >= ATTEMPTS_MAX
    return msgspec.structs.replace(
        notice,
        version=notice.version + 1,
        state=NoticeState.DEAD if is_last else NoticeState.WAITING,
        due_at=now if is_last else Instant(now + wait_ns(notice.attempts, random)),
        error=error[:ERROR_CHARS_MAX],
    )


def revived(notice: Notice, now: Instant) -> Notice:
    """The next version of a dead notice that somebody wants sent after all: due at once, all attempts anew.

    Raises ValueError for one that is not dead: it is sent, or on its way.
    """
    if notice.state is not NoticeState.DEAD:
        raise ValueError(f"the notice is {notice.state.value}; only dead ones are sent again")
    return msgspec.structs.replace(
        notice, version=notice.version + 1, state=NoticeState.WAITING, attempts=0, due_at=now
    )


def wait_ns(attempts: int, random: float) -> int:
    """Return the nanoseconds from a failure to the next attempt, after so many ``attempts`` (from 1).

    5 s, doubled with each attempt up to 2 hours, and up to a quarter more or less by ``random`` in [0, 1), so
    that what failed together does not come back together.
    """
    wait = min(_WAIT_MOST_NS, _WAIT_FIRST_NS << (attempts - 1))
    return int(wait * (0.75 + random / 2))
