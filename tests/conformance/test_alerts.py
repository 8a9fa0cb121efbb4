"""What the port ``AlertRecords`` promises, on every store."""

import asyncio

import pytest
from msgspec import structs

from fakes.records import NOON
from fakes.stored import LATER, alert, audited, entry, is_superseded, notice, reopen, resolved, seen, sent
from fakes.till import Till, assert_books_agree, hold
from palyra.alerts.alert import Alert, AlertState, Kind, NoticeState, Severity
from palyra.core.errors import Superseded
from palyra.core.instant import Instant
from palyra.lifecycle.ports import AlertFilter, NoticeFilter

BEFORE, AFTER = Instant(NOON - 1), Instant(NOON + 1)


async def save(till: Till, *made: Alert) -> None:
    for each in made:
        await till.store.records.save_alert(each, (), None)


async def save_at_once(till: Till, *made: Alert) -> list[object]:
    """What became of each: None where it was stored."""
    return await asyncio.gather(
        *(till.store.records.save_alert(each, (), entry("alert.saved", each.id)) for each in made),
        return_exceptions=True,
    )


class TestAlerts:
    async def test_an_alert_is_read_back_as_it_was_saved(self, till: Till) -> None:
        full = structs.replace(resolved(seen(alert())), severity=Severity.CRITICAL, count=7, policy_id=None)
        await save(till, alert(), seen(alert()), full)
        records = till.store.records
        assert await records.alert("alr_1") == full
        assert await records.alerts(AlertFilter()) == [full]
        assert (await records.alert("alr_9"), await records.open_alerts()) == (None, [])

    async def test_open_ones_are_those_that_fire_the_oldest_first(self, till: Till) -> None:
        await save(till, third := alert("alr_3"), first := alert("alr_1"), second := alert("alr_2"))
        await save(till, resolved(second), known := seen(first))
        assert await till.store.records.open_alerts() == [known, third]

    async def test_of_two_changes_at_once_exactly_one_is_made(self, till: Till) -> None:
        await save(till, first := alert())
        rivals = [seen(first, f"user-{number}") for number in range(10)]
        outcomes = await save_at_once(till, *rivals)
        assert outcomes.count(None) == 1
        assert sum(map(is_superseded, outcomes)) == len(rivals) - 1
        assert await till.store.records.alert(first.id) == rivals[outcomes.index(None)]
        assert await audited(till) == [("alert.saved", first.id)]

    async def test_one_of_a_cause_fires(self, till: Till) -> None:
        outcomes = await save_at_once(till, *(alert(f"alr_{number}", cause="same") for number in range(10)))
        assert outcomes.count(None) == 1
        assert sum(map(is_superseded, outcomes)) == 9
        (firing,) = await till.store.records.open_alerts()
        await save(till, resolved(firing), alert("alr_x", cause="same"))
        with pytest.raises(Superseded):
            await save(till, structs.replace(firing, version=3))
        assert [each.id for each in await till.store.records.open_alerts()] == ["alr_x"]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (AlertFilter(), ["alr_4", "alr_3", "alr_2", "alr_1"]),
            (AlertFilter(state=AlertState.RESOLVED), ["alr_1"]),
            (AlertFilter(kind=Kind.OVERRUN), ["alr_3"]),
            (AlertFilter(policy_id="weekly"), ["alr_2"]),
            (AlertFilter(principal="bob"), ["alr_4"]),
            (AlertFilter(state=AlertState.FIRING, principal="alice"), ["alr_3", "alr_2"]),
            (AlertFilter(kind=Kind.COST_SPIKE), []),
            (AlertFilter(acknowledged=True), ["alr_2"]),
            (AlertFilter(acknowledged=False), ["alr_4", "alr_3", "alr_1"]),
            (AlertFilter(state=AlertState.FIRING, acknowledged=False), ["alr_4", "alr_3"]),
            (AlertFilter(before="alr_3"), ["alr_2", "alr_1"]),
            (AlertFilter(limit=2), ["alr_4", "alr_3"]),
        ],
    )
    async def test_they_are_found_by_what_they_are(
        self, till: Till, wanted: AlertFilter, found: list[str]
    ) -> None:
        await save(till, first := alert("alr_1"), resolved(first))
        await save(till, second := alert("alr_2", policy_id="weekly"), seen(second))
        # What a title says is not what is known.
        odd = alert("alr_3", kind=Kind.OVERRUN, policy_id=None, title=',"acknowledged":{"at":1}')
        await save(till, odd, alert("alr_4", principal="bob"))
        assert [each.id for each in await till.store.records.alerts(wanted)] == found

    async def test_pages_have_no_gap_and_no_repeat_while_more_are_raised(self, till: Till) -> None:
        await save(till, *(alert(f"alr_{number}") for number in range(10, 20)))
        listed: list[str] = []
        newer = iter(range(20, 40))
        while page := await till.store.records.alerts(
            AlertFilter(before=listed[-1] if listed else None, limit=3)
        ):
            listed += [each.id for each in page]
            await save(till, alert(f"alr_{next(newer)}"))
        assert listed == [f"alr_{number}" for number in reversed(range(10, 20))]


