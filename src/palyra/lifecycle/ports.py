"""What the path needs from the outside: a clock, ids, the ledger, the records. Adapters implement these."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from palyra.alerts.alert import Alert, AlertState, Kind, Notice, NoticeState
from palyra.approvals.approval import Approval, State
from palyra.budgets.policy import Policy
from palyra.core.instant import Instant
from palyra.identity.keys import ApiKey
from palyra.ledger.account import Account, AccountKey, Balance, Shortfall
from palyra.ledger.event import Expired, Released, Settled
from palyra.ledger.held import Reservation
from palyra.lifecycle.activity import ActivityRecords
from palyra.lifecycle.changes import ChangeRecords
from palyra.lifecycle.decision import AnyDecision, CallState, Decision, Settlement, StoredDecision
from palyra.lifecycle.decision_search import DecisionSearch
from palyra.lifecycle.running import RunningRecords
from palyra.lifecycle.signed_in import SignInRecords
from palyra.lifecycle.standing import StandingRecords
from palyra.lifecycle.topics import FigureRecords
from palyra.lifecycle.usage import UsageRecords
from palyra.lifecycle.waiting import Wait

Done = Callable[[Exception | None], None]
"""Called once on the loop thread: with None when the change is on disk, else with why it is not."""


class Clock(Protocol):
    """Time that never runs backwards (P3)."""

    def now(self) -> Instant:
        """The current instant; at least the last one returned, across restarts."""
        ...


class Ids(Protocol):
    """New identifiers, unique across processes and sortable by time."""

    def request_id(self) -> str:
        """A fresh request id such as ``req_0193…``."""
        ...


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """``Idempotency-Key`` of a principal, with the SHA-256 fingerprint of endpoint and body (K1)."""

    principal: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyEntry:
    """What is known of a claimed key. ``finished`` means settled: a repeat must not be dispatched."""

    request_id: str
    fingerprint: bytes
    finished: bool
    expires_at: Instant


class Ledger(Protocol):
    """The money. Every change is applied in memory at once and is durable when ``done`` is called.

    Ordering: changes become durable in the order of the calls. After ``done(error)`` of a reserve the hold
    is gone again. A settle is retried by the adapter until it is durable or the process ends.
    """

    def balance(self, key: AccountKey) -> Balance:
        """Live balance of an account, empty if nothing was ever posted."""
        ...

    @property
    def accounts(self) -> Mapping[AccountKey, Account]:
        """The live accounts that anything was ever posted to: to read only, and to keep none of them."""
        ...

    def reserve(
        self,
        event: Reservation,
        decision: AnyDecision,
        claim: IdempotencyClaim | None,
        done: Done,
    ) -> Shortfall | None:
        """Hold on every account or on none (L5). A Shortfall: nothing changed, ``done`` is not called.

        Raises LedgerUnavailable when the ledger takes no new calls.
        """
        ...

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Post real usage (L3: the first resolution wins, a repeat only calls ``done``)."""
        ...

    def release(self, event: Released, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Void the hold; the idempotency key becomes free again."""
        ...

    def expire(self, event: Expired, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Post the held amounts, in doubt."""
        ...

    def pending(self) -> Sequence[Reservation]:
        """Reservations that are neither settled, released nor expired."""
        ...


class Others(Protocol):
    """Other gateways on the same accounts: what of a balance is not known here, and how to learn it.

    Each ``Wait`` is told LedgerUnavailable where the ledger cannot be read.
    """

    def unread(self, accounts: Sequence[tuple[AccountKey, Instant]]) -> Sequence[tuple[AccountKey, Instant]]:
        """Those of the accounts (with the ends of their windows) that were not read, or not for a while."""
        ...

    def read(self, accounts: Sequence[tuple[AccountKey, Instant]]) -> Wait:
        """Read how the accounts stand now."""
        ...

    def recall(self, accounts: Sequence[tuple[AccountKey, Instant]]) -> Wait:
        """The same, after the others had time to give back what they have of them and do not need."""
        ...

    def look_up(self, claim: IdempotencyClaim) -> Wait:
        """Read what is known of an Idempotency-Key."""
        ...


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """Slots of a shared limit that this gateway has now.

    ``sharers`` is how many other gateways want some, ``short`` whether one of them has too few.
    """

    granted: int
    sharers: int
    short: bool


class SharedRouting(Protocol):
    """What the gateways on one ledger share besides money: slots at providers, and models of sessions."""

    async def claim_slots(self, scope: str, wanted: int, most: int) -> SlotGrant:
        """Have ``wanted`` slots of ``scope`` in all, or as many as the others leave of ``most``.

        Raises LedgerUnavailable.
        """
        ...

    def look_up(self, principal: str, session: str, found: Callable[[str, Instant], None]) -> Wait:
        """Read which model a session runs on; ``found`` is told, before the ``Wait``, if it runs on any."""
        ...

    def keep(
        self,
        principal: str,
        session: str,
        model: str,
        moved: bool,
        sticky_ns: int,
        kept: Callable[[str], None],
    ) -> None:
        """Note the model of a session; ``kept`` is told which one holds: the first one chosen, unless the
        session ``moved``.
        """
        ...


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions to list, newest first; None means any, and an empty agent or session none given.

    ``first`` is the least request id wanted.
    """

    principal: str | None = None
    agent: str | None = None
    session: str | None = None
    model: str | None = None
    outcome: str | None = None
    state: CallState | None = None
    since: Instant | None = None
    until: Instant | None = None
    before: str | None = None
    limit: int = 50
    first: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change of rules for the journal: who did what to which object."""

    kind: str
    ref: str
    actor: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which approvals to list, newest first; None means any. ``before`` is the last id of the page before."""

    state: State | None = None
    requester: str | None = None
    policy_id: str | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to list, newest first; None means any. ``before`` is the last id of the page before.

    ``acknowledged``: whether somebody has seen it.
    """

    state: AlertState | None = None
    acknowledged: bool | None = None
    kind: Kind | None = None
    policy_id: str | None = None
    principal: str | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Which notices to list, newest first; None means any."""

    state: NoticeState | None = None
    target: str | None = None
    before: str | None = None
    limit: int = 50


class ApprovalRecords(Protocol):
    """Approvals as stored. Writes return when durable; of two after the same version the first wins."""

    async def open_approvals(self, now: Instant) -> Sequence[Approval]:
        """Those that are pending, or approved with a grant that has not ended, oldest first."""
        ...

    async def approval(self, approval_id: str) -> Approval | None:
        """One by its id."""
        ...

    async def approvals(self, wanted: ApprovalFilter) -> Sequence[Approval]:
        """Newest first; page on with ``before`` set to the last id."""
        ...

    async def save_approval(self, approval: Approval, audit: AuditEntry | None) -> None:
        """Store a new one (version 1) or the next version of one, in one commit with its audit entry.

        Raises Superseded where the stored version is not the one before, or where another pending one has the
        same cause.
        """
        ...


class AlertRecords(Protocol):
    """Alerts and the messages about them (the outbox), as stored; writes as in ``ApprovalRecords``."""

    async def open_alerts(self) -> Sequence[Alert]:
        """Those that are firing, oldest first."""
        ...

    async def alert(self, alert_id: str) -> Alert | None:
        """One by its id."""
        ...

    async def alerts(self, wanted: AlertFilter) -> Sequence[Alert]:
        """Newest first; page on with ``before`` set to the last id."""
        ...

    async def save_alert(self, alert: Alert, notices: Sequence[Notice], audit: AuditEntry | None) -> None:
        """Store a new one or its next version, with new notices and an audit entry, in one commit.

        Raises Superseded as ``save_approval`` does; only one firing alert has a cause.
        """
        ...

    async def due_notices(self, now: Instant, limit: int, busy: Collection[str] = ()) -> Sequence[Notice]:
        """Waiting ones that are due, the longest due first; none to the targets in ``busy``."""
        ...

    async def notice(self, notice_id: str) -> Notice | None:
        """One by its id."""
        ...

    async def notices(self, wanted: NoticeFilter) -> Sequence[Notice]:
        """Newest first."""
        ...

    async def save_notice(self, notice: Notice) -> None:
        """Store the next version of a notice. Raises Superseded where somebody else did."""
        ...

    async def drop_old(self, before: Instant) -> None:
        """Forget resolved alerts and sent notices whose last change was before that."""
        ...


class ConfigRecords(Protocol):
    """What of the configuration was recorded last, so that a change of it is journaled like any other."""

    async def configured(self) -> Mapping[str, str]:
        """By name (``policy/x``, ``key/ci``, ``price/openai/gpt-4o``): its document as JSON text."""
        ...

    async def record_configured(
        self, name: str, before: str | None, after: str | None, audit: AuditEntry
    ) -> None:
        """Put ``after`` (None: nothing) in the place of ``before``, in one commit with the audit entry.

        Raises Superseded where something else than ``before`` is recorded.
        """
        ...


class Records(
    ApprovalRecords,
    AlertRecords,
    ConfigRecords,
    SignInRecords,
    UsageRecords,
    ActivityRecords,
    RunningRecords,
    StandingRecords,
    ChangeRecords,
    FigureRecords,
    DecisionSearch,
    Protocol,
):
    """Everything that is stored and is not money. Reads never block the loop; writes return when durable."""

    def record_denial(self, decision: Decision) -> None:
        """Store a refused call; it has no account to change."""
        ...

    def idempotency(self, principal: str, key: str) -> IdempotencyEntry | None:
        """What is known of an Idempotency-Key that has not yet expired."""
        ...

    async def decision(self, request_id: str) -> StoredDecision | None:
        """A decision by request id."""
        ...

    async def decisions(self, wanted: DecisionFilter) -> Sequence[StoredDecision]:
        """Decisions, newest first; page on with ``before`` set to the last request id."""
        ...

    async def policies(self) -> Sequence[Policy]:
        """Policies made through the API, newest version of each, deleted ones left out."""
        ...

    async def policy_version(self, policy_id: str) -> int:
        """The highest version ever stored under this id, deleted policies included; 0 if there is none."""
        ...

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        """Store a new version of a policy."""
        ...

    async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
        """Mark a policy deleted; its versions and accounts stay."""
        ...

    async def keys(self) -> Sequence[ApiKey]:
        """Keys made at run time, revoked ones included."""
        ...

    async def save_key(self, key: ApiKey, audit: AuditEntry) -> None:
        """Store a new key or its revocation."""
        ...

    def input_ratio(self, provider: str, model: str) -> float | None:
        """Observed input tokens per request byte of a model, None before enough calls were seen."""
        ...
