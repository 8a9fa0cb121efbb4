"""Approvals, alerts and notices as they might be, and what a store's journal says of them."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from msgspec import structs

from fakes.records import NOON
from fakes.till import Till
from harness import postgres
from palyra.alerts.alert import Acknowledgement, Alert, AlertState, Kind, Notice, NoticeState, Severity
from palyra.approvals.approval import Approval, Grant, GrantKind, Risk, Ruling, State
from palyra.core.errors import Superseded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.lifecycle.ports import AuditEntry
from palyra.store.memory import MemoryStore
from palyra.store.page import Audited, read_record, unpack
from palyra.store.postgres.verify import verify_shared
from palyra.store.sqlite import verify

HOUR_NS = 3600 * NANOSECONDS
LATER = Instant(NOON + HOUR_NS)


def approval(ref: str = "apr_1", state: State = State.PENDING, **fields: object) -> Approval:
    """A pending request of alice to go over the budget ``daily``."""
    made = Approval(
        id=ref,
        version=1,
        state=state,
        cause=f"daily alice {ref}",
        policy_id="daily",
        policy_version=3,
        policy_digest="d1",
        scope="principal",
        metric="cost_usd",
        interval="day",
        entity="alice",
        window_start=NOON,
        window_end=Instant(NOON + 24 * HOUR_NS),
        limit=100,
        consumed=90,
        amount=20,
        asked=10,
        risk=Risk.LOW,
        requester="alice",
        requester_key="key-1",
        principal="alice",
        created_at=NOON,
        asked_at=NOON,
        expires_at=LATER,
    )
    return structs.replace(made, **fields)


def decided(before: Approval, state: State = State.DENIED, by: str = "bob", **fields: object) -> Approval:
    """Its next version, as somebody decided it."""
    ruling = Ruling(NOON, by, f"key-{by}", f"{state} by {by} ☃")
    return structs.replace(before, version=before.version + 1, state=state, ruling=ruling, **fields)


def granted(before: Approval, until: Instant = LATER) -> Approval:
    """Its next version, approved."""
    return decided(before, State.APPROVED, grant=Grant(GrantKind.AMOUNT, 10, until))


def alert(ref: str = "alr_1", **fields: object) -> Alert:
    """A firing alert of the budget ``daily``."""
    made = Alert(
        id=ref,
        version=1,
        state=AlertState.FIRING,
        kind=Kind.BUDGET_THRESHOLD,
        cause=f"daily {ref}",
        severity=Severity.WARNING,
        title="daily is at 80 %",
        message="größe ☃",
        first_at=NOON,
        last_at=NOON,
        facts={"share": 0.8, "names": ["a", "b"]},
        policy_id="daily",
        principal="alice",
    )
    return structs.replace(made, **fields)


def resolved(before: Alert, at: Instant = NOON) -> Alert:
    """Its next version, over."""
    return structs.replace(
        before, version=before.version + 1, state=AlertState.RESOLVED, resolved_at=at, resolution="gone"
    )


def seen(before: Alert, by: str = "bob", at: Instant = NOON) -> Alert:
    """Its next version, acknowledged."""
    told = Acknowledgement(at, by, f"key-{by}", "looking")
    return structs.replace(before, version=before.version + 1, acknowledged=told)


def notice(ref: str = "ntc_1", about: Alert | None = None, **fields: object) -> Notice:
    """A waiting message that is due now."""
    made = Notice(
        id=ref,
        version=1,
        state=NoticeState.WAITING,
        target="ops",
        event="raised",
        alert=about or alert(),
        created_at=NOON,
        due_at=NOON,
    )
    return structs.replace(made, **fields)


def sent(before: Notice, at: Instant = NOON) -> Notice:
    """Its next version, sent."""
    return structs.replace(before, version=before.version + 1, state=NoticeState.SENT, attempts=1, sent_at=at)


def entry(kind: str, ref: str) -> AuditEntry:
    """A line for the journal."""
    return AuditEntry(kind, ref, "key-1", None, {"of": ref})


async def audited(till: Till) -> list[tuple[str, str]]:
    """Kind and object of every change of rules in the journal, which must hold (G3)."""
    if till.url is not None:
        found = await postgres.rows(till.url, "SELECT body FROM journal ORDER BY node, seq")
        await verify_shared(Secret(till.url))
        return _audited(line for (body,) in found for line in unpack(body))
    if isinstance(till.store, MemoryStore):
        return _audited(write.line for write in till.store.journal.writes if write.line is not None)
    assert till.path is not None
    verify(till.path)
    with closing(sqlite3.connect(till.path)) as connection:
        pages = connection.execute("SELECT body FROM journal ORDER BY seq").fetchall()
    return _audited(line for (body,) in pages for line in unpack(body))


async def reopen(till: Till) -> None:
    """As after a restart; a store in memory has none."""
    if till.url is not None:
        await till.leave()
        till.store = (await Till.on_server(till.url, clock=till.clock)).store
    elif till.path is not None:
        till.restart()


def is_superseded(outcome: object) -> bool:
    """Whether a write was told that somebody was faster."""
    return isinstance(outcome, Superseded)


def _audited(lines: Iterable[bytes]) -> list[tuple[str, str]]:
    records = [read_record(line) for line in lines]
    return [(record.kind, record.ref) for record in records if isinstance(record, Audited)]
