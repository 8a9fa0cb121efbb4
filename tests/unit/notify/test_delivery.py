"""The outbox: everything is sent, once where nothing goes wrong, and no target holds up another."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from fakes.receivers import FakeSender, WebReceiver
from fakes.records import NOON, FakeClock, FakeRecords
from fakes.stored import alert, notice
from harness.daemon import eventually
from palyra.alerts.alert import Notice, NoticeState
from palyra.alerts.notices import ATTEMPTS_MAX, revived
from palyra.core.errors import LedgerUnavailable, Superseded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.lifecycle.ports import AlertRecords, NoticeFilter
from palyra.notify import delivery as outbox
from palyra.notify.delivery import CLAIM_MARGIN_S, Delivery, Pace
from palyra.notify.sender import Sender
from palyra.notify.webhook import WebhookSender
from palyra.store.sqlite import SqliteStore
from palyra.webhooks import ID, verify

NEVER_S = 3_600.0
"""So long between two looks that only ``wake`` and ends of attempts make one."""
PACE = Pace(timeout_s=10.0, concurrency=2, look_s=NEVER_S)


def box(
    records: AlertRecords,
    senders: Mapping[str, Sender],
    clock: FakeClock | None = None,
    pace: Pace = PACE,
    random: float = 0.5,
) -> Delivery:
    return Delivery(records, senders, clock or FakeClock(), lambda: random, pace)


@asynccontextmanager
async def running(*deliveries: Delivery) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(each.run()) for each in deliveries]
    try:
        yield
    finally:
        for each in deliveries:
            await each.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def store(records: AlertRecords, *notices: Notice) -> None:
    about = alert(f"alr_{notices[0].id}", cause=notices[0].id)
    await records.save_alert(about, [structs.replace(each, alert=about) for each in notices], None)


def kept(records: FakeRecords, ref: str = "ntc_1") -> Notice:
    return records.kept.notices[ref]


async def until(records: FakeRecords, condition: Callable[[Notice], bool], ref: str = "ntc_1") -> Notice:
    await eventually(lambda: condition(kept(records, ref)), f"{ref} to change")
    return kept(records, ref)


def tried(attempts: int) -> Callable[[Notice], bool]:
    """So many attempts were made, and the last one has a result."""
    return lambda found: found.attempts == attempts and bool(found.error)


def is_sent(found: Notice) -> bool:
    return found.state is NoticeState.SENT


async def test_what_is_due_is_sent_and_marked() -> None:
    records, good = FakeRecords(), FakeSender()
    await store(records, notice())
    async with running(box(records, {"ops": good})):
        found = await until(records, is_sent)
    assert (found.attempts, found.sent_at, found.error, good.sent) == (1, NOON, "", ["ntc_1"])


async def test_a_new_notice_goes_out_at_once_when_it_is_told_of() -> None:
    records, good = FakeRecords(), FakeSender()
    one = box(records, {"ops": good})
    async with running(one):
        await store(records, notice())
        one.wake()
        await until(records, is_sent)


async def test_a_new_notice_goes_out_within_a_look_if_nobody_tells_of_it() -> None:
    records, good = FakeRecords(), FakeSender()
    async with running(box(records, {"ops": good}, pace=Pace(look_s=0.01))):
        await store(records, notice())
        await until(records, is_sent)
    assert Pace().look_s <= 1


async def test_what_is_not_due_is_left_alone() -> None:
    records, good, clock = FakeRecords(), FakeSender(), FakeClock()
    await store(records, notice("ntc_1", due_at=Instant(NOON + 1)), notice("ntc_2"))
    one = box(records, {"ops": good}, clock)
    async with running(one):
        await until(records, is_sent, "ntc_2")
        assert good.tried == ["ntc_2"]
        clock.advance(1)
        one.wake()
        await until(records, is_sent, "ntc_1")


async def test_a_failure_waits_longer_each_time_and_ends_after_the_last_attempt() -> None:
    records, bad, clock = FakeRecords(), FakeSender("answered with HTTP status 503"), FakeClock()
    await store(records, notice())
    one = box(records, {"ops": bad}, clock)
    waits: list[float] = []
    async with running(one):
        for attempt in range(1, ATTEMPTS_MAX):
            found = await until(records, tried(attempt))
            assert (found.state, found.error) == (NoticeState.WAITING, "answered with HTTP status 503")
            waits.append((found.due_at - clock.now()) / NANOSECONDS)
            clock.instant = Instant(found.due_at - 1)
            one.wake()
            await asyncio.sleep(0)
            assert len(bad.tried) == attempt
            clock.instant = found.due_at
            one.wake()
            await eventually(lambda made=attempt: len(bad.tried) == made + 1, "the next attempt")
        found = await until(records, lambda found: found.state is NoticeState.DEAD)
    assert waits[:5] == [5, 10, 20, 40, 80]
    assert waits[-1] == 7_200
    assert (found.attempts, len(bad.tried)) == (ATTEMPTS_MAX, ATTEMPTS_MAX)
    assert clock.now() - NOON > 24 * 3_600 * NANOSECONDS


async def test_a_dead_notice_rests_until_somebody_wants_it_sent() -> None:
    records, sender, clock = FakeRecords(), FakeSender("no"), FakeClock()
    await store(records, notice(attempts=ATTEMPTS_MAX - 1))
    one = box(records, {"ops": sender}, clock)
    async with running(one):
        dead = await until(records, lambda found: found.state is NoticeState.DEAD)
        clock.advance(7 * 86_400)
        one.wake()
        await store(records, notice("ntc_2", target="unknown"))
        one.wake()
        await until(records, tried(1), "ntc_2")
        assert len(sender.tried) == 1
        sender.error = None
        await records.save_notice(revived(dead, clock.now()))
        one.wake()
        await until(records, is_sent)


async def test_chance_spreads_the_attempts() -> None:
    dues: list[int] = []
    for random in (0.0, 0.999):
        records = FakeRecords()
        await store(records, notice())
        async with running(box(records, {"ops": FakeSender("no")}, random=random)):
            dues.append((await until(records, tried(1))).due_at)
    assert dues[0] < dues[1] - NANOSECONDS


async def test_a_target_that_is_gone_from_the_configuration_is_a_failure() -> None:
    records = FakeRecords()
    await store(records, notice(target="gone"))
    async with running(box(records, {})):
        found = await until(records, tried(1))
    assert found.error == "there is no such target in the configuration"


async def test_a_sender_that_breaks_is_a_failure_that_tells_no_secret() -> None:
    class Broken(FakeSender):
        def send(self, notice: Notice, now: Instant) -> None:
            raise RuntimeError("token-0123456789")

    records = FakeRecords()
    await store(records, notice())
    async with running(box(records, {"ops": Broken()})):
        found = await until(records, tried(1))
    assert found.error == "the sender failed (RuntimeError)"


async def test_what_the_guard_refused_is_told() -> None:
    records = FakeRecords()
    await store(records, notice())
    with WebReceiver() as receiver:
        url = Secret(f"https://localhost:{receiver.port}/")
        sender = WebhookSender(url, [Secret("s" * 16)], allow_private=False, timeout_s=5)
        async with running(box(records, {"ops": sender})):
            found = await until(records, tried(1))
    assert found.error.startswith("not allowed: it leads to ")
    assert found.error.endswith("which is a loopback address")
    assert receiver.received == []


async def test_an_attempt_that_takes_too_long_is_cut_off() -> None:
    """The receiver never answers, and the sender itself would wait for a minute."""
    release = threading.Event()
    records = FakeRecords()
    await store(records, notice())
    with WebReceiver(hold=lambda: _wait_for(release)) as receiver:
        sender = WebhookSender(Secret(receiver.url), [Secret("s" * 16)], allow_private=True, timeout_s=60)
        pace = Pace(timeout_s=0.1, concurrency=1, look_s=NEVER_S)
        one = box(records, {"ops": sender}, pace=pace)
        async with running(one):
            found = await until(records, tried(1))
            assert found.error == "took longer than 0.1 s"
            # Its only slot is free again: the thread did not hang on.
            await store(records, notice("ntc_2"))
            one.wake()
            await until(records, tried(1), "ntc_2")
        release.set()


async def test_a_thread_that_hangs_keeps_its_slot() -> None:
    """What cannot be cut off, such as a look-up, must not pile up threads."""
    gate = threading.Event()
    records, hanging, good = FakeRecords(), FakeSender(gate=gate), FakeSender()
    await store(records, *(notice(f"ntc_{i}") for i in range(5)), notice("ntc_9", target="other"))
    pace = Pace(timeout_s=0.05, concurrency=2, look_s=0.01)
    async with running(box(records, {"ops": hanging, "other": good}, pace=pace)):
        await until(records, is_sent, "ntc_9")
        await until(records, lambda found: bool(found.error), hanging.tried[0])
        assert len(hanging.tried) == 2
        gate.set()
        await eventually(lambda: len(hanging.tried) == 5, "the slots to be free")
    assert hanging.most_at_once == 2


def _wait_for(release: threading.Event) -> None:
    assert release.wait(30)


async def test_a_crash_after_the_claim_loses_nothing() -> None:
    """The process dies with the notice claimed: it comes back when the claim ends, not before."""
    gate, records, clock = threading.Event(), FakeRecords(), FakeClock()
    died, good = FakeSender(gate=gate), FakeSender()
    await store(records, notice())
    one = box(records, {"ops": died}, clock)
    task = asyncio.create_task(one.run())
    await eventually(lambda: bool(died.tried), "the claim")
    task.cancel()
    claim = kept(records)
    assert (claim.state, claim.attempts, claim.version) == (NoticeState.WAITING, 1, 2)
    assert claim.due_at == NOON + round((PACE.timeout_s + CLAIM_MARGIN_S) * NANOSECONDS)
    second = box(records, {"ops": good}, clock)
    async with running(second):
        await store(records, notice("ntc_2"))
        second.wake()
        await until(records, is_sent, "ntc_2")
        assert good.sent == ["ntc_2"]
        clock.instant = claim.due_at
        second.wake()
        found = await until(records, is_sent)
    assert (good.sent, found.attempts) == (["ntc_2", "ntc_1"], 2)
    gate.set()
    await one.stop()
    assert kept(records) == found


async def test_a_crash_between_the_sending_and_the_saving_sends_the_same_id_again() -> None:
    class Dying(FakeRecords):
        """Takes no result: the process is dead by then."""

        async def save_notice(self, notice: Notice) -> None:
            if notice.state is NoticeState.SENT and self.fail:
                raise LedgerUnavailable("The disk is full.")
            self.fail, failed = False, self.fail
            await super().save_notice(notice)
            self.fail = failed

    records, clock = Dying(), FakeClock()
    await store(records, notice())
    records.fail = True
    with WebReceiver() as receiver:
        secret = Secret("s" * 16)
        sender = WebhookSender(Secret(receiver.url), [secret], allow_private=True, timeout_s=5)
        one = box(records, {"ops": sender}, clock)
        async with running(one):
            await eventually(lambda: len(receiver.received) == 1, "the first sending")
        claim = kept(records)
        assert claim.state is NoticeState.WAITING
        records.fail = False
        clock.instant = claim.due_at
        async with running(box(records, {"ops": sender}, clock)):
            await until(records, is_sent)
    first, second = receiver.received
    assert first.headers[ID] == second.headers[ID] == "ntc_1"
    assert verify("s" * 16, second.headers, second.body, claim.due_at / NANOSECONDS) == "ntc_1"


async def test_two_deliveries_on_one_store_never_send_one_notice_both() -> None:
    records, first, second = FakeRecords(), FakeSender(), FakeSender()
    names = [f"ntc_{i:03}" for i in range(200)]
    await store(records, *(notice(name) for name in names))
    async with running(box(records, {"ops": first}), box(records, {"ops": second})):
        await eventually(lambda: all(map(is_sent, records.kept.notices.values())), "all to be sent")
    assert sorted(first.sent + second.sent) == names
    assert first.sent
    assert second.sent


async def test_of_two_that_read_the_same_only_the_one_that_claims_it_sends_it() -> None:
    """Both have read the notice before either claims it."""

    class Together(FakeRecords):
        async def due_notices(self, now: Instant, limit: int, busy: Collection[str] = ()) -> Sequence[Notice]:
            found = await super().due_notices(now, limit, busy)
            await asyncio.wait_for(both.wait(), 10)
            return found

    records, first, second = Together(), FakeSender(), FakeSender()
    both = asyncio.Barrier(2)
    await store(records, notice())
    pace = Pace(look_s=0.01)
    async with running(box(records, {"ops": first}, pace=pace), box(records, {"ops": second}, pace=pace)):
        found = await until(records, is_sent)
        await both.abort()
    assert len(first.sent + second.sent) == 1
    assert found.version == 3


async def test_a_dead_target_holds_up_nobody() -> None:
    """1,000 notices, the first half to a target that hangs: the others are sent meanwhile."""
    gate, records = threading.Event(), FakeRecords()
    dead, good = FakeSender(gate=gate), FakeSender()
    others = [f"ntc_{i:04}" for i in range(500, 1_000)]
    await store(records, *(notice(f"ntc_{i:04}") for i in range(500)))
    await store(records, *(notice(name, target="good") for name in others))
    pace = Pace(timeout_s=60, concurrency=2, look_s=NEVER_S)
    one = box(records, {"ops": dead, "good": good}, pace=pace)
    async with running(one):
        await eventually(lambda: len(good.sent) == 500, "the good target to get all", 60)
        assert sorted(good.sent) == others
        assert len(dead.tried) == 2
        gate.set()
    assert dead.most_at_once == 2
    assert good.most_at_once <= 2


async def test_a_store_that_fails_for_a_while_is_asked_again() -> None:
    records, good = FakeRecords(), FakeSender()
    await store(records, notice())
    records.fail = True
    async with running(box(records, {"ops": good}, pace=Pace(look_s=0.01))):
        await asyncio.sleep(0.05)
        assert good.tried == []
        records.fail = False
        await until(records, is_sent)


async def test_whatever_goes_wrong_once_does_not_end_it() -> None:
    class Odd(FakeRecords):
        odd = True

        async def due_notices(self, now: Instant, limit: int, busy: Collection[str] = ()) -> Sequence[Notice]:
            if self.odd:
                self.odd = False
                raise RuntimeError("odd")
            return await super().due_notices(now, limit, busy)

    records, good = Odd(), FakeSender()
    await store(records, notice())
    async with running(box(records, {"ops": good}, pace=Pace(look_s=0.01))):
        await until(records, is_sent)


async def test_a_result_that_another_was_faster_with_is_dropped() -> None:
    gate, records, clock = threading.Event(), FakeRecords(), FakeClock()
    slow = FakeSender(gate=gate)
    await store(records, notice())
    one = box(records, {"ops": slow}, clock)
    async with running(one):
        await eventually(lambda: bool(slow.tried), "the attempt")
        mine = kept(records)
        await records.save_notice(structs.replace(mine, version=mine.version + 1, state=NoticeState.DEAD))
        gate.set()
        await eventually(lambda: bool(slow.sent), "the end of the attempt")
    assert kept(records).state is NoticeState.DEAD


async def test_stopping_lets_what_is_under_way_end() -> None:
    gate, records = threading.Event(), FakeRecords()
    slow = FakeSender(gate=gate)
    await store(records, notice())
    one = box(records, {"ops": slow})
    async with running(one):
        await eventually(lambda: bool(slow.tried), "the attempt")
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert is_sent(kept(records))


async def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "STOP_S", 0.05)
    gate, records = threading.Event(), FakeRecords()
    slow = FakeSender(gate=gate)
    await store(records, notice())
    one = box(records, {"ops": slow})
    async with running(one):
        await eventually(lambda: bool(slow.tried), "the attempt")
    assert (kept(records).state, kept(records).attempts) == (NoticeState.WAITING, 1)
    gate.set()


async def test_a_restart_sends_what_was_waiting_on_disk(tmp_path: Path) -> None:
    clock, good, path = FakeClock(), FakeSender(), tmp_path / "palyra.db"
    loop = asyncio.get_running_loop()
    before = SqliteStore(path, clock.now, loop)
    await store(before.records, notice(), notice("ntc_2", due_at=Instant(NOON + NANOSECONDS)))
    async with running(box(before.records, {"ops": FakeSender("no")}, clock)) as _:
        await _stored(before.records, 1, lambda each: bool(each.error))
    await asyncio.to_thread(before.close)
    after = SqliteStore(path, clock.now, loop)
    clock.advance(10)
    async with running(box(after.records, {"ops": good}, clock)):
        await _stored(after.records, 2, is_sent)
    assert sorted(good.sent) == ["ntc_1", "ntc_2"]
    await asyncio.to_thread(after.close)


async def test_two_deliveries_on_one_file_send_each_notice_once(tmp_path: Path) -> None:
    clock, first, second = FakeClock(), FakeSender(), FakeSender()
    on_disk = SqliteStore(tmp_path / "palyra.db", clock.now, asyncio.get_running_loop())
    names = [f"ntc_{i:02}" for i in range(50)]
    await store(on_disk.records, *(notice(name) for name in names))
    async with running(
        box(on_disk.records, {"ops": first}, clock), box(on_disk.records, {"ops": second}, clock)
    ):
        await _stored(on_disk.records, 50, is_sent)
    assert sorted(first.sent + second.sent) == names
    with pytest.raises(Superseded):
        await on_disk.records.save_notice(notice(version=2))
    await asyncio.to_thread(on_disk.close)


async def _stored(records: AlertRecords, number: int, condition: Callable[[Notice], bool]) -> None:
    """Wait until so many of the stored notices are as wanted."""
    async with asyncio.timeout(20):
        while sum(map(condition, await records.notices(NoticeFilter(limit=100)))) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
