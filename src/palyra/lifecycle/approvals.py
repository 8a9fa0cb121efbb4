"""The desk where people decide: the only writer of approvals, and what calls that wait are told by.

What is open is kept in memory beside what is stored. Every change is on disk before it holds. Where other
gateways decide, too, the first change of a version wins, and the loser looks again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
from msgspec import structs

from palyra.approvals.approval import Approval, State
from palyra.approvals.rules import (
    Decider,
    Offer,
    approved,
    asked_again,
    denied,
    expired,
    revoked,
    spent,
    voided,
)
from palyra.budgets.policy import digest_of
from palyra.core.errors import ApprovalClosed, Forbidden, LedgerUnavailable, NotFound, PalyraError, Superseded
from palyra.core.instant import NANOSECONDS, Instant, isoformat
from palyra.identity.keys import Role, Subject
from palyra.ledger.account import AccountKey
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.ports import ApprovalRecords, AuditEntry, Clock
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.waiting import Errand, Wait

CHANGES_TRIED_MAX = 8
WAITING_MAX = 1_000
"""So many calls may be held for a decision at a time (V2)."""
DENIED_KEPT_MAX = 10_000
_OF_THE_STORE = frozenset({"id", "version", "cause"})
_TIMES = ("at", "_start", "_end")
_PALYRA = "palyra"
"""The actor of what time or an edit did."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """How long requests are open, how many of one principal's may be, and how long a call may wait."""

    expire_after_ns: int = 24 * 3_600 * NANOSECONDS
    pending_max: int = 20
    wait_max_s: int = 300


