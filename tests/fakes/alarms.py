"""Desks of alerts on records in memory, and what they told whom."""

from collections.abc import Callable, Sequence
from itertools import count

from palyra.alerts import words
from palyra.alerts.alert import Notice, NoticeState
from palyra.alerts.course import Finding
from palyra.alerts.notices import Target
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.ports import AlertRecords, Clock, NoticeFilter

OPS = Target("ops")


def numbered(start: int = 1) -> Callable[[str], str]:
    """Ids in order behind their prefix: ``alr_0001``."""
    numbers = count(start)
    return lambda prefix: f"{prefix}_{next(numbers):04}"


def desk(
    records: AlertRecords,
    clock: Clock,
    targets: Sequence[Target] = (OPS,),
    *,
    shared: bool = False,
    first_id: int = 1,
) -> Alarms:
    """A desk; give two on the same records different ``first_id``."""
    return Alarms(records, clock, numbered(first_id), targets, shared=shared)


def unpriced(model: str = "m", effect: str = "The call ran.") -> Finding:
    """Something found: a model without a price."""
    return words.unpriced_model("stub", model, effect)


def note(alarms: Alarms, finding: Finding) -> None:
    """Say that it was found."""
    alarms.note(finding.cause, lambda: finding)


async def sent_to(records: AlertRecords, target: str | None = None) -> list[Notice]:
    """Every notice, oldest first."""
    return list(reversed(await records.notices(NoticeFilter(target=target, limit=10_000))))


async def told(records: AlertRecords, target: str | None = None) -> list[tuple[str, str]]:
    """Event and cause of every notice, oldest first."""
    notices = await sent_to(records, target)
    assert all(each.state is NoticeState.WAITING for each in notices)
    return [(each.event, each.alert.cause) for each in notices]
