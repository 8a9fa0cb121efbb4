"""The desk of alerts: one alert and one message for a cause, however often, however many gateways find it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from fakes.alarms import OPS, desk, note, sent_to, told, unpriced
from fakes.records import FakeClock, FakeRecords
from palyra.alerts import words
from palyra.alerts.alert import Alert, AlertState, Severity
from palyra.alerts.course import Finding
from palyra.alerts.notices import Target
from palyra.core.errors import NotFound
from palyra.identity.keys import Role, Subject
from palyra.lifecycle import alarms as module
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.ports import AlertFilter

BOB = Subject("key-bob", "bob", None, frozenset({Role.OPERATOR}), (), {})
CAUSE = unpriced().cause


async def stored(records: FakeRecords) -> list[Alert]:
    return list(reversed(await records.alerts(AlertFilter(limit=10_000))))


async def test_a_cause_that_is_found_200_times_at_once_is_one_alert_and_one_message() -> None:
    records, clock = FakeRecords(), FakeClock()
    alarms = desk(records, clock)

    async def find() -> None:
        await asyncio.sleep(0)
        note(alarms, unpriced())

    await asyncio.gather(*(find() for _ in range(200)))
    await alarms.tend()

    (alert,) = await stored(records)
    assert (alert.count, alert.state, alert.cause) == (200, AlertState.FIRING, CAUSE)
    assert await told(records) == [("raised", CAUSE)]


async def test_a_repeat_is_counted_in_memory_and_stored_once_by_the_next_look() -> None:
    records, clock = FakeRecords(), FakeClock()
    alarms = desk(records, clock)
    note(alarms, unpriced())
    await alarms.settled()

    clock.advance(60)
    for _ in range(10):
        note(alarms, unpriced(effect="It was refused."))
    await alarms.settled()
    assert [(each.version, each.count) for each in await stored(records)] == [(1, 1)]

    await alarms.tend()
    await alarms.tend()

    (alert,) = await stored(records)
    assert (alert.version, alert.count) == (2, 11)
    assert alert.last_at == clock.now() > alert.first_at
    assert "It was refused." in alert.message
    assert len(await sent_to(records)) == 1


async def test_what_is_ensured_is_raised_and_never_counted() -> None:
    records = FakeRecords()
    alarms = desk(records, FakeClock())

    for _ in range(3):
        alarms.ensure(CAUSE, unpriced)
        await alarms.tend()

    assert [each.count for each in await stored(records)] == [1]


async def test_what_two_gateways_ensure_is_raised_once_and_counted_once() -> None:
    records, clock = FakeRecords(), FakeClock()
    one, two = desk(records, clock, shared=True), desk(records, clock, shared=True, first_id=100)

    one.ensure(CAUSE, unpriced)
    two.ensure(CAUSE, unpriced)
    for gateway in (one, two):
        await gateway.tend()

    assert [each.count for each in await stored(records)] == [1]


async def test_an_end_is_told_with_its_reason_and_the_next_time_is_another_alert() -> None:
    records, clock = FakeRecords(), FakeClock()
    alarms = desk(records, clock)
    note(alarms, unpriced())
    note(alarms, unpriced())
    alarms.end(CAUSE, "A price is known now.")
    alarms.end(CAUSE, "Said twice.")
    await alarms.settled()
    alarms.end(CAUSE, "Said when it was over.")
    clock.advance(5)
    note(alarms, unpriced())
    await alarms.tend()

    first, second = await stored(records)
    assert (first.state, first.resolution, first.count) == (
        AlertState.RESOLVED,
        "A price is known now.",
        2,
    )
    assert (second.state, second.count, second.first_at) == (AlertState.FIRING, 1, clock.now())
    assert await told(records) == [("raised", CAUSE), ("resolved", CAUSE), ("raised", CAUSE)]
    assert [alert.id for alert in alarms.firing] == [second.id]


async def test_a_restart_keeps_the_count_and_tells_nobody_again() -> None:
    records, clock = FakeRecords(), FakeClock()
    before = desk(records, clock)
    for _ in range(3):
        note(before, unpriced())
    await before.tend()

    after = desk(records, clock, first_id=100)
    await after.load()
    note(after, unpriced())
    await after.tend()

    (alert,) = await stored(records)
    assert (alert.count, alert.id) == (4, "alr_0001")
    assert await told(records) == [("raised", CAUSE)]


async def test_two_gateways_raise_once_and_both_count() -> None:
    records, clock = FakeRecords(), FakeClock()
    one, two = desk(records, clock, shared=True), desk(records, clock, shared=True, first_id=100)
    for _ in range(5):
        note(one, unpriced())
        note(two, unpriced())
    await asyncio.gather(one.settled(), two.settled())
    for gateway in (one, two, one, two):
        note(gateway, unpriced())
    await asyncio.gather(one.tend(), two.tend())
    await asyncio.gather(one.tend(), two.tend())

    (alert,) = await stored(records)
    assert alert.count == 14
    assert await told(records) == [("raised", CAUSE)]


async def test_what_another_gateway_ended_is_raised_anew_when_it_happens_again() -> None:
    records, clock = FakeRecords(), FakeClock()
    one, two = desk(records, clock, shared=True), desk(records, clock, shared=True, first_id=100)
    note(one, unpriced())
    await one.tend()
    await two.load()
    note(two, unpriced())
    clock.advance(1)
    one.end(CAUSE, "A price is known now.")
    await one.settled()
    await two.tend()
    assert not two.firing, "what was before the end is part of it"

    await one.load()
    note(one, unpriced())
    await one.tend()
    await two.load()
    two.end(CAUSE, "It is over.")
    await two.settled()
    clock.advance(1)
    note(one, unpriced())
    await one.tend()

    assert [each.state.value for each in await stored(records)] == ["resolved", "resolved", "firing"]
    assert [each.cause for each in one.firing] == [CAUSE]


async def test_two_gateways_end_an_alert_once_whatever_the_other_did_to_it_meanwhile() -> None:
    records, clock = FakeRecords(), FakeClock()
    one, two = desk(records, clock, shared=True), desk(records, clock, shared=True, first_id=100)
    note(one, unpriced())
    await one.tend()
    await two.load()
    note(one, unpriced())
    await one.tend()

    for gateway in (two, one):
        gateway.end(CAUSE, "It is over.")
    await asyncio.gather(one.settled(), two.settled())

    (alert,) = await stored(records)
    assert (alert.count, alert.version, alert.resolution) == (2, 3, "It is over.")
    assert await told(records) == [("raised", CAUSE), ("resolved", CAUSE)]
    assert not one.firing
    assert not two.firing


async def test_a_disk_that_is_full_loses_nothing_and_holds_up_nobody() -> None:
    records = FakeRecords()
    alarms = desk(records, FakeClock())
    records.fail = True
    for name in ("a", "b", "a"):
        note(alarms, unpriced(name))
    await alarms.settled()
    assert not alarms.firing

    records.fail = False
    note(alarms, unpriced("a"))
    await alarms.tend()

    assert [(each.facts["model"], each.count) for each in await stored(records)] == [("a", 3), ("b", 1)]


async def test_causes_are_bounded_by_kind_and_the_rest_is_counted_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CAUSES_MAX", 3)
    records = FakeRecords()
    alarms = desk(records, FakeClock())
    for number in range(10):
        note(alarms, unpriced(f"m{number}"))
    note(alarms, words.overrun("stub", "m", "req_1", "cost_usd", 1, 2, "alice"))
    with capture_logs() as logged:
        await alarms.tend()

    kinds = [each.kind.value for each in await stored(records)]
    assert (kinds.count("unpriced_model"), kinds.count("overrun")) == (3, 1)
    assert [each["times"] for each in logged] == [7]
    for number in range(3):
        alarms.end(unpriced(f"m{number}").cause, "It is over.")
    await alarms.settled()
    note(alarms, unpriced("m9"))
    await alarms.settled()
    assert unpriced("m9").cause in [each.cause for each in alarms.firing]


async def test_the_bound_counts_what_fired_before_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAUSES_MAX", 1)
    records, clock = FakeRecords(), FakeClock()
    before = desk(records, clock)
    note(before, unpriced("a"))
    await before.tend()

    after = desk(records, clock, first_id=100)
    await after.load()
    note(after, unpriced("b"))
    await after.tend()

    assert [each.facts["model"] for each in await stored(records)] == ["a"]


async def test_an_alert_that_becomes_severe_is_told_to_who_hears_of_severe_ones_only() -> None:
    records = FakeRecords()
    pager = Target("pager", min_severity=Severity.CRITICAL)
    alarms = desk(records, FakeClock(), (OPS, pager))

    def failing(*, is_open: bool) -> Finding:
        return words.provider_health("stub", "it answers 500", FakeClock().now(), is_open=is_open)

    note(alarms, failing(is_open=False))
    await alarms.tend()
    assert await told(records, "pager") == []
    for _ in range(2):
        note(alarms, failing(is_open=True))
        await alarms.tend()

    cause = failing(is_open=True).cause
    assert await told(records, "pager") == [("raised", cause)]
    assert await told(records, "ops") == [("raised", cause)]


async def test_an_acknowledgement_says_who_and_is_journaled_once_and_counting_goes_on() -> None:
    records, clock = FakeRecords(), FakeClock()
    alarms = desk(records, clock)
    note(alarms, unpriced())
    await alarms.settled()
    clock.advance(30)

    seen = await alarms.acknowledge("alr_0001", "on it", by=BOB)
    again = await alarms.acknowledge("alr_0001", "me too", by=BOB)
    note(alarms, unpriced())
    await alarms.tend()

    assert seen.acknowledged is not None
    assert (seen.acknowledged.principal, seen.acknowledged.at, seen.acknowledged.note) == (
        "bob",
        clock.now(),
        "on it",
    )
    assert again == seen
    (entry,) = records.audit
    assert (entry.kind, entry.ref, entry.actor) == ("alert.acknowledged", "alr_0001", "key-bob")
    (alert,) = await stored(records)
    assert (alert.acknowledged, alert.count, alert.state) == (seen.acknowledged, 2, AlertState.FIRING)
    with pytest.raises(NotFound):
        await alarms.acknowledge("alr_9", "", by=BOB)


async def test_an_alert_that_is_over_can_be_acknowledged_and_stays_over() -> None:
    records = FakeRecords()
    alarms = desk(records, FakeClock())
    note(alarms, unpriced())
    alarms.end(CAUSE, "It is over.")
    await alarms.settled()

    assert (await alarms.acknowledge("alr_0001", "", by=BOB)).state is AlertState.RESOLVED
    assert not alarms.firing


async def test_words_that_cannot_be_made_do_not_hold_up_other_alerts() -> None:
    records = FakeRecords()
    alarms: Alarms = desk(records, FakeClock())

    def broken() -> Finding:
        raise ZeroDivisionError

    alarms.note(unpriced("broken").cause, broken)
    note(alarms, unpriced("whole"))
    await alarms.settled()

    assert [each.facts["model"] for each in alarms.firing] == ["whole"]