class TestNotices:
    async def test_they_are_stored_with_their_alert_or_not_at_all(self, till: Till) -> None:
        records, first = till.store.records, alert()
        one, two = notice("ntc_1", first), notice("ntc_2", first, target="webhook")
        await records.save_alert(first, (one, two), entry("alert.raised", first.id))
        assert await records.notices(NoticeFilter()) == [two, one]
        with pytest.raises(Superseded):
            await records.save_alert(first, (notice("ntc_3", first),), entry("alert.raised", first.id))
        assert await records.notice("ntc_3") is None
        assert await audited(till) == [("alert.raised", first.id)]

    async def test_an_alert_whose_notice_cannot_be_stored_is_not_stored_either(self, till: Till) -> None:
        """Half of a write is undone, and those of the same commit are not."""
        records, first, second = till.store.records, alert(), alert("alr_2")
        await records.save_alert(first, (notice("ntc_1", first),), None)
        till.reserve("req_1", hold(10))
        outcomes = await asyncio.gather(
            records.save_alert(second, (notice("ntc_2"), notice("ntc_1")), entry("alert.raised", "alr_2")),
            records.save_alert(second, (notice("ntc_3"),), entry("alert.raised", "alr_2")),
            records.save_alert(seen(first), (), entry("alert.acknowledged", "alr_1")),
            return_exceptions=True,
        )
        await till.flush()
        assert [is_superseded(each) for each in outcomes] == [True, False, False]
        assert [each.id for each in await records.notices(NoticeFilter())] == ["ntc_3", "ntc_1"]
        assert await records.open_alerts() == [seen(first), second]
        found = await audited(till)
        assert sorted(found) == [("alert.acknowledged", "alr_1"), ("alert.raised", "alr_2")]
        await assert_books_agree(till)
        assert till.errors() == []

    async def test_due_ones_are_the_longest_due_first(self, till: Till) -> None:
        records, about = till.store.records, alert()
        waiting = [
            notice(ref, about, due_at=Instant(NOON + due))
            for ref, due in (("ntc_1", 1), ("ntc_2", -5), ("ntc_3", 0), ("ntc_4", -5))
        ]
        dead = notice("ntc_5", about, state=NoticeState.DEAD)
        await records.save_alert(about, (*waiting, dead, gone := notice("ntc_6", about)), None)
        await records.save_notice(sent(gone))
        assert [each.id for each in await records.due_notices(NOON, 10)] == ["ntc_2", "ntc_4", "ntc_3"]
        assert [each.id for each in await records.due_notices(NOON, 2)] == ["ntc_2", "ntc_4"]
        assert await records.due_notices(Instant(NOON - 6), 10) == []

    async def test_due_ones_to_busy_targets_are_left_out(self, till: Till) -> None:
        records, about = till.store.records, alert()
        targets = {"ntc_1": "ops", "ntc_2": "ops", "ntc_3": 'a "quoted" größe', "ntc_4": "finance"}
        await records.save_alert(about, [notice(ref, about, target=to) for ref, to in targets.items()], None)
        for busy, left in (
            ({"ops"}, ["ntc_3", "ntc_4"]),
            (["finance", 'a "quoted" größe'], ["ntc_1", "ntc_2"]),
            (["op", "ops "], ["ntc_1", "ntc_2", "ntc_3", "ntc_4"]),
            (set(targets.values()), list[str]()),
        ):
            assert [each.id for each in await records.due_notices(NOON, 10, busy)] == left
        assert [each.id for each in await records.due_notices(NOON, 1, ["ops"])] == ["ntc_3"]

    async def test_one_of_many_who_claim_a_notice_has_it(self, till: Till) -> None:
        records, about = till.store.records, alert()
        await records.save_alert(about, (first := notice("ntc_1", about),), None)
        claims = [
            structs.replace(first, version=2, due_at=LATER, attempts=1, error=str(number))
            for number in range(10)
        ]
        outcomes = await asyncio.gather(*map(records.save_notice, claims), return_exceptions=True)
        assert outcomes.count(None) == 1
        assert sum(map(is_superseded, outcomes)) == len(claims) - 1
        claimed = claims[outcomes.index(None)]
        assert await records.notice("ntc_1") == claimed
        assert await records.due_notices(NOON, 10) == []
        assert await records.due_notices(LATER, 10) == [claimed]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (NoticeFilter(), ["ntc_3", "ntc_2", "ntc_1"]),
            (NoticeFilter(state=NoticeState.DEAD), ["ntc_2"]),
            (NoticeFilter(target="webhook"), ["ntc_3"]),
            (NoticeFilter(state=NoticeState.SENT, target="webhook"), []),
            (NoticeFilter(before="ntc_2"), ["ntc_1"]),
            (NoticeFilter(limit=1), ["ntc_3"]),
        ],
    )
    async def test_they_are_found_by_what_they_are(
        self, till: Till, wanted: NoticeFilter, found: list[str]
    ) -> None:
        records, about = till.store.records, alert()
        made = notice("ntc_1"), notice("ntc_2", state=NoticeState.DEAD), notice("ntc_3", target="webhook")
        await records.save_alert(about, made, None)
        assert [each.id for each in await records.notices(wanted)] == found

    async def test_a_notice_waits_through_a_restart(self, till: Till) -> None:
        records, about = till.store.records, alert()
        await records.save_alert(about, (first := notice("ntc_1", about),), None)
        claimed = structs.replace(first, version=2, due_at=LATER, attempts=1)
        await records.save_notice(claimed)
        await reopen(till)
        records = till.store.records
        assert await records.open_alerts() == [about]
        assert await records.due_notices(LATER, 10) == [claimed]
        await records.save_notice(sent(claimed))
        assert await records.due_notices(LATER, 10) == []


