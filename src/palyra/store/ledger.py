"""The ledger over a journal: balances change in memory at once, calls go on when the journal has them.

``JournaledLedger`` implements the ``Ledger`` port for every single-owner store. What differs between them
is only the ``Journal`` behind it: a thread that commits to SQLite, or a list in memory.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.limits import IDEMPOTENCY_TTL_S
from palyra.ledger.account import Account, AccountKey, Balance, Shortfall
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, LedgerEvent, Released, Settled
from palyra.ledger.held import Entries, Held, HeldEntries, Reservation
from palyra.lifecycle.decision import AnyDecision, CallState, Settlement, WrittenDecision, call_id_of
from palyra.lifecycle.ports import Done, IdempotencyClaim, IdempotencyEntry
from palyra.store.codec import encode
from palyra.store.page import Record
from palyra.store.write import NOTHING, ClaimChange, Filed, RollupDelta, Write, rollup_delta, rollup_key

_CLAIM_TTL_NS = int(IDEMPOTENCY_TTL_S * NANOSECONDS)
RATIO_CALLS_MIN_BYTES = 2_000
"""Below this many metered request bytes a model's tokens-per-byte ratio is noise."""


class Journal(Protocol):
    """Takes writes in order and makes them durable in that order."""

    def accepts(self) -> bool:
        """Whether a new reservation may be written now."""
        ...

    def append(self, write: Write) -> None:
        """Queue one write; its ``done`` is called on the loop thread when it is durable or has failed."""
        ...


