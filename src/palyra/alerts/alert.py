"""An alert: one per cause, counted while the cause lasts, and over when it is gone."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from palyra.core.instant import Instant


class Kind(StrEnum):
    """What is wrong (DESIGN section 7)."""

    BUDGET_THRESHOLD = "budget_threshold"
    BUDGET_EXHAUSTED = "budget_exhausted"
    FORECAST_EXHAUSTION = "forecast_exhaustion"
    APPROVAL_PENDING = "approval_pending"
    COST_SPIKE = "cost_spike"
    UNUSUAL_MODEL_MIX = "unusual_model_mix"
    PROVIDER_HEALTH = "provider_health"
    UNPRICED_MODEL = "unpriced_model"
    OVERRUN = "overrun"
    UNSETTLED_RESERVATION = "unsettled_reservation"


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """``firing`` until the cause is gone, then ``resolved`` for good: the next time is another alert."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Acknowledgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has seen it, when, and what they said."""

    at: Instant
    principal: str
    key_id: str
    note: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert. ``cause`` is the same for occurrences of the same thing; only one of a cause is firing.

    ``version`` counts changes, from 1. ``facts`` are numbers and names for programs, as JSON. ``policy_id``
    and ``principal`` say whose it is, where it is anybody's.
    """

    id: str
    version: int
    state: AlertState
    kind: Kind
    cause: str
    severity: Severity
    title: str
    message: str
    first_at: Instant
    last_at: Instant
    count: int = 1
    facts: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    policy_id: str | None = None
    principal: str | None = None
    acknowledged: Acknowledgement | None = None
    resolved_at: Instant | None = None
    resolution: str = ""


class NoticeState(StrEnum):
    """Where a message stands: ``dead`` after the last attempt failed, until somebody asks for another."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message on its way to one target. ``id`` is the same for every attempt: receivers tell by it.

    ``event`` is ``raised`` or ``resolved``. It is due at ``due_at``; whoever sends it moves that beyond the
    attempt first, so that nobody else does and that it comes back if the sender dies.
    """

    id: str
    version: int
    state: NoticeState
    target: str
    event: str
    alert: Alert
    created_at: Instant
    due_at: Instant
    attempts: int = 0
    sent_at: Instant | None = None
    error: str = ""