async def test_what_is_over_for_long_is_dropped(till: Till) -> None:
    records = till.store.records
    old, new, late = alert("alr_1"), alert("alr_2"), alert("alr_3", last_at=BEFORE)
    await save(till, old, new, late, firing := alert("alr_4", last_at=Instant(0)))
    ends = resolved(old, BEFORE), resolved(new, NOON), seen(resolved(late, BEFORE), at=AFTER)
    await save(till, structs.replace(ends[0], last_at=BEFORE), ends[1], resolved(late, BEFORE), ends[2])
    parts = [notice(f"ntc_{number}", due_at=Instant(0), created_at=Instant(0)) for number in range(5)]
    await records.save_alert(alert("alr_5"), parts, None)
    await records.save_notice(sent(parts[0], BEFORE))
    await records.save_notice(sent(parts[1], NOON))
    await records.save_notice(structs.replace(parts[2], version=2, state=NoticeState.DEAD))
    await records.save_notice(structs.replace(parts[4], version=2, state=NoticeState.SENT))

    await records.drop_old(NOON)

    left = [each.id for each in await records.alerts(AlertFilter())]
    assert left == ["alr_5", firing.id, "alr_3", "alr_2"]
    assert [each.id for each in await records.notices(NoticeFilter())] == ["ntc_3", "ntc_2", "ntc_1"]
    assert await audited(till) == []
    await records.drop_old(NOON)
    assert len(await records.alerts(AlertFilter())) == 4