class JournaledLedger:
    """Live balances, unresolved reservations and idempotency claims over a Journal."""

    def __init__(self, journal: Journal, book: Book) -> None:
        self._journal = journal
        self._book = book
        self._claims: dict[tuple[str, str], IdempotencyEntry] = {}
        # By the id that the caller was told: a call that is taken up elsewhere keeps its claim.
        self._claim_of: dict[str, IdempotencyClaim] = {}
        self._metered: dict[tuple[str, str], tuple[int, int]] = {}
        self._in_doubt: dict[str, RollupDelta] = {}
        self._open: dict[str, Filed] = {}
        self._on_reserved = self._reserve_landed
        self._on_closed = self._close_landed

    @property
    def open_calls(self) -> Collection[Filed]:
        """Calls whose end is not stored yet: their decisions have no row in the database."""
        return self._open.values()

    def open_call(self, request_id: str) -> Filed | None:
        """The same by request id."""
        return self._open.get(request_id)

    @property
    def book(self) -> Book:
        """The balances; read-only for everybody else."""
        return self._book

    @property
    def claims_kept(self) -> int:
        """How many Idempotency-Keys are in memory."""
        return len(self._claims)

    @property
    def accounts(self) -> Mapping[AccountKey, Account]:
        """See ``Ledger.accounts``."""
        return self._book.accounts

    def balance(self, key: AccountKey) -> Balance:
        """See ``Ledger.balance``."""
        return self._book.balance(key)

    def pending(self) -> Sequence[Reservation]:
        """See ``Ledger.pending``."""
        return list(self._book.pending.values())

    def reserve(
        self,
        event: Reservation,
        decision: AnyDecision,
        claim: IdempotencyClaim | None,
        done: Done,
    ) -> Shortfall | None:
        """See ``Ledger.reserve``."""
        essential = self._must_keep(event)
        entries = self._hold(event)
        if isinstance(entries, Shortfall):
            return entries
        call = self._open[event.id] = Filed(event.id, decision)
        write = Write(
            event.at,
            essential,
            call=call,
            state=CallState.PENDING,
            entries=entries,
            landed=self._on_reserved,
            done=done,
        )
        if claim is not None:
            write.claim = self._open_claim(event, claim)
        write_down(write, event, decision)
        self._journal.append(write)
        return None

    def _must_keep(self, event: Reservation) -> bool:  # noqa: ARG002 (a shared ledger looks at it)
        """Whether the reservation is essential. Raises LedgerUnavailable where it cannot be written."""
        if not self._journal.accepts():
            raise LedgerUnavailable("the ledger cannot take new calls right now; retry shortly")
        return False

    def _hold(self, event: Reservation) -> Entries | Shortfall:
        """Place a hold, on all of its accounts or on none."""
        if isinstance(event, Held):
            return self._book.hold(event) or HeldEntries(event, None)
        return self._book.shortfall(event.holds) or self._book.apply(event)

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.settle``."""
        late = event.id in self._book.in_doubt
        if not late and event.id not in self._book.pending:
            self._repeat(event, done)
            return
        if late:
            event, settlement = replace(event, late=True), replace(settlement, late=True)
        delta = rollup_delta(decision, settlement)
        if late:
            delta = delta.minus(self._in_doubt.pop(event.id, NOTHING))
        self._meter(decision, delta)
        self._close(event, decision, settlement, delta, done)

    def release(self, event: Released, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.release``."""
        self._close(event, decision, settlement, rollup_delta(decision, settlement), done)

    def expire(self, event: Expired, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.expire``."""
        delta = rollup_delta(decision, settlement)
        if event.id in self._book.pending:
            self._in_doubt[event.id] = delta
        self._close(event, decision, settlement, delta, done)

    def idempotency(self, principal: str, key: str, now: Instant) -> IdempotencyEntry | None:
        """The claim on a key, dropped once its time to live is over."""
        entry = self._claims.get((principal, key))
        if entry is not None and entry.finished and entry.expires_at <= now:
            del self._claims[principal, key]
            return None
        return entry

    def input_ratio(self, provider: str, model: str) -> float | None:
        """Observed input tokens per request byte, None before enough was seen."""
        metered_bytes, tokens = self._metered.get((provider, model), (0, 0))
        return tokens / metered_bytes if metered_bytes >= RATIO_CALLS_MIN_BYTES else None

    def restore(
        self,
        claims: Iterable[ClaimChange],
        metered: Iterable[tuple[str, str, int, int]],
        in_doubt: Iterable[tuple[str, RollupDelta]],
        pending: Iterable[Filed],
    ) -> None:
        """Put back what was read at start-up. Claims come in the order of their expiry."""
        self._in_doubt.update(in_doubt)
        self._open.update((call.id, call) for call in pending)
        for row in claims:
            entry = IdempotencyEntry(
                row.request_id, bytes.fromhex(row.fingerprint), bool(row.finished), Instant(row.expires_at)
            )
            self._claims[row.principal, row.key] = entry
            if not row.finished:
                self._claim_of[row.request_id] = IdempotencyClaim(row.principal, row.key, entry.fingerprint)
        for provider, model, metered_bytes, tokens in metered:
            self._metered[provider, model] = (metered_bytes, tokens)

    def _close(
        self,
        event: LedgerEvent,
        decision: AnyDecision,
        settlement: Settlement,
        delta: RollupDelta,
        done: Done,
    ) -> None:
        if isinstance(event, Released | Expired) and event.id not in self._book.pending:
            self._repeat(event, done)
            return
        write = Write(
            event.at,
            True,
            call=self._open.get(event.id) or Filed(event.id, decision),
            state=settlement.state,
            reservation=encode(self._book.reservation(event.id)) if isinstance(event, Expired) else None,
            entries=self._book.apply(event),
            rollup=None if delta == NOTHING else (rollup_key(decision), delta),
            landed=self._on_closed,
            done=done,
        )
        if self._claim_of:
            write.claim = self._close_claim(event)
        write_down(write, event, settlement)
        self._journal.append(write)

    def _repeat(self, event: LedgerEvent, done: Done) -> None:
        """Changes nothing; ``done`` waits its turn, so that it is not told before the first outcome is."""
        self._journal.append(Write(event.at, essential=True, done=done))

    def _drop_old_claims(self, now: Instant) -> None:
        """Claims stand in the order of their expiry, so only the first ones can be over."""
        while self._claims:
            (principal, key), entry = next(iter(self._claims.items()))
            if not entry.finished or entry.expires_at > now:
                return
            del self._claims[principal, key]
            change = ClaimChange(
                principal, key, entry.fingerprint.hex(), entry.request_id, None, entry.expires_at
            )
            self._journal.append(Write(now, essential=False, claim=change))

    def _open_claim(self, event: Reservation, claim: IdempotencyClaim) -> ClaimChange:
        self._drop_old_claims(event.at)
        expires_at, call_id = event.at + _CLAIM_TTL_NS, call_id_of(event.id)
        self._claims[claim.principal, claim.key] = IdempotencyEntry(
            call_id, claim.fingerprint, finished=False, expires_at=Instant(expires_at)
        )
        self._claim_of[call_id] = claim
        return ClaimChange(claim.principal, claim.key, claim.fingerprint.hex(), call_id, 0, expires_at)

    def _close_claim(self, event: LedgerEvent) -> ClaimChange | None:
        call_id = call_id_of(event.id)
        claim = self._claim_of.pop(call_id, None)
        if claim is None:
            return None
        entry = self._claims[claim.principal, claim.key]
        finished: int | None = 1
        if isinstance(event, Released):
            del self._claims[claim.principal, claim.key]
            finished = None
        else:
            self._claims[claim.principal, claim.key] = IdempotencyEntry(
                entry.request_id, entry.fingerprint, finished=True, expires_at=entry.expires_at
            )
        return ClaimChange(
            claim.principal, claim.key, claim.fingerprint.hex(), call_id, finished, entry.expires_at
        )

    def _reserve_landed(self, write: Write, error: Exception | None) -> None:
        """A reservation that never reached the disk never was: the journal has neither it nor its undoing."""
        if error is None or write.call is None:
            return
        request_id = write.call.id
        del self._open[request_id]
        self._book.apply(Released(request_id, Instant(write.at), "not written"))
        claim = self._claim_of.pop(call_id_of(request_id), None)
        if claim is not None:
            self._claims.pop((claim.principal, claim.key), None)

    def _close_landed(self, write: Write, error: Exception | None) -> None:
        """From now on the database explains the call."""
        if error is None and write.call is not None:
            self._open.pop(write.call.id, None)

    def _meter(self, decision: AnyDecision, delta: RollupDelta) -> None:
        if delta.metered_bytes > 0:
            cell = decision.provider, decision.model
            metered_bytes, tokens = self._metered.get(cell, (0, 0))
            self._metered[cell] = (metered_bytes + delta.metered_bytes, tokens + delta.metered_input_tokens)


def write_down(write: Write, record: Record | Held | None, document: AnyDecision | Settlement | None) -> None:
    """Encode what the write will store. What has no JSON form is told of like any write that fails."""
    try:
        if isinstance(record, Held):
            write.line = record.line
        elif record is not None:
            write.line = encode(record)
        if isinstance(document, WrittenDecision):
            write.document = document.document
        elif document is not None:
            write.document = encode(document)
    except Exception as error:  # noqa: BLE001 (what encoders raise depends on what they are given)
        write.flaw = error


def resolve(writes: Sequence[Write], error: Exception | None) -> None:
    """Tell every write of a batch how it went. Raises, at the end, what its callbacks raised."""
    failures: list[Exception] = []
    for write in writes:
        try:
            if write.landed is not None:
                write.landed(write, error)
            if write.done is not None:
                write.done(error)
        except Exception as failure:  # noqa: BLE001 (one that fails must not leave the others waiting)
            failures.append(failure)
    if failures:
        raise ExceptionGroup("callbacks of the ledger failed", failures)
