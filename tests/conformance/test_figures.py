"""What the port ``FigureRecords`` promises, on every store: a figure moves with its own kind."""

import asyncio

from msgspec import structs

from fakes.gateways import join
from fakes.records import NOON, FakeClock
from fakes.stored import alert, approval, decided, granted, notice, resolved, seen
from fakes.till import Till, decision, hold
from harness import postgres
from palyra.alerts.alert import NoticeState
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.topics import StoredFigures


class Watcher:
    """Says which figures moved since it looked last."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._known: StoredFigures | None = None

    async def moved(self, now: Instant = NOON) -> set[str]:
        await self._till.flush()
        found = await self._till.store.records.figures(now)
        known, self._known = self._known, found
        return {name for name in found._fields if known and getattr(found, name) != getattr(known, name)}


async def test_figures_stand_still_while_nothing_happens(till: Till) -> None:
    watcher = Watcher(till)
    assert [await watcher.moved() for _ in range(3)] == [set(), set(), set()]


async def test_calls_move_when_one_is_let_through_ended_or_refused(till: Till) -> None:
    watcher = Watcher(till)
    await watcher.moved()
    till.reserve("req_1", hold(100, 10_000))
    assert await watcher.moved() == {"calls"}
    till.settle("req_1", 60)
    assert await watcher.moved() == {"calls"}
    till.reserve("req_2", hold(100, 10_000))
    till.release("req_2")
    assert await watcher.moved() == {"calls"}
    till.store.records.record_denial(decision("req_3", outcome="deny"))
    await till.store.records.drop_sign_in("what is durable after the denial")
    assert await watcher.moved() == {"calls"}


async def test_approvals_move_when_one_is_made_or_decided_or_its_time_is_over(till: Till) -> None:
    records, watcher = till.store.records, Watcher(till)
    await watcher.moved()
    first, second = approval("apr_1", cause="one"), approval("apr_2", cause="two")
    await records.save_approval(first, None)
    assert await watcher.moved() == {"approvals"}
    await records.save_approval(second, None)
    assert await watcher.moved() == {"approvals"}
    await records.save_approval(yes := granted(first), None)
    assert await watcher.moved() == {"approvals"}
    await records.save_approval(decided(second), None)
    assert await watcher.moved() == {"approvals"}
    assert yes.grant is not None
    assert await watcher.moved(yes.grant.expires_at) == {"approvals"}


async def test_alerts_move_when_one_is_raised_counted_or_resolved(till: Till) -> None:
    records, watcher = till.store.records, Watcher(till)
    await watcher.moved()
    for made in (first := alert("alr_1"), again := seen(first), resolved(again), alert("alr_2", cause="two")):
        await records.save_alert(made, (), None)
        assert await watcher.moved() == {"alerts"}


async def test_alerts_move_when_a_message_about_one_is_tried_sent_or_given_up(till: Till) -> None:
    records, watcher = till.store.records, Watcher(till)
    about = alert("alr_1")
    first, second = notice("ntc_1", about), notice("ntc_2", about)
    await records.save_alert(about, (first, second), None)
    await watcher.moved()
    later = Instant(NOON + 60 * NANOSECONDS)
    tried = structs.replace(first, version=2, due_at=later)
    sent = structs.replace(tried, version=3, state=NoticeState.SENT, sent_at=later)
    gone = structs.replace(second, version=2, state=NoticeState.DEAD)
    again = structs.replace(gone, version=3, state=NoticeState.WAITING)
    for made in (tried, sent, gone, again):
        await records.save_notice(made)
        assert await watcher.moved() == {"alerts"}


async def test_a_gateway_sees_what_another_did() -> None:
    database = postgres.new_database()
    one, other = await join(database, FakeClock()), await join(database, FakeClock())
    watcher = Watcher(one.till)
    await watcher.moved()
    assert await other.admit("req_1", hold(100, 10_000))
    assert await watcher.moved() == {"calls"}
    await asyncio.gather(
        other.store.records.save_approval(approval(), None), other.store.records.save_alert(alert(), (), None)
    )
    assert await watcher.moved() == {"approvals", "alerts"}
    await one.store.close()
    await other.store.close()