class Approvals:
    """Requests that are open, and the decisions on them.

    ``publish`` is given the live grants whenever they change, ``tell`` each approval that changed.
    ``shared``: other gateways write approvals, too.
    """

    def __init__(
        self,
        records: ApprovalRecords,
        rules: Rules,
        clock: Clock,
        new_id: Callable[[], str],
        publish: Callable[[Grants], None],
        terms: ApprovalTerms,
        *,
        shared: bool = False,
        tell: Callable[[Approval], None] = lambda _approval: None,
    ) -> None:
        self.terms = terms
        self.new_id = new_id
        self.address = ""
        """Where people reach this daemon, once it listens."""
        self.changes = 0
        """How often anything changed of what is known here."""
        self._records = records
        self._rules = rules
        self._clock = clock
        self._publish = publish
        self._tell = tell
        self._shared = shared
        self._grants = Grants()
        self._open: dict[str, Approval] = {}
        self._by_cause: dict[str, str] = {}
        self._denied: OrderedDict[str, Approval] = OrderedDict()
        self._ruled: list[Approval] = []
        """Decided, and the calls that wait for it are not told yet."""
        self._joined: set[str] = set()
        """Pending ones that were asked for again since they were stored."""
        self._waiting: dict[str, list[_Waiter]] = {}
        self._waiters = 0
        self._leaving = False
        self._writing = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    def url_of(self, approval_id: str) -> str:
        """Where people see an approval."""
        return f"{self.address}/console/approvals?id={approval_id}"

    @property
    def open(self) -> Sequence[Approval]:
        """What is pending, or granted and not over, oldest first."""
        return sorted(self._open.values(), key=lambda approval: approval.id)

    def raising(self, key: AccountKey, now: Instant) -> list[Approval]:
        """The live grants that raise the limit of an account, in the order in which they were given."""
        return self._grants.raising(key, now)

    @property
    def waiting(self) -> int:
        """Calls that are held for a decision."""
        return self._waiters

    async def load(self) -> None:
        """Read what is open; what closed meanwhile is told of."""
        found = {each.id: each for each in await self._records.open_approvals(self._clock.now())}
        gone = [each for each in self._open.values() if each.id not in found]
        for approval in gone:
            self._take(await self._records.approval(approval.id) or approval)
        for approval in found.values():
            self._take(approval)
        self._republish()

    # Calls.

    def ask(self, draft: Approval, known: Grants) -> Errand[Approval | None]:
        """Make a request, or join the one of the same cause; None where its principal has too many.

        A request that was denied stays denied until it would have expired. What was granted on the account
        beside what was ``known`` is returned in its place: the call may have all that it needs by now.
        """
        return Errand(self._ask(draft, known), self._running)

    def read(self, approval_ids: Sequence[str]) -> Errand[list[Approval]]:
        """Approvals that a call shows, those that exist, as they stand now in the database."""
        return Errand(self._read(approval_ids), self._running)

    def unread(self, approval_ids: Iterable[str]) -> list[str]:
        """Those of the ids that another gateway may know more of."""
        if not self._shared:
            return []
        known = self._open
        return [each for each in approval_ids if each not in known or known[each].state is State.PENDING]

    async def decided(self, approval: Approval, seconds: float) -> Approval:
        """The approval once it is not pending any more, or as it is when the time is up.

        Awaits nothing but a ``Wait``. Returns at once where too many calls wait already.
        """
        if self._waiters >= WAITING_MAX or self._leaving:
            return approval
        if self._was_decided(approval):
            found = await self.read([approval.id])
            return found[0] if found else approval
        waiter = _Waiter(approval)
        self._waiting.setdefault(approval.id, []).append(waiter)
        self._waiters += 1
        timer = asyncio.get_running_loop().call_later(seconds, waiter.over.tell)
        try:
            await waiter.over
        finally:
            timer.cancel()
            self._waiters -= 1
            self._forget(waiter)
        return waiter.approval

    def leave(self) -> None:
        """The daemon stops: calls that wait are told how things stand, and what they ask for stays asked."""
        self._leaving = True
        for waiters in tuple(self._waiting.values()):
            for waiter in tuple(waiters):
                waiter.over.tell()

    def note_use(self, approval_ids: Sequence[str], request_id: str, key_id: str) -> None:
        """A ``once`` grant let this request through; the ledger has it already, here it is for people."""
        for approval_id in approval_ids:
            Errand(self._note_use(approval_id, request_id, key_id), self._running)

    # People.

    async def request(self, draft: Approval) -> Approval:
        """Ask up front. Raises ApprovalClosed where the requester has too many open requests."""
        found = await self._alone(lambda: self._join_or_make(draft))
        if found is None:
            raise ApprovalClosed(
                f"{draft.requester!r} has {self.terms.pending_max} requests open already; "
                "have some decided first."
            )
        return found

    async def approve(self, approval_id: str, offer: Offer, reason: str, *, by: Subject) -> Approval:
        """Grant. Raises NotFound, ApprovalClosed, Forbidden for one's own, FieldError for the offer."""

        def change(approval: Approval, now: Instant) -> Approval:
            return approved(approval, offer, _decider(by), reason, now)

        return await self._decide(approval_id, change, by)

    async def deny(self, approval_id: str, reason: str, *, by: Subject) -> Approval:
        """Refuse. Raises NotFound, ApprovalClosed, Forbidden for one's own."""

        def change(approval: Approval, now: Instant) -> Approval:
            return denied(approval, _decider(by), reason, now)

        return await self._decide(approval_id, change, by)

    async def revoke(self, approval_id: str, reason: str, *, by: Subject) -> Approval:
        """Take a live grant back; the next call is decided without it. Raises NotFound, ApprovalClosed."""

        async def attempt() -> Approval:
            approval = await self.find(approval_id)
            ruled = revoked(approval, _decider(by), reason, self._clock.now())
            return await self._save(ruled, approval, "approval.revoked", by.key_id)

        return await self._alone(attempt)

    async def find(self, approval_id: str) -> Approval:
        """One approval as it stands. Raises NotFound."""
        approval = self._open.get(approval_id) or await self._records.approval(approval_id)
        if approval is None:
            raise NotFound(f"There is no approval {approval_id!r}.")
        return approval

    # Time.

    async def sweep(self) -> None:
        """Expire what nobody decided, void what was asked of a budget that is another one now, store how
        often others were asked for, and forget grants that are over.
        """
        now = self._clock.now()
        for approval in self.open:
            if approval.state is State.PENDING:
                ending = self._ending(approval, now)
                if ending is not None or approval.id in self._joined:
                    await self._try(lambda approval=approval: self._bring_up_to_date(approval.id))
            elif not approval.is_open(now):
                self._drop(approval)
        for cause, approval in tuple(self._denied.items()):
            if approval.expires_at <= now:
                del self._denied[cause]
        self._republish()

    # How.

    async def _ask(self, draft: Approval, known: Grants) -> Approval | None:
        async def attempt() -> Approval | None:
            return self._granted_since(known, draft) or await self._join_or_make(draft)

        pending = self._pending_of(draft.cause)
        open_still = pending is not None and self._ending(pending, draft.asked_at) is None
        if pending is not None and open_still and not self._shared:
            return self._granted_since(known, draft) or self._join(pending, draft)
        return await self._alone(attempt)

    def _granted_since(self, known: Grants, draft: Approval) -> Approval | None:
        before = {each.id for each in known.of(draft.policy_id, draft.entity)}
        live = self._grants.of(draft.policy_id, draft.entity)
        return next((each for each in live if each.id not in before), None)

    async def _join_or_make(self, draft: Approval) -> Approval | None:
        refused = self._denied.get(draft.cause)
        if refused is not None and draft.asked_at < refused.expires_at:
            return refused
        known = self._pending_of(draft.cause)
        if known is not None and self._ending(known, draft.asked_at) is None:
            return self._join(known, draft)
        if known is not None:
            await self._bring_up_to_date(known.id)
        mine = [each for each in self._open.values() if each.requester == draft.requester]
        if sum(each.state is State.PENDING for each in mine) >= self.terms.pending_max:
            return None
        return await self._save(draft, None, "approval.requested", draft.requester_key)

    def _join(self, known: Approval, draft: Approval) -> Approval:
        """Counted in memory, and stored by the next sweep: a caller that tries again costs no commit."""
        joined = self._open[known.id] = asked_again(known, draft)
        self._joined.add(known.id)
        return joined

    async def _read(self, approval_ids: Sequence[str]) -> list[Approval]:
        found: list[Approval] = []
        for approval_id in approval_ids:
            approval = await self._records.approval(approval_id)
            if approval is not None:
                found.append(approval)
                self._take(approval)
        self._republish()
        return found

    async def _decide(
        self, approval_id: str, change: Callable[[Approval, Instant], Approval], by: Subject
    ) -> Approval:
        async def attempt() -> Approval:
            approval = await self.find(approval_id)
            now = self._clock.now()
            if approval.state is State.PENDING and self._ending(approval, now) is not None:
                closed = await self._bring_up_to_date(approval.id)
                raise ApprovalClosed(f"Approval {approval.id} cannot be decided: {_why(closed)}.")
            # The key may have lost its role since the request came in (A1).
            current = self._rules.subject_of(by.key_id)
            if current is None or not current.may_act_as(Role.OPERATOR):
                raise Forbidden("This needs a key with the role 'operator' or a higher one.")
            ruled = change(approval, now)
            return await self._save(ruled, approval, f"approval.{ruled.state.value}", by.key_id)

        return await self._alone(attempt)

    async def _bring_up_to_date(self, approval_id: str) -> Approval:
        approval = self._open[approval_id]
        now = self._clock.now()
        ending = self._ending(approval, now)
        if ending is None:
            return await self._save(approval, approval, None, _PALYRA)
        closed = ending(approval, now)
        return await self._save(closed, approval, f"approval.{closed.state.value}", _PALYRA)

    def _ending(self, approval: Approval, now: Instant) -> Callable[[Approval, Instant], Approval] | None:
        """What has to become of a pending request, decided or not; None if it can still be decided."""
        policy = self._rules.snapshot.policies.get(approval.policy_id)
        if policy is None:
            return lambda approval, now: voided(approval, "the budget was deleted", now)
        if digest_of(policy) != approval.policy_digest:
            return lambda approval, now: voided(approval, "the budget was changed", now)
        return expired if approval.expires_at <= now else None

    async def _note_use(self, approval_id: str, request_id: str, key_id: str) -> None:
        async def attempt() -> Approval:
            approval = await self.find(approval_id)
            return await self._save(spent(approval, request_id), approval, "approval.used", key_id)

        await self._try(attempt)

    async def _save(
        self, approval: Approval, before: Approval | None, kind: str | None, actor: str
    ) -> Approval:
        saved = structs.replace(approval, version=approval.version + 1)
        audit = None
        if kind is not None:
            audit = AuditEntry(kind, saved.id, actor, _shown(before), _shown(saved))
        await self._records.save_approval(saved, audit)
        self._joined.discard(saved.id)
        self._take(saved)
        self._republish()
        return saved

    async def _alone(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a change to its end, even if whoever asked goes away; anew where another came first."""

        async def serialised() -> T:
            async with self._writing:
                for _ in range(CHANGES_TRIED_MAX):
                    try:
                        return await change()
                    except Superseded:
                        await self.load()
                raise LedgerUnavailable(
                    "other gateways change the same approvals again and again; retry shortly"
                )

        task = asyncio.get_running_loop().create_task(serialised())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _try(self, change: Callable[[], Coroutine[Any, Any, Approval]]) -> None:
        """Make a change that nobody waits for; what cannot be made now is made by a later sweep."""
        try:
            await self._alone(change)
        except (PalyraError, KeyError):
            return

    def _take(self, approval: Approval) -> None:
        """Go by this version from now on."""
        known = self._open.get(approval.id)
        if known is not None and known.version >= approval.version:
            return
        self.changes += 1
        if approval.is_open(self._clock.now()):
            self._open[approval.id] = approval
            if approval.state is State.PENDING:
                self._by_cause[approval.cause] = approval.id
        else:
            self._drop(approval)
        if approval.state is not State.PENDING:
            if self._by_cause.get(approval.cause) == approval.id:
                del self._by_cause[approval.cause]
            self._ruled.append(approval)
        if approval.state is State.DENIED:
            self._denied[approval.cause] = approval
            while len(self._denied) > DENIED_KEPT_MAX:
                self._denied.popitem(last=False)
        self._tell(approval)

    def _drop(self, approval: Approval) -> None:
        self._open.pop(approval.id, None)
        self._joined.discard(approval.id)

    def _republish(self) -> None:
        """Let the live grants hold, then wake the calls that wait for what was decided."""
        now = self._clock.now()
        self._grants = Grants(each for each in self.open if each.live_grant(now) is not None)
        self._publish(self._grants)
        ruled, self._ruled = self._ruled, []
        for approval in ruled:
            for waiter in self._waiting.pop(approval.id, ()):
                waiter.approval = approval
                waiter.over.tell()

    def _was_decided(self, approval: Approval) -> bool:
        """Whether somebody decided, after a call learned that it is pending and before it waits for that."""
        known = self._open.get(approval.id)
        return known is None or known.state is not State.PENDING

    def _pending_of(self, cause: str) -> Approval | None:
        approval_id = self._by_cause.get(cause)
        return None if approval_id is None else self._open.get(approval_id)

    def _forget(self, waiter: "_Waiter") -> None:
        waiters = self._waiting.get(waiter.approval.id, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiting.pop(waiter.approval.id, None)


class _Waiter:
    """A call that is held for a decision on ``approval``, and learns of it there."""

    __slots__ = ("approval", "over")

    def __init__(self, approval: Approval) -> None:
        self.approval = approval
        self.over = Wait()


def _decider(by: Subject) -> Decider:
    return Decider(by.principal, by.key_id)


def _why(approval: Approval) -> str:
    ruling = approval.ruling
    return approval.state.value if ruling is None else f"it is {approval.state.value}, as {ruling.reason}"


def _shown(approval: Approval | None) -> dict[str, object] | None:
    """For the journal: with times that people can read, and without what only the store goes by."""
    if approval is None:
        return None
    return _readable(msgspec.to_builtins(approval), _OF_THE_STORE)


def _readable(fields: dict[str, object], left_out: frozenset[str] = frozenset()) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            shown[name] = _readable(cast("dict[str, object]", value))
        elif isinstance(value, int) and name.endswith(_TIMES):
            shown[name] = isoformat(value)
        elif name not in left_out:
            shown[name] = value
    return shown
