"""Cost spikes and shifts of the model mix by the rollups, found once for each hour and over with the next."""

from collections.abc import Sequence

from fakes.alarms import desk, told
from fakes.engines import Bench
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.alerts.alert import Alert, AlertState, Kind
from palyra.core.hours import HOUR_NS
from palyra.core.instant import Instant
from palyra.core.money import NANO_PER_USD
from palyra.lifecycle.checks import Checks
from palyra.lifecycle.hours import GRACE_NS, Source, find_shifts, find_spikes, last_hour, read_past
from palyra.lifecycle.ports import AlertFilter
from palyra.lifecycle.usage import UsageTotals

HOUR = Instant(NOON - HOUR_NS)
"""The last hour that is over when the clock says NOON and a little."""


class Usage(FakeRecords):
    """Rollups, as tests say what was used. ``asked`` are the beginnings of what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Instant] = []

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        self.asked.append(since)
        return await super().usage(since, until, group_by)

    def use(
        self, hours_ago: int, dollars: int, principal: str = "alice", model: str = "small", calls: int = 1
    ) -> None:
        """So much in the hour that began so many hours before HOUR."""
        start = Instant(HOUR - hours_ago * HOUR_NS)
        group = {"hour": str(start), "principal": principal, "agent": "", "model": model, "provider": "stub"}
        row = UsageTotals(group, calls, 0, 0, 0, 10 * calls, 5 * calls, 0, 0, 0, dollars * NANO_PER_USD)
        self.totals.append((start, row))

    def days(self, dollars: int, principal: str = "alice", days: int = 14) -> None:
        """The same at this hour of so many earlier days."""
        for day in range(1, days + 1):
            self.use(24 * day, dollars, principal)


class Watch:
    """A process that looks, on these rollups, from a little after NOON on."""

    def __init__(self, records: FakeRecords) -> None:
        bench = Bench()
        bench.engine.records = records
        bench.engine.clock = self.clock = FakeClock(Instant(NOON + GRACE_NS))
        self.alarms = desk(records, self.clock)
        self.checks = Checks(bench.engine, self.alarms, (), lambda: 0)

    async def look(self, seconds_later: int = 0, times: int = 1) -> None:
        self.clock.advance(seconds_later)
        for _ in range(times):
            await self.checks.run()


async def stored(records: FakeRecords) -> list[Alert]:
    return list(reversed(await records.alerts(AlertFilter(limit=1_000))))


async def test_an_hour_that_costs_much_more_than_usual_is_a_spike_of_its_principal_and_of_all() -> None:
    records = Usage()
    records.days(2)
    records.days(1, "bob")
    records.use(0, 50)
    records.use(0, 1, "bob")

    found = await find_spikes(records, HOUR)

    assert sorted(each.cause for each in found) == ["cost_spike:alice", "cost_spike:~everybody"]
    (alice,) = [each for each in found if each.principal == "alice"]
    assert (alice.facts["cost_nano_usd"], alice.facts["usual_nano_usd"], alice.facts["days"]) == (
        50 * NANO_PER_USD,
        2 * NANO_PER_USD,
        14,
    )


async def test_a_cost_that_falls_is_no_spike_w40() -> None:
    records = Usage()
    records.days(50)
    records.use(0, 2)
    assert await find_spikes(records, HOUR) == []

    rising = Usage()
    rising.days(2)
    rising.use(0, 50)
    assert len(await find_spikes(rising, HOUR)) == 1


async def test_a_night_that_was_always_quiet_makes_a_spike_though_days_are_busy() -> None:
    records = Usage()
    for day in range(1, 15):
        records.use(24 * day - 12, 100)
    records.use(0, 20)

    assert [each.facts["usual_nano_usd"] for each in await find_spikes(records, HOUR)] == [0]


async def test_a_principal_of_a_few_days_has_no_usual_yet() -> None:
    records = Usage()
    records.days(2, days=6)
    records.use(0, 500)

    assert await find_spikes(records, HOUR) == []


async def test_somebody_who_began_in_the_middle_of_a_day_has_one_day_less() -> None:
    records = Usage()
    records.use(24 * 7 - 12, 2)
    records.use(0, 500)
    assert await find_spikes(records, HOUR) == []

    records.use(24 * 8 - 12, 2)
    assert [each.facts["days"] for each in await find_spikes(records, HOUR)] == [7]


async def test_one_principal_is_not_told_of_twice() -> None:
    records = Usage()
    records.days(2)
    records.use(0, 50)

    assert [each.principal for each in await find_spikes(records, HOUR)] == ["alice"]


async def test_an_hour_is_over_when_its_calls_had_time_to_end() -> None:
    assert last_hour(NOON) == NOON - 2 * HOUR_NS
    assert last_hour(Instant(NOON + GRACE_NS)) == HOUR


async def test_a_spike_is_raised_once_counted_by_the_hour_and_over_with_the_first_usual_one() -> None:
    records = Usage()
    records.days(2)
    records.use(0, 50)
    records.use(-1, 60)
    watch = Watch(records)

    await watch.look(times=3)
    restarted = Watch(records)
    await restarted.alarms.load()
    await restarted.look(times=3)
    assert [(each.count, each.state) for each in await stored(records)] == [(1, AlertState.FIRING)]

    for _ in range(2):
        await watch.look(3_600, times=3)

    (alert,) = await stored(records)
    assert (alert.count, alert.resolution) == (2, "The hour after it cost no more than usual.")
    assert await told(records) == [("raised", alert.cause), ("resolved", alert.cause)]


async def test_an_hour_is_read_once() -> None:
    records = Usage()
    records.use(0, 1)
    watch = Watch(records)
    await watch.look()
    read = len(records.asked)

    await watch.look(60, times=3)
    assert len(records.asked) == read
    await watch.look(3_600)
    assert len(records.asked) > read


async def test_a_principal_whose_calls_go_to_another_model_is_an_alert_until_that_is_usual() -> None:
    records = Usage()
    for day in range(2, 9):
        records.use(24 * day - 1, 1, calls=50)
    records.use(5, 9, model="large", calls=60)
    watch = Watch(records)

    await watch.look()
    (alert,) = await stored(records)
    assert (alert.kind, alert.principal, alert.facts["gained"]) == (
        Kind.UNUSUAL_MODEL_MIX,
        "alice",
        "large",
    )

    await watch.look(86_400)
    assert [each.state for each in await stored(records)] == [AlertState.RESOLVED]


async def test_one_model_is_no_unusual_mix_w43() -> None:
    records = Usage()
    for day in range(2, 9):
        records.use(24 * day - 1, 1, calls=50)
    records.use(5, 500, calls=5_000)

    assert await find_shifts(records, NOON) == []


async def test_all_together_shift_where_each_principal_stays_with_its_model() -> None:
    records = Usage()
    for day in range(2, 9):
        records.use(24 * day - 1, 9, "alice", "small", calls=50)
        records.use(24 * day - 1, 1, "bob", "large", calls=50)
    records.use(5, 1, "alice", "small", calls=60)
    records.use(5, 9, "bob", "large", calls=60)

    assert [each.cause for each in await find_shifts(records, NOON)] == ["unusual_model_mix:~everybody"]


async def test_the_past_of_a_source_is_its_use_by_the_hour_in_its_unit() -> None:
    records = Usage()
    records.use(0, 3, calls=2)
    records.use(26, 4, calls=3)
    records.use(26, 5, "bob")
    records.use(24 * 40, 7)
    alice, everybody = Source("principal", "alice", "cost_usd"), Source(None, "*", "requests")
    tokens = [Source("model", "small", f"{kind}_tokens") for kind in ("input", "output", "total")]

    past = await read_past(records, NOON, {alice, everybody, *tokens})

    assert past[alice].hours() == [(HOUR - 26 * HOUR_NS, 4 * NANO_PER_USD), (HOUR, 3 * NANO_PER_USD)]
    assert past[everybody].hours() == [(HOUR - 26 * HOUR_NS, 4), (HOUR, 2)]
    assert [past[each].hours()[1][1] for each in tokens] == [20, 10, 30]


async def test_a_quiet_day_asks_nothing_of_the_days_before() -> None:
    records = Usage()
    records.days(2)
    records.use(0, 0)

    assert await find_spikes(records, HOUR) == []
    assert records.asked == [HOUR]
